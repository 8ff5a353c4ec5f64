#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A path means to imaged what it means to its caller, in every verb that takes one: relative ones, and those that lead elsewhere for a caller with a /tmp of its own."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import oci_layout
import ostree_repository
import real_daemon
from bus_fixture import ERROR, MANAGER, BusError
from gi.repository import Gio, GLib
from oci_layout import Entry
from repository_case import ScratchCase

IMAGECTL = os.environ["IMAGECTL"]
NAME = "docker://registry.example/stored:1"


class Places(ScratchCase):
    def setUp(self):
        super().setUp()
        own = tempfile.TemporaryDirectory(prefix="imaged-places-")
        self.addCleanup(own.cleanup)
        self.repository = self.directory / "repo"
        ostree_repository.init(self.repository)
        self.daemon = real_daemon.Daemon(own.name, self.repository)
        self.addCleanup(self.daemon.stop)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.layout.image("t", [oci_layout.layer([Entry("usr/file", content=b"content")])])
        self.layout.as_dir("t", self.directory / "dir")
        for kind in ("oci-archive", "docker-archive"):
            subprocess.run(["skopeo", "copy", "--quiet", self.layout.reference("t"), f"{kind}:{self.directory}/{kind}.tar:name:t"], check=True, capture_output=True)
        ostree_repository.init(f"{self.directory}/other")

    def imagectl(self, *words, cwd=None, before=()):
        return subprocess.run([*before, IMAGECTL, "--address=" + self.daemon.address, *words], capture_output=True, text=True, cwd=cwd, timeout=60)

    def done(self, *words, **options):
        run = self.imagectl(*words, **options)
        self.assertEqual(run.returncode, 0, (words, run.stderr))
        return run.stdout

    def verbs(self, place):
        """What opens something below PLACE, a directory; the image is stored before and after each."""
        return [("pull", f"oci:{place}layout:t", "--target", NAME), ("prepare", f"oci:{place}layout:t"), ("pull", f"dir:{place}dir", "--target", NAME),
                ("pull", f"oci-archive:{place}oci-archive.tar:name:t", "--target", NAME), ("pull", f"docker-archive:{place}docker-archive.tar:name:t", "--target", NAME),
                ("pull", f"ostree-unverified-image:oci:{place}layout:t", "--target", NAME),
                ("verify", NAME, "--repair", "--source", f"oci:{place}layout:t"), ("import-archive", f"{place}oci-archive.tar", NAME),
                ("copy", NAME, f"{place}other"), ("copy", "--from", NAME, f"{place}other"),
                ("export", NAME, f"oci:{place}out:t"), ("export", NAME, f"oci-archive:{place}new/out.tar:t")]

    def test_relative_paths_in_each_verb(self):
        below = self.directory / "below"
        (self.directory / "new").mkdir()
        below.mkdir()
        for words in self.verbs("../"):
            with self.subTest(words):
                self.done(*words, cwd=below)
        for made in ("out/index.json", "new/out.tar"):
            self.assertTrue((self.directory / made).exists(), made)

    def test_what_leads_nowhere_is_refused(self):
        """A relative path is the caller's, and imaged knows no directory of the caller's."""
        client = self.daemon.client()
        self.addCleanup(client.close)
        for image in ("oci:layout:t", "dir:dir", "oci-archive:oci-archive.tar", "docker-archive:./docker-archive.tar", "ostree-unverified-image:oci:layout:t"):
            for method in ("Pull", "Prepare", "Check"):
                with self.subTest(image=image, method=method), self.assertRaises(BusError) as caught:
                    client.start(method, image)
                self.assertEqual(caught.exception.name, ERROR + "InvalidArgument")
                self.assertIn("is not an absolute path", caught.exception.message)
        for words in (("pull", "oci::t"), ("export", NAME, "oci::t")):
            run = self.imagectl(*words, cwd=self.directory)
            self.assertEqual((run.returncode, "is not an absolute path" in run.stderr), (2, True), run.stderr)
        # The caller's directory is gone.
        gone = self.directory / "gone"
        gone.mkdir()
        run = self.imagectl("pull", "oci:layout:t", before=("sh", "-ec", f'cd "{gone}"; rmdir "{gone}"; exec "$0" "$@"'))
        self.assertEqual((run.returncode, "the current directory" in run.stderr), (2, True), run.stderr)

    def test_a_short_name_is_explained_once(self):
        run = self.imagectl("prepare", "127.0.0.1:1/app:1")
        self.assertEqual(run.stderr.count("is taken as"), 1, run.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_a_caller_with_directories_of_its_own(self):
        """It sees a copy of the directory in the place of the one that imaged sees."""
        (self.directory / "new").mkdir()
        mine = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
        self.addCleanup(shutil.rmtree, mine)
        shutil.copytree(self.directory, mine / "copy", symlinks=True, ignore=lambda where, names: [name for name in names if name == "repo"])
        (mine / "copy/only-here").mkdir()
        before = ("unshare", "--mount", "sh", "-ec", f'mount --bind "{mine}/copy" "{self.directory}"; exec "$0" "$@"')
        if subprocess.run([*before, "true"], capture_output=True).returncode != 0:
            self.skipTest("no mount namespaces here")
        self.done("pull", self.layout.reference("t"), "--target", NAME)
        for words in (*self.verbs(f"{self.directory}/"), ("export", NAME, f"oci:{self.directory}/only-here/out:t"), ("export", NAME, f"oci:{self.directory}/not/yet/there:t")):
            with self.subTest(words):
                run = self.imagectl(*words, before=before)
                # The archive is handed over as it is.
                if words[0] == "import-archive":
                    self.assertEqual(run.returncode, 0, run.stderr)
                    continue
                self.assertEqual(run.returncode, 2, run.stdout + run.stderr)
                self.assertIn(f"imaged sees another {self.directory}", run.stderr)
        self.assertFalse((self.directory / "out").exists())
        # The same directory by another name of a mount, and one that only the caller's namespace has elsewhere.
        before = ("unshare", "--mount", "sh", "-ec", f'mount --bind "{self.directory}" "{self.directory}"; exec "$0" "$@"')
        self.done("export", NAME, f"oci:{self.directory}/out:t", before=before)
        self.assertTrue((self.directory / "out/index.json").exists())

    def test_a_place_is_for_a_path(self):
        client = self.daemon.client()
        self.addCleanup(client.close)
        for method, image, options, text in (("Pull", NAME, {}, "nothing is opened by a path"), ("Check", self.layout.reference("t"), {}, "unknown")):
            with self.subTest(method), self.assertRaises(BusError) as caught:
                fds = Gio.UnixFDList.new()
                place = os.open("/", os.O_PATH)
                options = {"place": GLib.Variant("h", fds.append(place)), **options}
                os.close(place)
                client.start(method, image, fds=fds, **options)
            self.assertEqual(caught.exception.name, ERROR + "InvalidArgument")
            self.assertIn(text, caught.exception.message)


if __name__ == "__main__":
    unittest.main(verbosity=2)
