# SPDX-License-Identifier: Apache-2.0
"""What images, copies and other programs' commits claim: a layer serves another image only if imaged itself verified it."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from gi.repository import GLib

import encapsulation
import oci_layout
import tree
import worker
from oci_layout import Entry
from repository_case import STORED, RepositoryCase

LOGIN, EVIL = b"the victim's login\n" * 20, b"the attacker's login\n" * 20
RECORDS = "extensions/imaged/layers"


class Trust(RepositoryCase):
    """A victim's image of one layer, and an attacker who knows its diff-id."""

    def setUp(self):
        super().setUp()
        self.victim = oci_layout.layer([Entry("usr/bin/login", content=LOGIN, mode=0o755)])
        self.digest = self.layout.image("victim", [self.victim])

    def claims(self, **more):
        claims = {"ostree.importer.version": "'imaged 0.1'", "imaged.diff-id": f"'{self.victim.diff_id}'", "imaged.root-policy": "'everything'",
                  "imaged.whiteouts": "false", **more}
        return [f"--add-metadata={key}={value}" for key, value in claims.items()]

    def forge(self, repository, branch="forged", **more):
        """A commit of the attacker's tree that says to be the victim's layer."""
        root = self.directory / f"evil-{branch}"
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/login").write_bytes(EVIL)
        return encapsulation.ostree(repository, "commit", f"--branch={branch}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--timestamp=@0", "--no-bindings",
                                    *self.claims(**more), str(root))

    def forging_repository(self):
        path = self.directory / "forge"
        subprocess.run(["ostree", f"--repo={path}", "init", "--mode=bare"], check=True)
        return path

    def attack(self, **more):
        """Pulls the attacker's image, whose commit layer says to be the victim's."""
        forge = self.forging_repository()
        commit = self.forge(forge, **more)
        encapsulation.encapsulate(self.layout, "attacker", forge, commit)
        result = self.pull("ostree-unverified-image:" + self.layout.reference("attacker"), target="oci:stored:attacker")
        self.assertEqual(result["outcome"], "success", result)
        return commit

    def pull_victim(self, tag="victim"):
        return self.pulled("ostree-unverified-image:" + self.layout.reference(tag), digest=self.digest)

    def login(self, ref=STORED):
        return subprocess.run(["ostree", f"--repo={self.repository}", "cat", ref, "/usr/bin/login"], check=True, capture_output=True).stdout

    def assert_victim_is_itself(self, fetched=1):
        details = self.pull_victim()
        self.assertEqual(self.login(), LOGIN)
        self.assertEqual(details["layers-fetched"], fetched)
        self.ostree("fsck", "--quiet")
        return details

    def verify(self, repair=False):
        result = worker.Run("", self.repository, kind="verify", arguments={"repair": repair}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def layer_ref(self, blob):
        return "ostree/container/blob/sha256_3A_" + blob.digest.removeprefix("sha256:")

    def records(self):
        directory = self.repository / RECORDS
        return sorted(os.listdir(directory)) if directory.exists() else []

    def record_of(self, blob, kind="derived"):
        return self.repository / RECORDS / f"{blob.diff_id.removeprefix('sha256:')}.{kind}"


class Claims(Trust):
    def test_a_commit_layer_that_claims_another_layers_diff_id_does_not_serve_it(self):
        self.attack()
        self.assert_victim_is_itself()
        self.assertEqual(self.verify()["damaged"], [])

    def test_whatever_else_it_claims(self):
        self.attack(**{"imaged.root-policy": "'usr-etc-var'", "imaged.moved-var": "true", "imaged.implicit-directories": "['usr']"})
        self.assert_victim_is_itself()

    def test_garbage_in_claims_stops_nobody(self):
        self.attack(**{"imaged.diff-id": "'../../x'", "imaged.implicit-directories": "@as []", "imaged.hard-links": "[('a', 'b')]"})
        self.assert_victim_is_itself()

    def test_another_programs_commit_does_not_serve_it(self):
        self.forge(self.repository, "ostree/container/blob/sha256_3A_" + "a" * 64)
        self.forge(self.repository, "some/branch")
        self.assert_victim_is_itself()

    def test_nor_under_the_ref_of_the_blob_if_it_says_to_be_imageds(self):
        commit = self.forge(self.repository)
        self.ostree("refs", f"--create={self.layer_ref(self.victim)}", commit)
        self.assert_victim_is_itself()

    def test_what_another_program_imported_serves_its_own_blob(self):
        forge = self.forging_repository()
        root = self.directory / "root"
        (root / "usr/bin").mkdir(parents=True)
        base = encapsulation.ostree(forge, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", str(root))
        (root / "usr/bin/login").write_bytes(LOGIN)
        self.ostree("commit", f"--branch={self.layer_ref(self.victim)}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--no-bindings",
                    "--add-metadata-string=ostree.importer.version=0.15.3", root)
        self.digest = encapsulation.encapsulate(self.layout, "victim", forge, base, [self.victim])
        self.assert_victim_is_itself()  # the base is fetched
        self.assertEqual([(image["image"], image["layers"]) for image in self.verify()["unverified"]], [("oci:stored:t", [self.victim.digest])])

    def test_a_copy_of_a_hostile_repository_serves_nothing_else(self):
        forge = self.forging_repository()
        encapsulation.encapsulate(self.layout, "attacker", forge, self.forge(forge))
        hostile = self.directory / "hostile"
        subprocess.run(["ostree", f"--repo={hostile}", "init", "--mode=bare"], check=True)
        image = self.layout.reference("attacker")
        self.assertEqual(worker.pull("ostree-unverified-image:" + image, hostile).result["outcome"], "success")
        self.assertTrue((hostile / RECORDS).exists())
        result = worker.Run(image, hostile, kind="copy", arguments={"repository": str(self.repository)}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(self.records(), [])
        self.assert_victim_is_itself()

    def test_a_copy_does_not_replace_what_was_verified(self):
        self.pull_victim()
        hostile = self.directory / "hostile"
        subprocess.run(["ostree", f"--repo={hostile}", "init", "--mode=bare"], check=True)
        image = self.layout.reference("victim")
        self.assertEqual(worker.pull("ostree-unverified-image:" + image, hostile).result["outcome"], "success")
        evil = self.forge(hostile)
        subprocess.run(["ostree", f"--repo={hostile}", "refs", "--force", f"--create={self.layer_ref(self.victim)}", evil], check=True)
        result = worker.Run(image, hostile, kind="copy", arguments={"repository": str(self.repository)}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        self.assert_victim_is_itself(fetched=0)


class Records(Trust):
    def test_a_verified_layer_serves_another_blob(self):
        self.pull_victim()
        self.layout.image("zstd", [oci_layout.layer([Entry("usr/bin/login", content=LOGIN, mode=0o755)], "zstd")])
        result = self.pull("ostree-unverified-image:" + self.layout.reference("zstd"), target="oci:stored:zstd")
        self.assertEqual(result["details"]["layers-fetched"], 0, result)

    def test_a_record_that_is_lost_or_broken_costs_a_fetch(self):
        self.pull_victim()
        record = self.record_of(self.victim)
        text = record.read_bytes()
        for broken in (None, b"", b"\0" * len(text), text[:-10], text + text, text.replace(b"commit ", b"commit 0"), text * 1000):
            with self.subTest(broken and broken[:200]):
                record.unlink()
                if broken is not None:
                    record.write_bytes(broken)
                self.assert_victim_is_itself()
                self.assertEqual(record.read_bytes(), text)
        self.assert_victim_is_itself(fetched=0)

    def test_a_record_that_others_own_or_may_write_costs_a_fetch(self):
        self.pull_victim()
        record = self.record_of(self.victim)
        for spoil in (lambda: os.chown(record, 1000, 1000), lambda: os.chmod(record, 0o666), lambda: os.chmod(record, 0o664)):
            spoil()
            self.assert_victim_is_itself()
            self.assertEqual((record.stat().st_uid, record.stat().st_mode & 0o777), (0, 0o644))

    def test_a_record_that_is_no_file_stops_nobody_or_says_so(self):
        self.pull_victim()
        record = self.record_of(self.victim)
        kept = self.directory / "kept"
        record.rename(kept)
        record.symlink_to(kept)
        self.assert_victim_is_itself()
        record.unlink()
        os.mkfifo(record)
        self.assert_victim_is_itself()

    def test_the_record_of_another_layer_under_this_name_serves_nothing(self):
        evil = self.attack()
        self.pull_victim()
        record = self.record_of(self.victim)
        other = next(path for path in (self.repository / RECORDS).iterdir() if evil in path.read_text())
        record.unlink()
        shutil.copy(other, record)
        self.assert_victim_is_itself()
        record.write_text(record.read_text().replace(self.ostree("rev-parse", self.layer_ref(self.victim)).strip(), evil))
        self.assert_victim_is_itself()

    def test_prune_removes_the_records_of_what_is_gone(self):
        self.pull_victim()
        self.assertEqual(len(self.records()), 2)
        (self.repository / RECORDS / "garbage").write_text("x")
        for kind, arguments in (("remove", {"images": ["oci:stored:t"]}), ("prune", {})):
            result = worker.Run("", self.repository, kind=kind, arguments=arguments).finish().result
            self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(self.records(), [])


class Merges(Trust):
    def test_a_merge_that_another_program_claims_is_compared_with_its_layers(self):
        """The name was copied from a repository that has another tree for the same manifest. All layers are verified."""
        self.pull_victim()
        metadata = [f"--add-metadata-string={key}=" + self.ostree("show", f"--print-metadata-key={key}", STORED).strip().strip("'")
                    for key in ("ostree.manifest-digest", "ostree.manifest", "ostree.container.image-config")]
        evil = self.attack()
        self.ostree("commit", f"--branch={STORED}", "--no-bindings", "--parent=none", f"--tree=ref={evil}", "--add-metadata-string=ostree.importer.version=0.15.3",
                    *metadata)
        self.assertEqual(self.login(), EVIL)
        details = self.pull_victim()
        self.assertEqual((details["layers-fetched"], details["changed"], self.login()), (0, True, LOGIN))
        self.assertEqual(self.pull_victim()["changed"], False)


class Unverified(Trust):
    def drop_records(self):
        shutil.rmtree(self.repository / RECORDS)

    def test_verify_reports_and_a_repair_fetches_what_was_never_verified(self):
        self.layout.image("victim", [self.victim])
        self.pulled("ostree-unverified-image:" + self.layout.reference("victim"))
        commit = self.ostree("rev-parse", STORED)
        self.drop_records()
        found = self.verify()
        self.assertTrue(found["sound"])
        self.assertEqual([image["layers"] for image in found["unverified"]], [[self.victim.digest]])
        # It is stored under a name that leads nowhere.
        unreachable = self.verify(repair=True)
        self.assertTrue(unreachable["sound"])
        self.assertIn("stored", unreachable["unverified"][0]["error"])
        repaired = worker.Run("", self.repository, kind="verify", arguments={"repair": True, "source": self.layout.reference("victim")}).finish().result["details"]
        self.assertEqual(([image["layers-fetched"] for image in repaired["refetched"]], repaired["unverified"], repaired["repaired"]), ([1], [], []))
        self.assertEqual(self.verify()["unverified"], [])
        self.assertEqual(self.ostree("rev-parse", STORED), commit)

    def poison_victim(self):
        """What an older version left: the victim's image, made of the attacker's layer."""
        evil = self.attack()
        self.pull_victim()
        self.drop_records()
        self.ostree("refs", "--force", f"--create={self.layer_ref(self.victim)}", evil)
        metadata = [f"--add-metadata-string={key}=" + self.ostree("show", f"--print-metadata-key={key}", STORED).strip().strip("'")
                    for key in ("ostree.manifest-digest", "ostree.manifest", "ostree.container.image-config", "ostree.importer.version")]
        self.ostree("commit", f"--branch={STORED}", "--no-bindings", "--parent=none", f"--tree=ref={evil}", *metadata)
        self.assertEqual(self.login(), EVIL)

    def test_a_pull_replaces_an_image_that_was_made_of_a_forged_layer(self):
        self.poison_victim()
        self.assertTrue(self.assert_victim_is_itself()["changed"])
        self.assert_victim_is_itself(fetched=0)

    def test_also_after_its_layer_was_fetched_for_another_image(self):
        self.poison_victim()
        self.layout.image("other", [self.victim, oci_layout.layer([Entry("usr/x")])])
        self.assertEqual(self.pull("ostree-unverified-image:" + self.layout.reference("other"), target="oci:stored:other")["details"]["layers-fetched"], 2)
        self.assert_victim_is_itself(fetched=0)

    def test_a_repair_replaces_it_too(self):
        self.poison_victim()
        self.assertEqual(len(self.verify()["unverified"]), 2)
        repaired = worker.Run("", self.repository, kind="verify", arguments={"repair": True, "images": ["oci:stored:t"],
                                                                              "source": self.layout.reference("victim")}).finish().result["details"]
        self.assertEqual([image["layers-fetched"] for image in repaired["refetched"]], [1], repaired)
        self.assertEqual(self.login(), LOGIN)


class DetachedMetadata(Trust):
    KEY = "ostree.gpgsigs"

    def set_metadata(self, repository, commit, value):
        path = pathlib.Path(repository, "objects", commit[:2], commit[2:] + ".commitmeta")
        path.write_bytes(GLib.Variant("a{sv}", {self.KEY: GLib.Variant("s", value)}).get_data_as_bytes().get_data())

    def metadata(self, commit):
        path = self.repository / "objects" / commit[:2] / (commit[2:] + ".commitmeta")
        return path.read_bytes() if path.exists() else b""

    def base(self):
        forge = self.forging_repository()
        root = self.directory / "root"
        (root / "usr").mkdir(parents=True)
        commit = encapsulation.ostree(forge, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", str(root))
        return forge, commit

    def test_an_image_brings_it_for_a_new_commit_and_replaces_none(self):
        forge, commit = self.base()
        self.set_metadata(forge, commit, "the vendor's")
        encapsulation.encapsulate(self.layout, "vendor", forge, commit)
        self.set_metadata(forge, commit, "the attacker's")
        encapsulation.encapsulate(self.layout, "attacker", forge, commit)
        for tag in ("vendor", "attacker"):
            result = self.pull("ostree-unverified-image:" + self.layout.reference(tag), target="oci:stored:" + tag)
            self.assertEqual((result["outcome"], result["details"]["layers-fetched"]), ("success", 1), result)
            self.assertIn(b"the vendor's", self.metadata(commit))

    def test_a_copy_brings_it_for_a_new_commit_and_replaces_none(self):
        forge, commit = self.base()
        encapsulation.encapsulate(self.layout, "vendor", forge, commit)
        other = self.directory / "other"
        subprocess.run(["ostree", f"--repo={other}", "init", "--mode=bare"], check=True)
        image = self.layout.reference("vendor")
        self.assertEqual(worker.pull("ostree-unverified-image:" + image, other).result["outcome"], "success")
        for value in ("the vendor's", "the attacker's"):
            self.set_metadata(other, commit, value)
            result = worker.Run(image, other, kind="copy", arguments={"repository": str(self.repository)}).finish().result
            self.assertEqual(result["outcome"], "success", result)
            self.assertIn(b"the vendor's", self.metadata(commit))


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
