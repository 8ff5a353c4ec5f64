#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reads what imaged exports as zstd:chunked with skopeo and podman of Debian 13, in a root directory of it, from a registry on loopback: both make the tree that imaged stored, and
podman fetches an update in part, by the registry's count. The other way round, imaged fetches an update of what that skopeo writes in part. ./dev test-readers runs it.

Usage: chunked-readers.py ROOT    ROOT has skopeo and podman. IMAGED_WORKER and IMAGED_PROXY name the programs."""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import encapsulation  # noqa: E402
import oci_layout  # noqa: E402
import ostree_repository  # noqa: E402
import registry  # noqa: E402
import skopeo_service  # noqa: E402
import tree  # noqa: E402
import worker  # noqa: E402
from oci_layout import Entry, directory  # noqa: E402

ROOT = None
STORAGE = """[storage]
driver = "overlay"
graphroot = "/b/storage"
runroot = "/run/storage"
[storage.options.pull_options]
enable_partial_images = "true"
"""
SKOPEO = ("skopeo", "--policy", "/b/policy.json", "--registries-conf", "/b/registries.conf")
LARGE = 12 << 20


def entries(*edits, path="usr/lib/large", changed=b"old"):
    content = random.Random("large").randbytes(LARGE)
    for place, data, count in edits:
        content = content[:place] + data + content[place + count:]
    small = [Entry(f"usr/share/file{number}", content=random.Random(number).randbytes(40_000), uid=number % 3) for number in range(40)]
    return [directory("etc"), directory("opt", 0o1777), directory("usr"), directory("usr/bin"), directory("usr/lib"), directory("usr/share"), *small,
            Entry("usr/bin/tool", content=b"#!/bin/sh\n", mode=0o4755), Entry("usr/bin/hard", "hardlink", target="usr/bin/tool"), Entry("usr/bin/link", "symlink", target="tool"),
            Entry("etc/conf", content=changed, mode=0o640, gid=42), Entry("usr/lib/empty"), Entry("usr/share/zeros", content=bytes(1 << 20) + b"end"), Entry(path, content=content)]


CHANGED = [(6 << 20, b"x" * 100, 100)]
INSERTED = [(place << 20, b"more", 0) for place in (2, 5, 9)]
IMAGES = {"old": entries(), "changed": entries(*CHANGED, changed=b"new"), "inserted": entries(*INSERTED, changed=b"new"), "moved": entries(*INSERTED, path="usr/share/large", changed=b"new")}


class Readers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(dir="/var/tmp", prefix="readers-")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.directory.chmod(0o755)
        cls.work = cls.directory / "b"
        cls.work.mkdir()
        (cls.work / "storage.conf").write_text(STORAGE)
        (cls.work / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        (cls.work / "registries.conf").write_text(f'[[registry]]\nlocation = "{cls.registry.address}"\ninsecure = true\n')
        cls.layout = oci_layout.Layout(cls.work / "in")
        cls.repository = cls.directory / "repo"
        ostree_repository.init(cls.repository, "bare")
        cls.trees = {}
        for tag, files in IMAGES.items():
            cls.layout.image(tag, [oci_layout.layer(files, None)])
            cls.trees[tag] = cls.job(f"oci:{cls.layout.path}:{tag}", target="docker://stored/image:t")["commit"]
            exported = worker.Run("docker://stored/image:t", cls.repository, kind="export", arguments={"destination": f"oci:{cls.work}/out:{tag}", "compression": "zstd:chunked"}).finish().result
            assert exported["outcome"] == "success", exported
            cls.registry.push(f"oci:{cls.work}/out:{tag}", f"test/own:{tag}")

    @classmethod
    def job(cls, image, repository=None, **options):
        result = worker.pull(image, repository or cls.repository, **options).result
        assert result["outcome"] == "success", result
        return result["details"]

    def inside(self, *command):
        """The output of COMMAND in ROOT, where /b is a directory that stays."""
        environment = ["CONTAINERS_STORAGE_CONF=/b/storage.conf", "CONTAINERS_REGISTRIES_CONF=/b/registries.conf", "XDG_RUNTIME_DIR=/run", "TMPDIR=/b"]
        script = 'source "$1/tests/release-root.sh"; shift; in_release_root "$@"'
        done = subprocess.run(["bash", "-euc", script, "bash", HERE.parent.parent, ROOT, self.directory / "cache", HERE.parent.parent, self.work, "env", *environment, *command],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stdout.strip()

    def wire(self, since, agent):
        return sum(size for path, status, size, by in self.registry.answers()[since:] if "/blobs/" in path and re.match(agent, by))

    def assert_tree(self, tag, root, what):
        found, stored = tree.mapped(tree.of_directory(str(root))), tree.of_commit(self.repository, self.trees[tag])
        found[""] = stored[""]
        self.assertGreater(len(found), 50)
        self.assertEqual(tree.differences(found, stored), [], what)

    def test_skopeo_reads_all_of_it(self):
        self.inside(*SKOPEO, "copy", "-q", f"docker://{self.registry.address}/test/own:changed", "dir:/b/dir", "--dest-decompress")
        layer, = json.loads((self.work / "dir/manifest.json").read_text())["layers"]
        root = self.directory / "unpacked"
        root.mkdir()
        subprocess.run(["tar", "-C", root, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", self.work / "dir" / layer["digest"].partition(":")[2]], check=True)
        self.assert_tree("changed", root, self.inside("skopeo", "--version"))

    def test_podman_fetches_updates_in_part(self):
        for tag, most in (("old", None), ("changed", 1 << 20), ("inserted", 2 << 20)):
            with self.subTest(tag):
                since = len(self.registry.answers())
                image = f"{self.registry.address}/test/own:{tag}"
                self.inside("podman", "pull", "-q", "--signature-policy", "/b/policy.json", f"docker://{image}")
                wire = self.wire(since, "(containers|libpod|podman|skopeo)")
                print(f"    {tag}: {wire} bytes into podman's storage")
                self.assertGreater(wire, 0)
                if most is not None:
                    self.assertLess(wire, most)
                shutil.rmtree(self.work / "tree", ignore_errors=True)
                self.inside("sh", "-euc", f'cp -a "$(podman image mount {image})" /b/tree')
                self.assert_tree(tag, self.work / "tree", tag)
        print(f"    {self.inside('podman', '--version')}")

    def test_imaged_fetches_updates_of_skopeo_in_part(self):
        service = skopeo_service.as_unit(self)
        for tag in IMAGES:
            self.inside(*SKOPEO, "copy", "-q", "--dest-compress-format", "zstd:chunked", f"oci:/b/in:{tag}", f"docker://{self.registry.address}/test/skopeo:{tag}")
        conf = {"CONTAINERS_REGISTRIES_CONF": str(self.work / "registries.conf"), "CONTAINERS_POLICY": str(self.work / "policy.json")}
        for writer in ("own", "skopeo"):
            for tag in list(IMAGES)[1:]:
                with self.subTest(tag, writer=writer):
                    repository = self.directory / f"repo-{writer}-{tag}"
                    ostree_repository.init(repository, "bare")
                    settings = {"skopeo-service": service.path}
                    for now in ("old", tag):
                        since = len(self.registry.answers())
                        details = self.job(f"docker://{self.registry.address}/test/{writer}:{now}", repository, target="docker://stored/image:t", settings=settings, env=conf)
                    print(f"    {tag}, written by {writer}: {self.wire(since, 'imaged/')} bytes")
                    self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
                    self.assertEqual(tree.differences(tree.of_commit(self.repository, self.trees[tag]), tree.of_commit(repository, details["commit"])), [])
                    self.assertLess(self.wire(since, "imaged/"), 2 << 20)
                    encapsulation.ostree(repository, "fsck", "--quiet")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("it needs root: a bare repository, owners, mounts")
    ROOT = sys.argv.pop(1)
    unittest.main(verbosity=2)
