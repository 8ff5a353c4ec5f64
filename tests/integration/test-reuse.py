# SPDX-License-Identifier: Apache-2.0
"""What a pull may take from the repository instead of the source, and what it must not."""
import dataclasses
import os
import pathlib
import subprocess
import sys
import unittest

import oci_layout
import tree
from oci_layout import Entry, whiteout
from repository_case import STORED, RepositoryCase

LOWER = [Entry("opt/lower", content=b"lower" * 300)]
UPPER = [Entry("opt/upper", content=b"upper" * 300)]


class Reuse(RepositoryCase):
    def fetched(self, tag="t", target=None, **options):
        result = self.pull("ostree-unverified-image:" + self.layout.reference(tag), target=target or f"oci:stored:{tag}", **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]["layers-fetched"]

    def image_commit(self, tag="t"):
        return self.ostree("rev-parse", f"ostree/container/image/oci_3A_stored_3A_{tag}").strip()

    def objects(self):
        return sorted(path for kind in ("*.file", "*.dirtree", "*.dirmeta") for path in pathlib.Path(self.repository, "objects").glob(f"*/{kind}"))

    def tearDown(self):
        self.ostree("fsck", "--quiet")

    def test_a_tampered_blob_of_a_pipe_is_not_reused_by_the_retry(self):
        layer = oci_layout.layer(LOWER)
        self.layout.image("t", [layer])
        blob = self.layout.blob_path(layer.digest)
        blob.write_bytes(oci_layout.layer([Entry("opt/lower", content=b"evil!" * 300)]).data)
        reference = self.layout.packed("t", self.directory / "packed.tar.gz")
        for _ in range(2):
            self.assert_refused("DigestMismatch", layer.digest, reference="ostree-unverified-image:" + reference)
        blob.write_bytes(layer.data)
        self.layout.packed("t", self.directory / "packed.tar.gz")
        self.assertEqual(self.pulled("ostree-unverified-image:" + reference)["layers-fetched"], 1)

    def test_an_unchanged_image_is_fetched_once(self):
        self.layout.image("t", [oci_layout.layer(LOWER), oci_layout.layer(UPPER)])
        self.assertEqual((self.fetched(), self.fetched()), (2, 0))

    def test_images_share_their_layers(self):
        self.layout.image("t", [oci_layout.layer(LOWER)])
        self.layout.image("u", [oci_layout.layer(LOWER), oci_layout.layer(UPPER)])
        self.assertEqual((self.fetched("t"), self.fetched("u")), (1, 1))

    def test_an_image_under_two_references_is_one_tree(self):
        self.layout.image("t", [oci_layout.layer(LOWER), oci_layout.layer([whiteout("opt/lower"), *UPPER])])
        self.assertEqual((self.fetched(), self.fetched(target="oci:stored:u")), (2, 0))
        self.assertEqual(self.image_commit("t"), self.image_commit("u"))

    def test_a_layer_that_the_manifest_has_twice_is_fetched_once_and_applied_twice(self):
        layer = oci_layout.layer(LOWER)
        self.layout.image("t", [layer, oci_layout.layer([whiteout("opt/lower"), *UPPER]), layer])
        self.assertEqual(self.fetched(), 2)
        self.assertEqual(set(tree.of_commit(self.repository, STORED)), {"", "opt", "opt/lower", "opt/upper"})

    def test_a_verified_diff_id_spares_the_fetch_of_the_same_layer_in_another_compression(self):
        self.layout.image("t", [oci_layout.layer(LOWER, "gzip")])
        self.layout.image("u", [oci_layout.layer(LOWER, "zstd")])
        self.assertEqual((self.fetched("t"), self.fetched("u")), (1, 0))
        # Other programs take a blob's ref at its word, and nobody has seen what the second one holds.
        refs = [ref.split("sha256")[0] for ref in self.refs().split() if "sha256" in ref]
        self.assertEqual(sorted(refs), ["imaged/derived/", "ostree/container/blob/"])

    def test_a_diff_id_that_only_a_config_claims_spares_nothing(self):
        claimed = oci_layout.layer(UPPER, "zstd")
        liar = oci_layout.layer(LOWER)
        liar.diff_id = claimed.diff_id
        self.layout.image("liar", [liar])
        self.assertEqual(self.pull("ostree-unverified-image:" + self.layout.reference("liar"))["error-name"], "DigestMismatch")
        self.assertEqual(self.refs(), "")
        self.layout.image("t", [claimed])
        self.assertEqual(self.fetched(), 1)
        # A layer that is here under its digest does not pass for another diff-id either.
        true = oci_layout.layer(LOWER)
        self.layout.image("u", [true])
        self.assertEqual(self.fetched("u"), 1)
        result = self.pull("ostree-unverified-image:" + self.layout.reference("liar"))
        self.assertEqual(result["error-name"], "DigestMismatch", result)

    def test_an_image_that_names_the_blob_of_another_keeps_nobody_from_that_one(self):
        evil, right = oci_layout.layer(LOWER), oci_layout.layer(UPPER)
        lie = dataclasses.replace(right, diff_id=evil.diff_id)
        for confined in (False, True):
            with self.subTest(confined=confined):
                self.setUp()
                for tag, layers in (("evil", [evil]), ("lie", [lie]), ("right", [right])):
                    self.layout.image(tag, layers)
                settings = {"confined": confined}
                for tag, fetched in (("evil", 1), ("lie", 0), ("right", 1), ("right", 0)):
                    self.assertEqual(self.fetched(tag, settings=settings), fetched, tag)
                # The blob was seen now: it has one content, and the other image has no share in it.
                result = self.pull("ostree-unverified-image:" + self.layout.reference("lie"), settings=settings)
                self.assertIn(result.get("error-name"), ("DigestMismatch", "RepositoryDamaged"), result)
                self.assertEqual(self.fetched("right", settings=settings), 0)

    def test_an_image_with_a_lost_object_is_not_present_and_a_pull_repairs_it(self):
        self.layout.image("t", [oci_layout.layer(LOWER), oci_layout.layer(UPPER)])
        self.fetched()
        for path in self.objects():
            with self.subTest(path.suffix):
                path.unlink()
                self.pull("ostree-unverified-image:" + self.layout.reference("t"), target="oci:stored:t")
                self.assertTrue(path.exists())

    def test_what_stands_in_the_place_of_an_object_and_is_no_file_is_named(self):
        self.layout.image("t", [oci_layout.layer(LOWER)])
        self.layout.image("u", [oci_layout.layer([*LOWER, *UPPER])])
        self.fetched()
        place, = (path for path in self.objects() if path.suffix == ".file")
        aside = place.rename(self.directory / "aside")
        for make in (os.mkdir, os.mkfifo):
            with self.subTest(make.__name__):
                make(place)
                for tag in ("t", "u"):
                    result = self.pull("ostree-unverified-image:" + self.layout.reference(tag), target="oci:stored:u")
                    self.assertEqual(result["error-name"], "RepositoryDamaged", result)
                    self.assertIn("/".join(place.parts[-2:]), result["message"])
                subprocess.run(["rm", "-r", place], check=True)
        aside.rename(place)
        self.assertEqual(self.fetched("u"), 1)

    def test_a_lost_layer_ref_comes_back(self):
        self.layout.image("t", [oci_layout.layer(LOWER), oci_layout.layer(UPPER)])
        self.fetched()
        before = self.refs()
        self.ostree("refs", "--delete", next(ref for ref in before.split() if "/blob/" in ref))
        self.fetched()
        self.assertEqual(sorted(self.refs().split()), sorted(before.split()))

    def test_an_unreadable_image_is_replaced_and_stops_no_other(self):
        self.layout.image("t", [oci_layout.layer(LOWER)])
        self.fetched()
        commit = self.image_commit()
        (self.repository / "objects" / commit[:2] / (commit[2:] + ".commit")).unlink()
        self.layout.image("u", [oci_layout.layer(UPPER)])
        self.assertEqual((self.fetched("u"), self.fetched("t")), (1, 0))

    def test_another_manifest_for_the_same_config_replaces_the_stored_one(self):
        layers = [oci_layout.layer(LOWER)]
        self.layout.image("t", layers)
        self.fetched()
        digest = self.layout.image("t", layers, manifest={"annotations": {"note": "new"}})
        details = self.pulled()
        self.assertEqual((details["changed"], details["layers-fetched"], details["digest"]), (True, 0, digest))
        self.assertIn('"note": "new"', self.ostree("show", "--print-metadata-key=ostree.manifest", STORED))

    def test_history_entries_without_a_layer_shift_nothing(self):
        history = [{"created_by": "first"}, {"created_by": "nothing", "empty_layer": True}, {"created_by": "second"}]
        self.layout.image("t", [oci_layout.layer(LOWER), oci_layout.layer(UPPER)], config={"history": history})
        result = self.pull("ostree-unverified-image:" + self.layout.reference("t"), kind="prepare")
        self.assertEqual([layer["created-by"] for layer in result["details"]["layers"]], ["first", "second"])


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
