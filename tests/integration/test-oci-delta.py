#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The crate oci-delta, an independent reader of deltas, applies those that imaged makes. Needs cargo, and what `cargo fetch` brings or a network; skipped without them."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import agreement
import oci_layout
import ostree_repository
import tar_diff
import worker

SOURCES = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2]))
CRATE = SOURCES / "tests/interop/oci-delta"
SKIPPED = 77


def build(directory):
    """The program that applies a delta, or why there is none."""
    if not shutil.which("cargo"):
        return None, "there is no cargo"
    done = subprocess.run(["cargo", "build", "--quiet", "--locked", "--manifest-path", CRATE / "Cargo.toml", "--target-dir", directory], capture_output=True, text=True)
    if done.returncode != 0:
        return None, "cargo cannot build tests/interop/oci-delta (Rust 1.88, libssl-dev and a network): " + done.stderr.strip()[-500:]
    return directory / "debug/apply-delta", ""


def write_files(files, root):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


class Applied(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        import importlib
        cls.images = importlib.import_module("test-delta-export")
        layout = oci_layout.Layout(cls.directory / "oci")
        cls.tars = {}
        for tag, layers in (("old", cls.images.OLD), ("new", cls.images.NEW)):
            cls.tars[tag] = [oci_layout.tar(layer) for layer in layers]
            layout.image(tag, [oci_layout.compressed(data) for data in cls.tars[tag]], config={"config": {"Labels": {"version": tag}}})
        cls.repository = ostree_repository.init(cls.directory / "repo")
        result = worker.pull(layout.reference("old"), cls.repository).result
        assert result["outcome"] == "success", result
        cls.old, cls.new = (layout.reference(tag) for tag in ("old", "new"))
        cls.root = cls.directory / "root"
        write_files(tar_diff.files_of(*cls.tars["old"]), cls.root)

    def apply(self, tag, **arguments):
        result = worker.Run(self.new, self.repository, kind="export", arguments={"destination": f"oci:{self.directory}/out:{tag}", "delta-from": self.old, **arguments}).finish().result
        self.assertEqual(result["outcome"], "success", result)
        out = self.directory / tag
        out.mkdir()
        subprocess.run([PROGRAM, self.directory / "out", tag, self.root, out], check=True, stdout=subprocess.DEVNULL)
        made = sorted(out.iterdir())
        self.assertEqual([path.name for path in made], ["0.tar", "2.tar"])
        for path in made:
            self.assertEqual(path.read_bytes(), self.tars["new"][int(path.stem)])

    def test_of_version_2(self):
        self.apply("second")

    def test_of_version_1(self):
        self.apply("first", compatible=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir="/var/tmp") as target:
        PROGRAM, reason = build(pathlib.Path(os.environ.get("OCI_DELTA_TARGET", target)))
        if not PROGRAM:
            print("skipped:", reason)
            sys.exit(SKIPPED)
        unittest.main(verbosity=2)
