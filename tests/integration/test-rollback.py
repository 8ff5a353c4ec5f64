#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The versions that an image had stay as the configuration says, are listed, and become current again; no end of a job between two writes loses one."""
import errno
import json
import os
import re
import subprocess
import tempfile
import time
import unittest

from gi.repository import GLib

import killed
import oci_layout
import ostree_repository
import real_daemon
import worker
from bus_fixture import ERROR, MANAGER
from oci_layout import Entry
from repository_case import STORED, RepositoryCase

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
# Of the calls that fail in turn, one in so many does: all of them with LONG (./dev soak faults).
SAMPLE = 1 if os.environ.get("LONG") else 3
IMAGECTL = os.environ["IMAGECTL"]
IMAGE = "oci:stored:t"
KEPT = "imaged/kept/oci_3A_stored_3A_t"


class Versions(RepositoryCase):
    """Versions of one image, "1", "2" and so on, which share a layer and have one of their own."""

    def setUp(self):
        super().setUp()
        self.shared = oci_layout.layer([Entry("usr/shared", content=b"shared")])
        self.digests = {}

    def publish(self, version):
        """Makes the tag lead to VERSION."""
        self.layout.withdraw("t")
        own = oci_layout.layer([Entry("usr/version", content=version.encode() * 3000)])
        config = {"config": {"Labels": {"org.opencontainers.image.version": version}}}
        self.digests[version] = self.layout.image("t", [self.shared, own], config=config)
        self.source = "ostree-unverified-image:" + self.layout.reference("t")

    def commits(self):
        """By ref."""
        return ostree_repository.refs(self.repository)

    def fsck(self):
        self.ostree("fsck", "--quiet")


class OnTheBus(Versions):
    configuration = "[Repository]\nKeep=1\n"

    def setUp(self):
        super().setUp()
        daemon_directory = tempfile.TemporaryDirectory(prefix="imaged-rollback-")
        self.addCleanup(daemon_directory.cleanup)
        self.daemon = real_daemon.Daemon(daemon_directory.name, self.repository, self.configuration)
        self.addCleanup(self.daemon.stop)
        self.client = self.daemon.client()
        self.addCleanup(self.client.close)
        self.client.listen()

    def ended(self, method, image, **options):
        return self.client.finished(self.client.start(method, image, **options)[0], 60)

    def job(self, method, image, **options):
        properties = self.ended(method, image, **options)
        self.assertEqual(properties["Result"], "success", properties)
        return properties["Outcome"]

    def run_job(self, method, kind, *arguments):
        properties = self.client.finished(self.client.call(MANAGER, method, GLib.Variant(kind, arguments))[0], 60)
        self.assertEqual(properties["Result"], "success", properties)
        return properties["Outcome"]

    def prune(self, **options):
        return self.run_job("Prune", "(a{sv})", {key.replace("_", "-"): GLib.Variant("b", value) for key, value in options.items()})

    def pulled(self, version):
        self.publish(version)
        return self.job("Pull", self.source, target=GLib.Variant("s", IMAGE))

    def listed(self):
        images, document = [self.client.call(MANAGER, method, GLib.Variant("(a{sv})", ({},)))[0] for method in ("ListImages", "DescribeImages")]
        # Of a ref that could not be read for the first of them, what images take is known to the second alone.
        sizes = ("disk-size", "unique-size", "shared-size")
        images, described = [[{key: value for key, value in image.items() if key not in sizes} for image in listed] for listed in (images, json.loads(document)["images"])]
        self.assertEqual(described, images)
        return next(image for image in images if image["image"] == IMAGE)

    def state(self):
        """The current version, and those that are kept, the latest first."""
        listed, shown = self.listed(), self.client.call(MANAGER, "GetImage", GLib.Variant("(s)", (IMAGE,)))[0]
        kept = listed.get("kept", [])
        self.assertEqual(shown.get("kept", []), kept)
        for version in kept:
            self.assertEqual(version["digest"], self.digests[version["version"]])
            self.assertIn(version["commit"], self.commits().values())
        return [listed["version"], *(version["version"] for version in kept)]

    def imagectl(self, *words, status=0):
        done = subprocess.run([IMAGECTL, "--address=" + self.daemon.address, *words], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout + done.stderr


class Rollback(OnTheBus):
    def test_forth_and_back(self):
        self.pulled("1")
        self.assertEqual(self.state(), ["1"])
        self.assertNotIn("KEPT", self.imagectl("list"))
        self.pulled("2")
        self.assertEqual(self.state(), ["2", "1"])
        self.assertRegex(self.imagectl("list"), r"KEPT\n.* 1\n")
        self.assertRegex(self.imagectl("show", IMAGE), rf"Kept: +{self.digests['1']}, version 1\n")
        for words in (("list",), ("show", IMAGE)):
            document = json.loads(self.imagectl("--json", *words))
            kept, = document["images"][0]["kept"] if words == ("list",) else document["kept"]
            self.assertEqual({key: kept[key] for key in ("digest", "version")}, {"digest": self.digests["1"], "version": "1"})

        before = len(self.client.heard("ImageChanged"))
        self.assertRegex(self.imagectl("rollback", IMAGE), rf"Version: +1\nDigest: +{self.digests['1']}\nPrevious: +{self.digests['2']}\n")
        self.assertEqual(self.client.wait_for("ImageChanged", before + 1)[-1][4], (IMAGE, self.digests["2"], self.digests["1"]))
        self.assertEqual(self.state(), ["1", "2"])
        self.assertEqual(self.listed()["update-digest"], self.digests["2"])
        self.assertEqual(self.client.call("org.freedesktop.DBus.Properties", "Get", GLib.Variant("(ss)", (MANAGER, "UpdatesAvailable")))[0], 1)
        self.assertIn("version", self.ostree("ls", STORED, "/usr"))
        self.assertEqual(self.ostree("cat", STORED, "/usr/version"), "1" * 3000)

        outcome = json.loads(self.imagectl("--json", "rollback", IMAGE))
        self.assertEqual((outcome["kind"], outcome["version"], outcome["previous-digest"]), ("rollback", "2", self.digests["1"]))
        self.assertEqual(self.state(), ["2", "1"])
        self.assertNotIn("update-digest", self.listed())
        self.fsck()

    def test_the_lines_of_the_guide(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/administration.md"), encoding="utf-8") as file:
            lines = re.search(r"## Going back to an earlier version\n.*?\n\n((?:    [^\n]*\n)+)", file.read(), re.S).group(1)
        example = "docker://registry.example/host:stable"
        self.assertIn("rollback " + example, lines)
        self.pulled("1")
        self.pulled("2")
        subprocess.run(["sh", "-ec", lines.replace(example, IMAGE)], check=True, stdout=subprocess.DEVNULL, env={
            **os.environ, "PATH": os.path.dirname(IMAGECTL) + ":" + os.environ["PATH"], "IMAGED_BUS_ADDRESS": self.daemon.address})
        self.assertEqual(self.state(), ["1", "2"])

    def test_what_is_kept_is_in_use(self):
        self.pulled("1")
        self.assertEqual(self.pulled("2")["layers-dropped"], [])
        self.assertEqual(self.prune()["objects"], 0)
        self.job("Rollback", IMAGE)
        self.assertTrue(self.run_job("Verify", "(asa{sv})", [], {})["sound"])
        self.assertEqual(self.listed()["state"], "ok")
        # The image at the source is the one that is kept: nothing has to be fetched.
        outcome = self.job("Pull", self.source, target=GLib.Variant("s", IMAGE))
        self.assertEqual((outcome["digest"], outcome["layers-fetched"]), (self.digests["2"], 0))
        self.assertEqual(self.state(), ["2", "1"])

    def test_more_than_the_configuration_says_go(self):
        self.pulled("1")
        first = self.ostree("rev-parse", STORED).strip()
        self.pulled("2")
        dropped = self.pulled("3")["layers-dropped"]
        self.assertEqual(self.state(), ["3", "2"])
        self.assertEqual(len(dropped), 1)
        self.assertNotIn(first, self.commits().values())
        self.assertGreater(self.prune()["objects"], 0)
        self.assertNotEqual(subprocess.run(["ostree", f"--repo={self.repository}", "show", first], capture_output=True).returncode, 0)
        self.fsck()

    def test_the_same_version_is_kept_once(self):
        for version in ("1", "2", "1", "2", "1"):
            self.pulled(version)
            self.assertEqual(self.state()[0], version)
        self.assertEqual(self.state(), ["1", "2"])
        self.assertEqual(self.job("Pull", self.source, target=GLib.Variant("s", IMAGE))["changed"], False)
        self.assertEqual(self.state(), ["1", "2"])

    def test_a_check_after_it_finds_the_newer_version(self):
        self.pulled("1")
        self.pulled("2")
        self.job("Rollback", IMAGE)
        outcome = self.job("Check", self.source, target=GLib.Variant("s", IMAGE))
        self.assertEqual((outcome["update-available"], outcome["update-digest"]), (True, self.digests["2"]))
        # A newer one still: that is what a rollback goes on to know of.
        self.publish("3")
        self.job("Rollback", IMAGE)
        self.job("Check", self.source, target=GLib.Variant("s", IMAGE))
        self.assertEqual(self.listed()["update-digest"], self.digests["3"])
        self.job("Rollback", IMAGE)
        self.assertEqual((self.listed()["version"], self.listed()["update-digest"]), ("1", self.digests["3"]))

    def test_removing_an_image_removes_what_is_kept_of_it(self):
        self.pulled("1")
        self.pulled("2")
        outcome = self.run_job("Remove", "(asa{sv})", [IMAGE, IMAGE], {})
        self.assertEqual(([image["image"] for image in outcome["removed"]], outcome["missing"]), ([IMAGE], []))
        self.assertEqual(self.refs(), "")
        self.prune()
        self.assertEqual([name for _, _, files in os.walk(self.repository / "objects") for name in files], [])

    def test_an_image_that_another_program_removed(self):
        self.pulled("1")
        self.pulled("2")
        self.ostree("refs", "--delete", STORED)
        self.assertGreater(self.prune()["objects"], 0)
        self.assertEqual(self.refs(), "")

    def test_what_cannot_be_rolled_back(self):
        self.pulled("1")
        for message, image, options in (("is not in the repository", "oci:other:t", {}), ("no other version", IMAGE, {})):
            properties = self.ended("Rollback", image, **options)
            self.assertEqual(properties["ErrorName"], ERROR + "NotFound", properties)
            self.assertIn(message, properties["ErrorMessage"])
        self.pulled("2")
        text = self.imagectl("rollback", IMAGE, "--to", "sha256:" + "0" * 64, status=3)
        self.assertIn(f"those that are kept: {self.digests['1']}", text)
        self.assertIn(f"{self.digests['2']} is the current version of {IMAGE}", self.imagectl("rollback", IMAGE, "--to", self.digests["2"], status=3))
        for wrong in ("x", "sha256:", "sha512:0", "A", self.digests["1"] + "0"):
            self.assertIn("option \"digest\"", self.imagectl("rollback", IMAGE, "--to", wrong, status=2))
        self.assertEqual(self.state(), ["2", "1"])

    def test_a_version_that_is_not_whole_stays_where_it_is(self):
        self.pulled("1")
        content = self.ostree("ls", "-C", STORED, "/usr/version").split()[4]
        self.pulled("2")
        path = self.repository / "objects" / content[:2] / (content[2:] + ".file")
        kept = path.read_bytes()
        path.unlink()
        properties = self.ended("Rollback", IMAGE)
        self.assertEqual(properties["ErrorName"], ERROR + "RepositoryDamaged", properties)
        self.assertIn(self.digests["1"], properties["ErrorMessage"])
        self.assertEqual(self.state(), ["2", "1"])
        path.write_bytes(b"x" + kept[1:])
        text = self.imagectl("verify", status=1)
        self.assertIn(f"Damaged version of {IMAGE}, which is kept: {self.digests['1']}: ", text)
        outcome = self.run_job("Verify", "(asa{sv})", [], {})
        self.assertEqual([(entry["image"], entry["digest"]) for entry in outcome["damaged-kept"]], [(IMAGE, self.digests["1"])])
        self.assertEqual((outcome["sound"], outcome["damaged"]), (False, []))
        outcome = self.run_job("Verify", "(asa{sv})", [], {"repair": GLib.Variant("b", True)})
        self.assertEqual((outcome["sound"], len(outcome["damaged-kept"])), (True, 1))
        self.assertEqual(self.state(), ["2"])
        self.prune()
        self.fsck()

    def test_a_kept_version_that_is_gone_leaves_the_list(self):
        """It cannot be rolled back to: its commit or its tree was lost, or objects of an older backup were restored."""
        self.pulled("1")
        self.pulled("2")
        kept = next(commit for ref, commit in self.commits().items() if ref.startswith(KEPT))
        trees = self.ostree("ls", "-d", "-C", kept, "/").split()
        objects = [kept + ".commit", trees[4] + ".dirtree"]
        time.sleep(0.3)
        self.assertEqual(self.state(), ["2", "1"])
        for name in objects:
            with self.subTest(name=name.rpartition(".")[2]):
                path, aside = self.repository / "objects" / name[:2] / name[2:], self.repository / "aside"
                path.rename(aside)
                self.assertNotIn("kept", self.listed())
                aside.rename(path)
                self.assertEqual(self.state(), ["2", "1"])

    def test_a_ref_that_leads_nowhere_is_damage(self):
        self.pulled("1")
        self.pulled("2")
        ref, = (self.repository / "refs/heads" / KEPT).iterdir()
        ref.write_text("nonsense\n")
        self.assertIn(f"Damaged version of {IMAGE}, which is kept: {KEPT}/{ref.name}: the ref contains no checksum", self.imagectl("verify", status=1))
        self.imagectl("verify", "--repair")
        self.assertFalse(ref.exists())
        self.assertIn("No problems found", self.imagectl("verify"))

    def test_another_program_dropped_a_layer_of_it(self):
        """As ostree-ext does, which looks for users of a layer among images only."""
        self.pulled("1")
        before = set(self.refs().split())
        self.pulled("2")
        own, = {ref for ref in before if ref.startswith("ostree/container/blob/")} & {
            ref for ref in before if self.shared.digest.replace(":", "_3A_") not in ref}
        self.ostree("refs", "--delete", own)
        self.job("Rollback", IMAGE)
        self.assertIn(own, self.refs())
        self.assertTrue(self.run_job("Verify", "(asa{sv})", [], {})["sound"])

    def test_a_copy_takes_the_current_version_only(self):
        self.pulled("1")
        self.pulled("2")
        other = self.directory / "other"
        ostree_repository.init(other)
        self.run_job("Copy", "(ssa{sv})", IMAGE, str(other), {})
        self.assertNotIn("imaged/kept", subprocess.run(["ostree", f"--repo={other}", "refs"], capture_output=True, text=True).stdout)
        # The other way, what is replaced here is kept.
        self.run_job("Remove", "(asa{sv})", [IMAGE], {})
        self.pulled("3")
        self.run_job("Copy", "(ssa{sv})", IMAGE, str(other), {"from": GLib.Variant("b", True)})
        self.assertEqual(self.state(), ["2", "3"])
        # And no more than the configuration says, with what only they had.
        self.pulled("4")
        refs = set(self.refs().split())
        self.run_job("Copy", "(ssa{sv})", IMAGE, str(other), {"from": GLib.Variant("b", True)})
        self.assertEqual(self.state(), ["2", "4"])
        self.assertEqual({ref.split("/")[0] for ref in refs ^ set(self.refs().split())}, {"imaged"})
        self.assertEqual(len([ref for ref in self.refs().split() if ref.startswith(KEPT)]), 1)


class KeepTwo(OnTheBus):
    configuration = "[Repository]\nKeep=2\n"

    def test_any_of_them_becomes_current(self):
        for version in ("1", "2", "3", "4"):
            self.pulled(version)
        self.assertEqual(self.state(), ["4", "3", "2"])
        # As list shows it.
        self.imagectl("rollback", IMAGE, "--to", self.digests["2"].removeprefix("sha256:")[:12])
        self.assertEqual(self.state(), ["2", "4", "3"])
        self.imagectl("rollback", IMAGE, "--to", self.digests["4"][:20])
        self.imagectl("rollback", IMAGE, "--to", self.digests["2"])
        self.assertEqual(self.state(), ["2", "4", "3"])
        self.assertIn("several versions", self.imagectl("rollback", IMAGE, "--to", "sha256:" + os.path.commonprefix([self.digests[n][7:] for n in ("3", "4")]), status=2)
                      if self.digests["3"][7] == self.digests["4"][7] else "several versions")
        self.imagectl("rollback", IMAGE)
        self.assertEqual(self.state(), ["4", "2", "3"])
        self.pulled("5")
        self.assertEqual(self.state(), ["5", "4", "2"])
        self.fsck()


class KeepNone(OnTheBus):
    configuration = "[Repository]\nKeep=0\n"

    def test_nothing_is_kept(self):
        self.pulled("1")
        self.assertEqual(len(self.pulled("2")["layers-dropped"]), 1)
        self.assertEqual(self.state(), ["2"])
        self.assertNotIn("imaged/kept", self.refs())

    def test_what_was_kept_before_goes_with_a_prune(self):
        self.publish("1")
        worker.pull(self.source, self.repository, target=IMAGE, settings={"keep": 1})
        self.publish("2")
        worker.pull(self.source, self.repository, target=IMAGE, settings={"keep": 1})
        self.assertEqual(self.state(), ["2", "1"])
        promised = self.prune(dry_run=True)
        self.assertEqual(self.state(), ["2", "1"])
        done = self.prune()
        self.assertEqual((done["bytes"], done["layers-dropped"]), (promised["bytes"], promised["layers-dropped"]))
        self.assertEqual(len(done["layers-dropped"]), 1)
        self.assertEqual(self.state(), ["2"])


class Killed(Versions):
    """Before each change of a name in the repository."""
    settings = {"keep": 1}
    where = "/refs/heads"

    def run_killed(self, call, after, image="", **options):
        """Whether the process that changes the repository was killed before it had called CALL for the AFTERth time."""
        return killed.was_killed(call, after, self.where, image, self.repository, settings=self.settings, **options)

    def versions(self):
        """The current version, and all that have a ref of the image."""
        commits = self.commits()
        text = {commit: self.ostree("cat", commit, "/usr/version")[0] for ref, commit in commits.items() if ref == STORED or ref.startswith(KEPT)}
        return text[commits[STORED]], {text[commit] for ref, commit in commits.items() if commit in text}

    def start_over(self):
        for ref in self.refs().split():
            self.ostree("refs", "--delete", ref)
        self.publish("1")
        result = worker.pull(self.source, self.repository, target=IMAGE, settings=self.settings).result
        self.assertEqual(result["outcome"], "success", result)
        self.publish("2")

    def try_all(self, before, **job):
        """JOB, which moves the image from BEFORE to the other version, is killed at each place; then it is done."""
        killed = 0
        for call in ("renameat", "unlinkat"):
            for after in range(100):
                self.start_over()
                if before == "2":
                    worker.pull(self.source, self.repository, target=IMAGE, settings=self.settings)
                ended = not self.run_killed(call, after, **job)
                current, known = self.versions()
                self.assertEqual(known, {"1", "2"} if before == "2" else {"1", current}, (call, after))
                self.fsck()
                if ended:
                    break
                killed += 1
                if current == before:
                    self.assertFalse(self.run_killed(call, 1000, **job))
                self.assertEqual(self.versions(), ("1" if before == "2" else "2", {"1", "2"}), (call, after))
        self.assertGreater(killed, 2)

    def test_a_pull(self):
        self.publish("2")
        self.try_all("1", image=self.source, kind="pull", target=IMAGE)

    def test_a_rollback(self):
        self.try_all("2", image=IMAGE, kind="rollback")


class Unreadable(Versions):
    """What cannot be read for once, or at all, is not for that reason damaged: nobody takes it away, or what is in it."""

    def setUp(self):
        super().setUp()
        for version in ("1", "2"):
            self.publish(version)
            self.assertEqual(worker.pull(self.source, self.repository, target=IMAGE, settings={"keep": 1}).result["outcome"], "success")

    def run_job(self, kind, options=None, **fault):
        environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_PATH": "/repo", **{f"FAULT_{name.upper()}": str(value) for name, value in fault.items()}}
        arguments = {"repair": {"images": [], "repair": True}, "remove": {"images": [IMAGE]}}.get(kind, {})
        options = {"image": IMAGE if kind == "rollback" else "", "arguments": arguments, **(options or {})}
        return worker.Run(repository=self.repository, kind={"repair": "verify"}.get(kind, kind), settings={"keep": 1}, env=environment, **options).finish().result

    def versions(self):
        """The current one and those that are kept, each of which is whole."""
        self.fsck()
        commits = self.commits()
        return [self.ostree("cat", commits[ref], "/usr/version")[0] for ref in [STORED, *sorted(ref for ref in commits if ref.startswith(KEPT))]]

    def test_refs_and_commits_that_cannot_be_opened_once(self):
        whole, seen = self.directory / "whole", set()
        self.repository.rename(whole)
        for kind in ("prune", "repair", "rollback"):
            for name in ("refs/heads/ostree/container/image", "refs/heads/imaged", ".commit", ".dirtree"):
                for after in range(0, 16 if kind == "prune" else 8, SAMPLE if kind == "prune" else 2):
                    number = errno.EIO if kind == "prune" or after % 4 == 0 else errno.EMFILE
                    with self.subTest(kind=kind, name=name, after=after):
                        subprocess.run(["rm", "-rf", self.repository], check=True)
                        subprocess.run(["cp", "-a", whole, self.repository], check=True)
                        result = self.run_job(kind, call="openat", name=name, after=after, times=1, errno=number)
                        seen.add(result["outcome"])
                        moved = kind == "rollback" and result["outcome"] == "success"
                        found = self.versions()
                        self.assertEqual((found[0], set(found)), ("1" if moved else "2", {"1", "2"}), result)
                        if result["outcome"] == "failed":
                            self.assertEqual(result["error-name"], "Failed", result)
                            self.assertIn(os.strerror(number), result["message"])
        self.assertEqual(seen, {"success", "failed"})

    def test_one_ref_that_cannot_be_read(self):
        """A check reports it, and checks the others; nothing is taken away meanwhile."""
        other, deployed = "docker://registry.example/other:1", "ostree/0/1/0"
        self.assertEqual(worker.pull(self.source, self.repository, target=other).result["outcome"], "success")
        commits = self.commits()
        image_ref, = [ref for ref in commits if ref.startswith("ostree/container/image/") and ref != STORED]
        self.ostree("refs", f"--create={deployed}", image_ref)
        layer_ref = next(ref for ref in commits if ref.startswith("ostree/container/blob/"))
        kept_ref = next(ref for ref in commits if ref.startswith(KEPT))
        for number in (errno.EIO, errno.EACCES):
            for ref, named in ((image_ref, other), (layer_ref, layer_ref), (deployed, deployed), (kept_ref, IMAGE)):
                with self.subTest(ref, errno=os.strerror(number)):
                    fault = {"call": "openat", "name": "refs/heads/" + ref, "errno": number}
                    for kind in ("verify", "repair"):
                        result = self.run_job(kind, **fault)
                        self.assertEqual(result["outcome"], "success", result)
                        details = result["details"]
                        self.assertEqual((details["sound"], details["damaged"], details["images-checked"]), (False, [], 2))
                        found = {entry["image"]: entry["error"] for entry in details["damaged-kept" if ref == kept_ref else "unchecked"]}
                        self.assertIn(f"refs/heads/{ref}: {os.strerror(number)}", found[named])
                        if ref != layer_ref:
                            self.assertEqual(set(found), {named})
                    result = self.run_job("prune", **fault)
                    self.assertEqual((result["outcome"], result["error-name"]), ("failed", "Failed"), result)
                    self.assertIn(f"refs/heads/{ref}: {os.strerror(number)}", result["message"])
                    self.assertEqual(self.commits(), {**commits, deployed: commits[image_ref]})
        self.assertTrue(self.run_job("verify")["details"]["sound"])
        self.fsck()

    def test_a_repair_takes_nothing_away_that_it_cannot_read(self):
        details = self.run_job("repair", call="read", path=".file", errno=errno.EIO)["details"]
        self.assertFalse(details["sound"])
        self.assertIn("Input/output error", details["damaged-kept"][0]["error"])
        self.assertEqual(self.versions(), ["2", "1"])

    def test_what_has_no_place_to_work_in_is_unchecked(self):
        for call, number in (("mkdirat", errno.EROFS), ("mkdirat", errno.EACCES), ("flock", errno.EIO)):
            for kind in ("verify", "repair"):
                details = self.run_job(kind, call=call, path="/repo/tmp", errno=number)["details"]
                self.assertEqual((details["sound"], details["damaged"]), (False, []))
                self.assertIn(os.strerror(number), details["unchecked"][0]["error"])
        self.assertTrue(self.run_job("verify")["details"]["sound"])

    def test_a_copy_from_a_disk_that_fails(self):
        other = self.directory / "other"
        ostree_repository.init(other)
        for fault in ({"call": "read", "path": ".file"}, {"call": "openat", "name": "refs/heads/ostree/container/blob"}, {"call": "openat", "name": ".commit"}):
            environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_PATH": "/repo", "FAULT_ERRNO": str(errno.EIO), **{f"FAULT_{name.upper()}": value for name, value in fault.items()}}
            result = worker.Run(IMAGE, self.repository, kind="copy", arguments={"repository": str(other), "from": False}, env=environment).finish().result
            self.assertEqual((result["outcome"], result.get("error-name")), ("failed", "Failed"), result)
            self.assertIn("Input/output error", result["message"])

    def test_a_copy_whose_other_repository_fails_to_open(self):
        other = self.directory / "other"
        ostree_repository.init(other)
        for own, foreign in ((other, self.repository), (self.repository, other)):
            for number, name in {errno.EIO: "Failed", errno.EMFILE: "Failed", errno.EACCES: "Failed", errno.ENOSPC: "NoSpace", errno.EDQUOT: "NoSpace"}.items():
                for after in range(3):
                    environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "openat", "FAULT_PATH": f"/{foreign.name}", "FAULT_NAME": "config", "FAULT_AFTER": str(after),
                                   "FAULT_TIMES": "1", "FAULT_ERRNO": str(number)}
                    arguments = {"repository": str(foreign), "from": foreign == self.repository}
                    result = worker.Run(IMAGE, own, kind="copy", arguments=arguments, env=environment).finish().result
                    if result["outcome"] == "failed":
                        self.assertEqual(result["error-name"], name, result)
                        self.assertIn(os.strerror(number), result["message"])
                    else:
                        self.assertGreater(after, 1)

    def test_an_export_to_a_layout_that_cannot_be_listed(self):
        exported = self.directory / "exported"
        exported.mkdir()
        options = {"image": IMAGE, "arguments": {"destination": f"oci:{exported}:t"}}
        result = self.run_job("export", call="readdir", path="/exported", errno=errno.EIO, options=options)
        self.assertEqual((result["outcome"], result["error-name"]), ("failed", "Failed"), result)
        self.assertIn("Input/output error", result["message"])
        self.assertEqual(self.run_job("export", options=options)["outcome"], "success")

    def test_what_follows_a_rollback_does_not_make_it_fail(self):
        """What is left is listed once, and goes with the next prune."""
        result = self.run_job("rollback", call="unlinkat", path="/refs/heads", errno=errno.EIO)
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(set(self.versions()), {"1", "2"})
        self.assertEqual(self.run_job("prune")["outcome"], "success")
        self.assertEqual(self.versions(), ["1", "2"])

    def ref_files(self):
        """As commits(), of the image and the versions that are kept; without a process for each."""
        heads = self.repository / "refs/heads"
        paths = [path for path in (heads / STORED, *heads.glob(f"{KEPT}/*")) if path.exists()]
        return {str(path.relative_to(heads)): path.read_text().strip() for path in paths}

    def test_a_job_that_fails_has_changed_nothing(self):
        """And one that did what it was asked for succeeds, whatever becomes of what follows."""
        other = self.directory / "other"
        ostree_repository.init(other)
        self.publish("3")
        self.assertEqual(worker.pull(self.source, other, target=IMAGE).result["outcome"], "success")
        whole, before = self.directory / "whole", self.ref_files()
        self.repository.rename(whole)
        jobs = {"remove": {}, "rollback": {}, "pull": {"image": self.source, "target": IMAGE},
                "copy": {"image": IMAGE, "arguments": {"repository": str(other), "from": True}}}
        for kind, options in jobs.items():
            seen = set()
            for call, count, step, name in (("futimens", 7, 1, ""), ("syncfs", 6, 1, ""), ("mkdirat", 6, 1, ""), ("unlinkat", 6, 1, ""), ("renameat", 6, 1, ""),
                                            ("readdir", 24, 4, ""), ("openat", 56, 7, ""), ("openat", 24, 2, "refs/heads/ostree/container/blob")):
                for after in range(0, count, step * SAMPLE):
                    with self.subTest(kind, call=call, after=after, name=name):
                        subprocess.run(["rm", "-rf", self.repository], check=True)
                        subprocess.run(["cp", "-a", whole, self.repository], check=True)
                        result = self.run_job(kind, call=call, after=after, name=name, errno=errno.EIO, options=options)
                        now = self.ref_files()
                        changed = now.get(STORED) != before[STORED]
                        seen.add((result["outcome"], changed))
                        self.assertEqual(result["outcome"], "success" if changed else "failed", result)
                        if not changed:
                            self.assertIn("Input/output error", result["message"])
                            self.assertLessEqual(set(before.values()), set(now.values()), result)
                        if kind == "remove" and changed:
                            self.assertEqual(self.run_job("prune")["outcome"], "success")
                            self.assertEqual(self.ref_files(), {})
            self.assertEqual(seen, {("success", True), ("failed", False)}, kind)
            self.fsck()

    def records(self):
        top = self.repository / "extensions"
        return {str(path.relative_to(top)) for path in top.rglob("*")}

    def test_a_record_that_cannot_be_read_once(self):
        """Is not for that reason replaced, put aside or removed."""
        other = "docker://registry.example/other:1"
        self.assertEqual(worker.pull(self.source, self.repository, target=other).result["outcome"], "success")
        self.publish("3")
        for content in {self.ostree("ls", "-C", self.commits()[ref], "/usr/version").split()[4] for ref in self.refs().split() if ref.startswith("ostree/container/image/")}:
            path = self.repository / "objects" / content[:2] / (content[2:] + ".file")
            path.write_bytes(b"x" + path.read_bytes()[1:])
        verified = self.run_job("verify")["details"]
        self.assertTrue(verified["damaged"])
        whole, before = self.directory / "whole", self.records()
        top = self.repository / "extensions/imaged"
        rules, sources = ([path.relative_to(top) for path in top.glob(name)] for name in ("rules/*.json", "sources/*.json"))
        self.assertTrue(rules and sources)
        recorded = {path: json.loads((top / path).read_text()) for path in ("damaged.json", *sources, *rules)}
        self.assertTrue(all(recorded.values()))
        self.repository.rename(whole)
        one = {"arguments": {"images": [IMAGE]}}
        pull = {"image": self.source, "target": "oci:third:t"}
        for kind, options in (("pull", pull), ("verify", one), ("prune", {})):
            for fault in ({"call": "openat", "name": "imaged"}, {"call": "openat", "name": "layers"}, {"call": "openat", "name": ".json"}, {"call": "read"}):
                for after in range(0, 12, SAMPLE):
                    with self.subTest(kind, fault=fault, after=after):
                        subprocess.run(["rm", "-rf", self.repository], check=True)
                        subprocess.run(["cp", "-a", whole, self.repository], check=True)
                        result = self.run_job(kind, **fault, path="/repo/extensions", times=1, after=after, errno=errno.EIO, options=options)
                        self.assertLessEqual(before, self.records(), result)
                        for path, known in recorded.items():
                            now = json.loads((self.repository / "extensions/imaged" / path).read_text())
                            self.assertLessEqual(known.keys(), now.keys(), (path, result))

    def test_a_kept_ref_that_leads_to_nothing_is_damage(self):
        for text in ("a" * 64, "", "nonsense"):
            (self.repository / "refs/heads" / KEPT / "version.5").write_text(text)
            details = self.run_job("verify")["details"]
            self.assertEqual((details["sound"], [entry["image"] for entry in details["damaged-kept"]]), (False, [IMAGE]))
            self.assertTrue(self.run_job("repair")["details"]["sound"])
            self.assertEqual(self.versions(), ["2", "1"])


class Listed(OnTheBus):
    """Images whose refs and commits cannot be read."""

    def setUp(self):
        super().setUp()
        self.pulled("1")
        self.pulled("2")
        # A listing goes by times of directories, which must have settled.
        time.sleep(0.3)

    def restart(self, **fault):
        self.daemon.process.terminate()
        self.daemon.process.wait(20)
        self.daemon.environment = {**os.environ, "LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "openat", "FAULT_PATH": "/repo", "FAULT_ERRNO": str(errno.EIO),
                                   **{f"FAULT_{name.upper()}": value for name, value in fault.items()}}
        self.daemon.start()

    def test_a_ref_that_cannot_be_opened(self):
        """Its image is listed with the cause, and the others as they are."""
        self.job("Pull", self.source, target=GLib.Variant("s", "oci:other:t"))
        time.sleep(0.3)
        for times in ("1", "0"):
            self.restart(name="oci_3A_other_3A_t", times=times)
            self.assertEqual(self.listed()["state"], "ok")
            images = self.client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))[0]
            other = next(image for image in images if image["image"] == "oci:other:t")
            self.assertEqual(other["state"], "ok" if times == "1" else "damaged", other)
            self.assertIn("" if times == "1" else "oci_3A_other_3A_t: Input/output error", other.get("error", ""))

    def test_what_could_not_be_read_once_is_listed_next(self):
        kept = next(commit for ref, commit in self.commits().items() if ref.startswith(KEPT))
        self.restart(name=f"{kept[2:]}.commit", times="1")
        self.client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))
        self.assertEqual([version["digest"] for version in self.listed()["kept"]], [self.digests["1"]])


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class KilledConfined(Killed):
    """What confines the job changes the names for it."""
    settings = {"keep": 1, "confined": True}
    where = "/repo"
    test_a_rollback = None  # the same there


if __name__ == "__main__":
    unittest.main(verbosity=2)
