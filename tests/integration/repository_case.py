# SPDX-License-Identifier: Apache-2.0
"""A bare repository and an image layout for each test, and imaged-worker between them."""
import os
import pathlib
import subprocess
import unittest

import agreement
import oci_layout
import ostree_repository
import tree
import worker

STORED = "ostree/container/image/oci_3A_stored_3A_t"


class ScratchCase(unittest.TestCase):
    """A directory for each test, on a disk."""
    scratch_directory = agreement.Scratch

    def setUp(self):
        scratch = self.scratch_directory(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)


class RepositoryCase(ScratchCase):
    def setUp(self):
        super().setUp()
        self.repository = self.directory / "repo"
        ostree_repository.init(self.repository)
        self.layout = oci_layout.Layout(self.directory / "layout")

    def ostree(self, *arguments):
        return subprocess.run(["ostree", f"--repo={self.repository}", *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def pull(self, reference=None, **options):
        return worker.pull(reference or "ostree-unverified-image:" + self.layout.reference("t"), self.repository, **options).result

    def pulled(self, reference=None, **options):
        """The details of a pull that succeeds; the image is stored as oci:stored:t."""
        result = self.pull(reference, target="oci:stored:t", **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def stored(self, *layers, **options):
        """The tree that an image of LAYERS, lists of entries or blobs, is stored as."""
        self.layout.image("t", [layer if isinstance(layer, oci_layout.Blob) else oci_layout.layer(layer) for layer in layers])
        self.details = self.pulled(**options)
        return tree.of_commit(self.repository, STORED)

    def refs(self):
        return "".join(name + "\n" for name in sorted(ostree_repository.refs(self.repository)))

    def assert_refused(self, error, *texts, layers_stay=False, **options):
        result = self.pull(**options)
        self.assertEqual((result["outcome"], result.get("error-name")), ("failed", error), result)
        for text in texts:
            self.assertIn(text, result["message"])
        self.assertNotIn("ostree/container/image/", self.refs())
        if not layers_stay:
            self.assertEqual(self.refs(), "")
            self.assertEqual([name for _, _, files in os.walk(self.repository / "objects") for name in files], [])
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
        return result["message"]
