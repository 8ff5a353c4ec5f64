# SPDX-License-Identifier: Apache-2.0
"""Images that ostree-ext wrote give, pulled by imaged-worker, the commits and trees that ostree-ext made of them."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import worker

DATA = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2])) / "tests/data"
BLOB, IMAGE = "ostree/container/blob/", "ostree/container/image/"


def ostree(repository, *arguments):
    return subprocess.run(["ostree", f"--repo={repository}", *arguments], check=True, capture_output=True, text=True).stdout


def refs(repository):
    return {name: ostree(repository, "rev-parse", name).strip() for name in ostree(repository, "refs").split()}


def expected_refs():
    return dict(line.split() for line in (DATA / "refs.txt").read_text().splitlines())


class Golden(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(dir="/var/tmp")
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.directory = pathlib.Path(cls.scratch.name)
        subprocess.run(["tar", "-xzf", DATA / "oci.tar.gz", "-C", cls.directory], check=True)
        cls.repository = cls.directory / "fresh"
        ostree(cls.repository, "init", "--mode=bare")
        cls.results = {tag: worker.pull(f"ostree-unverified-image:oci:oci:{tag}", cls.repository, cwd=cls.directory).result
                       for tag in ("base", "derived")}
        cls.refs = refs(cls.repository)

    def test_both_images_are_pulled(self):
        for tag, result in self.results.items():
            self.assertEqual(result["outcome"], "success", f"{tag}: {result}")

    def test_the_refs_are_those_of_ostree_ext(self):
        self.assertEqual(sorted(self.refs), sorted(expected_refs()))

    def test_commit_and_chunk_layers_have_the_same_checksums(self):
        # What differs may only be a derived layer: its commit is no older than this run.
        same = [name for name, commit in expected_refs().items() if name.startswith(BLOB) and self.refs[name] == commit]
        self.assertEqual(len(same), 6, same)

    def test_the_base_tree_is_identical(self):
        listing = ostree(self.repository, "ls", "-R", "-X", "-C", IMAGE + "oci_3A_oci_3A_base")
        self.assertEqual(listing, (DATA / "base.ls").read_text())

    def test_the_derived_tree_is_identical(self):
        listing = ostree(self.repository, "ls", "-R", "-X", "-C", IMAGE + "oci_3A_oci_3A_derived")
        self.assertEqual(listing, (DATA / "derived.ls").read_text())

    def test_fsck_finds_nothing_wrong(self):
        ostree(self.repository, "fsck")

    def test_a_pull_over_the_existing_repository_reuses_every_layer(self):
        home = self.directory / "existing"
        home.mkdir()
        subprocess.run(["tar", "-xzf", DATA / "repo.tar.gz", "--xattrs", "--xattrs-include=*", "-C", home], check=True)
        repository = home / "repo"
        before = refs(repository)
        run = worker.pull("ostree-unverified-image:oci:oci:derived", repository, cwd=self.directory)
        self.assertEqual(run.result["outcome"], "success", run.result)
        fetched = [message["digest"] for message in run.messages if message.get("state") == "fetching"]
        self.assertEqual(fetched, [])
        after = refs(repository)
        self.assertEqual({name for name in before if name.startswith(BLOB) and before[name] != after.get(name)}, set())
        ostree(repository, "fsck")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
