#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The page for Cockpit, as far as that goes without a browser: check-page.py SOURCE_ROOT"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else ".").resolve()
PAGE = ROOT / "client/cockpit"
NODE = shutil.which("node")


def modules():
    return sorted(PAGE.glob("*.js"))


def node(script):
    """What SCRIPT, a module that has all of text.js, prints as JSON."""
    begin = f"import * as text from {json.dumps((PAGE / 'text.js').as_uri())};\n"
    run = subprocess.run([NODE, "--input-type=module", "-e", begin + f"console.log(JSON.stringify({script}));"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


class Page(unittest.TestCase):
    maxDiff = None

    def test_the_manifest_is_one(self):
        manifest = json.loads((PAGE / "manifest.json").read_text())
        self.assertEqual(list(manifest["menu"]), ["index"])
        self.assertIn(f"version: '{manifest['version']}'", (ROOT / "meson.build").read_text())
        rules = dict(rule.split(" ", 1) for rule in re.split("; *", manifest["content-security-policy"]))
        self.assertEqual({rules[name] for name in ("default-src", "script-src", "style-src", "img-src", "font-src")}, {"'self'"})
        launchable = xml.etree.ElementTree.parse(PAGE / "org.imaged.cockpit.metainfo.xml").find("launchable")
        self.assertEqual((launchable.get("type"), launchable.text), ("cockpit-manifest", "imaged"))

    def test_every_file_is_installed(self):
        installed = set(re.findall(r"'([\w.-]+\.(?:js|json|html|css|xml))'", (PAGE / "meson.build").read_text()))
        self.assertEqual({path.name for path in PAGE.iterdir()} - {"meson.build"}, installed)

    def test_what_the_page_names_is_there(self):
        names = re.findall(r'(?:src|href)="([^"#]+)"', (PAGE / "index.html").read_text())
        for path in modules():
            names += re.findall(r'from "\./([^"]+)"', path.read_text())
        self.assertIn("text.js", names)
        # Cockpit's own, which every page loads from there.
        self.assertEqual({name for name in names if not (PAGE / name).exists()}, {"../base1/cockpit.js"})

    def test_text_is_never_taken_for_markup(self):
        markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|createContextualFragment|setAttribute\(.(style|on)")
        self.assertEqual([f"{path.name}: {line.strip()}" for path in modules() for line in path.read_text().splitlines() if markup.search(line)], [])
        self.assertNotRegex((PAGE / "index.html").read_text(), r"<style|style=|\son\w+=|<script>")
        # Two places make text nodes without printable(): a line feed, which they write themselves.
        made = [line.strip() for path in modules() for line in path.read_text().splitlines() if "createTextNode(" in line and "printable(" not in line]
        self.assertTrue(all('createTextNode("\\n")' in line for line in made), made)

    def test_the_keys_are_those_of_the_interface(self):
        """What an outcome or an image is asked for is a key that the XML names."""
        xml_text = (ROOT / "dbus/org.imaged1.Manager.xml").read_text()
        keys = {(path.name, key) for path in modules() for key in re.findall(r'(?:outcome|image|kept|found|update|deployment|layer|record)\["([a-z-]+)"\]', path.read_text())}
        self.assertGreater(len(keys), 30)
        self.assertEqual({(name, key) for name, key in keys if not re.search(rf"\b{key}\b", xml_text) and not key.endswith("-")}, set())

    def test_every_phase_of_a_job_has_words(self):
        xml_text, view = (ROOT / "dbus/org.imaged1.Job.xml").read_text(), (PAGE / "jobs-view.js").read_text()
        named = set(re.findall(r'"([a-z-]+)"', re.search(r"<!-- Phase: (.*?)-->", xml_text, re.S)[1]))
        self.assertGreater(len(named), 10)
        self.assertEqual(named - set(re.findall(r'([a-z-]+)"?: "', re.search(r"const phases = {(.*?)};", view, re.S)[1])), set())

    @unittest.skipUnless(NODE, "node is not here")
    def test_every_module_is_javascript(self):
        for path in modules():
            with self.subTest(path.name):
                run = subprocess.run([NODE, "--check", "--input-type=module"], input=path.read_text(), capture_output=True, text=True, check=False)
                self.assertEqual(run.returncode, 0, run.stderr)

    @unittest.skipUnless(NODE, "node is not here")
    def test_hidden_characters_are_those_of_imagectl(self):
        table = re.search(r"controls\{\{(.*?)\}\};", (ROOT / "lib/base/printable.cpp").read_text(), re.S)[1]
        ranges = [(int(first, 16), int(last, 16)) for first, last in re.findall(r"\{(0x\w+), (0x\w+)\}", table)]
        self.assertGreater(len(ranges), 15)
        hidden = node("(() => { const found = []; for (let code = 0; code < 0x110000; code++) if (!(code >= 0xd800 && code < 0xe000) "
                      "&& text.printable(String.fromCodePoint(code)) !== String.fromCodePoint(code)) found.push(code); return found; })()")
        self.assertEqual(hidden, [code for first, last in ranges for code in range(first, last + 1)])
        self.assertEqual(node(r'text.printable("a\u001b[1m\u202ec\ud800")'), "a\\x1b[1m\\u{202e}c\\u{d800}")

    @unittest.skipUnless(NODE, "node is not here")
    def test_names_without_a_transport_are_taken_as_by_imagectl(self):
        for name, taken in (("debian:12", "docker://docker.io/library/debian:12"), ("a/b", "docker://docker.io/a/b"), ("quay.io/a/b", "docker://quay.io/a/b"),
                            ("localhost/a", "docker://localhost/a"), ("docker:24", "docker://docker.io/library/docker:24"), ("registry:2", "docker://docker.io/library/registry:2"),
                            ("oci:/srv/x:y", "oci:/srv/x:y"), ("docker://x/y", "docker://x/y"), ("ostree-image-signed:docker://x/y", "ostree-image-signed:docker://x/y"),
                            ("/srv/x", "/srv/x"), (" debian ", "docker://docker.io/library/debian"), ("", "")):
            with self.subTest(name):
                self.assertEqual(node(f"text.reference({json.dumps(name)})"), taken)

    @unittest.skipUnless(NODE, "node is not here")
    def test_what_an_imaged_said_last_is_no_job_of_the_next(self):
        """Its signals may come after the news that it has left the bus, as they do from Cockpit 337 at times."""
        script = f"""(await (async () => {{
            globalThis.CustomEvent ||= class extends Event {{ constructor(name, options) {{ super(name); this.detail = options.detail; }} }};
            const {{ Jobs }} = await import({json.dumps((PAGE / 'jobs.js').as_uri())});
            const bus = new EventTarget(), path = "/org/imaged1/job/1", tell = (name, detail) => bus.dispatchEvent(new CustomEvent(name, {{ detail }}));
            bus.properties = async () => ({{ Kind: "pull", State: "running" }});
            const jobs = new Jobs(bus), begins = async () => {{ tell("signal", {{ interface: "org.imaged1.Manager", member: "JobNew", values: [1, path] }}); await new Promise((done) => setTimeout(done)); }};
            await begins();
            tell("owner", false);
            tell("signal", {{ path, interface: "org.imaged1.Job", member: "LayerProgress", values: [0, "sha256:a", "fetching", 1, 2] }});
            tell("signal", {{ path, interface: "org.imaged1.Job", member: "Finished", values: ["failed", "org.imaged1.Error.Stopped", "imaged was stopped", {{}}] }});
            await begins();
            return jobs.all.map((job) => [job.ended, job.layers.size]);
        }})())"""
        self.assertEqual(node(script), [[True, 0], [False, 0]])

    @unittest.skipUnless(NODE, "node is not here")
    def test_numbers_for_people(self):
        self.assertEqual(node("[0, 999, 1000, 999949, 999950, 12345678, -1, NaN].map(text.bytes)"),
                         ["0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB", "-", "-"])
        self.assertEqual(node("[0, 0.1, 59.5, 125, 11220, 1e6, -1, NaN].map(text.duration)"), ["0 s", "1 s", "1 min 0 s", "2 min 5 s", "3 h 7 min", "11 d", "-", "-"])
        self.assertEqual(node('["insecureAcceptAnything (default)", "signedBy (docker: x)", "insecureAcceptAnything+signedBy (docker: x)", "keys of the OSTree remote vendor", "", "sigstoreSigned", "futureRule (default)"]'
                              ".map((rule) => text.proof(rule).signed)"), [False, True, True, True, False, True, False])


if __name__ == "__main__":
    unittest.main(verbosity=2)
