#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that an image has taken over, confined as any other: what is out of its reach. HOSTILE_WORKER names the program that plays it."""
import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import unittest
import unittest.mock

import golden
import oci_layout
import worker
from oci_layout import Entry
from repository_case import ScratchCase

HOSTILE = os.environ.get("HOSTILE_WORKER", "")
REFUSED = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENOSYS", "ESRCH", "EINVAL", "ECONNREFUSED", "EBUSY", "ENXIO"}


class HostileWorker(ScratchCase):
    def listening(self, path, mode=0o666):
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        if not path.startswith("\0"):
            os.chmod(path, mode)
            self.addCleanup(lambda: os.path.exists(path) and os.unlink(path))
        listener.listen()
        return path

    def attack(self, kind):
        """What came of each attempt in a job of KIND, and whether the configuration and the files outside are as they were."""
        mark = f"imaged-test-{os.getpid()}-{kind}"
        repository = golden.make_repository(self.directory / mark)
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

        before = state()
        with unittest.mock.patch.object(worker, "PROGRAM", HOSTILE):
            run = worker.Run("docker://registry.example/app:1", repository, kind=kind, arguments=arguments,
                             settings={"confined": True, "skopeo-service": "/run/imaged-test-no-service"}).finish()
        self.assertEqual((run.result["outcome"], run.status), ("success", 0), run.result)
        return run.result["details"], state() == before

    def test_nothing_that_it_tries_succeeds(self):
        for kind in ["pull", "check", "verify", "prepare"]:
            with self.subTest(kind=kind):
                found, unchanged = self.attack(kind)
                processes, run = found.pop("processes"), set(found.pop("run").split())
                self.assertEqual({name: outcome for name, outcome in found.items() if outcome not in REFUSED}, {})
                self.assertEqual(processes, "", "processes that are not its own")
                self.assertLessEqual(run, {".", "..", "ostree", "ostree-booted", "containers"})
                for name in ["connect socket", "connect private-socket", "connect abstract-socket", "datagram private-socket", "internet", "mount", "program"]:
                    self.assertEqual(found[name], "EPERM", name)
                self.assertTrue(unchanged)


class Confined(ScratchCase):
    """Real workers, under the same rules."""

    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory / "oci")
        self.layout.image("app", [oci_layout.layer([Entry("usr/tool", content=b"tool"), Entry("usr/big", content=b"b" * 500_000)])])
        self.repository = golden.make_repository(self.directory / "repo")

    def run_job(self, kind, **arguments):
        service = {"skopeo-service": "/run/imaged-test-no-service"}
        return worker.Run(self.layout.reference("app") if kind not in ("verify", "prune", "remove") else "", self.repository, kind=kind, arguments=arguments,
                          settings={"confined": True, **service}).finish().result

    def test_each_kind_of_job_succeeds(self):
        other, image = golden.make_repository(self.directory / "other"), self.layout.reference("app")
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
    unittest.main()
