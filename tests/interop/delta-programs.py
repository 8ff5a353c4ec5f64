#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Independent programs for deltas, each where it is installed. tar-diff (containers/tar-diff, on PATH) makes deltas that imaged applies; its tar-patch applies those of version 1
that imaged makes, and the crate oci-delta those of both versions. The crate needs cargo, and what `cargo fetch` brings or a network. ./dev test-deltas runs it."""
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCES = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCES / "tests/integration"))

import agreement
import delta_artifact
import oci_layout
import ostree_repository
import tar_diff
import worker
from oci_layout import Entry

CRATE = SOURCES / "tests/interop/oci-delta"
CARGO, MAKER, APPLIER = (shutil.which(program) for program in ("cargo", "tar-diff", "tar-patch"))


def write_files(files, root):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Case(unittest.TestCase):
    ran = False  # whether one of the programs is here

    @classmethod
    def setUpClass(cls):
        Case.ran = True
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.images = importlib.import_module("test-delta-export")
        cls.layout = oci_layout.Layout(cls.directory / "oci")
        cls.tars, cls.blobs = {}, {}
        for tag, layers in (("old", cls.images.OLD), ("new", cls.images.NEW)):
            cls.image(tag, layers)
        cls.repository = cls.stored("old", "repo")
        cls.old, cls.new = (cls.layout.reference(tag) for tag in ("old", "new"))
        cls.root = cls.directory / "root"
        write_files(tar_diff.files_of(*cls.tars["old"]), cls.root)

    @classmethod
    def image(cls, tag, layers):
        cls.tars[tag] = [oci_layout.tar(layer) for layer in layers]
        cls.blobs[tag] = [oci_layout.compressed(data) for data in cls.tars[tag]]
        cls.layout.image(tag, cls.blobs[tag], config={"config": {"Labels": {"version": tag}}})

    @classmethod
    def pulled(cls, reference, repository):
        result = worker.pull(reference, repository, target="docker://stored/image:t").result
        assert result["outcome"] == "success", result
        return result["details"]

    @classmethod
    def stored(cls, tag, name):
        repository = ostree_repository.init(cls.directory / name)
        cls.pulled(cls.layout.reference(tag), repository)
        return repository

    def exported(self, tag, **arguments):
        """The delta between the images that imaged makes, in the layout `out`."""
        result = worker.Run(self.new, self.repository, kind="export", arguments={"destination": f"oci:{self.directory}/out:{tag}", "delta-from": "docker://stored/image:t", **arguments}).finish().result
        self.assertEqual(result["outcome"], "success", result)


@unittest.skipUnless(CARGO, "there is no cargo")
class Crate(Case):
    @classmethod
    def setUpClass(cls):
        target = os.environ.get("OCI_DELTA_TARGET")
        if not target:
            scratch = tempfile.TemporaryDirectory(dir="/var/tmp")
            cls.addClassCleanup(scratch.cleanup)
            target = scratch.name
        done = subprocess.run([CARGO, "build", "--quiet", "--locked", "--manifest-path", CRATE / "Cargo.toml", "--target-dir", target], capture_output=True, text=True)
        if done.returncode != 0:
            raise unittest.SkipTest("cargo cannot build tests/interop/oci-delta (Rust 1.88, libssl-dev and a network): " + done.stderr.strip()[-500:])
        cls.program = pathlib.Path(target) / "debug/apply-delta"
        super().setUpClass()

    def apply(self, tag, **arguments):
        self.exported(tag, **arguments)
        out = self.directory / tag
        out.mkdir()
        subprocess.run([self.program, self.directory / "out", tag, self.root, out], check=True, stdout=subprocess.DEVNULL)
        made = sorted(out.iterdir())
        self.assertEqual([path.name for path in made], ["0.tar", "2.tar"])
        for path in made:
            self.assertEqual(path.read_bytes(), self.tars["new"][int(path.stem)])

    def test_it_applies_version_2(self):
        self.apply("second")

    def test_it_applies_version_1(self):
        self.apply("first", compatible=True)


@unittest.skipUnless(APPLIER, "there is no tar-patch")
class TarPatch(Case):
    def test_it_applies_what_is_compatible(self):
        self.exported("first", compatible=True)
        out = tar_diff.Layout(self.directory / "out")
        entry, = out.entries("first")
        artifact, applied = tar_diff.Artifact(entry, out.blob), 0
        for layer, tar in zip(artifact.target["layers"], self.tars["new"]):
            if made := artifact.layers.get(layer["digest"]):
                self.assertEqual(made["mediaType"], tar_diff.TAR_DIFF)
                delta, result = self.directory / "delta", self.directory / "result"
                delta.write_bytes(out.blob(made))
                subprocess.run([APPLIER, delta, self.root, result], check=True)
                self.assertEqual(result.read_bytes(), tar)
                applied += 1
        self.assertEqual(applied, 2)


@unittest.skipUnless(MAKER, "there is no tar-diff")
class TarDiff(Case):
    def check_applied(self, old, new):
        """That of two images with equally many layers the deltas of tar-diff, one between each pair of layers, make the same commit as a pull of the layers."""
        diffs = {}
        for before, after in zip(self.blobs[old], self.blobs[new]):
            places = [self.directory / name for name in ("before.tar.gz", "after.tar.gz", "diff")]
            for place, blob in zip(places, (before, after)):
                place.write_bytes(blob.data)
            subprocess.run([MAKER, *places], check=True)
            diffs[after.digest] = places[-1].read_bytes()
        artifact = delta_artifact.Artifact(*delta_artifact.image(self.layout, new), delta_artifact.image(self.layout, old)[1], diffs)
        repository = self.stored(old, f"{old}-{new}")
        details = self.pulled(artifact.into(self.layout, f"{old}-{new}"), repository)
        self.assertEqual((details["delta-layers"], details["fetched-whole"]), (len(diffs), []), details)
        self.assertEqual(details["merge-commit"], self.pulled(self.layout.reference(new), ostree_repository.init(self.directory / f"{new}-whole-{old}"))["merge-commit"])
        self.assertLess(details["delta-bytes"] * 2, sum(len(blob.data) for blob in self.blobs[new]))

    def test_imaged_applies_what_it_makes(self):
        # Of an image that has both /etc and /usr/etc, a name in one of them says less than imaged needs.
        old, new = ([entry for entry in layers[0] if not entry.path.startswith("usr/etc/")] for layers in (self.images.OLD, self.images.NEW))
        self.image("one", [old, self.images.OLD[1]])
        self.image("two", [new, [Entry("usr/share/second", content=self.images.edited(self.images.OLD[1][0].content, 3)), Entry("usr/share/new", content=b"new")]])
        self.check_applied("one", "two")


if __name__ == "__main__":
    program = unittest.main(verbosity=2, exit=False)
    sys.exit(1 if not program.result.wasSuccessful() else 0 if Case.ran else 77)
