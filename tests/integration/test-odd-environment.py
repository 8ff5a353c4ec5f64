#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What surrounds imaged is odd: paths that are not text, repositories that are replaced or moved away, file systems without locks, programs of two versions. And
what a job must not leave behind."""
import errno
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import unittest

import bus_fixture
import oci_layout
import ostree_repository
import real_daemon
import sanitizers
import worker
from bus_fixture import ERROR, IMAGED, MANAGER, BusError
from gi.repository import GLib
from loop_mount import unmount
from oci_layout import Entry
from repository_case import RepositoryCase, ScratchCase

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
REAL_WORKER = worker.PROGRAM
UNVERIFIED = "ostree-unverified-image:"


def fault(call, path, after=0, number=0, run=""):
    """The environment of a worker in which CALL fails with the errno NUMBER, or before which RUN is run."""
    return {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": call, "FAULT_PATH": path, "FAULT_AFTER": str(after), "FAULT_ERRNO": str(number), "FAULT_RUN": run}


def files(directory):
    return sorted(os.path.join(where, name) for where, _, names in os.walk(directory) for name in names)


class Images(RepositoryCase):
    def image(self, tag="t", size=20):
        entries = [Entry(f"usr/{tag}/f{number}", content=os.urandom(3000)) for number in range(size)]
        self.layout.image(tag, [oci_layout.layer(entries)])
        return UNVERIFIED + self.layout.reference(tag)

    def run_job(self, kind, image="", repository=None, **options):
        return worker.Run(image, repository or self.repository, kind=kind, **options).finish().result

    def daemon(self, repository=None, **options):
        directory = self.directory / "daemon"
        directory.mkdir()
        daemon = real_daemon.Daemon(directory, repository or self.repository, **options)
        self.addCleanup(daemon.stop)
        return daemon

    def states(self, client):
        images = client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))[0]
        return {image["image"]: image.get("error", image["state"]) for image in images}


class PathsThatAreNotText(ScratchCase):
    """Bytes that are not UTF-8 would be replaced on the bus and on the way to the worker: another path."""
    name = b"repo\xff"

    def start(self, *arguments, **options):
        """imaged is refused, says why in one line, and makes nothing."""
        process = subprocess.Popen([IMAGED, "--bus-address", f"unix:path={self.directory}/no-bus", "--log-level", "off", *arguments], stderr=subprocess.PIPE, **options)
        self.addCleanup(process.stderr.close)
        try:
            process.wait(20)
        finally:
            process.kill()
        message = process.stderr.read().decode()
        self.assertEqual(process.returncode, 2, message)
        self.assertIn("is not UTF-8", message)
        self.assertEqual(message.count("\n"), 1)
        return message

    def bytes_path(self):
        return os.fsencode(self.directory) + b"/" + self.name

    def test_a_repository_named_on_the_command_line(self):
        self.start(b"--repository", self.bytes_path())
        self.assertEqual(os.listdir(self.directory), [])

    def test_a_relative_one_in_such_a_directory(self):
        os.mkdir(self.bytes_path())
        self.start("--repository", "repo", cwd=self.bytes_path())

    def test_one_in_the_home_of_a_user(self):
        self.start(env={**os.environ, "XDG_DATA_HOME": os.fsdecode(self.bytes_path())})

    def test_one_that_the_configuration_names(self):
        configuration = self.directory / "imaged.conf"
        configuration.write_bytes(b"[Repository]\nPath=" + self.bytes_path() + b"\n")
        self.start("--config", configuration, "--check-config")
        # A configuration shuts nobody out: it goes as far as the bus, and says what is wrong.
        run = subprocess.run([IMAGED, "--bus-address", f"unix:path={self.directory}/no-bus", "--config", configuration], capture_output=True, text=True, timeout=20)
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, "error: the configuration is refused: .* is not UTF-8.*; imaged works with the defaults, and images need a signature: no configuration has held before")
        self.assertEqual(os.listdir(self.directory), ["imaged.conf"])

    def test_the_socket_of_the_proxy(self):
        self.start("--repository", self.directory, b"--proxy-socket", self.bytes_path())

    def test_imagectl_says_so_too(self):
        for verb in (["copy-to", self.bytes_path(), "oci:/x"], ["pull", b"oci:" + self.bytes_path()]):
            done = subprocess.run([IMAGECTL, "--address", f"unix:path={self.directory}/no-bus", *verb], capture_output=True, timeout=20)
            self.assertIn(done.returncode, range(1, 20), done)
            self.assertNotIn(b"CRITICAL", done.stderr)


@unittest.skipUnless(FAULT_LAYER, "FAULT_LAYER names the library that runs a command between two calls")
class Replaced(Images):
    """The repository, or part of it, becomes another one."""

    def restore(self, name="", move=True):
        """Puts a copy in the place of the repository's part NAME, as restoring a backup does."""
        place = self.repository / name if name else self.repository
        old = place.with_name(place.name + ".old")
        place.rename(old)
        subprocess.run(["cp", "-a", old, place], check=True)

    def restored_under_a_daemon(self, name):
        first, second = self.image("first"), self.image("second")
        daemon = self.daemon()
        client = daemon.client()
        self.addCleanup(client.close)
        self.assertEqual(client.finished(client.pull(first), 30)["Result"], "success")
        self.assertEqual(set(self.states(client).values()), {"ok"})
        self.restore(name)
        job = client.finished(client.pull(second), 30)
        self.assertEqual(job["Result"], "success", job["ErrorMessage"])
        self.assertEqual(set(self.states(client).values()), {"ok"})
        self.assertEqual(len(self.states(client)), 2)

    def test_objects_are_restored_under_a_running_daemon(self):
        self.restored_under_a_daemon("objects")

    def test_refs_are_restored_under_a_running_daemon(self):
        self.restored_under_a_daemon("refs")

    def test_the_repository_is_restored_under_a_running_daemon(self):
        self.restored_under_a_daemon("")

    def test_a_repository_that_goes_in_the_middle_of_a_job(self):
        """Not a success with nothing at the path."""
        kept, away = self.directory / "kept", self.directory / "away"
        image, other = self.image(), self.image("other")
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        self.repository.rename(kept)
        replace = f"mv {self.repository} {away}"
        by_another = replace + f" && ostree --repo={self.repository} init --mode=bare"
        objects = f"mv {self.repository}/objects {away} && mkdir {self.repository}/objects"
        for kind, reference, call, after in [("pull", other, "create", 3), ("pull", other, "renameat", 3), ("pull", other, "syncfs", 0), ("pull", other, "syncfs", 3),
                                             ("remove", "", "unlinkat", 0), ("remove", "", "syncfs", 0), ("prune", "", "unlinkat", 0), ("verify", "", "openat", 5)]:
            for command in (replace, by_another, objects):
                with self.subTest(kind=kind, call=call, after=after, command=command):
                    for left in (away, self.repository):
                        shutil.rmtree(left, ignore_errors=True)
                    subprocess.run(["cp", "-a", kept, self.repository], check=True)
                    if kind == "prune":
                        self.ostree("refs", "--delete", *self.refs().split())
                    arguments = {"images": [image.removeprefix(UNVERIFIED)]} if kind == "remove" else {}
                    result = self.run_job(kind, reference, arguments=arguments, env=fault(call, "/repo", after, run=command))
                    self.assertTrue(away.exists(), f"{call} is never called")
                    self.assertEqual(result["outcome"], "failed", result)
                    self.assertRegex(result["message"], "moved away or replaced|No such file|cannot be read|missing", result)

    def test_one_that_is_there_again_at_the_end_is_the_same(self):
        image = self.image()
        command = f"mv {self.repository} {self.directory}/away; mv {self.directory}/away {self.repository}"
        self.assertEqual(worker.pull(image, self.repository, env=fault("create", "/repo", 3, run=command)).result["outcome"], "success")


class Leftovers(Images):
    """Of no end of a job does anything stay, in the repository or outside."""

    def setUp(self):
        super().setUp()
        self.temporary = self.directory / "temporary"
        self.temporary.mkdir()
        self.digests = []

    def archive(self, kind="oci-archive", blobs=8):
        self.layout.image("t", [oci_layout.layer([Entry(f"usr/{number}/f{n}", content=os.urandom(20000)) for n in range(20)]) for number in range(blobs)])
        archive = self.directory / "image.tar"
        subprocess.run(["skopeo", "copy", "--quiet", self.layout.reference("t"), f"{kind}:{archive}:name:t"], check=True, capture_output=True)
        self.digests = [name for name in os.listdir(self.layout.path / "blobs/sha256")]
        return f"{UNVERIFIED}{kind}:{archive}"

    def begin(self, image, **options):
        return worker.Run(image, self.repository, env={"TMPDIR": str(self.temporary)}, **options)

    def left(self):
        """Outside the repository, and in its tmp. skopeo's own choice is /var/tmp, where others work as well."""
        ours = [str(path) for place in ("/var/tmp", "/tmp") for path in pathlib.Path(place).glob("oci*/blobs/sha256/*") if path.name in self.digests]
        return ours + os.listdir(self.temporary) + [name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")]

    def test_of_an_archive_that_was_pulled(self):
        for kind in ("oci-archive", "docker-archive"):
            image = self.archive(kind)
            result = self.begin(image).finish().result
            self.assertEqual(result["outcome"], "success", result)
            self.assertEqual(self.left(), [])
            (self.directory / "image.tar").unlink()

    def test_of_one_that_is_broken(self):
        image = self.archive()
        archive = self.directory / "image.tar"
        archive.write_bytes(archive.read_bytes()[:200_000])
        self.assertEqual(self.begin(image).finish().result["outcome"], "failed")
        self.assertEqual(self.left(), [])

    def until_unpacked(self, run):
        """Until skopeo has begun to unpack the archive."""
        real_daemon.until(lambda: files(self.temporary) or self.left() or run.process.poll() is not None)

    def test_of_a_job_that_is_cancelled(self):
        image = self.archive()
        run = self.begin(image)
        self.until_unpacked(run)
        run.cancel()
        self.assertIn(run.finish().result["outcome"], ("cancelled", "success"))
        self.assertEqual(self.left(), [])

    def kill_in_mid_pull(self, image):
        """The worker, as the kernel does when memory is short; then what belongs to it, as imaged does."""
        run = worker.Run(image, self.repository, env={"TMPDIR": str(self.temporary)})
        self.until_unpacked(run)
        children = [int(child) for child in pathlib.Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children").read_text().split()]
        os.kill(run.process.pid, signal.SIGKILL)
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                pass
        run.process.wait(20)
        real_daemon.until(lambda: not any(os.path.exists(f"/proc/{child}/exe") for child in children))
        run.lines.close()
        run.channel.close()

    def test_of_a_worker_that_is_killed(self):
        """Whatever job is next."""
        image = self.archive()
        for kind in ("verify", "prune", "pull"):
            self.kill_in_mid_pull(image)
            result = self.begin(image if kind == "pull" else "", kind=kind).finish().result
            self.assertEqual(result["outcome"], "success", result)
            # verify takes nothing away from the repository.
            left = [name for name in self.left() if kind != "verify" or not name.startswith("imaged-") or name.startswith("imaged-job-")]
            self.assertEqual(left, [], kind)

    def test_what_another_job_uses_stays(self):
        image = self.archive()
        run = self.begin(image)
        self.until_unpacked(run)
        os.kill(run.process.pid, signal.SIGSTOP)
        before = os.listdir(self.temporary)
        try:
            self.assertEqual(self.run_job("verify", env={"TMPDIR": str(self.temporary)})["outcome"], "success")
            self.assertEqual(os.listdir(self.temporary), before)
        finally:
            os.kill(run.process.pid, signal.SIGCONT)
        self.assertEqual(run.finish().result["outcome"], "success")


    def test_what_cannot_be_removed_stops_no_job(self):
        place = self.repository / "tmp/imaged-1"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
        self.addCleanup(subprocess.run, ["umount", place], stderr=subprocess.DEVNULL)
        gone = self.repository / "tmp/imaged-2"
        for kind in ("pull", "prune"):
            gone.mkdir()
            result = self.run_job(kind, self.image(kind) if kind == "pull" else "")
            self.assertEqual(result["outcome"], "success", result)
            self.assertFalse(gone.exists())
        unmount(place)
        self.assertEqual(self.run_job("prune")["outcome"], "success")
        self.assertEqual(self.left(), [])

    def test_of_a_copy_that_fails_while_it_writes_refs(self):
        image = self.image()
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        other = self.directory / "copy"
        ostree_repository.init(other)
        for call in ("fsync", "fdatasync", "renameat"):
            result = self.run_job("copy", image.removeprefix(UNVERIFIED), arguments={"repository": str(other), "from": False},
                                  env=fault(call, "/copy/refs" if call == "renameat" else "/copy", number=errno.EIO))
            self.assertEqual([name for name in os.listdir(other / "tmp") if name != "cache"], [], result)

    def test_too_large_a_file_is_an_error_and_no_signal(self):
        image = self.image(size=3)
        real, limited = worker.PROGRAM, self.directory / "limited"
        limited.write_text(f"#!/bin/sh\nexec prlimit --fsize=1000 {real}\n")
        limited.chmod(0o755)
        self.addCleanup(setattr, worker, "PROGRAM", real)
        worker.PROGRAM = str(limited)
        result = self.run_job("pull", image)
        self.assertEqual((result["outcome"], result["error-name"]), ("failed", "Failed"), result)
        self.assertIn("File too large", result["message"])
        self.assertEqual(self.left(), [])


@unittest.skipUnless(FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
class WithoutLocks(Images):
    """File systems on which locking fails, as NFS without its lock service."""

    def test_the_error_names_the_lock(self):
        image = self.image()
        self.assertEqual(worker.pull(self.image("other"), self.repository).result["outcome"], "success")
        for call in ("flock", "fcntl"):
            for kind in ("pull", "remove", "prune"):
                with self.subTest(call=call, kind=kind):
                    arguments = {"images": [self.layout.reference("other")]} if kind == "remove" else {}
                    result = self.run_job(kind, image if kind == "pull" else "", arguments=arguments, env=fault(call, "/repo", number=errno.ENOLCK))
                    if call == "flock" and kind != "pull":
                        continue  # they have no scratch directory
                    self.assertEqual((result["outcome"], result["error-name"]), ("failed", "Failed"), result)
                    self.assertIn("No locks available", result["message"])
                    self.assertIn("lock", result["message"].partition("No locks")[0])
                    self.assertNotIn("program", result["message"])
                    self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])


@unittest.skipUnless(FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
class Opening(Images):
    """A repository that cannot be looked at is not one that is damaged."""

    def test_what_the_system_lacks_is_named(self):
        image = self.image()
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        for number, name in {errno.EIO: "Failed", errno.EMFILE: "Failed", errno.ENOMEM: "Failed", errno.EDQUOT: "NoSpace", errno.ENOSPC: "NoSpace"}.items():
            # All that is opened before the refs and objects, which libostree and imaged open.
            for after in range(5):
                for kind in ("prune", "verify", "pull"):
                    with self.subTest(errno=os.strerror(number), kind=kind, after=after):
                        result = self.run_job(kind, image if kind == "pull" else "", env=fault("openat", "/repo", after, number=number))
                        self.assertEqual(result.get("error-name"), name, result)
                        self.assertIn(os.strerror(number), result["message"])

    def test_tmp_that_is_emptied_meanwhile_is_no_damage(self):
        """libostree makes a directory there and opens it."""
        self.assertEqual(worker.pull(self.image(), self.repository).result["outcome"], "success")
        for kind in ("verify", "prune"):
            shutil.rmtree(self.repository / "tmp/cache")
            result = self.run_job(kind, env=fault("openat", "/repo/tmp", run=f"rm -rf {self.repository}/tmp/*"))
            self.assertEqual(result["outcome"], "success", result)

    def limited(self, *command):
        """A program that runs the worker through COMMAND; as long as the test runs, each worker is that."""
        program = self.directory / "limited"
        program.write_text(f"#!/bin/sh\nexec {' '.join(command)} {REAL_WORKER}\n")
        program.chmod(0o755)
        self.addCleanup(setattr, worker, "PROGRAM", REAL_WORKER)
        worker.PROGRAM = str(program)

    def test_too_small_a_stack(self):
        """The worker gives itself and its threads what they need, or says that it may not."""
        for kibibytes in (48, 64, 96):
            image = self.image(f"t{kibibytes}")
            stack = f"prlimit --stack={kibibytes * 1024}:"
            self.limited(stack)
            for kind in ("pull", "verify", "prune"):
                with self.subTest(kibibytes=kibibytes, kind=kind):
                    result = self.run_job(kind, image if kind == "pull" else "")
                    self.assertEqual(result["outcome"], "success", result)
            self.limited(f"{stack}{kibibytes * 1024}", "setpriv --bounding-set=-sys_resource")
            result = self.run_job("pull", image)
            self.assertEqual((result["outcome"], result["error-name"]), ("failed", "Failed"), result)
            self.assertIn(f"the stack is limited to {kibibytes} KiB", result["message"])

    def test_a_daemon_with_too_small_a_stack(self):
        daemon = self.daemon()
        client = daemon.client()
        self.addCleanup(client.close)
        daemon.process.terminate()
        daemon.process.wait(20)
        arguments = daemon.process.args
        daemon.process = subprocess.Popen(["prlimit", f"--stack={64 * 1024}:", *arguments], stderr=subprocess.DEVNULL)
        real_daemon.until(lambda: bus_fixture.Case.has_owner(client))
        for number in range(3):
            job = client.finished(client.pull(self.image(f"t{number}")), 30)
            self.assertEqual(job["Result"], "success", job["ErrorMessage"])
            self.assertEqual(set(self.states(client).values()), {"ok"})

    @unittest.skipUnless(os.getuid() == 0, "needs root to unmount /proc")
    def test_without_proc(self):
        image, without = self.image(), "unshare --mount sh -c 'umount -l /proc; exec \"$0\" \"$@\"'"
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        self.limited(without)
        for kind in ("pull", "prepare", "verify", "prune"):
            for confined in (False, True):
                result = worker.pull(image, self.repository, kind=kind, settings={"confined": confined}).result
                self.assertEqual((result.get("error-name"), result["message"].split(",")[0]), ("Failed", "/proc is not mounted"), (kind, confined))
        command = f"exec {without} {IMAGED} --session --repository={self.repository} --worker={REAL_WORKER}"
        daemon = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20)
        self.assertEqual(daemon.returncode, 1)
        self.assertIn("imaged: /proc is not mounted", daemon.stderr)

    def test_too_few_descriptors_are_never_damage(self):
        image, seen = self.image(), set()
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        for kind in ("verify", "pull", "prune"):
            for limit in range(5, 24, 1 if kind == "verify" else 3):
                self.limited(f"prlimit --nofile={limit}")
                try:
                    result = self.run_job(kind, image if kind == "pull" else "")
                except AssertionError:
                    continue  # too few for a result
                seen.add(result.get("error-name", ""))
                self.assertNotEqual(result.get("error-name"), "RepositoryDamaged", f"{limit} descriptors: {result}")
                if kind == "verify" and result["outcome"] == "success":
                    self.assertEqual(result["details"]["damaged"], [], f"{limit} descriptors")
        self.assertIn("Failed", seen)

    def test_what_could_not_be_had_is_named(self):
        image = self.image()
        for after in range(0, 12):
            result = worker.pull(image, self.repository, env=fault("pthread_create", "", after, errno.EAGAIN)).result
            if result["outcome"] != "success" and "skopeo" not in result["message"]:
                self.assertIn("thread", result["message"])
                self.assertIn("limit", result["message"])
                self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
            self.assertEqual(self.run_job("prune")["outcome"], "success")

    def test_processes_that_could_not_be_had_are_named(self):
        image = self.image()
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        named = set()
        for kind in ("pull", "prepare", "verify", "prune"):
            for confined in (False, True) if os.getuid() == 0 else (False,):
                for after in range(3):
                    with self.subTest(kind, confined=confined, after=after):
                        result = worker.pull(image, self.repository, kind=kind, settings={"confined": confined}, env=fault("fork", "", after, errno.EAGAIN)).result
                        if result["outcome"] != "success":
                            self.assertEqual(result["error-name"], "Failed")
                            self.assertRegex(result["message"], "start (a|the) process .*: Resource temporarily unavailable$")
                            named.add(result["message"].rsplit("start ", 1)[1].split(":")[0])
        self.assertLessEqual({"a process for skopeo"} | ({"a process for the job", "the process that removes the job's temporary files"} if os.getuid() == 0 else set()), named)


class Pipes(Images):
    """What should be a file is a pipe that nobody writes to: whoever opens it is told, and nobody waits."""

    def ended(self, kind, image="", seconds=20, **options):
        run = worker.Run(image, self.repository, kind=kind, **options)
        timer = threading.Timer(seconds * sanitizers.SLOWER, run.process.kill)
        timer.start()
        try:
            return run.finish().result
        finally:
            timer.cancel()

    def becomes_a_pipe(self, path):
        os.unlink(path)
        os.mkfifo(path)

    def assert_refused(self, result, error="Failed"):
        self.assertEqual((result["outcome"], result.get("error-name")), ("failed", error), result)
        self.assertIn("is no regular file", result["message"])

    def test_the_configuration_of_the_repository(self):
        self.becomes_a_pipe(self.repository / "config")
        for kind in ("pull", "verify", "prune"):
            self.assert_refused(self.ended(kind, self.image() if kind == "pull" else ""), "RepositoryDamaged")
        daemon = self.daemon()
        client = daemon.client()
        self.addCleanup(client.close)
        for _ in range(2):
            with self.assertRaises(BusError) as caught:
                client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), timeout=10000)
            self.assertEqual(caught.exception.name, ERROR + "RepositoryDamaged")
            self.assertIn("config: it is no regular file", caught.exception.message)
        client.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (MANAGER,)), timeout=10000)
        os.unlink(self.repository / "config")
        (self.repository / "config").write_text("[core]\nrepo_version=1\nmode=bare\n")  # as ostree init made it

    def test_objects(self):
        """One whose pipe would be empty is damaged like one that is empty."""
        image = self.image()
        for mode in ("bare", "archive"):
            for suffix in ("commit", "dirtree", "dirmeta", "commitmeta", "file" if mode == "bare" else "filez"):
                with self.subTest(mode=mode, suffix=suffix):
                    shutil.rmtree(self.repository)
                    ostree_repository.init(self.repository, mode)
                    self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
                    for path in list((self.repository / "objects").glob(f"*/*.{suffix}")):
                        self.becomes_a_pipe(path)
                    if suffix == "commitmeta":
                        commit, = {path for path in (self.repository / "objects").glob("*/*.commit")
                                   if path.stem in {self.ostree("rev-parse", ref)[2:].strip() for ref in self.refs().split() if "image/" in ref}}
                        os.mkfifo(f"{commit}meta")
                    result = self.ended("verify", arguments={"images": []})
                    self.assertEqual(result["outcome"], "success", result)
                    if suffix != "commitmeta":
                        self.assertTrue(result["details"]["damaged"], result)
                    self.ended("pull", image)
                    result = self.ended("verify", arguments={"images": [], "repair": True}, seconds=60)
                    self.ended("prune")
        shutil.rmtree(self.repository)
        ostree_repository.init(self.repository)

    def test_the_containers_policy(self):
        policy = self.directory / "policy.json"
        os.mkfifo(policy)
        for image in (self.image(), self.image().replace(UNVERIFIED, "")):
            result = self.ended("pull", image, env={"CONTAINERS_POLICY": str(policy)})
            if result["outcome"] == "failed":
                self.assert_refused(result)
        self.assertEqual(result["outcome"], "failed", "nobody has read it")

    def test_the_index_of_a_layout_that_is_written_to(self):
        image = self.image()
        self.assertEqual(worker.pull(image, self.repository).result["outcome"], "success")
        layout = self.directory / "export"
        subprocess.run(["cp", "-a", self.layout.path, layout], check=True)
        self.becomes_a_pipe(layout / "index.json")
        self.assert_refused(self.ended("export", image.replace(UNVERIFIED, ""), arguments={"destination": f"oci:{layout}:t"}))

    def test_the_configuration_of_imaged(self):
        configuration = self.directory / "imaged.conf"
        (self.directory / "imaged.conf.d").mkdir()
        drop_in = self.directory / "imaged.conf.d/pipe.conf"
        for pipe, other in ((configuration, None), (drop_in, configuration)):
            os.mkfifo(pipe)
            if other:
                other.write_text("")
            done = subprocess.run([IMAGED, "--config", configuration, "--check-config"], capture_output=True, text=True, timeout=20, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(f"open {pipe}: it is no regular file", done.stderr)
            os.unlink(pipe)
        os.symlink("/dev/null", drop_in)
        subprocess.run([IMAGED, "--config", configuration, "--check-config"], capture_output=True, timeout=20, check=True)


class TwoVersions(Images):
    """Program and modules exchange C++ objects: only those that were built together fit."""
    MODULES = ("imaged-catalog.so", "imaged-jobs.so")

    def install(self):
        programs = self.directory / "programs"
        programs.mkdir()
        build = pathlib.Path(IMAGED).parent
        for path in (IMAGED, worker.PROGRAM, build / self.MODULES[0], pathlib.Path(worker.PROGRAM).parent / self.MODULES[1]):
            shutil.copy(path, programs)
        return programs

    def upgrade(self, *paths):
        """Each becomes another version, under a new inode as packages have it."""
        for path in paths:
            content = path.read_bytes()
            stamps = set(re.findall(rb"(?<!\d)\d+\.\d+\.\d+-[0-9a-f]{12}\0", content))
            self.assertEqual(len(stamps), 1, f"{path.name} says of what version it is")
            stamp, = stamps
            new = path.with_name(path.name + ".dpkg-new")
            new.write_bytes(content.replace(stamp, stamp[:-5] + b"beef\0"))
            new.chmod(0o755)
            new.rename(path)

    def serve(self, programs):
        real, bus_fixture.IMAGED = bus_fixture.IMAGED, str(programs / "imaged")
        self.addCleanup(setattr, bus_fixture, "IMAGED", real)
        daemon = self.daemon(worker=programs / "imaged-worker")
        client = daemon.client()
        self.addCleanup(client.close)
        return daemon, client

    def refusal(self, client):
        with self.assertRaises(BusError) as caught:
            self.states(client)
        self.assertEqual(caught.exception.name, ERROR + "Failed")
        self.assertIn("restart", caught.exception.message)
        return caught.exception.message

    def test_modules_of_another_version_are_refused(self):
        image, programs = self.image(), self.install()
        self.upgrade(*(programs / name for name in self.MODULES))
        daemon, client = self.serve(programs)
        self.assertIn("imaged-catalog.so", self.refusal(client))
        job = client.finished(client.pull(image), 30)
        self.assertEqual(job["ErrorName"], ERROR + "Failed", job["ErrorMessage"])
        self.assertIn("imaged-jobs.so", job["ErrorMessage"])
        self.assertIn("it is of imaged", job["ErrorMessage"])
        self.assertTrue(daemon.serves(client))
        self.assertEqual(self.refs(), "")

    def test_an_upgrade_under_a_running_daemon(self):
        image, programs = self.image(), self.install()
        for loaded in (False, True):
            with self.subTest(loaded=loaded):
                shutil.rmtree(self.directory / "daemon", ignore_errors=True)
                daemon, client = self.serve(programs)
                if loaded:
                    self.states(client)
                self.upgrade(*programs.iterdir())
                if loaded:
                    self.assertEqual(set(self.states(client).values()), {"ok"})  # what it has loaded stays
                else:
                    self.refusal(client)
                # Jobs are done by a worker and a module of the new version.
                job = client.finished(client.pull(image), 30)
                self.assertEqual(job["Result"], "success", job["ErrorMessage"])
                daemon.process.send_signal(signal.SIGTERM)
                daemon.process.wait(20)
                daemon.start()
                self.assertEqual(set(self.states(client).values()), {"ok"})
                daemon.stop()
                shutil.rmtree(programs)
                programs = self.install()


    def test_an_upgrade_while_a_job_runs(self):
        """What runs ends as it began, and what waits is done by the new version."""
        images, programs = [self.image("one"), self.image("two")], self.install()
        daemon, client = self.serve(programs)
        jobs = [client.pull(images[0])]
        workers = pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children")
        loaded = lambda: any(b"imaged-jobs.so" in pathlib.Path(f"/proc/{child}/maps").read_bytes() for child in workers.read_text().split())
        real_daemon.until(lambda: loaded() or client.job(jobs[0])["State"] == "finished")
        for child in workers.read_text().split():
            os.kill(int(child), signal.SIGSTOP)
        jobs.append(client.pull(images[1]))
        self.upgrade(*programs.iterdir())
        for child in workers.read_text().split():
            os.kill(int(child), signal.SIGCONT)
        for number in jobs:
            job = client.finished(number, 30)
            self.assertEqual(job["Result"], "success", job["ErrorMessage"])

    def test_an_upgrade_in_the_middle(self):
        """dpkg replaces one file after the other: no order of them makes anything but success or one error that says what to do."""
        image, programs = self.image(), self.install()
        daemon, client = self.serve(programs)
        for path in sorted(programs.iterdir(), reverse=True):
            self.upgrade(path)
            job = client.finished(client.pull(image), 30)
            if job["Result"] != "success":
                self.assertEqual(job["ErrorName"], ERROR + "Failed")
                self.assertIn("it is of imaged", job["ErrorMessage"])
            self.assertTrue(daemon.serves(client))
        self.assertEqual(job["Result"], "success", job["ErrorMessage"])
        self.ostree("fsck")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
