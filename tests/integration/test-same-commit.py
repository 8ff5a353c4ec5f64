# SPDX-License-Identifier: Apache-2.0
"""The same image gives the same commits: whatever was pulled before, in whichever order, from wherever, into a repository of any mode."""
import itertools
import os
import subprocess
import sys
import unittest

import encapsulation
import oci_layout
import ostree_repository
import registry
import worker
from oci_layout import Entry, directory, whiteout
from repository_case import ScratchCase

# Ordinary files, and what only a generic image or one over a writable root shows; what is dropped and counted.
SHARED = [directory("etc"), Entry("etc/conf", content=b"conf"), Entry("usr/lib/x", content=b"x"), Entry("usr/lib/y", "hardlink", target="usr/lib/x"),
          Entry("opt/app/bin", content=b"bin"), Entry("run/x", content=b"dropped"), Entry("var/lib/db", content=b"db"), Entry("usr/f", "fifo")]
PLAIN = [directory("usr/share"), Entry("usr/share/plain", content=b"plain"), Entry("usr/link", "hardlink", target="usr/lib/x"), whiteout("etc/none")]
TRANSIENT = [Entry("usr/lib/ostree/prepare-root.conf", content=b"[root]\ntransient = true\n")]
MODES = ("bare", "bare-user", "archive")


class SameCommit(ScratchCase):
    def setUp(self):
        super().setUp()
        source = self.directory / "source"
        ostree_repository.init(source)
        root = self.directory / "root"
        (root / "usr/etc").mkdir(parents=True)
        (root / "usr/etc/passwd").write_text("root")
        (root / "lib").symlink_to("usr/lib")
        base = encapsulation.ostree(source, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", root)
        self.layout = oci_layout.Layout(self.directory / "layout")
        # The same layers in all of them, one of them compressed in two ways.
        layers = [oci_layout.layer(SHARED), oci_layout.layer(PLAIN)]
        self.layout.image("generic", layers)
        encapsulation.encapsulate(self.layout, "readonly", source, base, [oci_layout.layer(SHARED, "zstd"), layers[1]])
        encapsulation.encapsulate(self.layout, "transient", source, base, [*layers, oci_layout.layer(TRANSIENT)])
        self.images = ("generic", "readonly", "transient")
        self.number = 0

    def repository(self, mode="bare"):
        self.number += 1
        path = self.directory / f"repo{self.number}"
        ostree_repository.init(path, mode)
        return path

    def job(self, repository, image, **options):
        result = worker.Run(image, repository, **options).finish().result
        self.assertEqual(result["outcome"], "success", result)

    def pull(self, repository, image):
        self.job(repository, "ostree-unverified-image:" + self.layout.reference(image), target=f"docker://same/{image}")

    def commits(self, repository):
        """Ref → commit, of images and layers. A layer that came in with another blob has a ref of imaged's own, which is the same here."""
        lines = subprocess.run(["find", "refs/heads", "-type", "f", "-printf", "%P ", "-exec", "cat", "{}", ";"], cwd=repository, check=True, capture_output=True, text=True).stdout
        return dict(line.replace("imaged/derived/", "ostree/container/blob/").split() for line in lines.splitlines())

    def alone(self):
        """Of each image in a repository of its own."""
        found = {}
        for image in self.images:
            repository = self.repository()
            self.pull(repository, image)
            for ref, commit in self.commits(repository).items():
                self.assertEqual(found.setdefault(ref, commit), commit, (image, ref))
        return found

    def test_in_every_order_and_mode(self):
        expected = self.alone()
        for order, mode in zip(itertools.permutations(self.images), itertools.cycle(MODES)):
            with self.subTest(order=order, mode=mode):
                repository = self.repository(mode)
                for image in order:
                    self.pull(repository, image)
                self.assertEqual(self.commits(repository), expected)

    def test_after_removals_and_prunes(self):
        expected = self.alone()
        repository = self.repository()
        for image in self.images * 2:
            self.pull(repository, image)
            stored = self.commits(repository)
            self.assertEqual(stored, {ref: commit for ref, commit in expected.items() if ref in stored}, image)
            encapsulation.ostree(repository, "refs", "--delete", f"ostree/container/image/docker_3A__2F__2F_same/{image}")
            if image == "readonly":
                self.job(repository, "", kind="prune")

    def test_from_wherever_they_come(self):
        expected = self.alone()
        served = registry.Registry(self.directory / "registry")
        self.addCleanup(served.stop)
        repository = self.repository()
        for image in self.images:
            archive = self.directory / f"{image}.tar"
            subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", self.layout.reference(image), f"oci-archive:{archive}:{image}"], check=True)
            served.push(self.layout.reference(image), image + ":t")
            ways = [self.repository() for _ in range(4)]
            self.job(ways[0], f"ostree-unverified-image:oci-archive:{archive}:{image}", target=f"docker://same/{image}")
            with open(archive, "rb") as file:
                self.job(ways[1], f"docker://same/{image}", kind="import-archive", input=file)
            self.job(ways[2], f"ostree-unverified-registry:{served.address}/{image}:t", target=f"docker://same/{image}", env={"CONTAINERS_REGISTRIES_CONF": str(served.configuration)})
            self.job(ways[3], f"ostree-unverified-image:{self.layout.as_dir(image, self.directory / image)}", target=f"docker://same/{image}")
            for repository in ways:
                stored = self.commits(repository)
                self.assertEqual(stored, {ref: commit for ref, commit in expected.items() if ref in stored}, image)
                self.assertIn(f"ostree/container/image/docker_3A__2F__2F_same/{image}", stored)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
