# SPDX-License-Identifier: Apache-2.0
"""Bad input ends in the right error, which names what was wrong, and leaves the repository as it was."""
import os
import shutil
import sys
import unittest

import oci_layout
import ostree_repository
from oci_layout import Entry
from repository_case import RepositoryCase


class Errors(RepositoryCase):
    def setUp(self):
        super().setUp()
        self.layer = oci_layout.layer([Entry("opt/file", content=b"content " * 500)])

    def test_a_tampered_blob_is_refused_until_it_is_repaired(self):
        self.layout.image("t", [self.layer])
        path = self.layout.blob_path(self.layer.digest)
        path.write_bytes(oci_layout.layer([Entry("opt/file", content=b"other")]).data)
        for _ in range(2):
            self.assert_refused("DigestMismatch", self.layer.digest)
        path.write_bytes(self.layer.data)
        self.assertEqual(self.pull()["outcome"], "success")
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])

    def test_a_wrong_diff_id(self):
        self.layer.diff_id = "sha256:" + "0" * 64
        self.layout.image("t", [self.layer])
        self.assert_refused("DigestMismatch", self.layer.diff_id)

    def test_a_truncated_layer(self):
        self.layer.data = self.layer.data[:-20]
        self.layout.image("t", [self.layer])
        self.assert_refused("CorruptInput", self.layer.digest)

    def test_a_corrupt_gzip_stream(self):
        self.layer.data = self.layer.data[:30] + b"\xff" * 20 + self.layer.data[50:]
        self.layout.image("t", [self.layer])
        self.assert_refused("CorruptInput", self.layer.digest)

    def test_a_path_with_dot_dot(self):
        self.layout.image("t", [oci_layout.layer([Entry("opt/../../etc/passwd")])])
        self.assert_refused("CorruptInput", "..")

    def test_a_hardlink_to_nothing(self):
        self.layout.image("t", [oci_layout.layer([Entry("opt/link", "hardlink", target="opt/missing")])])
        # Only the merge can tell; the layer itself is verified by then and stays for a retry.
        self.assert_refused("CorruptInput", "opt/missing", layers_stay=True)

    def test_a_config_that_counts_other_layers(self):
        self.layout.image("t", [self.layer], config={"rootfs": {"type": "layers", "diff_ids": []}})
        self.assert_refused("CorruptInput", "layers")

    def test_an_unknown_media_type(self):
        self.layer.media_type, self.layer.data = "application/x-garbage", b"garbage"
        self.layout.image("t", [self.layer])
        self.assert_refused("UnsupportedImage", "application/x-garbage")

    def test_a_missing_tag(self):
        self.layout.image("other", [self.layer])
        self.assert_refused("NotFound")

    def test_a_closed_port(self):
        self.assert_refused("SourceUnreachable", "127.0.0.1:1", reference="ostree-unverified-registry:127.0.0.1:1/a:b")

    def test_a_repository_whose_mode_keeps_no_owners(self):
        self.layout.image("t", [oci_layout.layer([Entry("f")])])
        for mode in ("bare-split-xattrs", "bare-user-only"):
            shutil.rmtree(self.repository)
            ostree_repository.init(self.repository, mode)
            self.assert_refused("UnsupportedImage", f"is in the mode {mode}", "ostree init --mode=bare")

    def test_a_reference_without_transport(self):
        self.assert_refused("InvalidReference", "nonsense", reference="nonsense")

    def test_another_digest_than_the_pinned(self):
        self.layout.image("t", [self.layer])
        self.assert_refused("DigestMismatch", "sha256:" + "1" * 64, digest="sha256:" + "1" * 64)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
