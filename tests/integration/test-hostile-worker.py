#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that an image has taken over, confined as any other: what is out of its reach. HOSTILE_WORKER names the program that plays it."""
import contextlib
import glob
import json
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

import golden
import oci_layout
import ostree_repository
import sanitizers
import system_bus
import worker
from oci_layout import Entry
from repository_case import ScratchCase

HOSTILE = os.environ.get("HOSTILE_WORKER", "")
EVIL = hashlib.sha256(b"evil").hexdigest()
EVIL = f"objects/{EVIL[:2]}/{EVIL[2:]}."
REFUSED = {"EMFILE", "EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS", "ESRCH", "EINVAL", "ECONNREFUSED", "EBUSY", "ENXIO", "EXDEV", "EBADF"}


def files_of(repository):
    """Of each file of the repository what can be seen of it."""
    found = {}
    for path in sorted(repository.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else ""
        if not path.is_dir():
            found[str(path.relative_to(repository))] = (content, status.st_mode, status.st_uid, status.st_mtime_ns, status.st_nlink)
    return found


def stored_victim(repository):
    """Puts an image with chunks and one with a derived layer into REPOSITORY, and gives the names of what there is to attack."""
    with tempfile.TemporaryDirectory() as directory:
        layout = golden.unpack("oci.tar.gz", directory)
        results = [worker.pull(f"oci:{layout}:{tag}", repository).result for tag in ("derived", "base")]
    for result in results:
        assert result["outcome"] == "success", result
    records = {path: dict(line.split(" ", 1) for line in path.read_text().splitlines()) for path in (repository / "extensions/imaged/layers").iterdir()}
    record, chunk = next((path, fields) for path, fields in records.items() if path.suffix == ".chunk")
    derived = next(fields for path, fields in records.items() if path.suffix == ".derived")
    other = next(fields["commit"] for fields in records.values() if fields["commit"] not in (chunk["commit"], derived["commit"]))
    file = next(path for path in (repository / "objects").glob("*/*.file") if path.is_file() and not path.is_symlink())
    return {"object": str(file.relative_to(repository)), "object-checksum": file.parent.name + file.stem, "record": str(record.relative_to(repository)),
            "ref": "refs/heads/" + golden.BLOB + "sha256_3A_" + chunk["blob"], "blob": chunk["blob"], "diff-id": chunk["digest"],
            "derived-blob": derived["blob"], "derived-diff-id": derived["digest"], "var": derived["var"], "commit": result["details"]["merge-commit"], "other": other, "image": result["details"]["digest"].partition(":")[2]}


def job_of(run):
    """The process of a confined worker that does the job: the first of a PID namespace."""
    for process in pathlib.Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split():
        if pathlib.Path(f"/proc/{process}/status").read_text().split("NSpid:")[1].splitlines()[0].split()[1:] == ["1"]:
            return int(process)
    raise AssertionError("no job is at work")


def directory_of(run):
    """Where a confined worker has temporary files."""
    directories = []
    end = time.monotonic() + 10 * sanitizers.SLOWER
    while not directories and time.monotonic() < end:
        opened = []
        for name in os.listdir(f"/proc/{run.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                opened.append(os.readlink(f"/proc/{run.process.pid}/fd/{name}"))
        directories = [pathlib.Path(path) for path in opened if path.startswith("/var/tmp/imaged-job-")]
    directory, = directories
    return directory


NEED_AN_IMPORT = {"own announcement", "own record of an image", "own commit", "own dirtree", "own dirmeta", "own object that is there", "own object", "own object again"}
OWN = {"pull": 25, "verify": 25}  # what it may do
PUBLISHED = ("pull", "import", "import-archive", "check", "verify", "export")


class HostileWorker(ScratchCase):
    # It leaves objects that nobody can read and that are no part of an image.
    scratch_directory = tempfile.TemporaryDirectory

    def listening(self, path, mode=0o666, kind=socket.SOCK_STREAM):
        listener = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(listener.close)
        listener.bind(path)
        if not path.startswith("\0"):
            os.chmod(path, mode)
            self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        listener.listen(64)
        return path

    def other_job(self):
        """Another confined job that is at work, and its directory with a file of its skopeo's, as it were."""
        server = system_bus.SilentServer()
        self.addCleanup(server.stop)
        run = worker.Run(f"docker://{server.address}/app:1", ostree_repository.init(self.directory / f"other-{len(os.listdir(self.directory))}"),
                         settings={"confined": True, "stall-milliseconds": 600_000, "retries": 9})
        self.addCleanup(run.process.kill)
        run.next_message()
        directory = directory_of(run)
        (directory / "blob").write_text("another job's")
        return run, directory

    def attack(self, kind):
        """What came of each attempt in a job of KIND, and whether the configuration and the files outside are as they were."""
        mark = f"imaged-test-{os.getpid()}-{kind}"
        repository = ostree_repository.init(self.directory / mark)
        outside = pathlib.Path("/opt", mark)
        outside.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, outside)
        (outside / "there").write_text("x")
        victim = subprocess.Popen(["sleep", "1000"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        arguments = {"victim": str(victim.pid), "outside": str(outside), "socket": self.listening(str(outside / "socket")),
                     "private-socket": self.listening(f"/run/{mark}", 0o600), "abstract-socket": "@" + self.listening(f"\0{mark}")[1:]}

        def state():
            config = repository / "config"
            return config.read_bytes() if config.exists() else None, sorted(os.listdir(outside)), victim.poll()

        if kind in PUBLISHED:
            arguments.update(stored_victim(repository))
        other, directory = self.other_job()
        layout = oci_layout.Layout(self.directory / f"{mark}-source")
        layout.image("app", [oci_layout.layer([Entry("usr/tool", content=b"tool")])])
        arguments.update({"other-job": str(directory), "mark": mark})
        if kind == "pull":  # the rest is quick
            arguments["limits"] = "yes"
        options = {}
        if kind == "export":
            options["destination"] = f"oci:{self.directory / mark}-exported:app"
        if kind == "verify":  # the one that may name a local source beside an image
            options["source"], arguments["layout"] = f"oci:{layout.path}", str(layout.path)
        before = state()
        files = files_of(repository)
        with unittest.mock.patch.object(worker, "PROGRAM", HOSTILE):
            run = worker.Run("docker://registry.example/app:1", repository, kind=kind, arguments=options, env={"HOSTILE_ARGUMENTS": json.dumps(arguments)},
                             settings={"confined": True, "skopeo-service": self.listening(f"/run/{mark}-service", kind=socket.SOCK_SEQPACKET)}).finish()
        self.assertEqual((run.result["outcome"], run.status), ("success", 0), run.result)
        self.assertEqual([path for place in ("/tmp/", "/var/tmp/", "/var/tmp/imaged-job-*/", "/var/tmp/imaged-job-*/*/") for path in glob.glob(place + mark)], [])
        self.assertEqual({path.name for path in directory.iterdir()}, {"0", "1", "blob"})
        other.cancel()
        other.finish()
        self.files = files, files_of(repository)
        return run.result["details"], state() == before

    def assert_nothing_but_new_objects(self):
        before, after = self.files
        self.assertEqual({path for path in before if after.get(path) != before[path]}, set())
        new = {path: after[path] for path in after if path not in before and path not in (".lock", "tmp/forged") and not path.endswith(".image")}
        # What is in place has one name, and none of it in a scratch directory.
        self.assertEqual({path for path, (_, _, _, _, links) in new.items() if not (path.endswith("5a" * 31 + ".file") or path.startswith(EVIL)) or links != 1}, set())

    def test_nothing_that_it_tries_succeeds(self):
        for kind in [*PUBLISHED, "prepare"]:
            with self.subTest(kind=kind):
                found, unchanged = self.attack(kind)
                processes, run = found.pop("processes"), set(found.pop("run").split())
                # In one of them lies the repository, and in both what it was asked to read.
                named = {part for value in os.environ.values() if value.startswith(("/tmp/", "/var/tmp/")) for part in value.split("/")}
                self.assertLessEqual(set(found.pop("temporary files").split()), {self.directory.name} | named)
                # Others have no objects put.
                self.assertEqual({name for name, outcome in found.items() if name.startswith("own ") and outcome != "done"}, NEED_AN_IMPORT if kind in ("check", "verify", "export") else set())
                self.assertEqual({name: outcome for name, outcome in found.items()
                                  if not name.startswith("own ") and outcome not in REFUSED and not outcome.startswith("refused: ")}, {})
                self.assertEqual(len([name for name in found if name.startswith("own ")]), OWN.get(kind, 24 if kind in PUBLISHED else 13))
                self.assert_nothing_but_new_objects()
                self.assertEqual(processes, "", "processes that are not its own")
                self.assertLessEqual(run, {".", "..", "ostree", "ostree-booted", "containers"})
                for name in ["connect socket", "connect private-socket", "connect abstract-socket", "datagram private-socket", "internet", "mount", "program", "thaw", "shut a file system down",
                             "handle by ioctl", "high word of a request", "lease", "notification"]:
                    self.assertEqual(found[name], "EPERM", name)
                self.assertEqual(found["inotify"], "ENOSYS")
                self.assertTrue(unchanged)

    def test_a_job_that_fills_what_is_removed_for_it_can_be_stopped(self):
        repository = ostree_repository.init(self.directory / "repo")
        with unittest.mock.patch.object(worker, "PROGRAM", HOSTILE):
            run = worker.Run("docker://registry.example/app:1", repository, env={"HOSTILE_ARGUMENTS": '{"mode": "fill"}'}, settings={"confined": True})
        self.addCleanup(run.process.kill)
        deadline = time.monotonic() + 30 * sanitizers.SLOWER
        while sum(len(os.listdir(path)) for path in glob.glob(f"{repository}/tmp/imaged-*/0/0")) < 100:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        time.sleep(1)  # it is being removed
        run.cancel()
        started = time.monotonic()
        with contextlib.suppress(AssertionError):
            run.finish()
        seconds = time.monotonic() - started
        print(f"    ended {seconds:.1f} s after it was told to")  # and all that it made was removed, as fast as the disk is
        self.assertEqual(run.status, -9)
        self.assertEqual(glob.glob(f"{repository}/tmp/imaged-*"), [])
        self.assertLess(seconds, 60 * sanitizers.SLOWER)


class Confined(ScratchCase):
    """Real workers, under the same rules."""

    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory / "oci")
        self.layout.image("app", [oci_layout.layer([Entry("usr/tool", content=b"tool"), Entry("usr/big", content=b"b" * 500_000)])])
        self.repository = ostree_repository.init(self.directory / "repo")

    def run_job(self, kind, **arguments):
        service = {"skopeo-service": "/run/imaged-test-no-service"}
        return worker.Run(self.layout.reference("app") if kind not in ("verify", "prune", "remove") else "", self.repository, kind=kind, arguments=arguments,
                          settings={"confined": True, **service}).finish().result

    def test_each_kind_of_job_succeeds(self):
        other, image = ostree_repository.init(self.directory / "other"), self.layout.reference("app")
        for kind, arguments in [("prepare", {}), ("pull", {}), ("check", {}), ("verify", {}), ("verify", {"repair": True}), ("copy", {"repository": str(other)}),
                                ("export", {"destination": f"oci:{self.directory}/exported:app"}),
                                ("export", {"destination": f"oci-archive:{self.directory}/app.tar:app"}), ("remove", {"images": [image]}), ("prune", {})]:
            with self.subTest(kind=kind, **arguments):
                result = self.run_job(kind, **arguments)
                self.assertEqual(result["outcome"], "success", result)
        with open(self.directory / "app.tar", "rb") as archive:
            result = worker.Run("docker://registry.example/app:1", self.repository, kind="import-archive", input=archive, settings={"confined": True}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        golden.ostree(self.repository, "fsck")

    def confined(self, image, repository, **options):
        result = worker.pull(image, repository, settings={"confined": True}, **options).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def test_a_pull_leaves_what_one_that_is_not_confined_leaves(self):
        target = "docker://registry.example/app:1"
        (self.directory / "golden").mkdir()
        source = golden.unpack("oci.tar.gz", self.directory / "golden")
        for mode in ["", "bare", "bare-user", "archive"]:
            with self.subTest(mode=mode):
                repository, other = self.directory / f"confined-{mode}", ostree_repository.init(self.directory / f"other-{mode}", mode or "bare")
                if mode:
                    ostree_repository.init(repository, mode)
                # Chunks and a layer over them; where no repository was, it is made.
                self.confined(f"oci:{source}:derived", repository)
                self.assertEqual(worker.pull(f"oci:{source}:derived", other).result["outcome"], "success")
                self.assertEqual(golden.refs(repository), golden.refs(other))
                self.assertEqual({path.name: path.read_text() for path in (repository / "extensions/imaged/layers").iterdir()},
                                 {path.name: path.read_text() for path in (other / "extensions/imaged/layers").iterdir()})
                self.assertFalse(self.confined(f"oci:{source}:derived", repository)["changed"])
                # An update, which is seen first, and whose old layer goes.
                self.confined(self.layout.reference("app"), repository, target=target)
                self.layout.image("next", [oci_layout.layer([Entry("usr/tool", content=b"next")])])
                seen = worker.Run(self.layout.reference("next"), repository, kind="check", target=target, settings={"confined": True}).finish().result
                self.assertTrue(seen["details"]["update-available"], seen)
                self.assertEqual(len(self.confined(self.layout.reference("next"), repository, target=target)["layers-dropped"]), 1)
                # What is damaged is fetched again; what no image needs any more is not.
                self.assertEqual(worker.Run("", repository, kind="prune", settings={"confined": True}).finish().result["outcome"], "success")
                for path in repository.glob("objects/*/*.file*"):
                    if path.is_file() and not path.is_symlink():
                        path.unlink()
                for image in (f"oci:{source}:derived", self.layout.reference("next")):
                    self.confined(image, repository, **({"target": target} if image.endswith(":next") else {}))
                golden.ostree(repository, "fsck")
                self.assertEqual([path.name for path in (repository / "tmp").iterdir() if path.name.startswith("imaged-")], [])

    def test_objects_that_are_replaced_while_a_job_starts(self):
        """The publisher and the job open the repository at different moments."""
        target = "docker://registry.example/app:1"
        self.confined(self.layout.reference("app"), self.repository, target=target)
        for number in range(8):
            with self.subTest(milliseconds=number * 5):
                self.layout.image("next", [oci_layout.layer([Entry("usr/tool", content=b"tool")])], config={"created": f"2026-01-01T00:00:0{number}Z"})
                run = worker.Run(self.layout.reference("next"), self.repository, target=target, settings={"confined": True})
                time.sleep(number * 0.005)
                objects, old = self.repository / "objects", self.repository / f"objects-{number}"
                objects.rename(old)
                subprocess.run(["cp", "-a", old, objects], check=True)
                run.finish()
                # A job that has written its ref already may fail all the same, when it looks once more; what no ref names may have been copied in part.
                for name, commit in golden.refs(self.repository).items():
                    golden.ostree(self.repository, "checkout", commit, self.directory / f"checkout-{number}-{name.replace('/', '-')}")

    def test_what_lies_below_tmp_is_read_and_written_where_the_job_was_asked_for_it(self):
        with tempfile.TemporaryDirectory(dir="/tmp") as place, tempfile.TemporaryDirectory(dir="/opt") as elsewhere:
            layout, far = oci_layout.Layout(pathlib.Path(place, "oci")), oci_layout.Layout(pathlib.Path(elsewhere, "oci"))
            for made in (layout, far):
                made.image("app", [oci_layout.layer([Entry("usr/tool", content=b"tool")])])
            os.symlink(elsewhere + "/oci", place + "/link")
            os.symlink("oci", place + "/near")
            subprocess.run(["skopeo", "copy", "--quiet", layout.reference("app"), f"docker-archive:{place}/app.tar:app"], check=True)
            repository = ostree_repository.init(pathlib.Path(place, "repository"))
            os.symlink(place, self.directory / "way")
            for image in [layout.reference("app"), f"oci:{place}/link:app", f"oci:{place}/near:app", f"oci:{self.directory}/way/near:app", f"docker-archive:{place}/app.tar"]:
                with self.subTest(image=image):
                    self.confined(image, repository, target="docker://registry.example/" + image.rpartition("/")[2].replace(":", ".").lower() + ":1")
            for destination, made in [(f"oci:{place}/new:app", "new/index.json"), (f"oci-archive:{place}/new.tar:app", "new.tar")]:
                result = worker.Run("docker://registry.example/oci.app:1", repository, kind="export", arguments={"destination": destination}, settings={"confined": True}).finish().result
                self.assertEqual(result["outcome"], "success", result)
                self.assertTrue(pathlib.Path(place, made).exists())
            # In these directories themselves, with what is in the way of nobody's program.
            for number, place in enumerate(("/tmp", "/var/tmp", "/run")):
                made = pathlib.Path(place, f"imaged-test-{os.getpid()}")
                archive, directory = made.with_suffix(".tar"), made.with_suffix(".oci")
                self.addCleanup(archive.unlink, missing_ok=True)
                self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
                for destination in (f"oci-archive:{archive}:app", f"oci:{directory}:app"):
                    result = worker.Run("docker://registry.example/oci.app:1", repository, kind="export", arguments={"destination": destination}, settings={"confined": True}).finish().result
                    self.assertEqual(result.get("outcome"), "success", result)
                    self.assertTrue(archive.exists())
                for source in (f"oci-archive:{archive}:app", f"oci:{directory}:app"):
                    self.confined(source, repository, target=f"docker://registry.example/{source.split(':')[0]}:{number}")

            # Of /dev a job has its own.
            result = worker.Run("docker://registry.example/oci.app:1", repository, kind="export", arguments={"destination": "oci:/dev/imaged-test:app"},
                                settings={"confined": True}).finish().result
            self.assertEqual(result["error-name"], "InvalidArgument", result)

    def test_a_job_s_temporary_files_are_gone_however_it_ends(self):
        for name, end in [("cancelled", worker.Run.cancel), ("killed with its group", lambda run: os.killpg(run.process.pid, 9)),
                          ("the job alone is killed", lambda run: os.kill(job_of(run), 9))]:
            with self.subTest(name):
                run = worker.Run("docker://127.0.0.1:1/app:1", self.repository, settings={"confined": True, "retries": 9})
                run.next_message()
                directory = directory_of(run)
                inner = directory / "inner/deep"
                inner.mkdir(parents=True)
                (inner / "file").write_text("x")
                os.chown(inner, 1, 1)
                inner.chmod(0)
                end(run)
                with contextlib.suppress(AssertionError):
                    run.finish()
                deadline = time.monotonic() + 10 * sanitizers.SLOWER
                while directory.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                self.assertFalse(directory.exists())

    def test_an_image_on_a_medium_below_run_is_read(self):
        place = f"/run/imaged-test-{os.getpid()}"
        self.addCleanup(shutil.rmtree, place)
        layout = oci_layout.Layout(pathlib.Path(place, "oci"))
        layout.image("app", [oci_layout.layer([Entry("usr/tool", content=b"tool")])])
        result = worker.pull(layout.reference("app"), self.repository, settings={"confined": True}).result
        self.assertEqual(result["outcome"], "success", result)

    def test_a_worker_that_ends_by_a_signal_or_is_cancelled_ends_as_before(self):
        for number, status in [(9, -9), (15, 0)]:
            run = worker.Run("docker://127.0.0.1:1/app:1", self.repository, settings={"confined": True, "retries": 9})
            run.next_message()
            run.process.send_signal(number)
            with contextlib.suppress(AssertionError):  # no result of one that was killed
                run.finish()
            self.assertEqual(run.status, status)

    def test_a_stopped_job_ends_with_its_supervisor(self):
        """Which gets SIGTERM when imaged is killed; a stopped process takes only SIGKILL."""
        run = worker.Run("docker://127.0.0.1:1/app:1", self.repository, settings={"confined": True, "retries": 9})
        run.next_message()
        os.kill(job_of(run), signal.SIGSTOP)
        run.cancel()
        started = time.monotonic()
        with contextlib.suppress(AssertionError):
            run.finish()
        self.assertLess(time.monotonic() - started, 5 * sanitizers.SLOWER)
        self.assertEqual(run.status, -9)


@unittest.skipUnless(os.getuid() == 0, "needs another user")
class Dumpable(unittest.TestCase):
    def test_another_process_of_its_user_cannot_read_the_worker(self):
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", worker.PROGRAM],
                                   stdin=subprocess.DEVNULL, preexec_fn=lambda: os.dup2(theirs.fileno(), 3), close_fds=False)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        theirs.close()
        while b"imaged-worker" not in pathlib.Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[0]:
            pass
        for _ in range(50):
            found = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "head", "-c1", f"/proc/{process.pid}/environ"],
                                   capture_output=True, text=True)
            if "Permission denied" in found.stderr:
                break
        self.assertIn("Permission denied", found.stderr)
        ours.close()


if __name__ == "__main__":
    if os.getuid() != 0 or not HOSTILE or subprocess.run(["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"], capture_output=True).returncode != 0:
        print("needs root, and namespaces of mounts and processes")
        sys.exit(77)
    # A worker that is not confined would reach every process: it finds none but those of this test.
    if os.getpid() != 1:
        os.execvp("unshare", ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, *sys.orig_argv[1:]])
    unittest.main()
