# SPDX-License-Identifier: Apache-2.0
"""The rows of the table: what each measures, on which input, against whom, and the goal."""
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "integration"))
import registry  # noqa: E402
from skopeo_service import SkopeoService  # noqa: E402

import report
import scale
from images import size_of
from machine import FileSystem, Meter, Sample, run, timed, warm
from oci_writer import layers_of
from report import Result
from service import Service, make_repository, proxy_manifest_fetch


class Bench:
    """What the rows share. FILE_SYSTEMS is a list of (kind, backing)."""

    def __init__(self, build, images, cache, options):
        self.build, self.images, self.cache = build, images, cache
        self.runs, self.quick, self.file_systems = options.runs, options.quick, options.file_systems
        self.output = options.output
        self.peer = shutil.which("ostree-ext-cli")
        self.composefs = shutil.which("cfsctl")

    def log(self, *words):
        print(time.strftime("%H:%M:%S"), *words, flush=True)

    def fresh(self, where, template=None):
        return FileSystem(*where, scratch=self.cache, template=template)

    # ---- the sides: each takes a mounted file system and an image, and gives a Sample

    def imaged_pull(self, directory, image, verb=("pull",), options=(), more=(), stdin=subprocess.DEVNULL):
        repository = directory + "/repo"
        if not os.path.exists(repository):
            make_repository(repository)
        with Meter("imaged-worker") as meter, Service(self.build, repository, options) as service:
            start = time.monotonic()
            run(*service.command(*verb, image, *more), env=service.environment, stdin=stdin)
            wall = time.monotonic() - start
        return Sample(wall, meter.cpu, meter.peak / 1024)

    def peer_pull(self, directory, image, registries=None):
        """With the file REGISTRIES as registries.conf, for which skopeo's proxy has no option."""
        repository = directory + "/repo"
        if not os.path.exists(repository):
            make_repository(repository)
        configured = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/containers/registries.conf && exec "$@"', registries] if registries else []
        return timed([*configured, "ostree-ext-cli", "container", "image", "pull", "--quiet", repository, "ostree-unverified-image:" + image], "ostree-ext-cli")

    def composefs_pull(self, directory, image):
        """It keeps files by fs-verity digests and writes no merged commit; what it makes durable, and when, is its own affair."""
        repository = directory + "/composefs"
        if not os.path.exists(repository):
            run("cfsctl", "--repo", repository, "init", "--insecure", "--algorithm", "fsverity-sha256-12")
        return timed(["cfsctl", "--repo", repository, "--insecure", "oci", "pull", image], "cfsctl")

    def umoci_unpack(self, directory, image):
        return timed(["umoci", "unpack", "--image", image.removeprefix("oci:"), directory + "/bundle"], "umoci")

    def buildah_pull(self, directory, image):
        """It names the image after the path of its directory, which must therefore look like the name of an image."""
        environment = {**os.environ, "TMPDIR": directory}
        where, tag = image.removeprefix("oci:").rsplit(":", 1)
        link = f"/dev/shm/imaged-bench-source-{os.getpid()}"
        os.symlink(where, link)
        try:
            return timed(["buildah", "--root", directory + "/root", "--runroot", directory + "/run", "--storage-driver", "overlay",
                          "pull", "--quiet", f"oci:{link}:{tag}"], "buildah", env=environment)
        finally:
            os.unlink(link)

    def floor(self, directory, layers, listing):
        """The larger of the two parts; their CPU seconds are added up."""
        seconds = lambda output: float(output.rsplit("seconds", 1)[1])
        program = self.build + "/tests/bench/floor"
        with Meter("floor") as meter:
            stream = seconds(run(program, "stream", *layers))
            files = seconds(run(program, "files", listing, directory + "/floor", str(os.cpu_count())))
        return Sample(max(stream, files), meter.cpu, meter.peak / 1024)

    def list_objects(self, name, make, without=()):
        """A list for the floor of the file objects below the repository that MAKE() gives."""
        path = os.path.join(self.cache, "objects-" + name)
        if not os.path.exists(path):
            known = set()
            for listed in without:
                with open(listed + ".names") as file:
                    known.update(file.read().split())
            with make() as file_system, open(path + ".new", "w") as out, open(path + ".names", "w") as names:
                for where, _, files in os.walk(file_system.path("repo/objects")):
                    for file in files:
                        if not file.endswith(".file"):
                            continue
                        status = os.lstat(os.path.join(where, file))
                        xattrs = sum(len(key) for key in os.listxattr(os.path.join(where, file), follow_symlinks=False))
                        names.write(where[-2:] + file + "\n")
                        if where[-2:] + file not in known:
                            out.write(f"{status.st_mode:o} {status.st_uid} {status.st_gid} {status.st_size} {xattrs}\n")
            os.rename(path + ".new", path)
        return path

    def alternate(self, result, sides, where, template_of=lambda side: None):
        """Runs each of SIDES (name → function of a directory) once a round, each on a file system of its own; every
        other round in the opposite order. Another program that cannot do the work is left out, which the row says."""
        sides = dict(sides)
        for turn in range(self.runs):
            for side in list(sides) if turn % 2 == 0 else list(reversed(sides)):
                with self.fresh(where, template_of(side)) as file_system:
                    try:
                        result.add(side, sides[side](file_system.mount))
                    except RuntimeError as error:
                        if side in ("imaged", "floor"):
                            raise
                        reason = " ".join(line.strip() for line in str(error).splitlines()[1:] if line.strip())
                        self.log(f"{result.title}: {side} fails: {reason}")
                        result.notes.append(f"{side} fails: {reason[:300]}")
                        result.sides.pop(side, None)
                        del sides[side]
                        continue
                self.log(f"{result.title}: {side} {result.sides[side][-1].wall:.2f} s")
        result.sides = {side: result.sides[side] for side in sides}

    def template(self, name, where, fill):
        """The kept image of a file system that FILL(directory) has been at."""
        path = os.path.join(self.cache if where[1] == "disk" else "/dev/shm", f"imaged-bench-template-{os.getpid()}-{name}-{where[0]}.img")
        if not os.path.exists(path):
            file_system = self.fresh(where)
            try:
                fill(file_system.mount)
                file_system.keep(path)
            finally:
                file_system.close()
            self.templates = getattr(self, "templates", []) + [path]
        return path

    def clean(self):
        for path in getattr(self, "templates", []):
            os.unlink(path)

    def title(self, what, image, where):
        layers, size = size_of(image)
        return f"{what} ({layers} layers, {size / 1e6:.0f} MB), {where[0]} on {where[1]}"

    def pulled(self, name, image):
        def make():
            file_system = self.fresh(("xfs", "tmpfs"))
            self.imaged_pull(file_system.mount, image)
            return file_system
        return self.list_objects(name + ("-small" if self.quick else "-large"), make)


# ---- the rows: generators of results

def cold_chunked(bench):
    image = bench.images.debian(bench.quick)("chunked")
    warm(os.path.dirname(layers_of(image)[0]))
    listing = bench.pulled("chunked", image)
    for where in bench.file_systems:
        result = Result(bench.title("cold pull, chunked", image, where))
        sides = {"imaged": lambda directory: bench.imaged_pull(directory, image),
                 "floor": lambda directory: bench.floor(directory, layers_of(image), listing)}
        if bench.peer:
            sides["ostree-ext"] = lambda directory: bench.peer_pull(directory, image)
        else:
            sides["umoci unpack"] = lambda directory: bench.umoci_unpack(directory, image)
        if bench.composefs:
            sides["composefs-ctl"] = lambda directory: bench.composefs_pull(directory, image)
        bench.alternate(result, sides, where)
        result.ratio_goal("ostree-ext", 0.15)
        result.ratio_goal("floor", 1.3)
        result.ratio_goal("floor", 1.15, "cpu")
        result.ratio_goal("umoci unpack", None)
        result.ratio_goal("composefs-ctl", None)
        result.goal("worker's peak", max(sample.peak for sample in result.sides["imaged"]), 64, " MiB")
        yield result


def cold_registry(bench):
    """The same image from docker-registry on loopback, whose own CPU time is not counted; imaged reads layers as in the system service, by imaged-proxy."""
    image = bench.images.debian(bench.quick)("chunked")
    where = bench.file_systems[0]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="imaged-bench-", dir="/dev/shm"))
        os.chmod(directory, 0o755)  # imaged-proxy runs as nobody, and reads the registry's configuration
        server = registry.Registry(directory + "/registry")
        stack.callback(server.stop)
        server.push(image, "bench/image:chunked")
        image = f"docker://{server.address}/bench/image:chunked"
        proxy = SkopeoService({"CONTAINERS_REGISTRIES_CONF": str(server.configuration)}, bench.build + "/daemon/proxy/imaged-proxy")
        stack.callback(proxy.stop)
        os.environ["CONTAINERS_REGISTRIES_CONF"] = str(server.configuration)
        stack.callback(os.environ.pop, "CONTAINERS_REGISTRIES_CONF")
        result = Result(f"cold pull, chunked, from a registry on loopback, {where[0]} on {where[1]}")
        sides = {"imaged": lambda directory: bench.imaged_pull(directory, image, options=(
            "--proxy-socket", proxy.path, "--pass-environment", "CONTAINERS_REGISTRIES_CONF"))}
        if bench.peer:
            sides["ostree-ext"] = lambda directory: bench.peer_pull(directory, image, server.configuration)
        bench.alternate(result, sides, where)
    result.ratio_goal("ostree-ext", 0.15)
    yield result


def archive(bench):
    """An archive by its name and through a pipe, by turns; and what an export compressed with gzip has, compared with the source."""
    image = bench.images.debian(bench.quick)("generic")
    where = bench.file_systems[0]
    result = Result(bench.title("pull of an archive through a pipe", image, where))
    with tempfile.TemporaryDirectory(prefix="imaged-bench-", dir="/dev/shm") as directory:
        path = directory + "/image.tar"
        run("skopeo", "--insecure-policy", "copy", "--quiet", image, f"oci-archive:{path}:image")

        def imported(mount, file, **options):
            return bench.imaged_pull(mount, file, ("import-archive",), more=("docker://bench.example/image:1",), **options)

        def through_pipe(mount):
            with subprocess.Popen(["cat", path], stdout=subprocess.PIPE) as writer:
                return imported(mount, "-", stdin=writer.stdout)

        bench.alternate(result, {"imaged": through_pipe, "by its name": lambda mount: imported(mount, path)}, where)
    result.ratio_goal("by its name", 1.1)
    yield result
    result = Result(bench.title("export, gzip", image, where))
    with bench.fresh(where, bench.template("generic", where, lambda directory: bench.imaged_pull(directory, image))) as file_system:
        for turn in range(bench.runs):
            target = f"oci:{file_system.mount}/exported-{turn}:image"
            result.add("imaged", bench.imaged_pull(file_system.mount, image, ("export",), more=(target,)))
        result.goal("larger than the source", 100 * (size_of(target)[1] / size_of(image)[1] - 1), 5, " %")
    yield result


def cold_generic(bench):
    image = bench.images.debian(bench.quick)("generic")
    warm(os.path.dirname(layers_of(image)[0]))
    for where in bench.file_systems:
        result = Result(bench.title("cold pull, generic", image, where))
        sides = {"imaged": lambda directory: bench.imaged_pull(directory, image),
                 "umoci": lambda directory: bench.umoci_unpack(directory, image),
                 "buildah": lambda directory: bench.buildah_pull(directory, image)}
        if bench.composefs:
            sides["composefs-ctl"] = lambda directory: bench.composefs_pull(directory, image)
        bench.alternate(result, sides, where)
        result.ratio_goal("umoci", 0.2)
        result.ratio_goal("buildah", 0.2)
        result.ratio_goal("composefs-ctl", None)
        yield result


def update(bench):
    images = bench.images.debian(bench.quick)
    before, image = images("before"), images("update")
    warm(os.path.dirname(layers_of(image)[0]))
    new = [layer for layer in layers_of(image) if layer not in layers_of(before)]
    without = bench.pulled("before", before)
    def both():
        file_system = bench.fresh(("xfs", "tmpfs"))
        bench.imaged_pull(file_system.mount, image)
        return file_system
    listing = bench.list_objects("update" + ("-small" if bench.quick else "-large"), both, [without])
    for where in bench.file_systems:
        result = Result(f"update pull, one new layer ({sum(map(os.path.getsize, new)) / 1e6:.0f} MB) of {len(layers_of(image))}, "
                        f"{where[0]} on {where[1]}")
        sides = {"imaged": lambda directory: bench.imaged_pull(directory, image),
                 "floor": lambda directory: bench.floor(directory, new, listing)}
        templates = {"imaged": bench.template("before-imaged", where, lambda directory: bench.imaged_pull(directory, before))}
        if bench.peer:
            sides["ostree-ext"] = lambda directory: bench.peer_pull(directory, image)
            templates["ostree-ext"] = bench.template("before-peer", where, lambda directory: bench.peer_pull(directory, before))
        bench.alternate(result, sides, where, templates.get)
        result.ratio_goal("ostree-ext", 0.15)
        result.ratio_goal("floor", None)
        yield result


def confinement(bench):
    """The same programs with and without --confine: namespaces, the publisher and the filter of system calls together."""
    bench.runs = max(bench.runs, 10)
    for name, image in (("chunked", bench.images.debian(bench.quick)("chunked")), ("small files", bench.images.many_files(20_000 if bench.quick else 100_000))):
        warm(os.path.dirname(layers_of(image)[0]))
        where = bench.file_systems[0]
        result = Result(bench.title("cold pull, confined, " + name, image, where))
        bench.alternate(result, {"imaged": lambda directory: bench.imaged_pull(directory, image, options=("--confine",)),
                                 "not confined": lambda directory: bench.imaged_pull(directory, image)}, where)
        result.price_goal("not confined", "wall", 3)
        result.price_goal("not confined", "cpu", 3)
        yield result


def unchanged(bench):
    image = bench.images.debian(bench.quick)("chunked")
    where = bench.file_systems[0]
    result = Result(bench.title("pull, nothing changed", image, where))
    with bench.fresh(where) as file_system:
        bench.imaged_pull(file_system.mount, image)
        differences = []
        # What has just changed is looked at once more, object by object; that is told apart.
        time.sleep(3)
        with Service(bench.build, file_system.path("repo")) as service:
            first = timed(service.command("pull", image), "imaged-worker", env=service.environment)
            for _ in range(4 * bench.runs):
                sample = timed(service.command("pull", image), "imaged-worker", env=service.environment)
                sample.cpu = None  # most of it is imaged's, which goes on
                result.add("imaged", sample)
                result.add("proxy's manifest fetch", Sample(proxy_manifest_fetch(image)))
                differences.append(1000 * (sample.wall - result.sides["proxy's manifest fetch"][-1].wall))
        if bench.peer:
            with bench.fresh(where) as other:
                bench.peer_pull(other.mount, image)
                for _ in range(bench.runs):
                    result.add("ostree-ext", bench.peer_pull(other.mount, image))
    result.goal("first pull after a change", 1000 * first.wall, None, " ms")
    result.goal("− proxy's manifest fetch", statistics.median(differences), 20, " ms", (min(differences), max(differences)))
    yield result


def memory(bench):
    shapes = [("one file of 1 GiB", bench.images.shape("one-file")), ("120 layers", bench.images.shape("many-layers")),
              ("zstd, windows of 16 MiB", bench.images.shape("zstd")),
              ("many files", bench.images.many_files(100_000 if bench.quick else 1_000_000))]
    result = Result("worker's peak resident memory")
    for name, image in shapes:
        with bench.fresh(bench.file_systems[0]) as file_system:
            sample = bench.imaged_pull(file_system.mount, image)
        bench.log(name, f"{sample.peak:.1f} MiB")
        result.goal(name, sample.peak, 64, " MiB")
    yield result


def daemon(bench):
    images = bench.images.tiny(100 if bench.quick else 1000)
    where = bench.file_systems[0]
    result = Result("imaged")
    started, idle, served = [], [], []
    with bench.fresh(where) as file_system:
        with Service(bench.build, make_repository(file_system.path("repo"))) as service:
            for image in images[:20]:
                run(*service.command("pull", image), env=service.environment)
        for _ in range(2 * bench.runs):
            with Service(bench.build, file_system.path("repo")) as service:
                started.append(1000 * service.start)
                time.sleep(0.3)
                idle.append(service.resident())
                for _ in range(10):
                    run(*service.command("list"), env=service.environment)
                time.sleep(0.3)
                served.append(service.resident())
    result.goal("start to name owned", statistics.median(started), 30, " ms", (min(started), max(started)))
    result.goal("resident, idle", statistics.median(idle), 12, " MiB", (min(idle), max(idle)))
    result.goal("resident, idle after ten listings", statistics.median(served), None, " MiB", (min(served), max(served)))
    yield result


def listing(bench):
    count = 100 if bench.quick else 1000
    images = bench.images.tiny(count)
    other = bench.images.many_files(100_000 if bench.quick else 1_000_000)
    where = bench.file_systems[0]
    result = Result(f"imagectl list, {count:,} images, while a pull runs")
    def fill(directory):
        with Service(bench.build, make_repository(directory + "/repo")) as service:
            for image in images:
                run(*service.command("pull", image), env=service.environment)
    with bench.fresh(where, bench.template("images", where, fill)) as file_system, Service(bench.build, file_system.path("repo")) as service:
        pull = subprocess.Popen(service.command("pull", other), env=service.environment, stdout=subprocess.DEVNULL)
        time.sleep(1)
        taken = []
        for _ in range(count):
            start = time.monotonic()
            run(*service.command("list"), env=service.environment)
            taken.append(1000 * (time.monotonic() - start))
        if pull.poll() is not None:
            raise RuntimeError("the pull ended before the listings did")
        pull.terminate()
        pull.wait()
    taken.sort()
    result.goal("p99", taken[int(len(taken) * 0.99) - 1], 20, " ms", (taken[0], taken[-1]))
    result.goal("median", statistics.median(taken), None, " ms")
    yield result


def growth(bench):
    counts = [1_000, 10_000, 100_000] if bench.quick else [10_000, 100_000, 1_000_000]
    where = bench.file_systems[0]
    result = Result(f"files in one image, {where[0]} on {where[1]}")
    points = []
    for count in counts:
        image = bench.images.many_files(count)
        warm(os.path.dirname(layers_of(image)[0]))
        samples = []
        for _ in range(bench.runs if count < 1_000_000 else min(bench.runs, 3)):
            with bench.fresh(where) as file_system:
                samples.append(bench.imaged_pull(file_system.mount, image))
            bench.log(f"{count} files: {samples[-1].wall:.2f} s, {samples[-1].peak:.0f} MiB")
            result.sides.setdefault(f"imaged, {count:,} files", []).append(samples[-1])
        points.append((count, statistics.median(sample.wall for sample in samples), max(sample.peak for sample in samples)))
    for (fewer, seconds, _), (more, longer, _) in zip(points, points[1:]):
        result.goal(f"time a file, {more:,} to {fewer:,}", longer / more / (seconds / fewer), 1.15)
    result.goal("worker's peak", points[-1][2], 64, " MiB")
    result.goal(f"peak, {counts[-1]:,} to {counts[0]:,}", points[-1][2] / points[0][2], None)
    report.plot(points, os.path.join(bench.output, "growth.svg"))
    yield result


def copy(bench):
    image = bench.images.debian(bench.quick)("chunked")
    where = bench.file_systems[0]
    result = Result(bench.title("copy to another repository", image, where))

    def imaged(directory):
        make_repository(directory + "/other")
        with Meter("imaged-worker") as meter, Service(bench.build, directory + "/repo") as service:
            start = time.monotonic()
            run(*service.command("copy", image, directory + "/other"), env=service.environment)
            wall = time.monotonic() - start
        return Sample(wall, meter.cpu, meter.peak / 1024)

    def peer(directory):
        make_repository(directory + "/other")
        return timed(["ostree-ext-cli", "container", "image", "copy", "--src-repo", directory + "/repo", "--dest-repo",
                      directory + "/other", "ostree-unverified-image:" + image], "ostree-ext-cli")

    def pull_local(directory):
        make_repository(directory + "/other")
        refs = run("ostree", "refs", f"--repo={directory}/repo").split()
        return timed(["ostree", "pull-local", "--disable-verify-bindings", f"--repo={directory}/other", directory + "/repo", *refs], "ostree")

    sides = {"imaged": imaged, "ostree pull-local": pull_local}
    templates = {"imaged": bench.template("all-imaged", where, lambda directory: bench.imaged_pull(directory, image))}
    templates["ostree pull-local"] = templates["imaged"]
    if bench.peer:
        sides["ostree-ext"] = peer
        templates["ostree-ext"] = bench.template("all-peer", where, lambda directory: bench.peer_pull(directory, image))
    bench.alternate(result, sides, where, templates.get)
    result.ratio_goal("ostree-ext", 0.5)
    result.ratio_goal("ostree pull-local", 0.5)
    yield result


def prune(bench):
    kept, gone = (9_000, 1_000) if bench.quick else (90_000, 10_000)
    where = bench.file_systems[0]
    result = Result(f"prune of {kept + gone:,} objects, {gone:,} to go, {where[0]} on {where[1]}")

    def fill(directory):
        with Service(bench.build, make_repository(directory + "/repo")) as service:
            for count in (kept, gone):
                run(*service.command("pull", bench.images.many_files(count)), env=service.environment)
        # Image and layer: the objects are all that is left of them.
        layers = {"ostree/container/blob/sha256_3A_" + os.path.basename(layer) for layer in layers_of(bench.images.many_files(gone))}
        for ref in run("ostree", "refs", f"--repo={directory}/repo").split():
            if ref in layers or f"/files-{gone}x" in ref:
                run("ostree", "refs", f"--repo={directory}/repo", "--delete", ref)

    def imaged(directory):
        with Meter("imaged-worker") as meter, Service(bench.build, directory + "/repo") as service:
            start = time.monotonic()
            run(*service.command("prune"), env=service.environment)
            wall = time.monotonic() - start
        return Sample(wall, meter.cpu, meter.peak / 1024)

    def ostree(directory):
        return timed(["ostree", "prune", "--refs-only", f"--repo={directory}/repo"], "ostree")

    template = bench.template("prune", where, fill)
    bench.alternate(result, {"imaged": imaged, "ostree prune": ostree}, where, lambda side: template)
    result.ratio_goal("ostree prune", 0.5)
    yield result


ROWS = {"cold-chunked": cold_chunked, "cold-registry": cold_registry, "cold-generic": cold_generic, "archive": archive, "update": update,
        "unchanged": unchanged, "memory": memory, "daemon": daemon, "list": listing, "copy": copy, "prune": prune, "growth": growth, "confinement": confinement,
        "scale": scale.rows}
