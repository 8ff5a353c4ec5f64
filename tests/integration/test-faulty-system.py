#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A machine that fails: full, read-only and broken disks, too little memory, no more descriptors. One error each, nothing lost, imaged serves on, and all
is well once the cause is gone."""
import errno
import os
import pathlib
import random
import shlex
import subprocess
import sys
import unittest

import agreement
import oci_layout
import ostree_repository
import real_daemon
import sanitizers
import worker
from bus_fixture import ERROR
from loop_mount import unmount
from oci_layout import Entry

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
DISK = 64 << 20
MAX_SECONDS = 60


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True).stdout


class FaultySystem(unittest.TestCase):
    def setUp(self):
        scratch = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.layout = oci_layout.Layout(self.directory / "layout")
        rng = random.Random(1)
        # Unpacks to 24 MiB from next to nothing, so that what is missing shows only while it is written.
        self.first = [self.layer("a", rng)]
        self.layout.image("first", self.first)
        self.layout.image("second", self.first + [self.layer(name, rng) for name in "bcd"])

    @staticmethod
    def layer(name, rng):
        entries = [Entry(f"usr/{name}/d{number % 9}/f{number}", content=bytes([rng.randrange(256)]) + rng.randbytes(100 + rng.choice([100, 5000, 60000])))
                   for number in range(250)]
        return oci_layout.layer([*entries, Entry(f"usr/{name}/large", content=rng.randbytes(2 << 20))])

    def disk(self, kind="ext4", size=DISK):
        """A file system of its own, mounted; it goes with the test."""
        if not os.access("/dev/loop-control", os.W_OK):
            self.skipTest("no loop devices here")
        image, mountpoint = self.directory / "disk.img", self.directory / "disk"
        mountpoint.mkdir()
        with open(image, "wb") as file:
            file.truncate(size)
        run("mkfs." + kind, "-q", "-F", image)
        run("mount", "-o", "loop", image, mountpoint)
        self.addCleanup(unmount, mountpoint)
        return mountpoint

    def repository(self, path):
        ostree_repository.init(path)
        self.start(path)
        self.assertEqual(self.pull("first")["outcome"], "success")
        self.at_first = set(ostree_repository.refs(path))
        return path

    def reset(self, repository):
        """Forgets what the attempts so far have left: each has all of its work before it."""
        new = set(ostree_repository.refs(repository)) - self.at_first
        if new:
            run("ostree", f"--repo={repository}", "refs", "--delete", *new)
        run("ostree", f"--repo={repository}", "prune", "--refs-only")

    def start(self, repository):
        """A daemon of REPOSITORY whose workers run as the file of `under` says."""
        directory, program = self.directory / "daemon", self.directory / "worker"
        directory.mkdir()
        self.prefix = self.directory / "prefix"
        program.write_text(f'#!/bin/sh\nexec $(cat {self.prefix}) {real_daemon.WORKER}\n')
        program.chmod(0o755)
        self.daemon = real_daemon.Daemon(directory, repository, worker=program)
        self.addCleanup(self.daemon.stop)
        self.client = self.daemon.client()
        self.addCleanup(self.client.close)

    def pull(self, tag, method="Pull", under=()):
        """The finished job; its worker is started by the command UNDER."""
        self.prefix.write_text(shlex.join(map(str, under)))
        job = self.client.finished(self.client.start(method, "ostree-unverified-image:" + self.layout.reference(tag))[0], timeout=MAX_SECONDS)
        self.assertTrue(self.daemon.serves(self.client), "the daemon does not answer")
        return {"outcome": job["Result"], "error": job["ErrorName"].removeprefix(ERROR), "message": job["ErrorMessage"]}

    def refs(self, repository):
        return sorted(ref for ref in ostree_repository.refs(repository) if ref.startswith("ostree/container/image/"))

    def assert_sound(self, repository):
        run("ostree", f"--repo={repository}", "fsck", "--quiet")
        self.assertEqual(len(self.refs(repository)), 1, "the image that was there is, and no other")

    def assert_fails(self, repository, *errors, text="", sound=True, **options):
        done = self.pull("second", **options)
        self.assertIn(done["error"], errors, done["message"])
        self.assertIn(text, done["message"])
        if sound:
            self.assert_sound(repository)
        return done["message"]

    def assert_recovers(self, repository):
        result = self.pull("second")
        self.assertEqual(result["outcome"], "success", result["message"])
        run("ostree", f"--repo={repository}", "fsck", "--quiet")
        self.assertEqual([name for name in os.listdir(repository / "tmp") if name.startswith("imaged-")], [])

    def test_a_disk_that_is_full_at_ten_points(self):
        mountpoint = self.disk()
        repository = self.repository(mountpoint / "repo")
        free = os.statvfs(mountpoint).f_bavail * os.statvfs(mountpoint).f_frsize
        # From nothing at all to nearly all of what the job needs.
        for left in [0, 64 << 10, 512 << 10] + [number * (2 << 20) for number in range(1, 8)]:
            with self.subTest(left=left):
                self.reset(repository)
                filler = mountpoint / "filler"
                with open(filler, "wb") as file:
                    os.posix_fallocate(file.fileno(), 0, max(free - left, 1))
                print(f"    {left >> 10} KiB left: " + self.assert_fails(repository, "NoSpace")[:150])
                filler.unlink()
                # ext4 has blocks to give again only when its journal says so.
                run("sync", "--file-system", mountpoint)
        self.assert_recovers(repository)

    def test_no_more_inodes(self):
        mountpoint = self.disk()
        repository = self.repository(mountpoint / "repo")
        (mountpoint / "many").mkdir()
        try:
            for number in range(10 ** 6):
                (mountpoint / f"many/{number}").touch()
        except OSError as error:
            self.assertEqual(error.errno, errno.ENOSPC)
        for number in range(100):
            (mountpoint / f"many/{number}").unlink()
        self.assert_fails(repository, "NoSpace")
        run("rm", "-rf", mountpoint / "many")
        self.assert_recovers(repository)

    def test_what_libostree_keeps_free_is_kept(self):
        mountpoint = self.disk()
        repository = self.repository(mountpoint / "repo")
        run("ostree", f"--repo={repository}", "config", "set", "core.min-free-space-percent", "95")
        message = self.assert_fails(repository, "NoSpace", text="min-free-space")
        self.assertIn("MiB", message)

    def test_a_read_only_file_system(self):
        mountpoint = self.disk()
        repository = self.repository(mountpoint / "repo")
        run("mount", "-o", "remount,ro", mountpoint)
        self.assert_fails(repository, "Failed", "RepositoryDamaged", text="Read-only file system")
        # What is there can still be asked for.
        self.assertEqual(self.pull("first", method="Prepare")["outcome"], "success")
        run("mount", "-o", "remount,rw", mountpoint)
        self.assert_recovers(repository)

    @unittest.skipUnless(FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
    def test_a_broken_disk(self):
        repository = self.repository(self.directory / "repo")
        tried = 0
        for call, counts in {"write": (0, 1, 100, 700), "create": (0, 1, 100, 700), "renameat": (0, 5, 300), "mkdirat": (0, 1), "fchown": (0,), "futimens": (0, 200),
                             "syncfs": (0, 1, 2, 3), "openat": (0,)}.items():
            for after in counts:
                with self.subTest(call=call, after=after):
                    self.reset(repository)
                    where = "/repo" if call != "openat" else "/repo/objects"
                    environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": call, "FAULT_AFTER": str(after), "FAULT_ERRNO": str(errno.EIO), "FAULT_PATH": where}
                    done = self.pull("second", under=["env", *(f"{name}={value}" for name, value in environment.items())])
                    tried += 1
                    if done["outcome"] == "success":
                        self.assertIn(call, ("fchown", "openat", "mkdirat"), "a call that failed was not missed")
                        run("ostree", f"--repo={repository}", "fsck", "--quiet")
                        continue
                    self.assertIn(done["error"], ("Failed", "RepositoryDamaged"), done["message"])
                    self.assertIn("Input/output error", done["message"])
                    self.assert_sound(repository)
        print(f"    {tried} failures of the disk")
        self.assert_recovers(repository)

    def verify(self, repository, **arguments):
        result = worker.Run("", repository, kind="verify", arguments={"images": [], **arguments}).finish().result
        self.assertEqual(result["outcome"], "success", result["message"])
        return result["details"]

    def test_damage_is_reported_on_a_full_disk(self):
        mountpoint = self.disk()
        repository = self.repository(mountpoint / "repo")
        self.assertEqual(self.pull("second")["outcome"], "success")
        image, = [ref for ref in self.refs(repository) if ref.endswith("first")]
        large = max((path for path in (repository / "objects").glob("*/*.file")), key=lambda path: (path.stat().st_size, path.name))
        content = large.read_bytes()
        large.write_bytes(b"damaged" + content[7:])
        # To the last block: a record of damage is small.
        with open(mountpoint / "filler", "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 9):
                with self.assertRaises(OSError) as full:
                    while True:
                        file.write(bytes(size))
                self.assertEqual(full.exception.errno, errno.ENOSPC)
        details = self.verify(repository)
        self.assertFalse(details["sound"])
        found = {problem["object"] for image in details["damaged"] for problem in image["problems"]}
        self.assertEqual(found, {large.parent.name + large.name})
        print(f"    on a full disk: {len(details['damaged'])} damaged, unchecked {details.get('unchecked')}, not recorded: {details.get('not-recorded')}")
        # An image whose merge cannot be computed is neither sound nor damaged.
        for unchecked in details.get("unchecked", []):
            self.assertIn("No space left", unchecked["error"])
        self.assertIn("No space left", details["not-recorded"])
        (mountpoint / "filler").unlink()
        run("sync", "--file-system", mountpoint)
        large.write_bytes(content)
        self.assertTrue(self.verify(repository)["sound"])
        self.assertTrue(image)

    @unittest.skipUnless(FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
    def test_a_quota_that_is_exceeded_is_no_space(self):
        for mode in ("bare", "archive"):
            repository = self.directory / mode / "repo"
            repository.parent.mkdir()
            ostree_repository.init(repository, mode)
            self.assertEqual(worker.pull(self.layout.reference("first"), repository).result["outcome"], "success")
            for call, after in [("create", 0), ("create", 20), ("write", 0), ("write", 30), ("mkdirat", 0), ("renameat", 0), ("linkat", 0)]:
                with self.subTest(mode=mode, call=call, after=after):
                    environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": call, "FAULT_AFTER": str(after), "FAULT_ERRNO": str(errno.EDQUOT), "FAULT_PATH": "/repo"}
                    result = worker.pull(self.layout.reference("second"), repository, env=environment).result
                    if result["outcome"] == "success":
                        self.assertIn(call, ("linkat", "mkdirat", "renameat"), "a call that failed was not missed")
                    else:
                        self.assertEqual(result["error-name"], "NoSpace", result["message"])
                        self.assertIn("Disk quota exceeded", result["message"])
        nowhere = self.directory / "new" / "repo"
        nowhere.parent.mkdir()
        environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "mkdirat", "FAULT_ERRNO": str(errno.EDQUOT), "FAULT_PATH": "/new"}
        result = worker.pull(self.layout.reference("first"), nowhere, env=environment).result
        self.assertEqual(result["error-name"], "NoSpace", result)

    def assert_survives(self, what, limits, errors):
        """Pulls under each of LIMITS, options of prlimit, until one is enough; one of ERRORS at least tells of the others."""
        repository = self.repository(self.directory / "repo")
        outcomes = {}
        for limit in limits:
            done = self.pull("second", under=["prlimit", limit])
            outcomes[done["error"] or "success"] = done["message"]
            if done["outcome"] == "success":
                break
            self.assert_sound(repository)
        print(f"    with {what}: {outcomes}")
        self.assertTrue(outcomes.keys() & errors, outcomes)
        self.assert_recovers(repository)

    @unittest.skipIf(sanitizers.SANITIZED, "a sanitizer's shadow memory alone takes more addresses than any of these limits")
    def test_too_little_memory(self):
        self.assert_survives("little memory", [f"--as={mebibytes << 20}" for mebibytes in (20, 60, 100, 150, 200, 300, 400)],
                             {"Failed", "SourceUnreachable"})

    def test_no_more_descriptors(self):
        self.assert_survives("few descriptors", [f"--nofile={limit}" for limit in (4, 6, 8, 10, 12, 16, 20, 24, 32)],
                             {"Failed", "SourceUnreachable"})


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # mounts, and a bare repository
    unittest.main(verbosity=2)
