# SPDX-License-Identifier: Apache-2.0
"""Images that ostree-ext wrote give, pulled by imaged-worker, the commits and trees that ostree-ext made of them."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

import agreement
import golden
import ostree_repository
import worker
from golden import BLOB, IMAGE, expected_refs, ostree, refs

SOURCE_ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2]))


class Golden(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(cls.scratch.cleanup)
        cls.directory = pathlib.Path(cls.scratch.name)
        golden.unpack("oci.tar.gz", cls.directory)
        cls.repository = cls.directory / "fresh"
        ostree_repository.init(cls.repository)
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
        self.assertEqual(listing, (golden.DATA / "base.ls").read_text())

    def test_the_derived_tree_is_identical(self):
        listing = ostree(self.repository, "ls", "-R", "-X", "-C", IMAGE + "oci_3A_oci_3A_derived")
        self.assertEqual(listing, golden.derived_listing())

    def test_a_listing_written_anew_is_the_same(self):
        """The expectation of the test above, where it is made of the listing of an older libostree."""
        for name in ("base.ls", "derived.ls"):
            text = (golden.DATA / name).read_text()
            self.assertEqual(golden.Listing(text).text(), text)
        moved = golden.Listing((golden.DATA / "derived.ls").read_text()).with_var_in_place().text()
        self.assertIn(" /var/lib/app/state\n", moved)
        self.assertNotIn("factory", moved)

    def test_fsck_finds_nothing_wrong(self):
        ostree(self.repository, "fsck")

    def test_a_pull_over_the_existing_repository_reuses_every_layer(self):
        home = self.directory / "existing"
        home.mkdir()
        repository = golden.unpack("repo.tar.gz", home)
        before = refs(repository)
        run = worker.pull("ostree-unverified-image:oci:oci:derived", repository, cwd=self.directory)
        self.assertEqual(run.result["outcome"], "success", run.result)
        fetched = [message["digest"] for message in run.messages if message.get("state") == "fetching"]
        self.assertEqual(fetched, [])
        after = refs(repository)
        self.assertEqual({name for name in before if name.startswith(BLOB) and before[name] != after.get(name)}, set())
        ostree(repository, "fsck")

    def test_imagectl_reads_the_repository_as_ostree_ext_left_it(self):
        home = self.directory / "as-found"
        home.mkdir()
        repository = golden.unpack("repo.tar.gz", home)
        before = refs(repository)
        program = os.environ["IMAGECTL"]
        script = "; ".join(f'"{program}" --json {verb} && echo' for verb in
                           ("list", "show oci:oci:base", "show oci:oci:derived", "manifest oci:oci:base", "config oci:oci:derived"))
        build = pathlib.Path(program).parents[1]
        done = subprocess.run([SOURCE_ROOT / "dev", "run", "--repo", repository, "--", "sh", "-c", script], capture_output=True, text=True,
                              cwd=self.directory, env={**os.environ, "IMAGED_BUILD_DIR": str(build)}, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        listed, base, derived, manifest, config = (json.loads(line) for line in done.stdout.splitlines() if line)
        self.assertEqual([(image["image"], image["state"]) for image in listed["images"]], [("oci:oci:base", "ok"), ("oci:oci:derived", "ok")])
        expected = expected_refs()
        # An image of ostree layers alone is its base commit, a derived one its merge commit.
        self.assertEqual(base["commit"], base["base-commit"])
        self.assertEqual(derived["commit"], expected[IMAGE + "oci_3A_oci_3A_derived"])
        for image in (base, derived):
            self.assertEqual([expected[layer["ref"]] for layer in image["layer-list"]], [layer["commit"] for layer in image["layer-list"]])
        self.assertEqual(len(manifest["manifest"]["layers"]), len(base["layer-list"]))
        self.assertEqual(len(config["config"]["rootfs"]["diff_ids"]), len(derived["layer-list"]))
        self.assertEqual(refs(repository), before)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
