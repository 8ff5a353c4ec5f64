#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures updates of images that imaged exported as zstd:chunked: the packages of a point release (delta.py) as one layer, and the same layer with all of it moved to another directory. The
registry counts the bytes. Pulls of the whole layer, as plain zstd, stand beside them; each once at full speed from docker-registry on loopback and once at 50 Mbit/s (Rate=).

Usage: IMAGED_WORKER=PROGRAM IMAGED_PROXY=PROGRAM chunked.py DIRECTORY    DIRECTORY is delta.py's, or becomes it; repositories and a registry in it are made anew
"""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import chunked_layer  # noqa: E402
import delta  # noqa: E402
import ostree_repository  # noqa: E402
import registry  # noqa: E402
import skopeo_service  # noqa: E402
from oci_writer import Layout  # noqa: E402

SLOW = 50_000_000 // 8
TARGET = {"target": "docker://stored/image:t"}


class Cleanup(contextlib.ExitStack):
    addCleanup = contextlib.ExitStack.callback


def moved_image(source, directory):
    """The layer of SOURCE, a tar, below another directory."""
    layout, layers = Layout(str(directory)), []
    with layout.layer(layers) as tar, tarfile.open(source, "r|gz") as content:
        for member in content:
            member.name = "srv/" + member.name
            if member.islnk():
                member.linkname = "srv/" + member.linkname
            tar.addfile(member, content.extractfile(member) if member.isreg() else None)
    layout.image("one-moved", layers, {"version": "moved"})
    layout.finish()


def blob(layout, digest):
    return layout / "blobs" / digest.replace(":", "/")


def manifest(layout, tag):
    index = json.loads((layout / "index.json").read_text())
    entry = next(item for item in index["manifests"] if item["annotations"]["org.opencontainers.image.ref.name"] == tag)
    return json.loads(blob(layout, entry["digest"]).read_text())


def table(layout, tag):
    """The rows of the files, the compressed bytes of the tables, and the digest of the layer."""
    layer, = manifest(layout, tag)["layers"]
    offset, packed, _, _ = map(int, layer["annotations"][chunked_layer.PREFIX + "manifest-position"].split(":"))
    split = int(layer["annotations"][chunked_layer.PREFIX + "tarsplit-position"].split(":")[1])
    data = blob(layout, layer["digest"]).read_bytes()
    rows = json.loads(chunked_layer.unpacked(data[offset:offset + packed]))["entries"]
    return [row for row in rows if row.get("digest")], packed + split, layer


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    source = delta.make_images(directory)
    for name in ("chunked", "moved", "chunked-registry", "chunked-repo", "chunked-full", "chunked-old"):
        shutil.rmtree(directory / name, ignore_errors=True)
    moved_image(blob(source, manifest(source, "one-new")["layers"][0]["digest"]), directory / "moved")
    ostree_repository.init(directory / "chunked-repo")
    out = directory / "chunked"
    with Cleanup() as cleanup:
        served = registry.Registry(directory / "chunked-registry")
        cleanup.callback(served.stop)
        service = skopeo_service.as_unit(cleanup)
        conf = directory / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{served.address}"\ninsecure = true\n')
        service.environment["CONTAINERS_REGISTRIES_CONF"] = str(conf)
        for tag, layout in (("one-old", source), ("one-new", source), ("one-moved", directory / "moved")):
            delta.job(f"oci:{layout}:{tag}", directory / "chunked-repo", **TARGET)
            for compression in ("zstd:chunked", "zstd"):
                name = tag + ("" if compression == "zstd" else "-chunked")
                made, seconds, cpu, peak = delta.job("docker://stored/image:t", directory / "chunked-repo", kind="export", arguments={"destination": f"oci:{out}:{name}", "compression": compression})
                print(f"export of {tag} as {compression}: {made['bytes-written']} bytes, {seconds:.1f} s, {cpu:.1f} s CPU, {peak:.0f} MiB", flush=True)
                served.push(f"oci:{out}:{name}", f"test/image:{name}")

        def pull(tag, repository, **settings):
            since = len(served.answers())
            details, seconds, cpu, peak = delta.job(f"docker://{served.address}/test/image:{tag}", repository, settings={"skopeo-service": service.path, **settings},
                                                    env={"CONTAINERS_REGISTRIES_CONF": str(conf)}, **TARGET)
            answers = [size for path, _, size, agent in served.answers()[since:] if "/blobs/" in path and agent.startswith("imaged/")]
            return details, seconds, cpu, peak, sum(answers), len(answers)
        ostree_repository.init(directory / "chunked-old")
        pull("one-old-chunked", directory / "chunked-old")
        old = {row["digest"] for row in table(out, "one-old-chunked")[0]}
        for tag in ("one-new", "one-moved"):
            rows, tables, layer = table(out, tag + "-chunked")
            wanted = sum(row["endOffset"] - row["offset"] for row in rows if row["digest"] not in old)
            print(f"{tag}: {wanted} bytes of frames that the stored image does not have and {tables} of tables, of {layer['size']}")
            for speed, settings in (("loopback", {}), ("50 Mbit/s", {"rate": SLOW})):
                for name in (tag + "-chunked", tag):
                    repository = directory / "chunked-full"
                    shutil.rmtree(repository, ignore_errors=True)
                    subprocess.run(["cp", "-a", directory / "chunked-old", repository], check=True)
                    details, seconds, cpu, peak, wire, count = pull(name, repository, **settings)
                    print(f"{name}, {speed}: {wire} bytes in {count} answers, {wire / (wanted + tables):.3f} of the least; {seconds:.1f} s, {cpu:.1f} s CPU, {peak:.0f} MiB, "
                          f"{details['layers-partial']} in part {details['fetched-whole']}, load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
