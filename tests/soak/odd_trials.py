# SPDX-License-Identifier: Apache-2.0
"""Trials of ./dev soak odd that no test of the suite is: each a test case of its own, in the terms of the point that it tries."""
import os
import pathlib
import shutil
import subprocess
import threading
import time
import unittest

from gi.repository import GLib

import hanging_disk
import oci_layout
import ostree_repository
import real_daemon
import sanitizers
import worker
from bus_fixture import IMAGED, MANAGER, BusError
from oci_layout import Entry
from repository_case import STORED, RepositoryCase

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
UNVERIFIED = "ostree-unverified-image:"
IMAGE_REF = "ostree/container/image/"


def fault(call, path, after=0, number=0, run=""):
    return {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": call, "FAULT_PATH": str(path), "FAULT_AFTER": str(after), "FAULT_ERRNO": str(number), "FAULT_RUN": run}


class Case(RepositoryCase):
    mode = "bare"

    def setUp(self):
        super().setUp()
        if self.mode != "bare":
            subprocess.run(["rm", "-rf", self.repository], check=True)
            ostree_repository.init(self.repository, self.mode)

    def image(self, tag="t", files=20):
        self.layout.image(tag, [oci_layout.layer([Entry(f"usr/{tag}/{number}/f{n}", content=os.urandom(3000)) for n in range(files)]) for number in range(2)])
        return UNVERIFIED + self.layout.reference(tag)

    def run_job(self, kind, image="", repository=None, **options):
        return worker.Run(image, repository or self.repository, kind=kind, **options).finish().result

    def succeed(self, kind, image="", **options):
        result = self.run_job(kind, image, **options)
        self.assertEqual(result["outcome"], "success", result)
        return result

    def state(self, repository=None):
        """Every ref and what it names."""
        command = ["ostree", f"--repo={repository or self.repository}"]
        names = subprocess.run([*command, "refs"], check=True, capture_output=True, text=True).stdout.split()
        return {name: subprocess.run([*command, "rev-parse", name], check=True, capture_output=True, text=True).stdout.strip() for name in names}

    def assert_whole(self, repository=None):
        """Every ref leads to objects that are all there."""
        command = ["ostree", f"--repo={repository or self.repository}"]
        done = subprocess.run([*command, "fsck", "--quiet"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for name, commit in self.state(repository).items():
            listed = subprocess.run([*command, "ls", "-R", "-C", commit], capture_output=True, text=True)
            self.assertEqual(listed.returncode, 0, f"{name} leads to what is not there: {listed.stderr}")

    def daemon(self, repository=None, **options):
        directory = self.directory / f"daemon{len(os.listdir(self.directory))}"
        directory.mkdir()
        daemon = real_daemon.Daemon(directory, repository or self.repository, **options)
        self.addCleanup(daemon.stop)
        client = daemon.client()
        self.addCleanup(client.close)
        return daemon, client

    def assert_ends(self, daemon):
        """In time after SIGTERM, whatever hangs."""
        started = time.monotonic()
        daemon.process.terminate()
        daemon.process.wait(20)
        self.assertLess(time.monotonic() - started, 6 * sanitizers.SLOWER, "SIGTERM leaves it there")

    def disk(self, kind="ext4", size="300M", options="loop"):
        """A file system of its own, mounted; it goes with the test."""
        if not os.access("/dev/loop-control", os.W_OK):
            self.skipTest("no loop devices here")
        if not shutil.which(f"mkfs.{kind}"):
            self.skipTest(f"mkfs.{kind} is not installed")
        image, mountpoint = self.directory / f"{kind}.img", self.directory / kind
        mountpoint.mkdir()
        subprocess.run(["truncate", "-s", size, image], check=True)
        subprocess.run([f"mkfs.{kind}", "-q", image], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        subprocess.run(["mount", "-o", options, image, mountpoint], check=True)
        self.addCleanup(subprocess.run, ["umount", mountpoint], check=True)
        return mountpoint

    def listed(self, client):
        images = client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))[0]
        return {image["image"]: image["state"] for image in images}


class RefsToWhatDoesNotExist(Case):
    """Point 1."""
    # Calls between the last write and the last ref: what is staged is made durable, then gets its name.
    MOMENTS = [("syncfs", 0), ("syncfs", 1), ("syncfs", 2), ("renameat", 0), ("renameat", 5), ("futimens", 30)]

    def emptied(self, command, moments=MOMENTS):
        good = self.image("t")
        self.succeed("pull", good, target="oci:stored:t")
        seen = set()
        for call, after in moments:
            with self.subTest(call=call, after=after):
                before = self.state()
                result = self.run_job("pull", self.image("t"), target="oci:stored:t", env=fault(call, "/repo", after, run=command.format(repo=self.repository)))
                seen.add(result["outcome"])
                self.assert_whole()
                image = {name: commit for name, commit in self.state().items() if name.startswith(IMAGE_REF)}
                if result["outcome"] != "success":
                    self.assertEqual(image, {name: commit for name, commit in before.items() if name.startswith(IMAGE_REF)}, "the previous image is gone")
        self.assertIn("failed", seen, "the directory was never emptied in time")

    def test_tmp_is_emptied_before_publishing(self):
        self.emptied("rm -rf {repo}/tmp/*")

    def test_another_program_expires_tmp_at_once(self):
        self.ostree("config", "set", "core.tmp-expiry-secs", "0")
        (self.directory / "tree").mkdir()
        self.emptied(f"sleep 1; ostree --repo={{repo}} commit --branch=other --tree=dir={self.directory}/tree >/dev/null; true", [("syncfs", 0), ("renameat", 0)])

    def test_another_program_expires_tmp_after_the_clock_jumped(self):
        """What is in tmp is older than a day at once, which is what libostree's expiry goes by."""
        (self.directory / "tree").mkdir()
        self.emptied(f"find {{repo}}/tmp -exec touch --no-dereference --date='3 days ago' {{{{}}}} +; "
                     f"ostree --repo={{repo}} commit --branch=other --tree=dir={self.directory}/tree >/dev/null; true", [("syncfs", 0), ("renameat", 0)])

    def test_tmp_is_emptied_all_the_time(self):
        """At no moment of anybody's choice."""
        self.succeed("pull", self.image("t"), target="oci:stored:t")
        cleaner = subprocess.Popen(["sh", "-c", f"while sleep 0.02; do rm -rf {self.repository}/tmp/*; done"], stderr=subprocess.DEVNULL)
        try:
            for _ in range(25):
                result = self.run_job("pull", self.image("t"), target="oci:stored:t")
                self.assertNotEqual(result.get("error-name"), "RepositoryDamaged", result)
                self.assertTrue((self.repository / "refs/heads" / STORED).exists(), "the previous image is gone")
        finally:
            cleaner.kill()
            cleaner.wait()
        self.assert_whole()
        self.succeed("pull", self.image("t"), target="oci:stored:t")

    def test_a_copy_whose_staging_vanishes(self):
        image = self.image("t")
        self.succeed("pull", image)
        other = self.directory / "copy/repo"
        other.parent.mkdir()
        for call, after in [("syncfs", 0), ("renameat", 0), ("renameat", 7), ("linkat", 5)]:
            subprocess.run(["rm", "-rf", other], check=True)
            ostree_repository.init(other)
            result = self.run_job("copy", self.layout.reference("t"), arguments={"repository": str(other), "from": False},
                                  env=fault(call, "/copy/repo", after, run=f"rm -rf {other}/tmp/*"))
            self.assert_whole(other)
            self.assertEqual(bool([name for name in self.state(other) if name.startswith(IMAGE_REF)]), result["outcome"] == "success", result)

    def test_a_repair_whose_staging_vanishes(self):
        image = self.image("t")
        for call, after in [("syncfs", 0), ("syncfs", 1), ("renameat", 3), ("create", 3)]:
            self.succeed("pull", image)
            damaged = next(path for path in pathlib.Path(self.repository, "objects").glob("*/*.file") if path.stat().st_size)
            damaged.write_bytes(b"damage")
            self.run_job("verify", arguments={"images": [], "repair": True}, env=fault(call, "/repo", after, run=f"rm -rf {self.repository}/tmp/*"))
            self.succeed("verify", arguments={"images": [], "repair": True})
            self.assert_whole()


class RefsToWhatDoesNotExistInAnArchive(RefsToWhatDoesNotExist):
    """Point 1, in an archive repository, which libostree writes."""
    mode = "archive"
    test_a_copy_whose_staging_vanishes = test_a_repair_whose_staging_vanishes = None

    def test_tmp_is_emptied_before_publishing(self):
        self.emptied("rm -rf {repo}/tmp/*", [("renameat", 0), ("renameat", 5), ("linkat", 3), ("syncfs", 0), ("create", 10)])

    test_another_program_expires_tmp_at_once = test_another_program_expires_tmp_after_the_clock_jumped = None


class TwoDaemons(Case):
    """Point 2."""

    def test_leftovers_are_cleared_beside_jobs_that_begin(self):
        first, second = self.daemon(), self.daemon()
        for round_ in range(12):
            references = [self.image(f"{side}{round_}") for side in "ab"]
            for number in range(8):
                (self.repository / f"tmp/imaged-{round_}{number}" / "0").mkdir(parents=True)
            jobs = [client.pull(reference) for (_, client), reference in zip((first, second), references)]
            for (_, client), job in zip((first, second), jobs):
                done = client.finished(job, 60)
                self.assertEqual(done["Result"], "success", done["ErrorMessage"])
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
        self.assert_whole()


class FileSystemsThatHang(Case):
    """Point 4."""

    def test_reading_hangs_and_others_are_served(self):
        environment = fault("read", "/repo/config", run="sleep 25")
        daemon, client = self.daemon(environment=environment)

        def ask():
            other = daemon.client()
            try:
                other.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (MANAGER,)))
            except BusError:
                pass
            other.close()
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(1)
        started = time.monotonic()
        client.call(MANAGER, "ListJobs", timeout=5000)
        self.assertLess(time.monotonic() - started, 2 * sanitizers.SLOWER)
        self.assert_ends(daemon)
        asking.join()

    def test_a_worker_that_cannot_be_killed(self):
        """It writes to a frozen file system, where no signal reaches it."""
        mountpoint = self.disk()
        repository = mountpoint / "repo"
        ostree_repository.init(repository)
        daemon, client = self.daemon(repository)
        image = self.image("large", 600)
        subprocess.run(["fsfreeze", "-f", mountpoint], check=True)
        thaw = threading.Timer(25, lambda: subprocess.run(["fsfreeze", "-u", mountpoint], check=False))
        thaw.start()
        try:
            job = client.pull(image)
            time.sleep(2)
            started = time.monotonic()
            client.cancel(job)
            done = client.finished(job, 10)
            self.assertLess(time.monotonic() - started, 6 * sanitizers.SLOWER)
            self.assertIn(done["Result"], ("cancelled", "failed"))
            client.call(MANAGER, "ListJobs", timeout=5000)
            self.assert_ends(daemon)
        finally:
            thaw.cancel()
            subprocess.run(["fsfreeze", "-u", mountpoint], check=False, stderr=subprocess.DEVNULL)
            time.sleep(2)  # what was in the kernel ends now

    @unittest.skipUnless(hanging_disk.is_possible(), "no /dev/fuse here")
    def test_a_file_system_that_never_answers(self):
        """Whoever asks it for anything waits in the kernel, and cannot be killed: workers, and what reads for the daemon."""
        disk = hanging_disk.HangingDisk(self.directory / "hanging")
        self.addCleanup(disk.end)
        daemon, client = self.daemon(self.directory / "hanging/repo")
        client.connection.call("org.imaged1", "/org/imaged1", MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), None, 0, -1, None, None)
        job = client.pull(self.image())
        real_daemon.until(lambda: client.job(job)["State"] == "running" and disk.waiting)  # the kernel asks it once for the same name
        time.sleep(1)
        client.cancel(job)
        done = client.finished(job, 10)
        self.assertEqual(done["Result"], "cancelled")
        self.assertIn("cannot be killed", done["ErrorMessage"])
        self.assert_ends(daemon)
        disk.end()


class OddRefs(Case):
    """Point 6."""

    def setUp(self):
        super().setUp()
        self.references = [self.image(tag) for tag in ("one", "two")]
        for reference in self.references:
            self.succeed("pull", reference)
        self.refs_directory = self.repository / "refs/heads"
        self.images = [reference.removeprefix(UNVERIFIED) for reference in self.references]
        self.before = set(self.state())

    def all_goes_on(self, odd):
        """Whatever is asked of the other images works; the odd entry, a name or nothing, is all that is reported."""
        _, client = self.daemon()
        states = self.listed(client)
        self.assertEqual([states.get(image) for image in self.images], ["ok", "ok"], states)
        details = self.succeed("verify", arguments={"images": []})["details"]
        self.assertEqual([image["image"] for image in details["damaged"] if image["image"] in self.images], [])
        self.succeed("prune")
        self.succeed("pull", self.image("three"))
        self.succeed("pull", self.references[1])
        self.succeed("remove", arguments={"images": [self.images[0]]})
        self.assertNotIn(self.images[0], self.listed(client))
        self.assertEqual(self.listed(client)[self.images[1]], "ok")
        for name in odd:
            (self.refs_directory / name).unlink(missing_ok=True) if not (self.refs_directory / name).is_dir() else os.rmdir(self.refs_directory / name)
        self.assert_whole()

    def test_a_dangling_link_among_images(self):
        os.symlink("nowhere", self.refs_directory / IMAGE_REF / "dangling")
        self.all_goes_on([IMAGE_REF + "dangling"])

    def test_a_dangling_link_among_layers(self):
        os.symlink("nowhere", self.refs_directory / "ostree/container/blob/sha256_3A_dangling")
        self.all_goes_on(["ostree/container/blob/sha256_3A_dangling"])

    def test_nonsense_in_a_ref(self):
        (self.refs_directory / IMAGE_REF / "nonsense").write_text("nonsense\n")
        self.all_goes_on([IMAGE_REF + "nonsense"])

    def test_an_alias_of_an_image(self):
        ref = next(name for name in self.state() if name.startswith(IMAGE_REF) and name.endswith("two"))
        self.ostree("refs", "--alias", f"--create={IMAGE_REF}alias", ref)
        self.all_goes_on([IMAGE_REF + "alias"])

    def test_the_image_that_an_alias_names_is_removed(self):
        ref = next(name for name in self.state() if name.startswith(IMAGE_REF) and name.endswith("one"))
        self.ostree("refs", "--alias", "--create=host/booted", ref)
        before = self.state()
        result = self.run_job("remove", arguments={"images": [self.images[0]]})
        if result["outcome"] != "success":
            self.assertEqual(self.state(), before, "it says failed and has taken the ref")
        self.ostree("refs")
        self.ostree("refs", "--list")
        self.succeed("pull", self.references[1])

    def test_a_directory_among_images(self):
        directory = self.refs_directory / IMAGE_REF / "oci_3A_x_3A_t"
        directory.mkdir()
        self.all_goes_on([IMAGE_REF + "oci_3A_x_3A_t"])

    def test_an_own_ref_that_is_a_directory(self):
        """It is damage of that image alone, and a pull of the image ends: with the image, or with an error that names the ref."""
        for kind in (IMAGE_REF, "ostree/container/blob/"):
            with self.subTest(kind=kind):
                image = self.image("own")
                self.succeed("pull", image)
                before = self.state()
                ref = next(name for name in before if name.startswith(kind) and (name.endswith("own") if kind == IMAGE_REF else True)
                           and name not in self.before)
                (self.refs_directory / ref).unlink()
                (self.refs_directory / ref).mkdir()
                details = self.succeed("verify", arguments={"images": []})["details"]
                self.assertEqual([damaged["image"] for damaged in details["damaged"] if damaged["image"] in self.images], [])
                started = time.monotonic()
                result = self.run_job("pull", image)
                self.assertLess(time.monotonic() - started, 30)
                if result["outcome"] != "success":
                    self.assertIn(ref, result["message"])
                    os.rmdir(self.refs_directory / ref)
                    self.succeed("pull", image)
                self.assert_whole()


class Quotas(Case):
    """Point 9, with a quota that the kernel keeps."""

    def test_a_quota_of_btrfs(self):
        mountpoint = self.disk("btrfs")
        subprocess.run(["btrfs", "quota", "enable", mountpoint], check=True)
        subprocess.run(["btrfs", "subvolume", "create", mountpoint / "limited"], check=True, stdout=subprocess.DEVNULL)
        self.repository = mountpoint / "limited/repo"
        ostree_repository.init(self.repository)
        first = self.image("first")
        self.succeed("pull", first)
        before = self.state()
        second = self.image("second", 2000)
        for mebibytes in (4, 6, 8):
            subprocess.run(["btrfs", "qgroup", "limit", f"{mebibytes}M", mountpoint / "limited"], check=True)
            result = self.run_job("pull", second)
            self.assertEqual(result.get("error-name"), "NoSpace", result)
            self.assertIn("quota", result["message"])
            # One layer may have been done.
            self.assertEqual({name: commit for name, commit in self.state().items() if name in before}, before)
            self.assert_whole()
            details = self.succeed("verify", arguments={"images": []})["details"]
            self.assertTrue(details["sound"], details)
        subprocess.run(["btrfs", "qgroup", "limit", "none", mountpoint / "limited"], check=True)
        self.succeed("pull", second)
        self.assert_whole()


class KindsOfFileSystems(Case):
    """Whatever the repository lies on."""

    def whole_life(self, place):
        """All kinds of jobs, in each mode that images are kept in."""
        for mode in ("bare", "bare-user", "archive"):
            with self.subTest(mode=mode):
                self.repository, other = place / mode, place / f"{mode}-copy"
                ostree_repository.init(self.repository, mode)
                ostree_repository.init(other, mode)
                images = [self.image(tag) for tag in ("one", "two")]
                for image in images:
                    self.succeed("pull", image)
                self.succeed("pull", self.image("two"))
                self.succeed("copy", images[0].removeprefix(UNVERIFIED), arguments={"repository": str(other), "from": False})
                self.succeed("remove", arguments={"images": [images[0].removeprefix(UNVERIFIED)]})
                self.succeed("prune")
                self.assertTrue(self.succeed("verify", arguments={"images": []})["details"]["sound"])
                self.assert_whole()
                self.assert_whole(other)

    def test_ext4(self):
        self.whole_life(self.disk("ext4"))

    def test_xfs(self):
        self.whole_life(self.disk("xfs", size="400M"))

    def test_btrfs(self):
        self.whole_life(self.disk("btrfs"))

    def test_tmpfs(self):
        place = self.directory / "memory"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200M", "tmpfs", place], check=True)
        self.addCleanup(subprocess.run, ["umount", place], check=True)
        self.whole_life(place)

    def test_overlayfs(self):
        """The repository was in the lower layer, too."""
        lower, upper, work, place = (self.directory / name for name in ("lower", "upper", "work", "place"))
        for path in (lower, upper, work, place):
            path.mkdir()
        self.repository = lower / "old"
        ostree_repository.init(self.repository)
        image = self.image("old")
        self.succeed("pull", image)
        subprocess.run(["mount", "-t", "overlay", "-o", f"lowerdir={lower},upperdir={upper},workdir={work}", "overlay", place], check=True)
        self.addCleanup(subprocess.run, ["umount", place], check=True)
        self.whole_life(place)
        self.repository = place / "old"
        self.succeed("pull", self.image("new"))
        self.succeed("pull", self.image("old"))
        self.succeed("remove", arguments={"images": [image.removeprefix(UNVERIFIED)]})
        self.succeed("prune")
        self.assertTrue(self.succeed("verify", arguments={"images": []})["details"]["sound"])
        self.assert_whole()


class OstreeAlone(Case):
    """What soak mix does not try, because libostree's own programs do not hold there. If this is not so any more, soak mix can try it."""

    def admin(self, *arguments, **environment):
        return subprocess.run(["ostree", "admin", *map(str, arguments)], check=True, capture_output=True, text=True,
                              env={**os.environ, "OSTREE_SYSROOT_DEBUG": "mutable-deployments", **environment}).stdout

    def test_ostree_prune_beside_ostree_admin(self):
        sysroot, tree = self.directory / "sysroot", self.directory / "tree"
        sysroot.mkdir()
        modules = tree / "usr/lib/modules/6.1.0"
        modules.mkdir(parents=True)
        (tree / "usr/etc").mkdir()
        (modules / "vmlinuz").write_bytes(b"kernel")
        (modules / "initramfs.img").write_bytes(b"initramfs")
        (tree / "usr/lib/os-release").write_text("NAME=x\nID=x\nVERSION=1\n")
        self.admin("init-fs", "--modern", sysroot)
        self.admin("os-init", f"--sysroot={sysroot}", "test")
        self.addCleanup(subprocess.run, ["chattr", "-R", "-i", sysroot / "ostree/deploy"], stderr=subprocess.DEVNULL, check=False)
        self.repository = sysroot / "ostree/repo"
        commits = []
        for number in range(3):
            (tree / "usr/number").write_text(str(number))
            commits.append(self.ostree("commit", "--branch=new", tree).strip())
            prune = f"ostree --repo={self.repository} prune --refs-only --depth=0 >/dev/null"
            self.admin("deploy", f"--sysroot={sysroot}", "--os=test", "--retain", commits[-1], **(fault("unlinkat", "/refs", 1, run=prune) if number == 2 else {}))
            self.ostree("refs", "--delete", "new")
        done = subprocess.run(["ostree", f"--repo={self.repository}", "ls", "-R", commits[0]], capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0, "ostree prune beside ostree admin keeps what is deployed now")


class StandardErrorThatNobodyReads(Case):
    """Point 10."""

    def start(self, **streams):
        directory = self.directory / "quiet"
        directory.mkdir()
        daemon = real_daemon.Daemon(directory, self.repository)
        daemon.process.terminate()
        daemon.process.wait(20)
        daemon.process = subprocess.Popen([IMAGED, "--bus-address", daemon.address, "--repository", str(self.repository), "--worker", real_daemon.WORKER,
                                           "--log-level", "debug", "--idle-timeout", "0"], env={**os.environ, **streams.pop("environment", {})}, **streams)
        self.addCleanup(daemon.stop)
        client = daemon.client()
        self.addCleanup(client.close)
        real_daemon.until(lambda: daemon_is_there(client))
        return daemon, client

    def test_a_full_pipe(self):
        read, write = os.pipe()
        os.set_blocking(write, False)
        try:
            while True:
                os.write(write, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write, True)
        daemon, client = self.start(stderr=write)
        os.close(write)
        try:
            for number in range(5):
                done = client.finished(client.pull(self.image(f"t{number}")), 30)
                self.assertEqual(done["Result"], "success", done["ErrorMessage"])
                client.finished(client.pull(UNVERIFIED + "oci:/nowhere:t"), 30)
            client.call(MANAGER, "ListJobs", timeout=5000)
            self.assert_ends(daemon)
        finally:
            daemon.process.kill()
            os.close(read)

    def test_a_skopeo_that_prints_a_megabyte(self):
        programs = self.directory / "programs"
        programs.mkdir()
        (programs / "skopeo").write_text("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\nhead -c 1000000 /dev/zero | tr '\\0' y >&2\nexit 1\n")
        (programs / "skopeo").chmod(0o755)
        output = self.directory / "output"
        with open(output, "wb") as file:
            _, client = self.start(stdout=file, stderr=subprocess.STDOUT, environment={"PATH": f"{programs}:{os.environ['PATH']}"})
        done = client.finished(client.pull(self.image("t")), 60)
        self.assertEqual(done["Result"], "failed")
        self.assertLess(output.stat().st_size, 100_000, "what skopeo prints reaches the daemon's output")


def daemon_is_there(client):
    try:
        client.call(MANAGER, "ListJobs", timeout=2000)
        return True
    except BusError:
        return False
