# SPDX-License-Identifier: Apache-2.0
"""Images that are pulled through the bus into one repository, by the real daemon and worker; one daemon for all tests of a class."""
import pathlib
import shutil
import subprocess
import unittest

from gi.repository import Gio, GLib

import agreement
import bus_fixture
import oci_layout
import ostree_repository
import real_daemon
import tree


def variant(value):
    return GLib.Variant("b" if isinstance(value, bool) else "s", value)


class BusCase(unittest.TestCase):
    configuration, environment = "", {}

    @classmethod
    def prepare(cls):
        """What the daemon of the class needs before it starts."""

    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.repository = ostree_repository.init(cls.directory / "repo")
        cls.prepare()
        cls.daemon = real_daemon.Daemon(cls.directory, cls.repository, cls.configuration, cls.environment)
        cls.addClassCleanup(cls.daemon.stop)
        cls.client = cls.daemon.client()
        cls.addClassCleanup(cls.client.close)

    def setUp(self):
        self.layout = oci_layout.Layout(self.directory / self.id().rpartition(".")[2])

    def job(self, method, image, fds=None, **options):
        """The properties of a job that has ended."""
        number, _ = self.client.start(method, image, fds=fds, **{key: variant(value) for key, value in options.items()})
        return self.client.finished(number, 120)

    def pull(self, reference=None, **options):
        return self.job("Pull", reference or "ostree-unverified-image:" + self.layout.reference("t"), **options)

    def pulled(self, reference=None, **options):
        """The outcome of a pull that succeeds."""
        properties = self.pull(reference, **options)
        self.assertEqual((properties["Result"], properties["ErrorMessage"]), ("success", ""))
        return properties["Outcome"]

    def stored(self, *layers, **image):
        """The tree that an image of LAYERS, lists of entries or blobs, is stored as."""
        self.layout.image("t", [layer if isinstance(layer, oci_layout.Blob) else oci_layout.layer(layer) for layer in layers], **image)
        self.outcome = self.pulled()
        return tree.of_commit(self.repository, self.outcome["commit"])

    def refused(self, error, *texts, reference=None, **options):
        properties = self.pull(reference, **options)
        self.assertEqual((properties["Result"], properties["ErrorName"].rpartition(".")[2]), ("failed", error), properties["ErrorMessage"])
        for text in texts:
            self.assertIn(text, properties["ErrorMessage"])
        return properties["ErrorMessage"]

    def import_archive(self, path, image, **options):
        fds = Gio.UnixFDList.new()
        with open(path, "rb") as file:
            handle = fds.append(file.fileno())
        options = {key.replace("_", "-"): variant(value) for key, value in options.items()}
        number, _ = self.client.call(bus_fixture.MANAGER, "ImportArchive", GLib.Variant("(hsa{sv})", (handle, image, options)), fds=fds)
        return self.client.finished(number, 120)

    def described(self, image):
        return self.client.call(bus_fixture.MANAGER, "GetImage", GLib.Variant("(s)", (image,)))[0]

    def assert_verified(self):
        """Verify says that all is sound; what it says, fsck and checkouts must say at the end of the class (agreement.py)."""
        number, _ = self.client.call(bus_fixture.MANAGER, "Verify", GLib.Variant("(asa{sv})", ([], {})))
        verified = self.client.finished(number, 120)
        self.assertEqual((verified["Result"], verified["Outcome"].get("sound")), ("success", True), verified["Outcome"])

    def assert_sound(self):
        """Verify, fsck and a checkout agree that the last image is sound."""
        self.assert_verified()
        subprocess.run(["ostree", f"--repo={self.repository}", "fsck", "--quiet"], check=True, capture_output=True)
        checkout = self.directory / "checkout"
        subprocess.run(["ostree", f"--repo={self.repository}", "checkout", self.outcome["commit"], checkout], check=True, capture_output=True)
        shutil.rmtree(checkout)
