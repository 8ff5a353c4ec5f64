#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Another program empties a repository's tmp between the last write and the publishing, or clears leftovers: no ref names anything that is not there."""
import os
import sys
import unittest

import golden
import oci_layout
import ostree_repository
import worker
from oci_layout import Entry
from repository_case import ScratchCase

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
# Any name but that of a scratch directory itself, as an expiry by age finds files before their directories.
EMPTY = "find {0}/tmp -mindepth 2 -type f -delete; find {0}/tmp -mindepth 2 -type l -delete"


def layers(*names):
    return [oci_layout.layer([Entry(f"usr/{name}/f{number}", content=f"{name} {number}".encode() * (1 + 5000 * (number % 2))) for number in range(20)] +
                             [Entry(f"usr/{name}/link", "symlink", target=f"f{name}")]) for name in names]


class VanishingFiles(ScratchCase):
    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory / "oci")
        self.layout.image("first", layers("a", "b"))
        self.layout.image("second", layers("a", "c", "d"))

    def run_with(self, command, image, repository, call="syncfs", after=0, path="objects", **options):
        environment = {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": call, "FAULT_AFTER": str(after), "FAULT_PATH": str(path), "FAULT_RUN": command}
        return worker.Run(image, repository, env=environment, **options).finish().result

    def check(self, result, repository, refs):
        """One error, and the repository as it was; what it holds is whole."""
        self.assertEqual(result["outcome"], "failed", result)
        self.assertIn("is gone from the repository", result["message"])
        after = golden.refs(repository)
        self.assertEqual({name: commit for name, commit in after.items() if name in refs}, refs)
        self.assertFalse([name for name in after if name.startswith("ostree/container/image/") and name not in refs])
        golden.ostree(repository, "fsck")

    def pulled(self, image, repository, **options):
        result = worker.pull(self.layout.reference(image), repository, **options).result
        self.assertEqual(result["outcome"], "success", result)
        golden.ostree(repository, "fsck")

    def test_an_update_in_each_kind_of_repository_keeps_the_good_image(self):
        target = "docker://registry.example/app:1"
        for mode, moments in {"bare": range(5), "bare-user": [0, 2], "archive": [0, 2, 4]}.items():
            failed = 0
            for after in moments:
                with self.subTest(mode=mode, after=after):
                    repository = ostree_repository.init(self.directory / f"{mode}-{after}", mode)
                    self.pulled("first", repository, target=target)
                    refs = golden.refs(repository)
                    result = self.run_with(EMPTY.format(repository), self.layout.reference("second"), repository, after=after, target=target)
                    if result["outcome"] == "success":
                        # Nothing was in tmp at that moment.
                        golden.ostree(repository, "fsck")
                        continue
                    failed += 1
                    self.check(result, repository, refs)
                    self.pulled("second", repository, target=target)
            self.assertGreater(failed, 0)

    def test_no_commit_is_published_without_its_parts(self):
        """Whatever is renamed first. libostree renames what it finds, in an order of its own; fsck complains of a commit that lacks something, named by a ref or not."""
        outcomes = {"success": 0, "failed": 0}
        image = self.layout.reference("second")
        for mode, moments in {"archive": range(0, 36, 2), "bare": range(0, 70, 20)}.items():
            for after in moments:
                with self.subTest(mode=mode, after=after):
                    repository = ostree_repository.init(self.directory / f"{mode}{after}", mode)
                    result = self.run_with(EMPTY.format(repository), image, repository, call="renameat", after=after)
                    outcomes[result["outcome"]] += 1
                    golden.ostree(repository, "fsck")
                    self.pulled("second", repository)
        self.assertGreater(outcomes["failed"], 8, outcomes)

    def test_a_copy_between_modes(self):
        source = ostree_repository.init(self.directory / "source")
        self.pulled("first", source)
        for mode in ["bare-user", "archive"]:
            with self.subTest(mode=mode):
                other = ostree_repository.init(self.directory / mode, mode)
                result = self.run_with(EMPTY.format(other), self.layout.reference("first"), source, path=other, kind="copy", arguments={"repository": str(other)})
                self.check(result, other, {})

    def test_an_archive_that_is_exported_holds_all_blobs_or_is_not_made(self):
        repository, archive = ostree_repository.init(self.directory / "repo"), self.directory / "app.tar"
        self.pulled("first", repository)
        remove = f"find {repository}/tmp -path '*/blobs/sha256/*' -type f -delete"
        result = self.run_with(remove, self.layout.reference("first"), repository, path="tmp/imaged-", kind="export",
                               arguments={"destination": f"oci-archive:{archive}:app"})
        self.assertEqual(result["outcome"], "failed", result)
        self.assertFalse(archive.exists())

    def test_a_leftover_stays_locked_until_it_is_removed(self):
        repository = ostree_repository.init(self.directory / "repo")
        half_made, taken = repository / "tmp/imaged-1", self.directory / "taken"
        half_made.mkdir()
        # What a job does that has just made its scratch directory.
        result = self.run_with(f"flock --nonblock {half_made} touch {taken} || true", self.layout.reference("first"), repository, call="unlinkat", path=repository)
        self.assertEqual(result["outcome"], "success", result)
        self.assertFalse(half_made.exists())
        self.assertFalse(taken.exists(), "a scratch directory was removed although a job held its lock")


if __name__ == "__main__":
    if not FAULT_LAYER or not worker.PROGRAM:
        sys.exit(77)
    unittest.main()
