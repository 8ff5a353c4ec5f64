# SPDX-License-Identifier: Apache-2.0
"""What images, copies and other programs' commits claim: a layer serves another image only if imaged itself verified it."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

from gi.repository import GLib

import encapsulation
import golden
import oci_layout
import ostree_repository
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
        ostree_repository.init(path)
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

    def test_a_ref_that_names_another_commit_than_was_verified_serves_nothing(self):
        """As a job can leave it that a hostile manifest took over: it announces the victim's blob with a content of its own."""
        for over_a_base in (False, True):
            with self.subTest(over_a_base=over_a_base):
                forge, root = self.directory / f"forge-{over_a_base}", self.directory / f"root-{over_a_base}"
                if over_a_base:
                    ostree_repository.init(forge)
                    (root / "usr/bin").mkdir(parents=True)
                    base = encapsulation.ostree(forge, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--timestamp=@0", str(root))
                    self.digest = encapsulation.encapsulate(self.layout, "victim", forge, base, [self.victim])
                self.pull_victim()
                evil = self.directory / f"evil-{over_a_base}"
                (evil / "usr/bin").mkdir(parents=True)
                (evil / "usr/bin/login").write_bytes(EVIL)
                self.ostree("commit", f"--branch={self.layer_ref(self.victim)}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--no-bindings",
                            "--add-metadata-string=ostree.importer.version=0.15.3", evil)
                result = self.pull("ostree-unverified-image:" + self.layout.reference("victim"), digest=self.digest, target="oci:stored:other")
                self.assertEqual(result["outcome"], "success", result)
                self.assertEqual(self.login("ostree/container/image/oci_3A_stored_3A_other"), LOGIN)

    def move_ref(self):
        """What a job that a hostile manifest took over left with an older version: the victim's blob, recorded with a made-up content, and its ref."""
        self.pull_victim()
        evil = self.directory / "evil"
        (evil / "usr/bin").mkdir(parents=True)
        (evil / "usr/bin/login").write_bytes(EVIL)
        commit = self.ostree("commit", f"--branch={self.layer_ref(self.victim)}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", "--no-bindings", evil).strip()
        record = self.record_of(self.victim)
        fields = dict(line.split(" ", 1) for line in record.read_text().splitlines()[1:-1])
        fields.update(digest="5a" * 32, commit=commit)
        text = record.read_text().splitlines()[0] + "\n" + "".join(f"{key} {value}\n" for key, value in fields.items())
        (record.parent / ("5a" * 32 + record.suffix)).write_text(text + f"sum {hashlib.sha256(text.encode()).hexdigest()}\n")

    def confined_pull(self):
        return worker.Run("ostree-unverified-image:" + self.layout.reference("victim"), self.repository, digest=self.digest, target="oci:stored:other",
                          settings={"confined": True}).finish().result

    def test_a_repair_undoes_a_ref_that_was_moved_to_another_content(self):
        self.move_ref()
        result = self.confined_pull()
        self.assertEqual((result["outcome"], result.get("error-name")), ("failed", "RepositoryDamaged"), result)
        self.assertIn("verify --repair", result["message"])
        self.assertEqual([image["image"] for image in self.verify()["damaged"]], ["oci:stored:t"])
        self.verify(repair=True)
        details = self.verify()
        self.assertEqual((details["damaged"], details["unverified"]), ([], []))
        self.assertEqual(self.login(self.layer_ref(self.victim)), LOGIN)
        self.assertEqual(self.confined_pull()["outcome"], "success")
        self.assertEqual(self.login(), LOGIN)
        self.ostree("fsck", "--quiet")

    def test_a_copy_of_a_hostile_repository_serves_nothing_else(self):
        forge = self.forging_repository()
        encapsulation.encapsulate(self.layout, "attacker", forge, self.forge(forge))
        hostile = self.directory / "hostile"
        ostree_repository.init(hostile)
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
        ostree_repository.init(hostile)
        image = self.layout.reference("victim")
        self.assertEqual(worker.pull("ostree-unverified-image:" + image, hostile).result["outcome"], "success")
        evil = self.forge(hostile)
        subprocess.run(["ostree", f"--repo={hostile}", "refs", "--force", f"--create={self.layer_ref(self.victim)}", evil], check=True)
        result = worker.Run(image, hostile, kind="copy", arguments={"repository": str(self.repository)}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        self.assert_victim_is_itself(fetched=0)


class Copies(Trust):
    """The victim's image is a base and a derived layer; a hostile repository has others under the same names."""

    def setUp(self):
        super().setUp()
        self.forge = self.forging_repository()
        root = self.directory / "root"
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/login").write_bytes(LOGIN)
        self.base = self.commit(self.forge, "base", root)
        self.digest = encapsulation.encapsulate(self.layout, "victim", self.forge, self.base, [oci_layout.layer([Entry("usr/x")])])
        self.image = "ostree-unverified-image:" + self.layout.reference("victim")
        self.hostile = self.directory / "hostile"
        ostree_repository.init(self.hostile)
        (root / "usr/bin/login").write_bytes(EVIL)
        self.evil = {"base": self.commit(self.hostile, "evil", root),
                     "derived": self.commit(self.hostile, "evil-derived", root, "--timestamp=@0", "--no-bindings", "--add-metadata-string=ostree.importer.version=0.15.3")}

    def commit(self, repository, branch, root, *options):
        return encapsulation.ostree(repository, "commit", f"--branch={branch}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", *options, str(root))

    def blob_refs(self, repository):
        found = {ref: commit for ref, commit in golden.refs(repository).items() if ref.startswith(golden.BLOB)}
        derived = {ref for ref, commit in found.items()
                   if subprocess.run(["ostree", f"--repo={repository}", "show", "--print-metadata-key=ostree.importer.version", commit], capture_output=True).returncode == 0}
        return {"derived" if ref in derived else "base": ref for ref in found}, found

    def poison(self):
        """What ostree-ext would have written: no key of imaged."""
        self.assertEqual(worker.pull(self.image, self.hostile, target="oci:stored:t").result["outcome"], "success")
        refs, _ = self.blob_refs(self.hostile)
        metadata = [f"--add-metadata-string={key}=" + encapsulation.ostree(self.hostile, "show", f"--print-metadata-key={key}", STORED).strip("'")
                    for key in ("ostree.manifest-digest", "ostree.manifest", "ostree.container.image-config")]
        for kind, ref in refs.items():
            encapsulation.ostree(self.hostile, "refs", "--force", f"--create={ref}", self.evil[kind])
        encapsulation.ostree(self.hostile, "commit", f"--branch={STORED}", "--no-bindings", "--parent=none", f"--tree=ref={self.evil['base']}",
                             "--add-metadata-string=ostree.importer.version=0.15.3", *metadata)
        shutil.rmtree(self.hostile / RECORDS)

    def copy(self):
        result = worker.Run("oci:stored:t", self.hostile, kind="copy", arguments={"repository": str(self.repository)}).finish().result
        self.assertEqual(result["outcome"], "success", result)

    def pull_victim(self, tag="victim"):
        return self.pulled(self.image, digest=self.digest)

    def test_a_layer_that_a_copy_brought_serves_no_pull(self):
        self.poison()
        self.copy()
        self.assertEqual(self.login(), EVIL)
        self.assert_victim_is_itself(fetched=2)
        self.assert_victim_is_itself(fetched=0)

    def test_nor_if_the_mark_is_broken(self):
        self.poison()
        self.copy()
        marks = list((self.repository / "objects").glob("*/*.commitmeta"))
        self.assertEqual(len(marks), 2)
        for mark in marks:
            mark.write_bytes(mark.read_bytes()[:-3])
        self.assert_victim_is_itself(fetched=2)

    def test_nor_if_its_commit_was_there_before(self):
        self.poison()
        for kind in ("base", "derived"):
            encapsulation.ostree(self.repository, "pull-local", "--disable-fsync", str(self.hostile), self.evil[kind])
        self.copy()
        self.assert_victim_is_itself(fetched=2)

    def test_nor_another_image_of_the_same_layers(self):
        self.poison()
        self.copy()
        other = encapsulation.encapsulate(self.layout, "other", self.forge, self.base, [oci_layout.layer([Entry("usr/x")]), oci_layout.layer([Entry("usr/y")])])
        result = self.pull("ostree-unverified-image:" + self.layout.reference("other"), target="oci:stored:other", digest=other)
        self.assertEqual(result["details"]["layers-fetched"], 3, result)
        self.assertEqual(self.login("ostree/container/image/oci_3A_stored_3A_other"), LOGIN)

    def test_what_another_program_wrote_in_place_still_serves_and_no_copy_replaces_it(self):
        self.assertEqual(self.pull_victim()["layers-fetched"], 2)
        shutil.rmtree(self.repository / RECORDS)
        refs, before = self.blob_refs(self.repository)
        self.poison()
        self.copy()
        self.assertEqual(self.blob_refs(self.repository)[1], before)
        # The derived layer says to be imaged's; the base is what ostree-ext would have written.
        self.assert_victim_is_itself(fetched=1)

    def test_an_export_of_a_copied_image_holds_no_mark(self):
        self.assertEqual(worker.pull(self.image, self.hostile, target="oci:stored:t").result["outcome"], "success")
        self.copy()
        digests = []
        for repository in (self.hostile, self.repository):
            result = worker.Run("oci:stored:t", repository, kind="export", arguments={"destination": f"oci:{self.directory}/{repository.name}-out:t"}).finish().result
            self.assertEqual(result["outcome"], "success", result)
            digests.append(result["details"]["digest"])
        self.assertEqual(digests[0], digests[1])


class TwoKinds(Trust):
    """One blob is a chunk of OSTree objects in one image and a derived layer in another."""

    def setUp(self):
        super().setUp()
        forge = self.forging_repository()
        root = self.directory / "root"
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/login").write_bytes(LOGIN)
        commit = encapsulation.ostree(forge, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", str(root))
        file = next((forge / "objects").glob("*/*.file")).relative_to(forge)
        self.chunk = oci_layout.layer([Entry(f"sysroot/ostree/repo/{file}", content=LOGIN, mode=(forge / file).stat().st_mode & 0o7777)])
        base = encapsulation.commit_layer(forge, commit)
        self.layout.image("vendor", [base, self.chunk], config={"config": {"Labels": {"ostree.final-diffid": self.chunk.diff_id}}})
        self.layout.image("other", [self.chunk, oci_layout.layer([Entry("usr/x")])])

    def pull_image(self, tag, fetched=None):
        result = self.pull("ostree-unverified-image:" + self.layout.reference(tag), target="oci:stored:" + tag)
        self.assertEqual(result["outcome"], "success", result)
        if fetched is not None:
            self.assertEqual((tag, result["details"]["layers-fetched"]), (tag, fetched))

    def test_neither_image_is_affected(self):
        for order in (("vendor", "other"), ("other", "vendor")):
            with self.subTest(order):
                for tag in order:
                    self.pull_image(tag, fetched=2)
                self.assertEqual((self.verify()["damaged"], self.verify()["unverified"]), ([], []))
                for tag in order:
                    self.pull_image(tag, fetched=0)
                self.run_job("prune")
                self.assertEqual(self.verify()["damaged"], [])
                listed = self.ostree("refs", "--list", "imaged/derived").split()
                self.assertEqual(listed, ["imaged/derived/" + self.layer_ref(self.chunk).rpartition("/")[2]])
                for tag in order:
                    self.run_job("export", "oci:stored:" + tag, destination=f"oci:{self.directory}/out-{order[0]}-{tag}:t")
                # Other programs find the objects under the ref of the blob.
                self.assertNotIn("/sysroot", self.ostree("ls", self.layer_ref(self.chunk)))
                self.run_job("remove", images=["oci:stored:vendor"])
                self.assertEqual(self.verify()["damaged"], [])
                self.run_job("remove", images=["oci:stored:other"])
                self.run_job("prune")
                self.assertEqual(self.refs(), "")

    def run_job(self, kind, image="", **arguments):
        result = worker.Run(image, self.repository, kind=kind, arguments=arguments).finish().result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def test_a_copy_takes_both(self):
        for tag in ("vendor", "other"):
            self.pull_image(tag)
        destination = self.directory / "to"
        ostree_repository.init(destination)
        for tag in ("other", "vendor"):
            self.run_job("copy", "oci:stored:" + tag, repository=str(destination))
        self.assertEqual(golden.refs(self.repository), golden.refs(destination))
        found = worker.Run("", destination, kind="verify").finish().result["details"]
        self.assertEqual(found["damaged"], [])

    def test_a_repair_gives_each_its_own_layer(self):
        for tag in ("vendor", "other"):
            self.pull_image(tag)
        shared, own = self.layer_ref(self.chunk), "imaged/derived/" + self.layer_ref(self.chunk).rpartition("/")[2]
        before = golden.refs(self.repository)
        for ref in (shared, own):
            with self.subTest(ref):
                self.ostree("refs", "--delete", ref)
                self.assertEqual(len(self.verify()["damaged"]), 1)
                self.assertEqual(len(self.verify(repair=True)["repaired"]), 1)
                self.assertEqual(golden.refs(self.repository), before)


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

    def odd_places(self):
        """What may stand where records are kept, and how to put it there."""
        place = self.repository / RECORDS
        aside = self.directory / "aside"

        def moved(path, make):
            def put():
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                make(path)
            return put
        for path in (place, place.parent):
            yield f"a file at {path.name}", moved(path, lambda path: path.write_text("x"))
            yield f"a link to the records at {path.name}", moved(path, lambda path: path.symlink_to(aside))
            yield f"a link to nowhere at {path.name}", moved(path, lambda path: path.symlink_to("nowhere"))
            yield f"a fifo at {path.name}", moved(path, os.mkfifo)
            yield f"{path.name} of another user", lambda path=path: os.chown(path, 1000, 1000)
            yield f"{path.name} that others may write", lambda path=path: os.chmod(path, 0o777)

    def test_what_stands_in_the_place_of_the_records_is_not_believed_and_stops_nobody(self):
        self.pull_victim()
        for what, put in self.odd_places():
            with self.subTest(what):
                put()
                self.assertIn("extensions/imaged/layers", " ".join(self.verify()["warnings"]))
                self.assert_victim_is_itself()  # fetched
                self.assert_victim_is_itself(fetched=0)
                self.assertEqual(self.verify()["warnings"], [])

    def test_nor_in_the_place_of_one_record_or_of_the_extensions(self):
        self.pull_victim()
        record = self.record_of(self.victim)
        record.unlink()
        record.mkdir()
        (record / "x").write_text("x")
        self.assert_victim_is_itself()
        self.assert_victim_is_itself(fetched=0)
        extensions, aside = self.repository / "extensions", self.directory / "aside"
        extensions.rename(aside)
        extensions.symlink_to(aside)
        # That is not imaged's to move: there are no records.
        for _ in range(2):
            self.assert_victim_is_itself()
        self.assertIn("extensions/imaged/layers", " ".join(self.verify()["warnings"]))

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

    def test_one_bad_source_does_not_end_the_repair_of_the_others(self):
        blobs = {tag: [oci_layout.layer([Entry(f"usr/{tag}{number}", content=os.urandom(200_000))]) for number in range(4)] for tag in "abc"}
        images = {}
        for tag, layers in blobs.items():
            self.layout.image(tag, layers)
            images[tag] = self.layout.reference(tag)
            self.assertEqual(self.pull("ostree-unverified-image:" + images[tag])["outcome"], "success")
        self.drop_records()
        self.layout.blob_path(blobs["a"][0].digest).write_bytes(os.urandom(len(blobs["a"][0].data)))
        details = self.verify(repair=True)
        self.assertEqual({image["image"]: image["layers-fetched"] for image in details["refetched"]}, {images["b"]: 4, images["c"]: 4})
        self.assertEqual([image["image"] for image in details["unverified"]], [images["a"]])
        self.assertIn(blobs["a"][0].digest, details["unverified"][0]["error"])

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
    """Of what comes with an image or a copy, signatures are added to those that the commit has. No other key is taken."""
    GPG, ED25519, CACHED = "ostree.gpgsigs", "ostree.sign.ed25519", "ostree-ext.cached.manifest-digest"

    def set_metadata(self, repository, commit, **values):
        path = pathlib.Path(repository, "objects", commit[:2], commit[2:] + ".commitmeta")
        metadata = {self.GPG: GLib.Variant("aay", [text.encode() for text in values.get("gpg", [])]), self.CACHED: GLib.Variant("s", "sha256:" + "a" * 64),
                    self.ED25519: GLib.Variant("aay", [text.encode() for text in values.get("ed25519", [])]), "imaged.copied": GLib.Variant("s", "x"),
                    "ostree.sign.odd": GLib.Variant("s", "x"), **values.get("more", {})}
        path.write_bytes(GLib.Variant("a{sv}", metadata).get_data_as_bytes().get_data())

    def metadata(self, commit):
        path = self.repository / "objects" / commit[:2] / (commit[2:] + ".commitmeta")
        if not path.exists():
            return {}
        found = GLib.Variant.new_from_bytes(GLib.VariantType.new("a{sv}"), GLib.Bytes.new(path.read_bytes()), False).unpack()
        return {key: [bytes(one).decode() for one in value] if isinstance(value, list) else value for key, value in found.items()}

    def base(self):
        forge = self.forging_repository()
        root = self.directory / "root"
        (root / "usr").mkdir(parents=True)
        commit = encapsulation.ostree(forge, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", str(root))
        return forge, commit

    def pull_with(self, tag, forge, commit, **values):
        self.set_metadata(forge, commit, **values)
        encapsulation.encapsulate(self.layout, tag, forge, commit)
        return self.pull("ostree-unverified-image:" + self.layout.reference(tag), target="oci:stored:" + tag)

    def test_an_image_adds_signatures_and_nothing_else(self):
        forge, commit = self.base()
        for tag, values, expected in (("attacker", {"gpg": ["attacker"]}, {self.GPG: ["attacker"]}),
                                      ("vendor", {"gpg": ["vendor"], "ed25519": ["1"]}, {self.GPG: ["attacker", "vendor"], self.ED25519: ["1"]}),
                                      ("both", {"gpg": ["third", "vendor"]}, {self.GPG: ["attacker", "vendor", "third"], self.ED25519: ["1"]})):
            result = self.pull_with(tag, forge, commit, **values)
            self.assertEqual((result["outcome"], result["details"]["layers-fetched"]), ("success", 1), result)
            self.assertEqual(self.metadata(commit), expected)

    def test_signatures_are_bounded(self):
        forge, commit = self.base()
        result = self.pull_with("huge", forge, commit, gpg=["x" * 70_000])
        self.assertEqual(result["error-name"], "UnsupportedImage", result)
        self.assertEqual(self.metadata(commit), {})
        # What is there is not pushed out, and metadata of the repository's owner stays.
        path = self.repository / "objects" / commit[:2] / (commit[2:] + ".commitmeta")
        path.parent.mkdir(exist_ok=True)
        full = {self.GPG: GLib.Variant("aay", [b"y" * 1_048_576]), "own": GLib.Variant("s", "kept")}
        path.write_bytes(GLib.Variant("a{sv}", full).get_data_as_bytes().get_data())
        self.assertEqual(self.pull_with("vendor", forge, commit, gpg=["vendor"])["outcome"], "success")
        self.assertEqual([(key, len(value)) for key, value in self.metadata(commit).items()], [(self.GPG, 1), ("own", 4)])

    def test_a_copy_adds_signatures_and_nothing_else(self):
        forge, commit = self.base()
        encapsulation.encapsulate(self.layout, "vendor", forge, commit)
        other = self.directory / "other"
        ostree_repository.init(other)
        image = self.layout.reference("vendor")
        self.assertEqual(worker.pull("ostree-unverified-image:" + image, other).result["outcome"], "success")
        for value, expected in (("attacker", ["attacker"]), ("vendor", ["attacker", "vendor"])):
            self.set_metadata(other, commit, gpg=[value])
            result = worker.Run(image, other, kind="copy", arguments={"repository": str(self.repository)}).finish().result
            self.assertEqual(result["outcome"], "success", result)
            self.assertEqual(self.metadata(commit), {self.GPG: expected, "imaged.copied": True})


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
