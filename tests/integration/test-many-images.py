#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is not looked at each time, since nothing seems to have changed or there is too much of it, is right all the same."""
import errno
import json
import os
import subprocess
import tempfile
import time
import unittest

from gi.repository import GLib

import oci_layout
import real_daemon
import worker
from bus_fixture import MANAGER
from oci_layout import Entry
from repository_case import RepositoryCase

IMAGES = "refs/heads/ostree/container/image"
BLOBS = "refs/heads/ostree/container/blob"
# Longer than a listing takes for "a moment ago".
A_WHILE = 0.3


class Case(RepositoryCase):
    def stored(self, tag, layers):
        """Pulls the image TAG of LAYERS, lists of entries, and returns its merge commit."""
        self.layout.image(tag, [oci_layout.layer(entries) for entries in layers])
        result = self.pull("ostree-unverified-image:" + self.layout.reference(tag), target=f"oci:stored:{tag}")
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]["merge-commit"]

    def work(self, kind, **arguments):
        result = worker.pull("", self.repository, kind=kind, arguments=arguments).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def set_ref(self, name, commit):
        """As every program writes a ref."""
        path = self.repository / IMAGES / f"oci_3A_stored_3A_{name}"
        path.with_name("tmp.ref").write_text(commit + "\n")
        path.with_name("tmp.ref").rename(path)
        return path

    def blob_ref(self, tag, layer):
        index = json.loads((self.directory / "layout/index.json").read_text())
        manifest = next(entry for entry in index["manifests"] if entry["annotations"]["org.opencontainers.image.ref.name"] == tag)
        read = lambda digest: json.loads((self.directory / "layout/blobs" / digest.replace(":", "/")).read_text())
        return self.repository / BLOBS / read(manifest["digest"])["layers"][layer]["digest"].replace(":", "_3A_")


def listed_anew(repository, environment=None):
    """What a new daemon lists."""
    with tempfile.TemporaryDirectory() as directory:
        daemon = real_daemon.Daemon(directory, repository, environment=environment)
        client = daemon.client()
        try:
            return json.loads(client.call(MANAGER, "DescribeImages", GLib.Variant("(a{sv})", ({},)))[0])["images"]
        finally:
            client.close()
            daemon.stop()


class Many(Case):
    def test_unused_layers_stay_until_the_next_prune_and_used_ones_longer(self):
        base = [Entry("usr/base", content=b"base")]
        commit = self.stored("0", [base, [Entry("usr/own", content=b"own")]])
        self.stored("gone", [base, [Entry("usr/gone", content=b"gone")]])
        for number in range(1, 501):
            self.set_ref(number, commit)
        gone, own, shared = self.blob_ref("gone", 1), self.blob_ref("0", 1), self.blob_ref("0", 0)
        self.assertEqual(self.work("remove", images=["oci:stored:gone"])["layers-dropped"], [])
        self.assertTrue(gone.exists())
        self.assertEqual(len(self.work("prune")["layers-dropped"]), 1)
        self.assertEqual([path.exists() for path in (gone, own, shared)], [False, True, True])
        # Few enough: all that nobody uses is dropped again.
        self.stored("gone", [base, [Entry("usr/gone", content=b"gone")]])
        self.work("remove", images=["oci:stored:1", "oci:stored:2"])
        self.assertEqual(len(self.work("remove", images=["oci:stored:gone"])["layers-dropped"]), 1)
        self.assertEqual([path.exists() for path in (gone, own, shared)], [False, True, True])


class Listed(Case):
    def setUp(self):
        super().setUp()
        base = [Entry("usr/base", content=b"base")]
        self.commits = [self.stored(str(number), [base, [Entry("usr/own", content=b"%d" % number)]]) for number in range(3)]
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        daemon = real_daemon.Daemon(directory.name, self.repository)
        self.addCleanup(daemon.stop)
        self.client = daemon.client()
        self.addCleanup(self.client.close)

    def listed(self):
        document = self.client.call(MANAGER, "DescribeImages", GLib.Variant("(a{sv})", ({},)))[0]
        images = {image["image"]: image for image in json.loads(document)["images"]}
        # Both ways of asking have the same of each.
        for image in self.client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))[0]:
            self.assertEqual(image["state"], images[image["image"]]["state"])
        return images

    def test_a_ref_that_another_program_replaces_is_seen_however_soon(self):
        for pause in (0, A_WHILE):
            for commit in self.commits * 2:
                self.set_ref("0", commit)
                time.sleep(pause)
                self.assertEqual(self.listed()["oci:stored:0"]["merge-commit"], commit)
        # Its file may get the inode back that it had.
        for commit in self.commits:
            self.set_ref("0", commit).unlink()
            self.assertNotIn("oci:stored:0", self.listed())
            self.set_ref("0", commit)
            self.assertEqual(self.listed()["oci:stored:0"]["merge-commit"], commit)

    def test_a_layer_that_is_gone_is_told_of_until_it_is_back(self):
        states = lambda: [image["state"] for _, image in sorted(self.listed().items())]
        self.assertEqual(states(), ["ok"] * 3)
        own, base = self.blob_ref("1", 1), self.blob_ref("1", 0)
        for ref, expected in ((own, ["ok", "damaged", "ok"]), (base, ["damaged"] * 3)):
            for pause in (0, A_WHILE):
                away = ref.rename(self.directory / "away")
                time.sleep(pause)
                self.assertEqual(states(), expected)
                away.rename(ref)
                time.sleep(pause)
                self.assertEqual(states(), ["ok"] * 3)

    def test_an_update_that_another_program_notes_is_seen(self):
        commit, digest = self.commits[1], "sha256:" + "1" * 64
        for pause in (0, A_WHILE):
            self.write_metadata(commit, {"imaged.updates": GLib.Variant("a{ss}", {"oci:stored:1": digest})})
            time.sleep(pause)
            self.assertEqual([image.get("update-digest") for _, image in sorted(self.listed().items())], [None, digest, None])
            self.write_metadata(commit, {})
            time.sleep(pause)
            self.assertEqual([image.get("update-digest") for _, image in sorted(self.listed().items())], [None] * 3)

    def test_after_each_change_the_list_is_that_of_a_new_daemon(self):
        refs, kept = self.repository / IMAGES, self.repository / "refs/heads/imaged/kept/oci_3A_stored_3A_1"
        records = self.repository / "extensions/imaged"
        first, second, third = self.commits

        def keep(number, commit):
            kept.mkdir(parents=True, exist_ok=True)
            (kept / f"version.{number}").write_text(commit + "\n")

        def note(record, value):
            path = records / record
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name("new")
            new.write_text(json.dumps(value))
            new.chmod(0o600)
            new.rename(path)

        def source_of(image):
            """The record with the source of IMAGE."""
            number = 2166136261
            for byte in image.encode():
                number = (number ^ byte) * 16777619 % 2**32
            return f"sources/{number >> 24:02x}.json"

        def nest():
            (refs / "deep/er").mkdir(parents=True)
            (refs / "deep/er/image").write_text(first + "\n")

        def unnest():
            (refs / "deep/er/image").unlink()
            (refs / "deep/er").rmdir()

        def pull():
            self.stored("new", [[Entry("usr/new", content=b"new")]])

        def move(path):
            aside = self.directory / path.name
            source, target = (path, aside) if path.exists() else (aside, path)
            source.rename(target)

        def set_with_times(name, commit):
            """As programs do that restore files with their times."""
            before = refs.stat()
            self.set_ref(name, commit)
            os.utime(refs, ns=(before.st_atime_ns, before.st_mtime_ns))

        commit_object = self.object(first, "commit")
        root = self.object(bytes(GLib.Variant.new_from_bytes(GLib.VariantType("(a{sv}aya(say)sstayay)"), GLib.Bytes(commit_object.read_bytes()), False)[6]).hex(), "dirtree")
        rules = sorted((records / "rules").glob("*.json"))
        changes = {
            "another commit": lambda: self.set_ref("0", second), "and back": lambda: self.set_ref("0", first), "a new name": lambda: self.set_ref("a", first),
            "nonsense": lambda: self.set_ref("b", "nonsense"), "that is none any more": lambda: self.set_ref("b", third), "a directory": nest,
            "a kept version": lambda: keep(1, first), "another one": lambda: keep(2, third), "the same as another name's": lambda: self.set_ref("1", third),
            "no kept version": lambda: (kept / "version.1").unlink(), "an update": lambda: self.write_metadata(first, {"imaged.updates": GLib.Variant("a{ss}", {"oci:stored:0": "sha256:" + "2" * 64})}),
            "sources in one file": lambda: note("sources.json", {"oci:stored:2": "archive"}), "none in it": lambda: note("sources.json", {}), "no such file": (records / "sources.json").unlink,
            "a source": lambda: note(source_of("oci:stored:2"), {"oci:stored:2": "archive"}), "no source": lambda: note(source_of("oci:stored:2"), {}),
            "damage": lambda: note("damaged.json", {"oci:stored:2": {"commit": third, "error": "damaged"}}), "no damage": lambda: note("damaged.json", {}),
            "rules": lambda: [path.unlink() for path in rules], "a pull": pull, "none of the names": lambda: self.set_ref("a", first).unlink(), "nor of the directories": unnest,
            "a commit is gone": lambda: move(commit_object), "and is back again": lambda: move(commit_object), "the root of a tree is gone": lambda: move(root), "and it is back": lambda: move(root),
            "another commit with the times of before": lambda: set_with_times("0", third), "and so it is back": lambda: set_with_times("0", first),
        }
        self.assertTrue(rules)
        self.listed()
        for pause in (0, A_WHILE):
            for what, change in changes.items():
                if pause and what in ("rules", "a pull"):
                    continue
                with self.subTest(what, pause=pause):
                    change()
                    time.sleep(pause)
                    expected = listed_anew(self.repository)
                    self.assertEqual(sorted(self.listed().values(), key=lambda image: image["image"]), sorted(expected, key=lambda image: image["image"]))
            self.write_metadata(first, {})
            (kept / "version.2").unlink()
            self.set_ref("1", second)
            self.set_ref("b", first).unlink()

    def object(self, checksum, kind):
        return self.repository / "objects" / checksum[:2] / f"{checksum[2:]}.{kind}"

    def write_metadata(self, commit, values):
        path = self.object(commit, "commitmeta")
        new = path.with_name("new")
        new.write_bytes(GLib.Variant("a{sv}", values).get_data_as_bytes().get_data())
        new.rename(path)


class ListedAgain(Case):
    IMAGES = 70

    def listed(self, environment=None):
        return listed_anew(self.repository, environment)

    def test_the_next_daemon_reads_no_commit_again_but_those_that_are_other_files(self):
        base = [Entry("usr/base", content=b"base")]
        for number in range(self.IMAGES):
            self.stored(str(number), [base, [Entry("usr/own", content=b"%d" % number)]])
        hint = self.repository / "extensions/imaged/listing"
        hint.unlink(missing_ok=True)
        first = self.listed()
        self.assertEqual({image["state"] for image in first}, {"ok"})
        commits_fail = {"LD_PRELOAD": os.environ["FAULT_LAYER"], "FAULT_PATH": "/repo", "FAULT_CALL": "openat", "FAULT_NAME": ".commit", "FAULT_ERRNO": str(errno.EIO)}
        self.assertEqual(self.listed(commits_fail), first)
        # One that was written again, whoever did it and however alike, is read.
        written = self.repository / "objects" / first[0]["merge-commit"][:2] / (first[0]["merge-commit"][2:] + ".commit")
        content = written.read_bytes()
        written.unlink()
        written.write_bytes(content)
        found = self.listed(commits_fail)
        self.assertEqual([image["state"] for image in found], ["damaged"] + ["ok"] * (self.IMAGES - 1))
        self.assertEqual(self.listed(), first)
        # And without the hint, or with a damaged one, all of them are.
        saved = hint.read_bytes()
        for wrong in (None, saved[:-1], saved[:100] + bytes([saved[100] ^ 1]) + saved[101:]):
            hint.unlink(missing_ok=True)
            if wrong is not None:
                hint.write_bytes(wrong)
            self.assertEqual({image["state"] for image in self.listed(commits_fail)}, {"damaged"})
        self.assertEqual(self.listed(), first)


class Verified(Case):
    def test_damage_is_found_in_an_image_of_few_files_and_of_many(self):
        for count in (20, 17_000):
            with self.subTest(count=count):
                tag = f"files-{count}"
                self.stored(tag, [[Entry(f"usr/{tag}/{number}", content=b"%d of %d" % (number, count)) for number in range(count)]])
                verify = lambda: self.work("verify", images=[f"oci:stored:{tag}"])
                self.assertTrue(verify()["sound"])
                listing = self.ostree("ls", "-C", f"ostree/container/image/oci_3A_stored_3A_{tag}", f"/usr/{tag}").splitlines()[1:]
                flipped, missing = (line.split()[4] for line in (listing[3], listing[-3]))
                place = lambda object: self.repository / "objects" / object[:2] / f"{object[2:]}.file"
                before = place(flipped).read_bytes()
                place(flipped).write_bytes(b"X" + before[1:])
                away = place(missing).rename(self.directory / "away")
                report = verify()
                self.assertFalse(report["sound"])
                self.assertEqual({problem.get("object") for problem in report["damaged"][0]["problems"]}, {flipped + ".file", missing + ".file"})
                place(flipped).write_bytes(before)
                os.utime(place(flipped), (0, 0))
                away.rename(place(missing))
                self.assertTrue(verify()["sound"])


class Copied(Case):
    def test_what_the_destination_has_lost_is_brought_again(self):
        commit = self.stored("t", [[Entry(f"usr/{number}", content=b"%d" % number) for number in range(20)]])
        other = self.directory / "other"
        copy = lambda: self.work("copy", image="oci:stored:t", repository=str(other))["changed"]
        subprocess.run(["ostree", "init", "--mode=bare", f"--repo={other}"], check=True, capture_output=True)
        self.assertTrue(copy())
        time.sleep(2.5)  # until what is found complete is remembered
        self.assertEqual([copy(), copy()], [False, False])
        for pattern in ("*/*.file", "*/*.dirtree", f"*/{commit[2:]}.commit"):
            for pause in (0, 2.5):
                lost = next((other / "objects").glob(pattern))
                lost.unlink()
                time.sleep(pause)
                self.assertTrue(copy())
                self.assertTrue(lost.exists())
        for record in (other / "extensions/imaged").glob("*"):
            if record.is_file():
                record.write_text("nonsense")
        self.assertFalse(copy())


if __name__ == "__main__":
    unittest.main(verbosity=2)
