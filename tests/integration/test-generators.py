# SPDX-License-Identifier: Apache-2.0
"""imaged as programs of other D-Bus libraries use it, and code that generators make of its XML: a list, a pull with its progress, an error, an authfile, an archive,
against the real daemon. A library or generator that is not installed is skipped; ./dev test-clients installs all."""
import keyword
import os
import pathlib
import shutil
import subprocess
import unittest

import bus_case
import interface_xml
import oci_layout
import sanitizers

SOURCE_ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2]))
CLIENTS = SOURCE_ROOT / "tests/integration/clients"
INTERFACES = ("org.imaged1.Manager", "org.imaged1.Job")
XML = [SOURCE_ROOT / f"dbus/{name}.xml" for name in INTERFACES]
# Words that name nothing in languages whose generators make functions and arguments of names as they are.
KEYWORDS = {word.lower() for word in keyword.kwlist} | set("class default delete function import in let new package public return var with yield".split())


# With what ./dev test-clients installs besides.
PYTHON = os.environ.get("CLIENTS_PYTHON", "/usr/bin/python3")
NODE_MODULES = os.environ.get("CLIENTS_NODE_MODULES", "/usr/share/nodejs")


def flags(package):
    run = subprocess.run(["pkg-config", "--cflags", "--libs", package], capture_output=True, text=True)
    return run.stdout.split() if run.returncode == 0 else None


class Names(unittest.TestCase):
    def test_no_argument_or_method_is_a_keyword(self):
        for interface in INTERFACES:
            for kind in ("method", "signal"):
                elements = interface_xml.elements_of(interface, kind)
                self.assertEqual({name.lower() for name in elements} & KEYWORDS, set(), interface)
                for name, element in elements.items():
                    self.assertEqual({arg.get("name") for arg in element.iter("arg")} & KEYWORDS, set(), f"{interface}.{name}")

    def test_no_property_has_the_name_of_a_signal_or_method(self):
        for interface in INTERFACES:
            names = [set(interface_xml.elements_of(interface, kind)) for kind in ("method", "signal", "property")]
            self.assertEqual(sum(map(len, names)), len(set().union(*names)))


class Clients(bus_case.BusCase):
    def run_client(self, *command, passes_files=True, environment=None):
        """COMMAND ADDRESS IMAGE ARCHIVE AUTHFILE prints a line for each thing it did."""
        self.layout.image("t", [oci_layout.layer([oci_layout.Entry("usr/share/file", content=os.urandom(3_000_000))])])
        archive = self.directory / "image.tar"
        subprocess.run(["tar", "-C", self.layout.path, "-cf", archive, "."], check=True)
        authfile = self.directory / "auth.json"
        authfile.write_text('{"auths": {}}')
        run = subprocess.run([*command, self.daemon.address, self.layout.reference("t"), archive, authfile], capture_output=True, text=True, timeout=120 * sanitizers.SLOWER,
                             env={**os.environ, **(environment or {})})
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        lines = dict(line.split(": ", 1) for line in run.stdout.splitlines())
        self.assertEqual(lines.pop("pull"), "success progress")
        self.assertEqual(lines.pop("error").removesuffix("progress").strip(), "failed org.imaged1.Error.NotFound")
        self.assertEqual(int(lines.pop("list")), len(self.client.call("org.imaged1.Manager", "ListImages", bus_case.GLib.Variant("(a{sv})", ({},)))[0]))
        # Of the archive no byte is fetched: its layer is stored.
        self.assertEqual({what: line.split()[0] for what, line in lines.items()}, {"authfile": "success", "archive": "success"} if passes_files else {})

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

    @unittest.skipUnless(flags("libsystemd") and shutil.which("cc"), "needs libsystemd-dev")
    def test_sd_bus(self):
        program = self.directory / "sd-bus-client"
        subprocess.run(["cc", "-O0", CLIENTS / "sd-bus-client.c", "-o", program, *flags("libsystemd")], check=True)
        self.run_client(program)

    def python(self, library, module, client=None, **options):
        if subprocess.run([PYTHON, "-c", f"import {module}"], capture_output=True).returncode != 0:
            self.skipTest(f"{library} is not installed")
        self.run_client(PYTHON, CLIENTS / f"{client or library}-client.py", **options)

    def test_dasbus(self):
        self.python("dasbus", "dasbus.unix")

    def test_pydbus(self):
        self.python("pydbus", "pydbus", passes_files=False)

    def test_dbus_python(self):
        self.python("dbus-python", "dbus.mainloop.glib")

    def test_jeepney(self):
        self.python("jeepney", "jeepney")

    def test_dbus_fast(self):
        self.python("dbus-fast", "dbus_fast", "dbus-next", environment={"CLIENT_MODULE": "dbus_fast"})

    def test_dbus_next(self):
        self.python("dbus-next", "dbus_next", environment={"CLIENT_MODULE": "dbus_next"})

    def test_sdbus(self):
        """python-sdbus, with the module that its generator makes."""
        run = subprocess.run([PYTHON, "-m", "sdbus", "gen-from-file", *XML], capture_output=True, text=True)
        if "No module named" in run.stderr:
            self.skipTest("python-sdbus or jinja2 is not installed")
        self.assertEqual(run.returncode, 0, run.stderr)
        (self.directory / "generated.py").write_text(run.stdout)
        self.python("sdbus", "sdbus", environment={"PYTHONPATH": str(self.directory), "DBUS_SESSION_BUS_ADDRESS": self.daemon.address})

    @unittest.skipUnless(shutil.which("node") and os.path.isdir(NODE_MODULES + "/dbus-next"), "needs node, and the npm package dbus-next in $CLIENTS_NODE_MODULES")
    def test_node(self):
        self.run_client("node", CLIENTS / "node-client.js", passes_files=False, environment={"NODE_PATH": NODE_MODULES})

    @unittest.skipUnless(os.environ.get("CLIENTS_GO"), "needs $CLIENTS_GO, the program that clients/go makes")
    def test_godbus(self):
        self.run_client(os.environ["CLIENTS_GO"])

    @unittest.skipUnless(os.environ.get("CLIENTS_RUST"), "needs $CLIENTS_RUST, the program that clients/rust makes")
    def test_zbus(self):
        self.run_client(os.environ["CLIENTS_RUST"])

    @unittest.skipUnless(shutil.which("gjs"), "needs gjs")
    def test_gjs(self):
        self.run_client("gjs", CLIENTS / "gjs-client.js", SOURCE_ROOT / "dbus")

    @unittest.skipUnless(subprocess.run(["perl", "-MNet::DBus", "-e1"], capture_output=True).returncode == 0, "needs libnet-dbus-perl")
    def test_perl(self):
        self.run_client("perl", CLIENTS / "perl-client.pl", passes_files=False)

    @unittest.skipUnless(shutil.which("ruby") and subprocess.run(["ruby", "-rdbus", "-e1"], capture_output=True).returncode == 0, "needs ruby-dbus")
    def test_ruby(self):
        self.run_client("ruby", CLIENTS / "ruby-client.rb", passes_files=False)

    @unittest.skipUnless(shutil.which("busctl"), "needs systemd")
    def test_busctl(self):
        self.run_client("sh", CLIENTS / "busctl-client.sh", passes_files=False)

    @unittest.skipUnless(shutil.which("gdbus"), "needs libglib2.0-bin")
    def test_gdbus(self):
        self.run_client("sh", CLIENTS / "gdbus-client.sh", passes_files=False)


if __name__ == "__main__":
    unittest.main(verbosity=2)
