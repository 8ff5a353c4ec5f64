# SPDX-License-Identifier: Apache-2.0
"""Code that generators make of imaged's XML: it is generated, compiled and used against the real daemon. A generator that is not installed is skipped."""
import keyword
import os
import pathlib
import shutil
import subprocess
import unittest

import bus_case
import interface_xml
import oci_layout

SOURCE_ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2]))
CLIENTS = SOURCE_ROOT / "tests/integration/clients"
INTERFACES = ("org.imaged1.Manager", "org.imaged1.Job")
XML = [SOURCE_ROOT / f"dbus/{name}.xml" for name in INTERFACES]
# Words that name nothing in languages whose generators make functions and arguments of names as they are.
KEYWORDS = {word.lower() for word in keyword.kwlist} | set("class default delete function import in let new package public return var with yield".split())


def flags(package):
    run = subprocess.run(["pkg-config", "--cflags", "--libs", package], capture_output=True, text=True)
    return run.stdout.split() if run.returncode == 0 else None


class Names(unittest.TestCase):
    def test_no_argument_is_a_keyword_and_each_method_that_is_has_another_name(self):
        for interface in INTERFACES:
            methods = interface_xml.elements_of(interface, "method")
            for kind in ("method", "signal"):
                for name, element in interface_xml.elements_of(interface, kind).items():
                    self.assertEqual({arg.get("name") for arg in element.iter("arg")} & KEYWORDS, set(), f"{interface}.{name}")
            for name in methods:
                if name.lower() in KEYWORDS:
                    self.assertIn(name + "Image", methods)

    def test_no_property_has_the_name_of_a_signal_or_method(self):
        for interface in INTERFACES:
            names = [set(interface_xml.elements_of(interface, kind)) for kind in ("method", "signal", "property")]
            self.assertEqual(sum(map(len, names)), len(set().union(*names)))


class Generated(bus_case.BusCase):
    def run_client(self, program):
        """Its lines by what they are about."""
        self.layout.image("t", [oci_layout.layer([oci_layout.Entry("usr/share/file", content=os.urandom(3_000_000))])])
        archive = self.directory / "image.tar"
        subprocess.run(["tar", "-C", self.layout.path, "-cf", archive, "."], check=True)
        authfile = self.directory / "auth.json"
        authfile.write_text('{"auths": {}}')
        before = len(self.client.call("org.imaged1.Manager", "ListImages", bus_case.GLib.Variant("(a{sv})", ({},)))[0])
        run = subprocess.run([program, self.daemon.address, self.layout.reference("t"), archive, authfile], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        lines = dict(line.split(": ", 1) for line in run.stdout.splitlines())
        self.assertEqual(lines["pull"], "success progress")
        self.assertEqual(lines["error"].strip(), "failed org.imaged1.Error.NotFound")
        self.assertEqual(lines["authfile"].split()[0], "success")
        self.assertEqual(lines["archive"].split()[0], "success")  # its layer is stored: no bytes
        self.assertEqual(int(lines["list"]), before + (1 if before > 1 else 2))

    @unittest.skipUnless(shutil.which("gdbus-codegen") and shutil.which("cc"), "needs gdbus-codegen")
    def test_gdbus_codegen(self):
        work = self.directory / "gdbus"
        work.mkdir()
        subprocess.run(["gdbus-codegen", "--generate-c-code", "imaged", "--c-generate-autocleanup", "all", "--c-namespace", "Imaged", "--interface-prefix", "org.imaged1.", *XML],
                       cwd=work, check=True)
        subprocess.run(["cc", "-O0", "-I.", CLIENTS / "gdbus-client.c", "imaged.c", "-o", "client", *flags("gio-unix-2.0")], cwd=work, check=True)
        self.run_client(work / "client")

    @unittest.skipUnless(shutil.which("qdbusxml2cpp") and flags("Qt5DBus"), "needs qtbase5-dev")
    def test_qdbusxml2cpp(self):
        work = self.directory / "qt"
        work.mkdir()
        for name, xml in zip(("manager", "job"), XML):
            run = subprocess.run(["qdbusxml2cpp", "-i", "imaged-qt-types.hpp", "-p", f"{name}.h:{name}.cpp", xml], cwd=work, capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stdout, run.stderr), (0, "", ""))
            subprocess.run(["moc", f"{name}.h", "-o", f"moc_{name}.cpp"], cwd=work, check=True)
        sources = ["manager.cpp", "job.cpp", "moc_manager.cpp", "moc_job.cpp"]
        subprocess.run(["c++", "-std=c++17", "-O0", "-fPIC", "-I.", f"-I{SOURCE_ROOT / 'docs/examples'}", CLIENTS / "qt-client.cpp", *sources, "-o", "client", *flags("Qt5DBus")],
                       cwd=work, check=True)
        self.run_client(work / "client")


if __name__ == "__main__":
    unittest.main(verbosity=2)
