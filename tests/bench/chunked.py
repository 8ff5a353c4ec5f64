#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures updates of zstd:chunked images against their goals, all in one run: two Debian images after the updates since a point release (point_release.py), as imaged exports them, the first also
with all of it moved to another directory, each from docker-registry on loopback, at full speed and at 50 Mbit/s (Rate=), beside the whole layer as plain zstd; and a layer of 1 GiB whose
connection is cut at 95 %. The registry counts the bytes. With OLD, the pulls in part are also made by other programs, in turn.

Usage: IMAGED_WORKER=PROGRAM IMAGED_PROXY=PROGRAM chunked.py DIRECTORY [OLD]    DIRECTORY keeps the images; repositories and a registry in it are made anew. OLD is another build directory.
RUNS=NUMBER: of each pull on loopback (3), half of it of those that take longer or have no goal. Needs mmdebstrap, docker-registry and root; and a network the first time.
"""
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import chunked_layer  # noqa: E402
import cutting_proxy  # noqa: E402
import delta  # noqa: E402
import oci_layout  # noqa: E402
import ostree_repository  # noqa: E402
import point_release  # noqa: E402
import registry  # noqa: E402
import skopeo_service  # noqa: E402
import worker  # noqa: E402

SLOW = 50_000_000 // 8
TARGET = {"target": "docker://stored/image:t"}
RUNS = int(os.environ.get("RUNS", "3"))
OWN = "imaged/"


class Cleanup(contextlib.ExitStack):
    addCleanup = contextlib.ExitStack.callback


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


def said(values, digits=1):
    values = [round(value, digits) for value in values]
    return f"{statistics.median(values)}" + (f" ({min(values)} to {max(values)})" if min(values) < max(values) else "")


def verdict(goal, reached):
    return f"{goal}: {'reached' if reached else 'MISSED'}"


class Bench:
    def __init__(self, cleanup, directory, old):
        self.directory, self.programs = directory, {"": (worker.PROGRAM, skopeo_service.PROGRAM)}
        if old:
            self.programs["old programs, "] = (old / "daemon/worker/imaged-worker", old / "daemon/proxy/imaged-proxy")
        for name in ("chunked", "chunked-registry", "chunked-repo", "chunked-full", "chunked-old", "cut"):
            shutil.rmtree(directory / name, ignore_errors=True)
        self.registry = registry.Registry(directory / "chunked-registry")
        cleanup.callback(self.registry.stop)
        self.services = {name: skopeo_service.as_unit(cleanup, proxy) for name, (_, proxy) in self.programs.items()}
        self.conf = directory / "registries.conf"
        self.allow(self.registry.address)

    def allow(self, *addresses):
        self.conf.write_text("".join(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n' for address in addresses))
        for service in self.services.values():
            service.environment["CONTAINERS_REGISTRIES_CONF"] = str(self.conf)

    def job(self, *arguments, which="", **options):
        worker.PROGRAM = str(self.programs[which][0])
        return delta.job(*arguments, **options)

    def pull(self, name, repository, address=None, which="", **settings):
        """(details, seconds, CPU seconds, MiB, bytes of layers that the registry sent, its answers)"""
        since = len(self.registry.answers())
        found = self.job(f"docker://{address or self.registry.address}/test/image:{name}", repository, which=which, settings={"skopeo-service": self.services[which].path, **settings},
                         env={"CONTAINERS_REGISTRIES_CONF": str(self.conf)}, **TARGET)
        answers = [size for path, _, size, agent in self.registry.answers()[since:] if "/blobs/" in path and agent.startswith(OWN)]
        return *found, sum(answers), len(answers)

    def updates(self, image, ages):
        source, count, changed = point_release.make_images(self.directory, image)
        print(f"\n{image}: {count} packages, {changed} of them changed ({changed / count:.0%})", flush=True)
        out = self.directory / "chunked"
        shutil.rmtree(self.directory / "chunked-repo", ignore_errors=True)
        ostree_repository.init(self.directory / "chunked-repo")
        for age in ages:
            self.job(f"oci:{source}:{image}-{age}", self.directory / "chunked-repo", **TARGET)
            for compression in ("zstd:chunked", "zstd"):
                name = f"{image}-{age}" + ("" if compression == "zstd" else "-chunked")
                made, seconds, cpu, peak = self.job("docker://stored/image:t", self.directory / "chunked-repo", kind="export", arguments={"destination": f"oci:{out}:{name}", "compression": compression})
                print(f"export of {age} as {compression}: {made['bytes-written']} bytes, {seconds:.1f} s, {cpu:.1f} s CPU, {peak:.0f} MiB", flush=True)
                self.registry.push(f"oci:{out}:{name}", f"test/image:{name}")
        old_repository = self.directory / "chunked-old"
        shutil.rmtree(old_repository, ignore_errors=True)
        ostree_repository.init(old_repository)
        self.pull(f"{image}-old-chunked", old_repository)
        old = {row["digest"] for row in table(out, f"{image}-old-chunked")[0]}
        few = max(RUNS // 2, 1)
        for age in ages[1:]:
            rows, tables, layer = table(out, f"{image}-{age}-chunked")
            wanted = sum(row["endOffset"] - row["offset"] for row in rows if row["digest"] not in old)
            whole, = manifest(out, f"{image}-{age}")["layers"]
            print(f"{image}, {age}: {sum(row['digest'] not in old for row in rows)} of {len(rows)} files have contents that the stored image does not have: {wanted} bytes compressed, and {tables} of "
                  f"tables, {(wanted + tables) / whole['size']:.1%} of the layer as plain zstd ({whole['size']}; {layer['size']} as zstd:chunked)", flush=True)
            for speed, settings, runs in (("loopback", {}, RUNS if age == "new" else few), ("50 Mbit/s", {"rate": SLOW}, few)):
                self.compare(image, age, speed, settings, runs, wanted + tables)

    def compare(self, image, age, speed, settings, runs, least):
        ways = {which + kind: (which, name) for which in self.programs for kind, name in (("in part", f"{image}-{age}-chunked"), ("the whole layer", f"{image}-{age}"))}
        ways.pop("old programs, the whole layer", None)
        found = {way: [] for way in ways}
        for _ in range(runs):
            for way, (which, name) in ways.items():
                repository = self.directory / "chunked-full"
                shutil.rmtree(repository, ignore_errors=True)
                subprocess.run(["cp", "-a", self.directory / "chunked-old", repository], check=True)
                found[way].append((*self.pull(name, repository, which=which, **settings), os.getloadavg()[0]))
        for way, results in found.items():
            details, wire, answers = results[-1][0], results[-1][4], results[-1][5]
            print(f"| {image}, {age} | {speed} | {way} | {wire} bytes, {wire / least:.3f} of the least | {answers} answers | {said([result[1] for result in results])} s | {said([result[2] for result in results])} s CPU | "
                  f"{max(result[3] for result in results):.0f} MiB | load {said([result[6] for result in results])} |{'' if way.endswith('layer') or details['layers-partial'] else ' NOT IN PART ' + str(details['fetched-whole'])}", flush=True)
        part, whole = (statistics.median(result[1] for result in found[way]) for way in ("in part", "the whole layer"))
        ratio = found["in part"][-1][4] / least
        if speed == "loopback":
            print(f"  goals: {verdict('no slower than the whole layer', part <= whole)} ({part / whole:.2f} of its time); {verdict('wire bytes at most 1.1 times', ratio <= 1.1)} ({ratio:.3f})", flush=True)
        else:
            print(f"  goal: {verdict('5 times as fast', whole >= 5 * part)} ({whole / part:.1f}; by the bytes alone at most {found['the whole layer'][-1][4] / least:.1f})", flush=True)

    def cut(self):
        """A layer of 1 GiB, whose connection is cut at 95 %."""
        size = 1 << 30
        layout = oci_layout.Layout(self.directory / "cut")
        layer = oci_layout.layer([oci_layout.Entry(f"opt/{number}", content=os.urandom(size // 64)) for number in range(64)], None)
        layout.image("cut", [layer])
        self.registry.push(layout.reference("cut"), "test/image:cut")
        proxy = cutting_proxy.CuttingProxy(self.registry.address, int(len(layer.data) * 0.95), True)
        self.allow(self.registry.address, proxy.address)
        repository = self.directory / "chunked-full"
        shutil.rmtree(repository, ignore_errors=True)
        ostree_repository.init(repository)
        _, seconds, cpu, peak, _, answers = self.pull("cut", repository, address=proxy.address)
        proxy.stop()
        # All that the client got, manifests and headers too.
        twice = proxy.bytes - len(layer.data)
        print(f"a layer of {len(layer.data)} bytes, cut at 95 %: {proxy.bytes} bytes in all, {answers} answers, {seconds:.1f} s, {cpu:.1f} s CPU, {peak:.0f} MiB; "
              f"{verdict('at most 1 MiB twice', proxy.cuts == 1 and twice <= 1 << 20)} ({twice} bytes, with manifests and headers)", flush=True)


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(["docker-registry", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    kind = subprocess.run(["stat", "-f", "-c", "%T", directory], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} processors, Linux {platform.release()}, {kind}, {version}, {RUNS} runs of each, medians, load {os.getloadavg()[0]:.1f}", flush=True)
    with Cleanup() as cleanup:
        bench = Bench(cleanup, directory, pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None)
        bench.cut()
        bench.updates("build", ("old", "new", "moved"))
        bench.updates("server", ("old", "new"))


if __name__ == "__main__":
    main()
