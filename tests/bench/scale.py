# SPDX-License-Identifier: Apache-2.0
"""What each kind of work costs when much is stored: CPU milliseconds of all processes together, beside 1,000 and 5,000
small images, beside a million objects of another program, and with the exponent of the growth."""
import contextlib
import gzip
import hashlib
import io
import json
import math
import os
import shutil
import statistics
import struct
import subprocess
import tarfile
import tempfile
import time

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, GLib, OSTree  # noqa: E402

from machine import FileSystem, run
from oci_writer import CONFIG, CREATED, LAYER, MANIFEST
from report import Result
from service import Service, make_repository

COUNTS = (1_000, 5_000)
OBJECTS = 1_000_000
NEW = 1_000_000  # number of the first image that is not stored


class CpuGroup:
    """A control group whose processes' CPU time counts, of those that have ended as well. Exact where /proc has ticks of 10 ms."""

    def __init__(self):
        with open("/proc/mounts") as mounts:
            root = next(line.split()[1] for line in mounts if line.split()[2] == "cgroup2")
        self.path = os.path.join(root, f"imaged-bench-{os.getpid()}-{id(self)}")
        os.mkdir(self.path)

    def enter(self):
        """In a child, before it becomes another program."""
        with open(self.path + "/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))

    def milliseconds(self):
        with open(self.path + "/cpu.stat") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("usage_usec")) / 1000

    def settled(self):
        """The CPU time once nothing has run for a while: what a job leaves to do afterwards is a part of it."""
        before, still = self.milliseconds(), 0
        for _ in range(400):
            time.sleep(0.05)
            now = self.milliseconds()
            still = still + 1 if now - before < 0.3 else 0
            if still == 4:
                return now
            before = now
        raise RuntimeError("the service does not come to rest")

    def close(self):
        for _ in range(100):
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
                return
            time.sleep(0.05)


class Measured:
    """A service on REPOSITORY, and the cost of what is asked of it."""

    def __init__(self, build, repository):
        self.group = CpuGroup()
        self.service = Service(build, repository, enter=self.group.enter)

    def __enter__(self):
        self.service.__enter__()
        try:
            self.group.settled()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        self.service.__exit__(*error)
        self.group.close()

    def cost(self, *words, repeat=1, **options):
        """Of `imagectl WORDS`, in CPU milliseconds."""
        before = self.group.settled()
        for _ in range(repeat):
            run(*self.service.command(*words), env=self.service.environment, preexec_fn=self.group.enter, **options)
        return (self.group.settled() - before) / repeat


# ---- images

def blob(data):
    return "sha256:" + hashlib.sha256(data).hexdigest(), data


def layer_of(files):
    """A layer with FILES (path → bytes): its descriptor, diff-id and blob."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted({"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}):
            directory = tarfile.TarInfo(path)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    digest, data = blob(gzip.compress(raw.getvalue(), 1, mtime=0))
    return {"mediaType": LAYER + "gzip", "digest": digest, "size": len(data)}, blob(raw.getvalue())[0], data


BASE = layer_of({f"usr/lib/base/file-{i}": b"%04d" % i * 50 for i in range(20)})


def image_of(layers):
    """The manifest's digest, and all blobs by digest."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "created": CREATED, "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id, _ in layers]},
                         "history": [{"created": CREATED, "created_by": "a layer"} for _ in layers]}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST,
                           "config": {"mediaType": CONFIG, "digest": blob(config)[0], "size": len(config)},
                           "layers": [descriptor for descriptor, _, _ in layers]}).encode()
    blobs = {descriptor["digest"]: data for descriptor, _, data in layers}
    blobs.update([blob(config), blob(manifest)])
    return {"mediaType": MANIFEST, "digest": blob(manifest)[0], "size": len(manifest)}, blobs


def small_image(number, revision=0):
    """Three layers: one that all images have, one of its own, and one that is another in each REVISION."""
    return image_of([BASE, layer_of({f"usr/app/own-{number}": b"%d" % number}),
                     layer_of({"usr/app/revision": b"%d %d" % (number, revision)})])


def index_of(manifests):
    return json.dumps({"schemaVersion": 2, "manifests": [
        {**manifest, "annotations": {"org.opencontainers.image.ref.name": tag}} for tag, manifest in manifests.items()]}).encode()


LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def write_archive(path, image):
    manifest, blobs = image
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in [("oci-layout", LAYOUT), ("index.json", index_of({"image": manifest})),
                           *((f"blobs/{digest.replace(':', '/')}", data) for digest, data in blobs.items())]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write_layout(directory, images):
    """IMAGES by tag."""
    os.makedirs(directory + "/blobs/sha256", exist_ok=True)
    for _, blobs in images.values():
        for digest, data in blobs.items():
            with open(f"{directory}/blobs/{digest.replace(':', '/')}", "wb") as file:
                file.write(data)
    for name, data in [("oci-layout", LAYOUT), ("index.json", index_of({tag: manifest for tag, (manifest, _) in images.items()}))]:
        with open(os.path.join(directory, name), "wb") as file:
            file.write(data)


class Inputs:
    """Where images come from: `oci:DIRECTORY:TAG`. They are written into DIRECTORY before the pull that wants them."""

    def __init__(self, cache):
        self.directory = os.path.join(cache, "scale-source")

    def name(self, tag):
        return f"oci:{self.directory}:{tag}"

    def serve(self, **images):
        shutil.rmtree(self.directory, ignore_errors=True)
        write_layout(self.directory, images)
        return [self.name(tag) for tag in images]


def fill(build, repository, images, scratch):
    """Stores IMAGES, pairs of a name and what image_of() gives, by imaged's own importer in one process."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory, \
            subprocess.Popen([build + "/tests/bench/fill", repository], stdin=subprocess.PIPE, text=True) as filler:
        for number, (name, image) in enumerate(images):
            archive = f"{directory}/{number}"
            write_archive(archive, image)
            filler.stdin.write(f"{archive} {name}\n")
            filler.stdin.flush()
        filler.stdin.close()
        if filler.wait() != 0:
            raise RuntimeError("filling the repository failed")


# ---- another program's objects

def add_foreign_objects(repository, count):
    """COUNT empty files of as many owners, a thousand to a directory, in one commit with a ref. Written by hand, since an inode is all
    that such a file takes, and libostree would write each of them twice."""
    repo = OSTree.Repo.new(Gio.File.new_for_path(repository))
    repo.open(None)
    path = repository + "/objects/"
    for number in range(256):
        os.makedirs(f"{path}{number:02x}", exist_ok=True)
    write = lambda kind, value: bytes(repo.write_metadata(kind, None, value, None)[1])
    meta = write(OSTree.ObjectType.DIR_META, GLib.Variant("(uuua(ayay))", (0, 0, big_endian(0o40755), [])))
    directories = []
    for directory in range(count // 1000):
        files = []
        for number in range(directory * 1000, directory * 1000 + 1000):
            # Its length, and the header (uuuusa(ayay)): the owner is the first number of that.
            header = struct.pack(">IIIIII", 18, 0, number, 0, 0o100644, 0) + b"\0\x11"
            checksum = hashlib.sha256(header).digest()
            name = checksum.hex()
            place = f"{path}{name[:2]}/{name[2:]}.file"
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
            os.chown(place, number, 0)
            files.append((f"file-{number}", checksum))
        tree = write(OSTree.ObjectType.DIR_TREE, GLib.Variant("(a(say)a(sayay))", (sorted(files), [])))
        directories.append((f"{directory:06}", tree, meta))
    root = write(OSTree.ObjectType.DIR_TREE, GLib.Variant("(a(say)a(sayay))", ([], directories)))
    commit = write(OSTree.ObjectType.COMMIT, GLib.Variant("(a{sv}aya(say)sstayay)", ({}, b"", [], "", "", 0, root, meta)))
    repo.set_ref_immediate(None, "foreign/many", commit.hex(), None)


def big_endian(number):
    """NUMBER as GVariant has it where OSTree wants the other byte order."""
    return int.from_bytes(number.to_bytes(4, "big"), "little")


# ---- what is measured

class Scale:
    def __init__(self, bench):
        self.bench, self.where = bench, bench.file_systems[0]
        self.inputs = Inputs(bench.cache)
        self.counts = (100, 500) if bench.quick else COUNTS
        self.objects = 50_000 if bench.quick else OBJECTS
        self.runs = bench.runs
        self.found = {}  # work → {count: milliseconds}

    def image(self, name, make):
        """A kept image of a file system that MAKE(repository) has filled."""
        path = os.path.join(self.bench.cache, f"scale-{name}-{self.where[0]}.img")
        if not os.path.exists(path):
            self.bench.log("making", path)
            file_system = FileSystem(*self.where, scratch=self.bench.cache)
            try:
                repository = make_repository(file_system.path("repo"))
                # Nobody minds if this is lost.
                run("ostree", "config", f"--repo={repository}", "set", "core.fsync", "false")
                make(repository)
                run("ostree", "config", f"--repo={repository}", "unset", "core.fsync")
                file_system.keep(path)
            finally:
                file_system.close()
        return path

    def images(self, count):
        return self.image(str(count), lambda repository: fill(
            self.bench.build, repository, ((self.inputs.name(f"v{i}"), small_image(i)) for i in range(count)), self.bench.cache))

    def foreign(self):
        def make(repository):
            many = layer_of({f"usr/share/{i // 100}/file-{i}": b"%06d" % i * 20 for i in range(5000)})
            fill(self.bench.build, repository, [(self.inputs.name("v0"), small_image(0)), (self.inputs.name("files"), image_of([BASE, many]))],
                 self.bench.cache)
            add_foreign_objects(repository, self.objects)
        return self.image(f"objects-{self.objects}", make)

    @contextlib.contextmanager
    def service(self, template):
        with self.bench.fresh(self.where, template) as file_system:
            with Measured(self.bench.build, file_system.path("repo")) as measured:
                measured.mount = file_system.mount
                yield measured

    def note(self, work, count, samples):
        self.found.setdefault(work, {})[count] = statistics.median(samples)
        self.bench.log(f"{work}, {count:,}: " + " ".join(f"{sample:.1f}" for sample in samples) + " ms")

    def beside_images(self, count):
        template = self.images(count)
        with self.service(template) as service:
            for work, verb, number, revision in [("pull of a new image", "pull", NEW, 0), ("update of its last layer", "pull", 0, 1)]:
                costs = []
                for turn in range(self.runs):
                    (name,) = self.inputs.serve(**{f"v{number + turn}": small_image(number + turn, revision)})
                    costs.append(service.cost(verb, name))
                self.note(work, count, costs)
            self.note("remove", count, [service.cost("remove", self.inputs.name(f"v{20 + turn}")) for turn in range(self.runs)])
            self.note("pull of what is there", count, [self.unchanged(service, 50) for _ in range(self.runs)])
        # One that has listed lists again after each job, to know how many images there are.
        with self.service(template) as service:
            self.note("first list of a daemon", count, [service.cost("list")])
            costs, lists = [], []
            for turn in range(self.runs):
                (name,) = self.inputs.serve(**{f"v{NEW + turn}": small_image(NEW + turn)})
                costs.append(service.cost("pull", name))
                lists.append(service.cost("list"))
            self.note("pull of a new image and a list after it", count, [pull + listing for pull, listing in zip(costs, lists)])
            self.note("list after a pull", count, lists)
            if count == self.counts[0]:
                costs = []
                for _ in range(self.runs):
                    with contextlib.closing(CpuGroup()) as alone:
                        run(*service.service.command("list"), env=service.service.environment, preexec_fn=alone.enter)
                        costs.append(alone.milliseconds())
                self.note("list without a change, imagectl alone", count, costs)
            self.note("list without a change", count, [service.cost("list", repeat=5) for _ in range(self.runs)])
            self.note("daemon and reader after that, MiB", count, [service.service.resident_with_children()])
            self.note("verify of one small image", count, [service.cost("verify", self.inputs.name(f"v{50 + turn}")) for turn in range(self.runs)])
            self.note("verify of all, an image", count, [service.cost("verify") / count])

    def unchanged(self, service, number):
        self.inputs.serve(**{f"v{number}": small_image(number)})
        return service.cost("pull", self.inputs.name(f"v{number}"))

    def beside_objects(self):
        many = image_of([BASE, layer_of({f"usr/share/{i // 100}/file-{i}": b"%06d" % i * 20 for i in range(5000)})])
        with self.service(self.foreign()) as service:
            self.note("verify of one small image, foreign objects", self.objects,
                      [service.cost("verify", self.inputs.name("v0")) for _ in range(self.runs)])
            costs = []
            for turn in range(self.runs):
                # After a change, which is not to be recent.
                (name,) = self.inputs.serve(**{f"v{NEW + turn}": small_image(NEW + turn)})
                service.cost("pull", name)
                time.sleep(2.5)
                (name,) = self.inputs.serve(files=many)
                costs.append(service.cost("pull", name))
            self.note("unchanged pull of 5,000 files, foreign objects", self.objects, costs)

    def watched(self):
        """What a program takes that gets all signals of a pull of many layers."""
        count = 20 if self.bench.quick else 128
        with self.bench.fresh(self.where) as file_system, Measured(self.bench.build, make_repository(file_system.path("repo"))) as service:
            costs, signals = [], []
            for turn in range(self.runs):
                (name,) = self.inputs.serve(many=image_of([layer_of({f"usr/{turn}/layer-{i}/file-{j}": b"%d %d %d" % (turn, i, j) for j in range(10)}) for i in range(count)]))
                with contextlib.closing(CpuGroup()) as watcher, tempfile.TemporaryFile() as output:
                    with subprocess.Popen(["gdbus", "monitor", "--address", service.service.address, "--dest", "org.imaged1"], stdout=output, preexec_fn=watcher.enter) as monitor:
                        time.sleep(0.5)
                        before = watcher.milliseconds()
                        service.cost("pull", name)
                        costs.append(watcher.milliseconds() - before)
                        monitor.terminate()
                    output.seek(0)
                    signals.append(sum(line.startswith(b"/") for line in output))
            self.bench.log("signals: " + " ".join(map(str, signals)))
            self.note("watcher of a pull of many layers", count, costs)

    def of_one_image(self):
        count = 60 if self.bench.quick else 500
        with self.bench.fresh(self.where) as file_system, Measured(self.bench.build, make_repository(file_system.path("repo"))) as service:
            layers = [layer_of({f"usr/share/layer-{i}/file-{j}": b"%d %d" % (i, j) for j in range(10)}) for i in range(count + self.runs)]
            costs = []
            for turn in range(-1, self.runs):
                (name,) = self.inputs.serve(many=image_of(layers[:count - 1] + [layers[count + turn]]))
                costs.append(service.cost("pull", name))
            self.note("update of the last layer of many", count, costs[1:])
            (name,) = self.inputs.serve(**{"v0": small_image(0)})
            service.cost("pull", name)
            run("ostree", "init", "--mode=bare", f"--repo={file_system.mount}/other")
            service.cost("copy", self.inputs.name("many"), file_system.mount + "/other")
            # What has just changed is looked at once more.
            time.sleep(2.5)
            service.cost("copy", self.inputs.name("many"), file_system.mount + "/other")
            self.note("copy with nothing to do", count,
                      [service.cost("copy", self.inputs.name("many"), file_system.mount + "/other") for _ in range(self.runs)])
            if self.bench.peer:
                costs = []
                for _ in range(self.runs):
                    with contextlib.closing(CpuGroup()) as peer:
                        run(self.bench.peer, "container", "image", "copy", "--src-repo", file_system.path("repo"), "--dest-repo", file_system.mount + "/other",
                            "ostree-unverified-image:" + self.inputs.name("many"), preexec_fn=peer.enter)
                        costs.append(peer.milliseconds())
                self.note("copy with nothing to do, ostree-ext", count, costs)
            self.note("imagectl's start", 1, [service.cost("--version", repeat=20) for _ in range(self.runs)])


# Work, which count the goal is for (-1: the larger one), and the goal in CPU milliseconds where no other unit is named.
GOALS = [("pull of a new image", 100), ("update of its last layer", 100), ("remove", 60), ("first list of a daemon", 200), ("list after a pull", 40),
         ("pull of a new image and a list after it", None), ("pull of what is there", None), ("list without a change", None),
         ("verify of one small image", 80), ("verify of all, an image", 1), ("daemon and reader after that, MiB", 24),
         ("verify of one small image, foreign objects", 80), ("unchanged pull of 5,000 files, foreign objects", 100),
         ("list without a change, imagectl alone", 8), ("update of the last layer of many", 250), ("copy with nothing to do", None),
         ("copy with nothing to do, ostree-ext", None), ("watcher of a pull of many layers", 20), ("imagectl's start", 4)]


def rows(bench):
    scale = Scale(bench)
    for count in scale.counts:
        scale.beside_images(count)
    scale.beside_objects()
    scale.of_one_image()
    scale.watched()
    for work, goal in GOALS:
        by_count = scale.found.get(work, {})
        if not by_count:
            continue
        unit = "" if work.endswith("MiB") else " ms"
        growth = ""
        if len(by_count) > 1:
            (fewer, first), (more, last) = sorted(by_count.items())
            growth = f"; {fewer:,}: {first:.1f}{unit}, exponent {math.log(last / first) / math.log(more / fewer):.2f}"
        count, last = max(by_count.items())
        result = Result(work)
        result.goal(f"{count:,}{growth}", last, goal, unit)
        yield result
