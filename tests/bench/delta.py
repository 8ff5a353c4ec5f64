#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures deltas of a point release: Debian packages in the last but one and in the last version that apt knows, as an image with a layer for each package and as one
of a single layer, each beside packages that stay. Needs apt with several versions of packages (Debian's release, its updates and its security updates), docker-registry and root.

Usage: IMAGED_WORKER=PROGRAM delta.py DIRECTORY    DIRECTORY keeps the packages and images for the next run; repositories in it are made anew
"""
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import ostree_repository  # noqa: E402
import worker  # noqa: E402
from oci_writer import Layout  # noqa: E402

CHANGED = ("libssl3 openssl libc6 libc-bin curl libcurl4 git python3.11-minimal libpython3.11-stdlib sudo openssh-client openssh-server bind9-libs perl-base systemd libsystemd0 "
           "libxml2 libexpat1 tzdata ca-certificates libglib2.0-0 util-linux mount xz-utils").split()
SAME = "vim-runtime emacs-el python3-numpy perl-modules-5.36 fonts-dejavu-core libicu72".split()


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout


def versions(package):
    """The versions that apt knows, the oldest first."""
    found = {line.split("|")[1].strip() for line in run("apt-cache", "madison", package).splitlines()}
    ordered = []
    for version in found:
        place = sum(subprocess.run(["dpkg", "--compare-versions", other, "lt", version], check=False).returncode == 0 for other in found)
        ordered.append((place, version))
    return [version for _, version in sorted(ordered)]


def download(directory, package, version):
    place = directory / "debs" / f"{package}_{version.replace(':', '%3a')}"
    if not place.exists():
        unfinished = place.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", f"{package}={version}", cwd=unfinished)
        unfinished.rename(place)
    return next(place.iterdir())


def make_images(directory):
    """A layout with the tags layers-old, layers-new, one-old and one-new."""
    path = directory / "layout"
    if path.exists():
        return path
    unfinished = directory / "layout.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    layout = Layout(str(unfinished))
    for age, number in (("old", -2), ("new", -1)):
        layers, one, root = [], [], directory / f"root-{age}"
        shutil.rmtree(root, ignore_errors=True)
        for package in SAME + CHANGED:
            known = versions(package)
            deb = download(directory, package, known[-1 if package in SAME else number])
            with layout.layer(layers) as tar:
                add(tar, deb)
        with layout.layer(one) as tar:
            for package in SAME + CHANGED:
                known = versions(package)
                add(tar, download(directory, package, known[-1 if package in SAME else number]))
        layout.image(f"layers-{age}", layers, {"version": age})
        layout.image(f"one-{age}", one, {"version": age})
    layout.finish()
    unfinished.rename(path)
    return path


def add(tar, deb):
    import tarfile
    unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=unpack.stdout, mode="r|") as content:
        for member in content:
            member.name = re.sub(r"^(\./)?", "", member.name)
            if member.name and not member.ischr():
                if member.islnk():
                    member.linkname = re.sub(r"^\./", "", member.linkname)
                tar.addfile(member, content.extractfile(member) if member.isreg() else None)
    if unpack.wait() != 0:
        raise RuntimeError(f"cannot read {deb}")


def job(*arguments, **options):
    """(details, seconds, CPU seconds, MiB at the peak)"""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = worker.Run(*arguments, **options).finish()
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.result["outcome"] != "success":
        raise RuntimeError(json.dumps(done.result))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.result["details"], seconds, cpu, done.rss / 1024


def main():
    directory = pathlib.Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    layout = make_images(directory)
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)
    for kind in ("layers", "one"):
        repositories = [directory / f"repo-{kind}-{number}" for number in range(2)]
        for repository in repositories:
            shutil.rmtree(repository, ignore_errors=True)
            ostree_repository.init(repository)
        shutil.rmtree(directory / "out", ignore_errors=True)
        old, new = (f"oci:{layout}:{kind}-{age}" for age in ("old", "new"))
        job(old, repositories[0])
        pulled, seconds, cpu, _ = job(new, repositories[1])
        print(f"{kind}: full pull of the target, {pulled['layers']} layers, {pulled['bytes-fetched']} bytes: {seconds:.1f} s, {cpu:.1f} s CPU", flush=True)
        for name, more in (("delta", {}), ("delta --compatible", {"compatible": True})):
            made, taken, used, peak = job(new, repositories[0], kind="export", arguments={"destination": f"oci:{directory}/out:{name[:8].strip()}", "delta-from": old, **more})
            print(f"{kind}: {name}: {made['bytes-written']} bytes of {made['bytes-replaced']} ({made['bytes-written'] / made['bytes-replaced']:.4f}), "
                  f"{made['layers-made']} made, {made['layers-whole']} whole, {made['layers-kept']} kept: {taken:.1f} s ({taken / seconds:.2f} of the pull), {used:.1f} s CPU, {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
