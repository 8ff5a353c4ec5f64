# SPDX-License-Identifier: Apache-2.0
"""imaged-worker copies images between repositories: those that ostree-ext wrote, between all modes, and after it was killed half-way."""
import os
import signal
import sys
import time
import unittest

import golden
import oci_layout
import ostree_repository
import worker
from loop_mount import loop_mount
from oci_layout import Entry
from repository_case import ScratchCase

BASE, DERIVED = "oci:oci:base", "oci:oci:derived"


def copy(image, repository, other, **arguments):
    return worker.Run(image, repository, kind="copy", arguments={"repository": str(other), **arguments}).finish()


def objects(repository):
    return sum(len(files) for _, _, files in os.walk(repository / "objects"))


class Case(ScratchCase):
    def copied(self, *arguments, **options):
        result = copy(*arguments, **options).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]


class Golden(Case):
    def setUp(self):
        super().setUp()
        self.source = golden.unpack("repo.tar.gz", self.directory)

    def expected(self, *refs_of_images):
        derived = golden.DERIVED in refs_of_images
        layers = {name: commit for name, commit in golden.expected_refs().items() if name.startswith(golden.BLOB)}
        if not derived:
            own = ["0d82c2f332ce", "4f103dde507d"]
            layers = {name: commit for name, commit in layers.items() if not any(digest in name for digest in own)}
        return layers | {name: golden.expected_refs()[name] for name in refs_of_images}

    def test_an_image_of_ostree_ext_arrives_whole_by_hard_links(self):
        destination = ostree_repository.init(self.directory / "to")
        details = self.copied(DERIVED, self.source, destination)
        self.assertEqual(golden.refs(destination), self.expected(golden.DERIVED))
        self.assertEqual(golden.listing(destination, golden.DERIVED), (golden.DATA / "derived.ls").read_text())
        self.assertGreater(details["objects-linked"], 200)
        # But one, which another user owns.
        self.assertEqual((details["objects-copied"], details["objects-reflinked"], details["bytes-copied"]), (1, 0, 2))
        golden.ostree(destination, "fsck")

    def test_the_update_brings_only_what_is_new(self):
        destination = ostree_repository.init(self.directory / "to")
        first = self.copied(BASE, self.source, destination)
        second = self.copied(DERIVED, self.source, destination)
        self.assertLess(second["objects-linked"], 40)
        self.assertGreater(second["objects-present"], 150)
        self.assertNotEqual(first["digest"], second["digest"])
        self.assertEqual(golden.refs(destination), golden.expected_refs())

    def test_through_all_modes_and_back_nothing_changes(self):
        previous = self.source
        for mode in ["archive", "bare-user", "archive", "bare"]:
            destination = ostree_repository.init(self.directory / f"{mode}-of-{previous.name}", mode)
            self.copied(BASE, previous, destination)
            self.copied(DERIVED, previous, destination)
            self.assertEqual(golden.refs(destination), golden.expected_refs(), mode)
            golden.ostree(destination, "fsck")
            previous = destination
        self.assertEqual(golden.listing(previous, golden.BASE), (golden.DATA / "base.ls").read_text())
        self.assertEqual(golden.listing(previous, golden.DERIVED), (golden.DATA / "derived.ls").read_text())

    def test_from_another_repository_into_a_new_one_under_another_name(self):
        target = "docker://registry.example/host:1"
        details = self.copied(DERIVED, self.directory / "new", self.source, **{"from": True, "target": target})
        self.assertEqual((details["image"], details["repository"]), (target, str(self.directory / "new")))
        refs = golden.refs(self.directory / "new")
        self.assertEqual([name for name in refs if name.startswith(golden.IMAGE)], [golden.IMAGE + "docker_3A__2F__2F_registry_2E_example/host_3A_1"])

    def test_the_first_pull_of_what_was_copied_fetches_it(self):
        destination = ostree_repository.init(self.directory / "to")
        self.copied(DERIVED, self.source, destination)
        golden.unpack("oci.tar.gz", self.directory)
        for fetched, changed in ((8, True), (0, False)):
            details = worker.pull("ostree-unverified-image:" + DERIVED, destination, cwd=self.directory).result["details"]
            self.assertEqual((details["layers-fetched"], details["changed"]), (fetched, changed))
        self.assertEqual({name for name in golden.refs(destination) if name.startswith(golden.BLOB)},
                         {name for name in self.expected(golden.DERIVED) if name.startswith(golden.BLOB)})

    def test_a_missing_layer_is_named_and_nothing_is_left(self):
        layer = next(name for name in golden.refs(self.source) if name.startswith(golden.BLOB))
        golden.ostree(self.source, "refs", "--delete", layer)
        destination = ostree_repository.init(self.directory / "to")
        result = copy(DERIVED, self.source, destination).result
        self.assertEqual(result["error-name"], "RepositoryDamaged")
        self.assertIn(layer[len(golden.BLOB) + 10:], result["message"])
        self.assertEqual(golden.refs(destination), {})

    def test_what_is_not_there_is_not_found(self):
        for image, other in [("docker://a/b:c", self.directory), (BASE, self.directory / "nowhere")]:
            if other == self.directory:
                other = ostree_repository.init(self.directory / "to")
            self.assertEqual(copy(image, self.source, other).result["error-name"], "NotFound")


class Reflinks(Case):
    def test_where_modes_differ_content_is_shared_if_the_file_system_can(self):
        with loop_mount(self.directory, "-m", "reflink=1") as mount:
            source = golden.unpack("repo.tar.gz", mount)
            destination = ostree_repository.init(mount / "to", "bare-user")
            details = self.copied(DERIVED, source, destination)
            self.assertGreater(details["objects-reflinked"], 50)
            self.assertEqual(golden.refs(destination)[golden.DERIVED], golden.expected_refs()[golden.DERIVED])
            golden.ostree(destination, "fsck")


class Killed(Case):
    """Many files, so that there is a half-way."""

    def setUp(self):
        super().setUp()
        layout = oci_layout.Layout(self.directory / "oci")
        layers = [oci_layout.layer([Entry(f"usr/share/{letter}/{number}", content=f"{letter}{number}".encode() * 50) for number in range(2000)])
                  for letter in "ab"]
        layout.image("many", layers)
        self.image = layout.reference("many")
        self.source = ostree_repository.init(self.directory / "from")
        self.assertEqual(worker.pull(self.image, self.source).result["outcome"], "success")

    def kill_half_way(self, destination, begun):
        """Starts a copy and kills it once BEGUN() says so; tries again where the copy was quicker."""
        for _ in range(20):
            run = worker.Run(self.image, self.source, kind="copy", arguments={"repository": str(destination)})
            while run.process.poll() is None and not begun():
                time.sleep(0.0005)
            run.process.send_signal(signal.SIGKILL)
            run.process.wait()
            run.lines.close()
            run.channel.close()
            if not golden.refs(destination):
                return
            for ref in golden.refs(destination):
                golden.ostree(destination, "refs", "--delete", ref)
            golden.ostree(destination, "prune", "--refs-only")
        self.fail("the copy is always quicker")

    def finish(self, destination):
        details = self.copied(self.image, self.source, destination)
        self.assertEqual(golden.refs(destination), golden.refs(self.source))
        self.assertEqual([name for name in os.listdir(destination / "tmp") if name.startswith("imaged-")], [])
        golden.ostree(destination, "fsck")
        print(f"finished: {details['objects-linked']} objects linked, {details['objects-copied']} copied, "
              f"{details['objects-present']} there already", file=sys.stderr)
        return details

    def test_a_copy_by_links_leaves_no_ref_and_goes_on_where_it_was(self):
        destination = ostree_repository.init(self.directory / "to")
        self.kill_half_way(destination, lambda: objects(destination) > 300)
        found = objects(destination)
        details = self.finish(destination)
        self.assertGreater(found, 300)
        self.assertEqual(details["objects-present"], found)
        self.assertGreater(details["objects-linked"], 0)

    def test_a_copy_of_content_leaves_no_ref_and_no_half_object(self):
        destination = ostree_repository.init(self.directory / "to", "archive")
        self.kill_half_way(destination, lambda: any(destination.glob("tmp/imaged-*/*/repository/tmp/staging-*")))
        details = self.finish(destination)
        self.assertGreater(details["objects-copied"], 3900)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
