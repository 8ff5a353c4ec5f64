#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The shell lines of README.md and of the manual pages, as they are pasted: those of imagectl(1), which are the examples of its help, against a registry that answers for
the hosts that they name. What needs a real host says so here, by its first words."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

import agreement
import oci_layout
import ostree_repository
import real_daemon
import registry
import sanitizers
from oci_layout import Entry
from repository_case import ScratchCase

IMAGECTL = os.environ["IMAGECTL"]
SOURCES = pathlib.Path(__file__).resolve().parents[2]
HOSTS = ("registry.example", "mirror.example", "quay.io", "docker.io")
STABLE = "docker://registry.example/host:stable"
# Directories that are the host's in the examples.
PLACES = ("/srv/", "/run/media/", "/media/")


def verbs():
    text = subprocess.run([IMAGECTL, "--help"], capture_output=True, text=True, check=True).stdout
    return [line.split()[0] for line in text.split("Verbs:\n")[1].split("\n\n")[0].splitlines()]


def examples(verb):
    text = subprocess.run([IMAGECTL, verb, "--help"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(?m)^Examples?:\n((?:  .*\n)+)", text)
    # One that is too long for the page goes on in the next line, as a shell takes it.
    return re.sub(r"\\\n {3,}", "", found.group(1).rstrip("\n")).split("\n") if found else []


@unittest.skipUnless(shutil.which("docker-registry"), "needs docker-registry")
class Imagectl(ScratchCase):
    """Of each verb, one after the other, with images that are stored and have an update."""

    @classmethod
    def setUpClass(cls):
        cls.where = tempfile.TemporaryDirectory(dir="/var/tmp")
        cls.server = registry.Registry(cls.where.name + "/registry")
        cls.layout = oci_layout.Layout(cls.where.name + "/layout")

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()
        cls.where.cleanup()

    def setUp(self):
        super().setUp()
        registries = "".join(f'[[registry]]\nprefix = "{host}"\nlocation = "{self.server.address}"\ninsecure = true\n' for host in HOSTS)
        (self.directory / "registries.conf").write_text(registries + f'[[registry]]\nlocation = "{self.server.address}"\ninsecure = true\n')
        for path in ("srv/images", "srv/mirror", "run/media/stick", "media/backup", "home/.config/containers", "bin"):
            (self.directory / path).mkdir(parents=True)
        (self.directory / "home/.config/containers/auth.json").write_text('{"auths": {}}')
        self.publish("1")
        for image in ("srv/images/host", "media/backup/host"):
            self.copy("oci", image + ":stable")
        self.copy("oci", "srv/images/host:test")
        self.copy("docker-archive", "saved.tar:app:1")
        (self.directory / "bin/docker").write_text(f"#!/bin/sh\n# docker save\ncat {self.directory}/saved.tar\n")
        (self.directory / "bin/docker").chmod(0o755)
        own = tempfile.TemporaryDirectory(prefix="imaged-pasted-")
        self.addCleanup(own.cleanup)
        for place in ("repo", "srv/mirror/repo", "run/media/stick/repo"):
            ostree_repository.init(f"{self.directory}/{place}")
        self.daemon = real_daemon.Daemon(own.name, self.directory / "repo", "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n",
                                         {"CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf")})
        self.addCleanup(self.daemon.stop)

    def publish(self, version):
        layers = [oci_layout.layer([Entry("usr/version", content=version.encode())])]
        self.layout.image("t", layers, config={"config": {"Labels": {"org.opencontainers.image.version": version}}})
        for name in ("host:stable", "host:testing", "host:old", "example/host:stable", "library/debian:12"):
            self.digest = self.server.push(self.layout.reference("t"), name)

    def copy(self, transport, name):
        subprocess.run(["skopeo", "copy", "--quiet", self.layout.reference("t"), f"{transport}:{self.directory}/{name}"], check=True, capture_output=True)

    def run_line(self, line):
        for place in PLACES:
            line = re.sub(rf"(?<![a-z]){place}", f"{self.directory}{place}", line)
        # A push goes to the host that is named.
        line = line.replace("mirror.example", self.server.address)
        if line.strip().startswith("imagectl delta "):
            line = line.replace("docker://registry.example", "docker://" + self.server.address)
        line = re.sub(r"sha256:(0123…|[0-9a-f]{64})", self.digest, line)
        # The beginning of one, without its algorithm.
        line = line.replace(" 0123456789ab", " " + self.digest.split(":")[-1][:12])
        run = subprocess.run(["sh", "-ec", line], capture_output=True, text=True, cwd=self.directory, stdin=subprocess.DEVNULL, timeout=60 * sanitizers.SLOWER, env={
            **os.environ, "IMAGED_BUS_ADDRESS": self.daemon.address, "HOME": str(self.directory / "home"),
            "PATH": f"{self.directory}/bin:{os.path.dirname(IMAGECTL)}:{os.environ['PATH']}"})
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def prepare(self, verb):
        """What must be there for VERB's examples."""
        if verb == "import-archive":
            self.copy("oci-archive", "host.tar")
        if verb in ("pull", "import", "import-archive", "prepare"):
            return
        if verb == "delta":
            for version in "12":
                self.publish(version)
                self.server.push(self.layout.reference("t"), "host:" + version)
            return self.run_line("imagectl pull registry.example/host:1")
        names = [STABLE, "docker://registry.example/host:testing", "docker://registry.example/host:old"]
        for name in (*names, "oci:/srv/images/host:test", "oci:/srv/images/host:stable"):
            self.run_line("imagectl pull " + name)
        if verb == "copy":
            self.run_line(f"imagectl copy {STABLE} /run/media/stick/repo")
        old = self.digest
        if verb in ("diff", "check", "rollback", "changes"):
            self.publish("2")
            self.run_line("imagectl check")
        if verb in ("rollback", "changes"):
            self.run_line("imagectl pull " + STABLE)
            self.digest = old

    def start_over(self):
        """As prepare() left it, but for the jobs."""
        agreement.check(self.directory)
        self.daemon.process.terminate()
        self.daemon.process.wait(20 * sanitizers.SLOWER)
        subprocess.run(["rm", "-rf", self.directory], check=True)
        subprocess.run(["cp", "-a", self.pristine, self.directory], check=True)
        self.daemon.start()

    def begin(self, verb):
        self.doCleanups()
        self.setUp()
        self.prepare(verb)
        self.pristine = f"{self.where.name}/{verb}"
        subprocess.run(["rm", "-rf", self.pristine], check=True)
        subprocess.run(["cp", "-a", self.directory, self.pristine], check=True)

    def test_the_examples_of_each_verb(self):
        seen = set()
        for verb in verbs():
            lines = examples(verb)
            self.assertTrue(lines, f"{verb} has no example")
            for line in lines:
                seen.add(line)
                with self.subTest(line.strip()):
                    if line == lines[0] or verb in ("jobs", "cancel", "watch"):
                        self.begin(verb)
                    else:
                        self.start_over()
                    self.run_line(line)
        self.assertGreater(len(seen), 40)


@unittest.skipUnless(shutil.which("docker-registry"), "needs docker-registry")
class Readme(Imagectl):
    """The lines below "Use it" are run here. Of the others it is known who runs them."""
    OTHERS = {"Try it": "./dev test is .ci/run's; ./dev demo needs a real host: it fetches Debian packages",
              "Install it": "tests/system/run.py, on a booted system", "Build it into a system": "needs a real host: it installs into /usr"}
    test_the_examples_of_each_verb = None

    def setUp(self):
        super().setUp()
        self.blocks = {}
        for part in (SOURCES / "README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
            title, text = part.split("\n", 1)
            found = re.findall(r"(?m)(?:^    .*\n)+", text)
            if found:
                self.blocks[title] = found

    def paste(self, lines, typed=None):
        for there, here in (("/tmp/images", f"{self.directory}/images"), ("oci:/path/to/layout:tag", f"oci:{self.directory}/srv/images/host:stable")):
            lines, typed = lines.replace(there, here), typed and typed.replace(there, here)
        run = subprocess.run(["bash", "-ec", lines], capture_output=True, text=True, input=typed, cwd=SOURCES, timeout=60 * sanitizers.SLOWER, env={
            **os.environ, "IMAGED_BUILD_DIR": str(pathlib.Path(IMAGECTL).parents[1]), "CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf")})
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout

    def test_the_lines_of_each_section(self):
        self.assertEqual(set(self.blocks), {"Use it", *self.OTHERS})
        shell, typed, busctl = self.blocks["Use it"]
        self.assertRegex(shell, r"^    \./dev run .* -- bash\n$")
        self.assertIn("State:", self.paste(shell, "set -e\n" + typed))
        said = self.paste(busctl)
        self.assertIn("org.freedesktop.DBus.ObjectManager", said)
        self.assertIn("docker://docker.io/library/debian:12", said)


class ManualPages(unittest.TestCase):
    """imaged(8), imaged.conf(5) and org.imaged1(5) have no lines to paste; the commands that their sentences name are known."""
    KNOWN = {"imaged.8": {"imaged --metrics": "test-metrics.py", "imagectl --session": "test-first-use.py", "systemctl edit imaged-proxy@.service": "needs a real host: it opens an editor",
                          "systemctl status imaged": "tests/system/service.py"},
             "imaged.conf.5": {"imaged --check-config": "tests/unit/daemon/config.cpp, test-configuration.py", "systemctl try-reload-or-restart imaged": "tests/system/service.py",
                               "imagectl list": "here", "imagectl rollback": "test-rollback.py"}}

    def test_the_commands_that_they_name(self):
        for name, known in self.KNOWN.items():
            text = (SOURCES / "docs" / name).read_text(encoding="utf-8").replace("\\-", "-")
            self.assertNotIn(".EX", text, "lines to paste: run them")
            found = set(re.findall(r'(?m)^\.BR? "?((?:imagectl|systemctl|imaged|ostree|busctl) [a-z-][^"\n(]*?)"?(?: [,.].*)?$', text))
            self.assertEqual(found, set(known), name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
