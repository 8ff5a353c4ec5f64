#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What another version of an image brings: packages as dpkg-query and rpm list them in both trees, kernels, files of /etc; and databases out of hostile images."""
import json
import os
import re
import subprocess
import unittest

import chunked_layer
import dpkg_tree
import encapsulation
import faulty_registry as faults
import oci_layout
import ostree_repository
import real_daemon
import registry
import rpm_tree
import skopeo_service
import system_bus
import worker
from bus_case import BusCase
from oci_layout import Entry, directory, opaque, whiteout
from repository_case import ScratchCase

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
IMAGE = "oci:stored:t"
STATUS = "var/lib/dpkg/status"
RPMDB = "usr/lib/sysimage/rpm/rpmdb.sqlite"
MODULES = "usr/lib/modules/"


def stanza(name, version, architecture="amd64", state="install ok installed"):
    return f"Package: {name}\nStatus: {state}\nArchitecture: {architecture}\nVersion: {version}\n\n"


def status(*stanzas):
    return Entry(STATUS, content="".join(stanzas).encode())


def chunked(entries, change=None):
    return chunked_layer.layer(entries, change, complete=True)


def differences(before, after):
    """Of two lists of (name, architecture, version) that have one version of each name and architecture: changed, added, removed."""
    before, after = ({entry[:2]: entry[2] for entry in side} for side in (before, after))
    changed = sorted((*key, before[key], after[key]) for key in before.keys() & after.keys() if before[key] != after[key])
    return (changed, sorted((*key, after[key]) for key in after.keys() - before.keys()), sorted((*key, before[key]) for key in before.keys() - after.keys()))


def packages(outcome):
    def told(key, *members):
        return sorted((entry["name"], entry.get("architecture", ""), *(entry[member] for member in members)) for entry in outcome[key])
    return (told("packages-changed", "from", "to"), told("packages-added", "to"), told("packages-removed", "from"))


class Packages(BusCase):
    configuration = "[Repository]\nKeep=2\n"

    def publish(self, *entries, **image):
        self.layout.withdraw("t")
        return self.layout.image("t", [oci_layout.layer([directory("usr"), *entries])], **image)

    def version(self, *entries, **image):
        """Makes an image of ENTRIES the current version; its digest."""
        digest = self.publish(*entries, **image)
        self.outcome = self.pulled(target=IMAGE)
        return digest

    def changes(self, image=IMAGE, **options):
        properties = self.job("Changes", image, **options)
        self.assertEqual((properties["Result"], properties["ErrorMessage"]), ("success", ""))
        return properties["Outcome"]

    def refused_changes(self, error, text, image=IMAGE, **options):
        properties = self.job("Changes", image, **options)
        self.assertEqual((properties["Result"], properties["ErrorName"].rpartition(".")[2]), ("failed", error), properties["ErrorMessage"])
        self.assertIn(text, properties["ErrorMessage"])

    def compared(self, before, after):
        """The changes between images of the entries BEFORE and AFTER."""
        self.version(*before)
        self.version(*after)
        return self.changes()

    def imagectl(self, *words, status=0):
        done = subprocess.run([IMAGECTL, "--address=" + self.daemon.address, *words], capture_output=True, text=True)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stdout if status == 0 else done.stderr

    # ---- what the package managers say

    def test_dpkg_says_the_same(self):
        work = self.directory / "dpkg"
        work.mkdir()

        def make(name, *rest, **more):
            return dpkg_tree.package(work, name, *rest, **more)
        root = work / "root"
        dpkg_tree.dpkg(root, "--add-architecture", "i386")
        dpkg_tree.dpkg(root, "--install", make("libc", "2.36-9", "amd64", multi_arch="same"), make("libc", "2.36-9", "i386", multi_arch="same"), make("bash", "1:5.2~rc1-2+b7"),
                       make("purged", "1"), make("removed", "2", conffile="removed.conf"), make("arch", "1", "amd64"))
        before = (root / STATUS).read_bytes(), dpkg_tree.installed(root / "var/lib/dpkg")
        dpkg_tree.dpkg(root, "--purge", "purged")
        dpkg_tree.dpkg(root, "--remove", "removed", "libc:i386")
        dpkg_tree.dpkg(root, "--install", make("libc", "2.36-10", "amd64", multi_arch="same"), make("bash", "1:5.2-1"), make("new", "0~1"))
        dpkg_tree.dpkg(root, "--unpack", make("unpacked", "3"))
        after = (root / STATUS).read_bytes(), dpkg_tree.installed(root / "var/lib/dpkg")
        self.assertIn(b"config-files", after[0])
        outcome = self.compared([Entry(STATUS, content=before[0])], [Entry(STATUS, content=after[0])])
        self.assertEqual(packages(outcome), differences(before[1], after[1]))
        self.assertEqual((outcome["packages-from"], outcome["packages-to"]), (len(before[1]), len(after[1])))
        self.assertEqual(([*map(len, packages(outcome))], outcome["packages-unread"]), ([2, 2, 3], []))
        self.assertEqual([outcome[key + "-total"] for key in ("changed", "added", "removed")], [2, 2, 3])
        self.assertEqual({entry["format"] for entry in outcome["packages-changed"]}, {"dpkg"})

    @unittest.skipUnless(rpm_tree.TOOLS, "needs rpm and rpmbuild")
    def test_rpm_says_the_same(self):
        work = self.directory / "rpm"

        def make(*words, **more):
            return rpm_tree.package(work, *words, **more)
        tool, other = make("tool", "1.2", "3", epoch=2), make("other", "1", noarch=False)
        first = rpm_tree.database(work / "first", tool, other, make("kernel", "5.1"), make("kernel", "5.2"))
        second = rpm_tree.database(work / "second", make("tool", "1.2", "4", epoch=2), make("new", "1~rc1^git", "0"), work / "kernel-5.2-1/RPMS/noarch/kernel-5.2-1.noarch.rpm",
                                   make("kernel", "5.10"))
        for place in (RPMDB, "var/lib/rpm/rpmdb.sqlite", "usr/share/rpm/rpmdb.sqlite"):
            with self.subTest(place):
                outcome = self.compared(*([Entry(place, content=(side / "rpmdb.sqlite").read_bytes())] for side in (first, second)))
                self.assertEqual(outcome["packages-unread"], [])
                listed = [rpm_tree.installed(side) for side in (first, second)]
                self.assertEqual((outcome["packages-from"], outcome["packages-to"]), tuple(map(len, listed)))
                # Both sides without what they share.
                shared = set(listed[0]) & set(listed[1])
                self.assertEqual(packages(outcome), differences(*([entry for entry in side if entry not in shared] for side in listed)))
                self.assertEqual([entry["to"] for entry in outcome["packages-changed"]], ["5.10-1", "2:1.2-4"])
                self.assertEqual(outcome["packages-changed"][1], {"name": "tool", "architecture": "noarch", "format": "rpm", "from": "2:1.2-3", "to": "2:1.2-4"})

    # ---- where databases are

    def test_a_database_is_found_where_links_lead(self):
        places = {
            "moved": ([directory("usr/lib/sysimage/dpkg")], "usr/lib/sysimage/dpkg/status"),
            "absolute": ([Entry("var/lib/dpkg", "symlink", target="/usr/lib/sysimage/state")], "usr/lib/sysimage/state/status"),
            "relative": ([Entry("var/lib/dpkg", "symlink", target="../../usr/share/state")], "usr/share/state/status"),
            "file": ([Entry(STATUS, "symlink", target="../other/status")], "var/lib/other/status")}
        for name, (entries, place) in places.items():
            with self.subTest(name):
                outcome = self.compared([*entries, Entry(place, content=stanza("a", "1").encode())], [*entries, Entry(place, content=stanza("a", "2").encode())])
                self.assertEqual(packages(outcome), ([("a", "amd64", "1", "2")], [], []))

    def test_small_images_have_a_file_for_each_package(self):
        def tree(**versions):
            return [Entry(f"var/lib/dpkg/status.d/{name}", content=f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n".encode()) for name, version in versions.items()]
        sums = Entry("var/lib/dpkg/status.d/base.md5sums", content=b"0123  usr/bin/x\n")
        outcome = self.compared([*tree(base="1", tzdata="2024a"), sums], [*tree(base="1", tzdata="2024b", netbase="6"), sums, status(stanza("apt", "3"))])
        self.assertEqual(packages(outcome), ([("tzdata", "amd64", "2024a", "2024b")], [("apt", "amd64", "3"), ("netbase", "amd64", "6")], []))

    def test_kernels_and_files_of_etc(self):
        outcome = self.compared([Entry(MODULES + "6.1.0-20/vmlinuz", content=b"k"), Entry(MODULES + "6.1.0-19/vmlinuz", content=b"k"), Entry("etc/motd", content=b"1"), Entry("etc/old/file", content=b"x")],
                                [Entry(MODULES + "6.1.0-20/vmlinuz", content=b"k"), Entry(MODULES + "6.1.0-21/vmlinuz", content=b"k"), Entry("etc/motd", content=b"2"), Entry("etc/new", content=b"x")])
        self.assertEqual((outcome["kernels-added"], outcome["kernels-removed"]), (["6.1.0-21"], ["6.1.0-19"]))
        self.assertEqual([outcome["etc-" + key] for key in ("changed", "added", "removed")], [["/etc/motd"], ["/etc/new"], ["/etc/old", "/etc/old/file"]])
        self.assertFalse(outcome["etc-truncated"])

    # ---- which versions

    def test_the_versions_that_can_be_compared(self):
        digests = [self.version(status(stanza("a", number))) for number in ("1", "2", "3")]
        commit = self.outcome["commit"]
        self.assertEqual(packages(self.changes())[0], [("a", "amd64", "2", "3")])
        for name in (digests[0], digests[0][7:19]):
            outcome = self.changes(digest=name)
            self.assertEqual((packages(outcome)[0], outcome["from-digest"], outcome["to-digest"]), ([("a", "amd64", "1", "3")], digests[0], digests[2]))
        outcome = self.changes(commit=commit)
        self.assertEqual((packages(outcome), outcome["from-digest"], outcome["to-commit"]), (([], [], []), digests[2], commit))
        self.publish(status(stanza("a", "9")))
        self.pulled(target="oci:stored:other")
        self.assertEqual(packages(self.changes(**{"from": "oci:stored:other"}))[0], [("a", "amd64", "9", "3")])
        self.refused_changes("NotFound", "no other version", "oci:stored:other")
        self.refused_changes("NotFound", "oci:stored:absent", "oci:stored:absent")
        self.refused_changes("NotFound", "no version of", digest="0" * 12)
        self.refused_changes("InvalidArgument", "no checksum", commit="main")
        self.refused_changes("InvalidArgument", "one version", commit=commit, digest=digests[0])
        self.refused_changes("NotFound", "no update", update=True)

    def test_a_commit_of_another_program_is_not_shown_unless_it_is_deployed(self):
        self.version(status(stanza("a", "1")))
        tree = self.directory / "foreign"
        (tree / "usr/lib/sysimage/dpkg").mkdir(parents=True)
        (tree / "usr/lib/sysimage/dpkg/status").write_text(stanza("secret", "1"))
        ostree = ["ostree", f"--repo={self.repository}"]
        commit = subprocess.run([*ostree, "commit", "--branch=foreign", f"--tree=dir={tree}"], check=True, capture_output=True, text=True).stdout.strip()
        # Another commit is deployed.
        subprocess.run([*ostree, "refs", "--create=ostree/1/1/0", self.outcome["commit"]], check=True)
        self.addCleanup(subprocess.run, [*ostree, "refs", "--delete", "ostree/1/1/0"], check=True)
        self.refused_changes("NotFound", "belongs to no image, kept version or deployment", commit=commit)
        subprocess.run([*ostree, "refs", "--create=ostree/0/1/0", commit], check=True)
        self.addCleanup(subprocess.run, [*ostree, "refs", "--delete", "ostree/0/1/0", "foreign"], check=True)
        outcome = self.changes(commit=commit)
        self.assertEqual((packages(outcome), outcome["from-commit"], "from-digest" in outcome), (([], [("a", "amd64", "1")], [("secret", "amd64", "1")]), commit, False))

    def test_an_update_is_known_where_its_tree_is_here(self):
        source = "ostree-unverified-image:" + self.layout.reference("t")
        self.version(status(stanza("a", "1")))

        def check():
            properties = self.job("Check", source, target=IMAGE)
            self.assertEqual(properties["Result"], "success", properties)
            self.assertTrue(properties["Outcome"]["update-available"])
        second = self.publish(status(stanza("a", "2")))
        check()
        outcome = self.changes(update=True)
        self.assertRegex(outcome["unknown"], r"^known after the pull: 1 of its 1 layers \(\d+ bytes\) are not in the repository$")
        self.assertEqual((packages(outcome), outcome["to-digest"], "to-commit" in outcome), (([], [], []), second, False))
        # After a rollback the update is a version that is kept.
        self.pulled(target=IMAGE)
        self.assertEqual(self.job("Rollback", IMAGE)["Result"], "success")
        outcome = self.changes(update=True)
        self.assertEqual((packages(outcome)[0], "unknown" in outcome), ([("a", "amd64", "1", "2")], False))
        # Another configuration over the same layers.
        self.publish(status(stanza("a", "1")), config={"config": {"Labels": {"org.opencontainers.image.version": "9"}}})
        check()
        outcome = self.changes(update=True)
        self.assertEqual((packages(outcome), "unknown" in outcome, outcome["to-version"]), (([], [], []), False, "9"))

    # ---- for people

    def test_imagectl_prints_a_short_text(self):
        labels = [{"config": {"Labels": {"org.opencontainers.image.version": version}}} for version in ("12.1", "12.2")]
        before = [stanza(f"p{number:02}", "1") for number in range(30)]
        digests = [self.version(status(*before, stanza("gone", "1", "all")), Entry(MODULES + "6.1/vmlinuz"), Entry("etc/motd", content=b"1"), config=labels[0]),
                   self.version(status(*(entry.replace("Version: 1", "Version: 2") for entry in before), stanza("less", "590-2")), Entry(MODULES + "6.2/vmlinuz"),
                                Entry("etc/motd", content=b"2"), config=labels[1])]
        text = self.imagectl("changes", IMAGE)
        self.assertEqual(text.splitlines(), [
            f"{IMAGE}: 12.1, {digests[0][7:19]} → 12.2, {digests[1][7:19]}", "Kernel: 6.1 → 6.2", "Changed, 30 packages:", *(f"  p{number:02} (amd64) 1 → 2" for number in range(20)),
            "  … and 10 more (--all)", "Added, 1 package:", "  less (amd64) 590-2", "Removed, 1 package:", "  gone (all) 1", "Files of /etc:", "  ~ /etc/motd"])
        whole = self.imagectl("changes", IMAGE, "--all")
        self.assertIn("  p29 (amd64) 1 → 2\nAdded", whole)
        self.assertNotIn("more", whole)
        document = json.loads(self.imagectl("--json", "changes", IMAGE, "--kept", digests[0][7:19]))
        self.assertEqual((document["kind"], document["changed-total"], document["packages-added"]), ("changes", 30, [{"name": "less", "architecture": "amd64", "format": "dpkg", "to": "590-2"}]))
        self.assertEqual((document["from-version"], document["to-version"], document["kernels-added"]), ("12.1", "12.2", ["6.2"]))
        self.assertIn("The same kernels, packages and files of /etc.", self.imagectl("changes", IMAGE, "--from", IMAGE))
        self.assertIn("exclude each other", self.imagectl("changes", IMAGE, "--from", IMAGE, "--kept", "00", status=2))

    def test_diff_and_check_have_the_packages_too(self):
        source = "ostree-unverified-image:" + self.layout.reference("t")
        stored = "docker://registry.example/p:t"
        for version in ("1", "2"):
            self.publish(status(stanza("a", version)))
            self.pulled(target=stored)
        self.publish(status(stanza("a", "1")))
        self.pulled(target="oci:stored:old")
        line = "  a (amd64) 1 → 2\n"
        self.assertNotIn(line, self.imagectl("diff", "oci:stored:old", stored))
        self.assertIn(line, self.imagectl("diff", "oci:stored:old", stored, "--packages"))
        document = json.loads(self.imagectl("--json", "diff", "oci:stored:old", stored, "--packages"))
        self.assertEqual((document["to"], document["changes"]["changed-total"], document["changes"]["packages-changed"][0]["to"]), (stored, 1, "2"))
        # The source has what is kept, then what is not here.
        check = ("check", "--target", stored, source)
        self.assertIn("  a (amd64) 2 → 1\n", self.imagectl(*check, "--packages"))
        self.assertIn("  a (amd64) 2 → 1\n", self.imagectl("diff", stored, "--packages"))
        self.publish(status(stanza("a", "3")))
        self.assertRegex(self.imagectl(*check, "--packages"), "(?m)^Packages: known after the pull: 1 of its 1 layers")
        document = json.loads(self.imagectl("--json", *check, "--packages"))
        self.assertEqual((document["kind"], document["update-available"]), ("check", True))
        self.assertIn("known after the pull", document["changes"]["unknown"])
        self.assertNotIn("changes", json.loads(self.imagectl("--json", *check)))
        self.assertIn("--packages and --detach exclude each other", self.imagectl(*check, "--packages", "--detach", status=2))
        # Of several images.
        self.imagectl("remove", stored)
        self.publish(status(stanza("a", "4")))
        reference = self.layout.reference("t")
        self.pulled()
        self.publish(status(stanza("a", "5")))
        document = json.loads(self.imagectl("--json", "check", reference, "oci:stored:old", "--packages"))
        update, = [entry for entry in document["updates"] if entry["image"] == reference]
        self.assertIn("known after the pull", update["changes"]["unknown"])

    def test_the_line_of_the_guide(self):
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/administration.md"), encoding="utf-8") as file:
            lines = re.search(r"## Changes between versions\n.*?\n\n((?:    [^\n]*\n)+)", file.read(), re.S).group(1)
        example = "docker://registry.example/host:stable"
        self.assertIn("changes " + example, lines)
        for version in ("1", "2"):
            self.version(status(stanza("a", version)))
        run = subprocess.run(["sh", "-ec", lines.replace(example, IMAGE)], check=True, capture_output=True, text=True, env={
            **os.environ, "PATH": os.path.dirname(IMAGECTL) + ":" + os.environ["PATH"], "IMAGED_BUS_ADDRESS": self.daemon.address})
        self.assertIn("  a (amd64) 1 → 2\n", run.stdout)

    def test_all_databases_of_a_tree_count(self):
        """Links may lead to one from several places; what is read twice changes nothing."""
        other = Entry("usr/lib/sysimage/dpkg/status", content=stanza("b", "1").encode())
        outcome = self.compared([status(stanza("a", "1")), other], [status(stanza("a", "2")), other, Entry("usr/lib/sysimage/rpm", "symlink", target="../../../var/lib/rpm")])
        self.assertEqual((packages(outcome), outcome["packages-from"], outcome["packages-unread"]), (([("a", "amd64", "1", "2")], [], []), 2, []))
        outcome = self.compared([status(stanza("a", "1"))], [status(stanza("a", "1")), other])
        self.assertEqual(packages(outcome), ([], [("b", "amd64", "1")], []))

    def test_no_database_is_not_the_same_packages(self):
        alpine = [[Entry("lib/apk/db/installed", content=b"P:musl\nV:%d\n\n" % number)] for number in (1, 2)]
        self.compared(*alpine)
        text = self.imagectl("changes", IMAGE)
        self.assertIn("Packages: none are listed, by a database of dpkg or rpm, in either version.\n", text)
        self.assertNotIn("same kernels, packages", text)

    # ---- hostile images

    def test_a_database_that_cannot_be_read_is_told(self):
        hostile = {
            "binary": os.urandom(100_000), "cut": stanza("a", "1").encode()[:-30], "no colon": b"Package a\n", "one line": b"x" * 10_000_000,
            "escape": stanza("a\x1b[2J", "1").encode(), "sqlite": b"SQLite format 3\0" + bytes(4096), "a package twice": (stanza("a", "1") + stanza("a", "2")).encode(),
            # dpkg takes a line of spaces for a part of the field before it, and then finds a field twice.
            "no end of a stanza": stanza("a", "1").encode()[:-1] + b" \n" + stanza("b", "1").encode(), "unknown state": stanza("a", "1", state="install ok weird").encode(),
            "stanzas": b"".join(b"Package: p%d\nStatus: a b installed\nVersion: 1\n\n" % number for number in range(300_000)),
            "large": b"Description: x\n" + b" x" * 40_000_000}
        for name, content in hostile.items():
            with self.subTest(name):
                outcome = self.compared([status(stanza("a", "1"))], [Entry(STATUS, content=content)])
                self.assertEqual(packages(outcome), ([], [], []))
                unread, = outcome["packages-unread"]
                self.assertEqual((unread["side"], unread["path"]), ("to", "/" + STATUS))
                self.assertNotIn("\x1b", unread["error"])
                self.assertIn(f"Not read (to): /{STATUS}: ", self.imagectl("changes", IMAGE))

    def test_a_path_that_leads_nowhere_or_in_circles(self):
        loop = [Entry("var/lib/dpkg", "symlink", target="dpkg"), Entry("usr/lib/modules", "symlink", target="modules"), Entry("usr/lib/sysimage/rpm", "symlink", target="../sysimage/rpm")]
        for name, entries in {"loop": loop, "nowhere": [Entry(STATUS, "symlink", target="/nowhere")], "directory": [directory(STATUS)], "fifo": [Entry(STATUS, "fifo")],
                              "above": [Entry(STATUS, "symlink", target="/../../../../../../etc/passwd")]}.items():
            with self.subTest(name):
                outcome = self.compared([status(stanza("a", "1"))], entries)
                told = [entry["error"] for entry in outcome["packages-unread"]]
                # A link that leads nowhere, and what is not kept, are no database.
                there = name in ("loop", "directory")
                self.assertEqual((bool(told), packages(outcome)), (there, ([], [], [] if there else [("a", "amd64", "1")])), told)

    def test_rpm_databases_that_cannot_be_read(self):
        place = "usr/lib/sysimage/rpm/"
        wal = [Entry(RPMDB, content=b"SQLite format 3\0" + bytes(4080)), Entry(RPMDB + "-wal", content=b"x")]
        for name, entries, text in (("wal", wal, "rpmdb.sqlite-wal"), ("bdb", [Entry(place + "Packages", content=b"x")], "not SQLite's"), ("ndb", [Entry(place + "Packages.db", content=b"x")], "not SQLite's"),
                                    ("random", [Entry(RPMDB, content=os.urandom(81920))], ""), ("empty", [Entry(RPMDB)], "")):
            with self.subTest(name):
                outcome = self.compared([status(stanza("a", "1"))], [status(stanza("a", "2")), *entries])
                # What the other database says is told.
                self.assertEqual(packages(outcome)[0], [("a", "amd64", "1", "2")])
                unread, = outcome["packages-unread"]
                self.assertIn(text, unread["error"])

    def test_more_than_fits_is_counted(self):
        outcome = self.compared([status(*(stanza(f"p{number}", "1" * 200) for number in range(5000)))], [status(*(stanza(f"p{number}", "2" * 200) for number in range(5000)))])
        self.assertEqual(outcome["changed-total"], 5000)
        self.assertLess(len(outcome["packages-changed"]), 5000)
        self.assertEqual(outcome["truncated"], ["packages-changed"])
        self.assertRegex(self.imagectl("changes", IMAGE, "--all"), r"\n  … and \d+ more\n")


@unittest.skipUnless(rpm_tree.TOOLS, "needs rpm and rpmbuild")
class Modes(ScratchCase):
    def test_compressed_and_unprivileged_repositories_say_the_same(self):
        layout = oci_layout.Layout(self.directory / "layout")
        for version in ("1", "2"):
            database = rpm_tree.database(self.directory / f"db-{version}", rpm_tree.package(self.directory / "rpm", "tool", version))
            layout.image(version, [oci_layout.layer([status(stanza("a", version)), Entry(RPMDB, content=(database / "rpmdb.sqlite").read_bytes())])])
        for mode in ("archive", "bare-user"):
            with self.subTest(mode):
                repository = ostree_repository.init(self.directory / mode, mode)
                for version in ("1", "2"):
                    pulled = worker.pull("ostree-unverified-image:" + layout.reference(version), repository)
                    self.assertEqual(pulled.result["outcome"], "success", pulled.result)
                run = worker.pull(layout.reference("2"), repository, kind="changes", arguments={"from": layout.reference("1")})
                self.assertEqual(run.result["outcome"], "success", run.result)
                self.assertEqual(packages(run.result["details"]), ([("a", "amd64", "1", "2"), ("tool", "noarch", "1-1", "2-1")], [], []))


class BeforeThePull(ScratchCase):
    """What a check says of an update whose layers are zstd:chunked is what is found after the pull."""
    settings = {}
    image = "docker://stored/image:t"

    def setUp(self):
        super().setUp()
        self.directory.chmod(0o755)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.registry = registry.Registry(self.directory / "registry")
        self.addCleanup(self.registry.stop)
        self.policy = self.directory / "policy.json"
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self.service = skopeo_service.as_unit(self)
        self.repository = ostree_repository.init(self.directory / "repo")
        self.base = oci_layout.layer([directory("usr"), Entry("usr/base", content=os.urandom(4000)), status(stanza("a", "1"), stanza("b", "1")), Entry(MODULES + "6.1/vmlinuz"),
                                      Entry("var/lib/dpkg/info/a.list", content=b"/.\n")])

    def push(self, layers, **image):
        self.layout.image("t", layers, **image)
        self.registry.push(self.layout.reference("t"), "test/image:t")

    def run_job(self, kind, address=None, **arguments):
        address = address or self.registry.address
        conf = self.directory / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        source = f"docker://{address}/test/image:t"
        result = worker.Run(self.image if kind == "changes" else source, self.repository, kind=kind, target="" if kind == "changes" else self.image, arguments=arguments,
                            settings={"skopeo-service": self.service.path, "stall-milliseconds": 5000, "keep": 1, **self.settings},
                            env={"CONTAINERS_REGISTRIES_CONF": str(conf), "CONTAINERS_POLICY": str(self.policy)}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def stored_files(self):
        return sorted(str(path) for path in self.repository.rglob("*") if path.suffix not in (".commitmeta", ".lock") and "tmp" not in path.parts)

    def brought(self, *layers, address=None, **image):
        """What a check says that an image of LAYERS brings. Nothing of it is stored."""
        self.push(layers, **image)
        before = self.stored_files()
        changes = self.run_job("check", address, packages=True)["changes"]
        self.assertEqual(self.stored_files(), before)
        return changes

    KEYS = ("kernels-added", "kernels-removed", "packages-from", "packages-to", "packages-changed", "packages-added", "packages-removed")

    def unread(self, changes):
        return [(entry["side"], entry["path"]) for entry in changes["packages-unread"]]

    def assert_told(self, *layers, **image):
        """The check knows what the pull brings."""
        told = self.brought(*layers, **image)
        self.assertNotIn("unknown", told)
        self.assertTrue(told["etc-unknown"])
        self.run_job("pull")
        found = self.run_job("changes")
        self.assertFalse(found["etc-unknown"])
        self.assertEqual({key: told[key] for key in self.KEYS}, {key: found[key] for key in self.KEYS})
        self.assertEqual(self.unread(told), self.unread(found))
        return told

    def restart(self, *layers):
        """An empty repository with an image of LAYERS."""
        if self.repository.exists():
            subprocess.run(["rm", "-rf", self.repository], check=True)
        ostree_repository.init(self.repository)
        self.push(layers or [self.base])
        self.run_job("pull")

    def test_only_the_table_and_the_database_are_fetched(self):
        self.restart()
        bulk = Entry("usr/bulk", content=os.urandom(3_000_000))
        layer = chunked([bulk, status(stanza("a", "2"), stanza("c", "1"), *(stanza(f"p{number}", "1") for number in range(1000))), Entry("etc/motd", content=b"1")])
        since = len(self.registry.answers())
        told = self.assert_told(self.base, layer)
        self.assertEqual((packages(told)[0], len(told["packages-added"]), packages(told)[2]), ([("a", "amd64", "1", "2")], 1001, [("b", "amd64", "1")]))
        # Before the whole of it: a table and a file.
        sizes = [size for path, _, size, agent in self.registry.answers()[since:] if path.endswith(layer.digest) and agent.startswith("imaged/")]
        database = next(row for row in layer.parts["table_entries"] if row["name"] == STATUS)
        print(f"    {sizes[:2]} of {len(layer.data)} bytes")
        self.assertEqual(sizes[1], database["endOffset"] - database["offset"])
        self.assertLess(sum(sizes[:2]), 20_000)

    @unittest.skipUnless(rpm_tree.TOOLS, "needs rpm and rpmbuild")
    def test_rpm_says_the_same_before_the_pull(self):
        """Its databases have runs of zeros, which have rows of their own in the table."""
        first, second = (rpm_tree.database(self.directory / f"db-{number}", *(rpm_tree.package(self.directory / "rpm", name, version)
                                                                              for name, version in versions.items())) for number, versions in ((1, {"tool": "1", "gone": "1"}), (2, {"tool": "1~rc2", "new": "2^git"})))

        def layer(database):
            return chunked([Entry("usr/bulk", content=os.urandom(1_500_000)), Entry(RPMDB, content=(database / "rpmdb.sqlite").read_bytes())])
        self.restart(self.base, layer(first))
        after = layer(second)
        self.assertGreater(sum(b'"chunkType": "zeros"' in row for row in after.parts["table"].split(b"}")), 10)
        since = len(self.registry.answers())
        told = self.assert_told(self.base, after)
        self.assertEqual(packages(told), differences(*map(rpm_tree.installed, (first, second))))
        sizes = [size for path, _, size, agent in self.registry.answers()[since:] if path.endswith(after.digest) and agent.startswith("imaged/")]
        print(f"    {sizes[:2]} of {len(after.data)} bytes")
        self.assertLess(sum(sizes[:2]), 0.1 * len(after.data))

    def test_imagectl_shows_it(self):
        self.restart()
        self.push([self.base, chunked([status(stanza("a", "2"), stanza("b", "1"))])])
        daemon = real_daemon.Daemon(self.directory, self.repository, environment={"CONTAINERS_REGISTRIES_CONF": str(self.registry.configuration)},
                                    options=["--proxy-socket", self.service.path, "--pass-environment", "CONTAINERS_REGISTRIES_CONF"])
        self.addCleanup(daemon.stop)

        def imagectl(*words):
            return subprocess.run([IMAGECTL, "--address=" + daemon.address, *words], check=True, capture_output=True, text=True).stdout
        for words in (["check", self.image], ["check"]):
            self.assertIn("Changed, 1 package:\n  a (amd64) 1 → 2\nFiles of /etc: known after the pull.\n", imagectl(*words, "--packages"))
            document = json.loads(imagectl(*words, "--packages", "--json"))
            changes = document.get("updates", [document])[0]["changes"]
            self.assertEqual((changes["packages-changed"], changes["etc-unknown"]), ([{"name": "a", "architecture": "amd64", "format": "dpkg", "from": "1", "to": "2"}], True))
            self.assertNotIn("Changed", imagectl(*words))
        # Nothing of it is kept: what asks no registry does not know it.
        self.assertIn("Packages: known after the pull", imagectl("changes", self.image, "--update"))

    def test_layers_over_each_other(self):
        new = status(stanza("a", "2"))
        moved = Entry("usr/lib/sysimage/dpkg/status", content=stanza("moved", "1").encode())
        database = None
        stacks = {
            "replaced": [[new]], "twice": [[new], [status(stanza("a", "3"))]], "removed": [[whiteout(STATUS)]], "removed directory": [[whiteout("var/lib")]],
            "removed and new": [[whiteout("var/lib"), new]], "opaque": [[directory("var/lib/dpkg"), opaque("var/lib/dpkg")]],
            "opaque with new": [[directory("var/lib"), opaque("var/lib"), moved]], "another place too": [[moved]], "a link to it": [[whiteout("var/lib/dpkg"), Entry("var/lib/dpkg", "symlink", target="/usr/lib/sysimage/dpkg"), moved]],
            "a link of the file": [[Entry("usr/s", content=stanza("a", "7").encode()), Entry(STATUS, "symlink", target="../../../usr/s")]],
            "a hard link": [[Entry("usr/s", content=stanza("a", "8").encode()), Entry(STATUS, "hardlink", target="usr/s")]],
            "a file in the way": [[whiteout("var/lib/dpkg"), Entry("var/lib/dpkg", content=b"x")]], "and a directory again": [[Entry("var/lib/dpkg", content=b"x")], [whiteout("var/lib/dpkg"), directory("var/lib/dpkg"), directory("var/lib/dpkg/info")]],
            "kernels": [[whiteout(MODULES + "6.1"), Entry(MODULES + "6.2/vmlinuz")]], "interrupted": [[Entry("var/lib/dpkg/updates/0001", content=b"x")]],
            "status.d": [[Entry("var/lib/dpkg/status.d/x", content=b"Package: x\nVersion: 1\n")]], "circles": [[Entry("usr/lib/sysimage/rpm", "symlink", target="rpm")]], "empty": [[Entry(STATUS)]]}
        if rpm_tree.TOOLS:
            database = rpm_tree.database(self.directory / "db", rpm_tree.package(self.directory / "rpm", "tool", "1", epoch=2))
            stacks["rpm"] = [[Entry("usr/share/rpm/rpmdb.sqlite", content=(database / "rpmdb.sqlite").read_bytes())]]
        for name, stack in stacks.items():
            with self.subTest(name):
                self.restart()
                self.assert_told(self.base, *(chunked([*layer, Entry("usr/pad", content=os.urandom(50))]) for layer in stack))
        with self.subTest("over a layer that is here and hides"):
            hides = oci_layout.layer([whiteout(STATUS), Entry("etc/x")])
            self.restart(self.base, hides)
            self.assert_told(self.base, hides, chunked([Entry("usr/x", content=b"1")]))

    def test_a_layer_that_cannot_be_looked_into_could_hide_it(self):
        self.restart()
        table, gzip = chunked([status(stanza("a", "2"))]), oci_layout.layer([Entry("usr/x", content=b"1")])
        for layers in ([self.base, table, gzip], [self.base, gzip, table]):
            changes = self.brought(*layers)
            self.assertRegex(changes["unknown"], rf"^known after the pull: 2 of its 3 layers .*layer {gzip.digest} is not here, and has no table of contents")
            self.assertEqual((packages(changes), changes["etc-unknown"]), (([], [], []), False))
        # Nor is a registry without ranges, and the check is a success all the same.
        front = faults.FaultyRegistry(self.registry.address)
        self.addCleanup(front.stop)
        front.fault = (table.digest, faults.status(416), None)
        self.assertIn("known after the pull", self.brought(self.base, table, address=front.address)["unknown"])

    @unittest.skipUnless(os.geteuid() == 0, "owners")
    def test_layers_of_a_commit(self):
        def tree(version, **files):
            return {"usr/lib/sysimage/dpkg/status": stanza("a", version).encode(), "usr/lib/modules/6." + version + "/vmlinuz": b"k", "usr/bulk": os.urandom(1_200_000), "usr/etc/motd": version.encode(),
                    "usr/lib/sysimage/dpkg/empty": b"", **{f"usr/many/{number}": str(number).encode() for number in range(300)}, **files}

        def layers(files, chunks=2, links=(), pack=chunked, change=None):
            """The commit layer and CHUNKS layers, in which the files are by the first digit of their names."""
            source = self.directory / "source"
            if not source.exists():
                ostree_repository.init(source, "bare")
            place = self.directory / "tree"
            subprocess.run(["rm", "-rf", place], check=True)
            for path, content in files.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(content)
            for path, target in links:
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).symlink_to(target)
            commit = encapsulation.ostree(source, "commit", "--branch=t", f"--tree=dir={place}", "--owner-uid=0", "--owner-gid=0", "--add-metadata-string=ostree.bootable=true")
            parts = [[] for _ in range(chunks + 1)]
            for entry in encapsulation.commit_entries(source, commit):
                parts[1 + int(entry.path.split("/")[4], 16) % chunks if chunks and ".file" in entry.path and "xattrs" not in entry.path else 0].append(entry)
            found = [chunked(parts[0], change), *map(pack, parts[1:])]
            return found, {"config": {"config": {"Labels": {"ostree.final-diffid": found[-1].diff_id, "ostree.commit": commit}}}}

        def start(files=None, derived=(), **how):
            base, image = layers(files or tree("1"), **how)
            subprocess.run(["rm", "-rf", self.repository], check=True)
            ostree_repository.init(self.repository)
            self.push([*base, *derived], **image)
            self.run_job("pull")
        links = [("usr/lib/sysimage/rpm", "../../share/rpm"), ("lib", "usr/lib"), ("var/lib/dpkg", "../../usr/lib/sysimage/dpkg")]
        rpm = {}
        if rpm_tree.TOOLS:
            databases = [rpm_tree.database(self.directory / f"db-{version}", rpm_tree.package(self.directory / "rpm", "tool", version, epoch=2)) for version in ("1", "2")]
            rpm = [{"usr/share/rpm/rpmdb.sqlite": (database / "rpmdb.sqlite").read_bytes()} for database in databases]
        top = chunked([Entry("usr/lib/sysimage/dpkg/status", content=stanza("top", "1").encode()), Entry("usr/x", content=b"x")])
        for name, first, second, derived in (
                ("two chunks", {}, {}, []), ("no chunks", {"chunks": 0}, {"chunks": 0}, []), ("links", {"links": links}, {"links": links}, []), ("below another layer", {}, {}, [top]),
                ("a whiteout over it", {}, {}, [chunked([whiteout("usr/lib/sysimage/dpkg"), Entry("usr/x", content=b"y")])])):
            with self.subTest(name):
                start(tree("1", **(rpm and rpm[0])), **first)
                after, image = layers(tree("2", **(rpm and rpm[1])), **second)
                if name == "two chunks":
                    since = len(self.registry.answers())
                    self.brought(*after, **image)
                    sizes = [size for _, _, size, agent in self.registry.answers()[since:] if agent.startswith("imaged/")]
                    print(f"    {sizes} of {sum(len(layer.data) for layer in after)} bytes")
                    self.assertLess(sum(sizes), 0.1 * sum(len(layer.data) for layer in after))
                told = self.assert_told(*after, *derived, **image)
                self.assertEqual(told["kernels-added"], ["6.2"])
                self.assertEqual([entry[0] for entry in packages(told)[0]], ["a", *(["tool"] if rpm else [])] if not derived else ["tool"] if rpm else [])
                if rpm:
                    self.assertEqual([(entry["from"], entry["to"]) for entry in told["packages-changed"] if entry["format"] == "rpm"], [("2:1-1", "2:2-1")])

        # What is not known.
        start()

        def unknown(text, **how):
            base, image = layers(tree("3"), **how)
            changes = self.brought(*base, **image)
            self.assertTrue("known after the pull" in changes.get("unknown", "") or self.unread(changes), changes)
            self.assertIn(text, changes.get("unknown", "") + str(changes["packages-unread"]))

        def rows(kind, function):
            def change(parts):
                for row in [row for row in parts["table"]["entries"] if row["name"].endswith("." + kind)]:
                    function(parts["table"]["entries"], row)
            return change
        other = "sysroot/ostree/repo/objects/ab/" + "c" * 62
        unknown("has no table of contents", pack=oci_layout.layer)
        unknown("in no table", change=rows("commit", lambda entries, row: entries.remove(row)))
        unknown("several commits", change=rows("commit", lambda entries, row: entries.insert(0, {"type": "reg", "name": other + ".commit"})))
        unknown("corrupt", change=rows("commit", lambda entries, row: row.update(name=other + ".commit")))
        unknown("in no layer", change=rows("dirtree", lambda entries, row: entries.remove(row)))
        unknown("not have the digest", change=rows("dirtree", lambda entries, row: row.update(digest="sha256:" + "0" * 64)))
        unknown("too large", change=rows("dirtree", lambda entries, row: row.update(size=1 << 40)))
        unknown("not named by a checksum", change=rows("dirtree", lambda entries, row: row.update(name=row["name"].replace("objects/", "objects/x"))))

    def test_what_an_image_says_of_its_kernel(self):
        self.restart()
        changes = self.brought(self.base, oci_layout.layer([Entry("usr/x", content=b"1")]), config={"config": {"Labels": {"ostree.linux": "6.9-evil\x1b[2J"}}})
        self.assertIn("unknown", changes)
        self.assertEqual((changes["kernels-added"], changes["kernels-removed"]), (["6.9-evil\x1b[2J"], ["6.1"]))

    def test_tables_that_lie(self):
        self.restart()
        prefix = chunked_layer.PREFIX

        def rows(function):
            def change(parts):
                for row in parts["table"]["entries"]:
                    if row["name"] == STATUS:
                        function(row)
            return change
        content = [Entry("usr/x", content=b"x" * 9000), status(stanza("a", "2"))]
        for name, change in {
                "another digest of the table": lambda parts: parts["annotations"].update({prefix + "manifest-checksum": "sha256:" + "0" * 64}),
                "another digest of the file": rows(lambda row: row.update(digest="sha256:" + "0" * 64)), "another size": rows(lambda row: row.update(size=7)),
                "a size beyond all limits": rows(lambda row: row.update(size=1 << 62)), "behind the table": rows(lambda row: row.update(endOffset=1 << 40)),
                "a path that climbs": rows(lambda row: row.update(name="../" + STATUS)), "no JSON": lambda parts: parts.update(table=b"nonsense"),
                "no version": lambda parts: parts["table"].update(version=9), "many": lambda parts: parts["table"]["entries"].extend({"type": "dir", "name": f"d{number}"} for number in range(300_000))}.items():
            with self.subTest(name):
                changes = self.brought(self.base, chunked(content, change))
                self.assertEqual(packages(changes), ([], [], []))
                self.assertTrue("known after the pull" in changes.get("unknown", "") or self.unread(changes) == [("to", "/" + STATUS)], changes)

    def test_long_names_take_no_memory(self):
        """A table of some kilobytes may unpack to hundreds of megabytes of names and targets."""
        self.restart()
        for kind in ("dir", "symlink", "hardlink"):
            with self.subTest(kind):
                rows = [{"type": kind, "name": f"{number}" + "x" * 400_000, "linkName": "y" * 400_000} for number in range(100)]
                changes = self.brought(self.base, chunked([status(stanza("a", "2"))], lambda parts: parts["table"]["entries"].extend(rows)))
                self.assertRegex(changes["unknown"], "the names of its files are too long")

    def test_tables_that_are_too_large_together(self):
        """Of all layers: none is fetched that is over the limit."""
        self.restart()

        def says(bytes_, unpacked):
            def change(parts):
                parts["annotations"][chunked_layer.PREFIX + "manifest-position"] = f"0:{bytes_}:{unpacked}:1"
            return change

        def entries(number):
            return [Entry(f"usr/{number}", content=os.urandom(9000)), status(stanza("a", str(number)))]
        # The first of each stack is as it says.
        large = chunked([Entry("usr/large", content=os.urandom(35_000_000))], says(33 * 1024 * 1024, 1000))
        for name, layers in {"unpacked": [chunked(entries(2)), chunked(entries(3), says(1000, 512 * 1024 * 1024))], "packed": [chunked(entries(2)), large]}.items():
            with self.subTest(name):
                since = len(self.registry.answers())
                changes = self.brought(self.base, *layers)
                self.assertRegex(changes["unknown"], "^known after the pull: 2 of its 3 layers .*its tables of contents are too large")
                asked = [path for path, _, _, agent in self.registry.answers()[since:] if agent.startswith("imaged/")]
                self.assertEqual(sorted({layer.digest for layer in layers if any(path.endswith(layer.digest) for path in asked)}), [layers[0].digest])


@unittest.skipUnless(os.geteuid() == 0, "only root's jobs are confined")
class BeforeThePullConfined(BeforeThePull):
    settings = {"confined": True}

    test_imagectl_shows_it = test_layers_over_each_other = test_tables_that_lie = test_long_names_take_no_memory = test_tables_that_are_too_large_together = test_a_layer_that_cannot_be_looked_into_could_hide_it = None


@unittest.skipUnless(os.geteuid() == 0, "only root's jobs are confined")
class Confined(BusCase):
    def test_a_confined_job_compares(self):
        for version in ("1", "2"):
            self.layout.image("t", [oci_layout.layer([directory("usr"), status(stanza("a", version))])])
            self.pulled(target="oci:stored:" + version)
        run = worker.pull("oci:stored:2", self.repository, kind="changes", arguments={"from": "oci:stored:1"}, settings={"confined": True})
        self.assertEqual(run.result["outcome"], "success", run.result)
        self.assertEqual(packages(run.result["details"])[0], [("a", "amd64", "1", "2")])


@unittest.skipUnless(os.geteuid() == 0, "needs root to become another user")
class Strangers(system_bus.SystemCase):
    def test_everybody_may_ask_and_the_answer_is_for_the_user_who_asked_and_root(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        for version in ("1", "2"):
            layout.image("t", [oci_layout.layer([directory("usr"), status(stanza("a", version))])])
            self.assertEqual(self.root.finished(self.root.start("Pull", "ostree-unverified-image:" + layout.reference("t"), {"target": IMAGE}))["Result"], "success")
        user, other = self.caller(system_bus.USERS[0]), self.caller(system_bus.USERS[1])
        job = user.start("Changes", IMAGE)
        self.assertEqual(user.finished(job)["Result"], "success")
        for caller in (user, self.root):
            self.assertEqual(packages(caller.outcome(job)[3])[0], [("a", "amd64", "1", "2")])
        self.assert_refused("NotAuthorized", other.outcome, job)
        self.assertEqual(self.questions(), [], "nobody is asked")


if __name__ == "__main__":
    unittest.main(verbosity=2)
