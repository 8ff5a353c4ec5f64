#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What is written down works: the example programs, the manual pages, the units."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
import unittest.mock

import interface_xml
import sanitizers
from bus_fixture import JOB, MANAGER, Case

SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
EXAMPLES = SOURCES + "/docs/examples/"


class Catalog(unittest.TestCase):
    """systemd/imaged.catalog explains each event of daemon/process/journal.cpp, and imaged(8) lists it."""
    def test_each_event_is_explained(self):
        def ids(path):
            with open(SOURCES + path, encoding="utf-8") as file:
                return re.findall(r"\b[0-9a-f]{32}\b", file.read())
        events = ids("/daemon/process/journal.cpp")
        self.assertEqual(len(set(events)), len(events))
        self.assertEqual(sorted(ids("/systemd/imaged.catalog")), sorted(events))
        self.assertEqual(sorted(ids("/docs/imaged.8")), sorted(events))

    @unittest.skipUnless(shutil.which("journalctl"), "journalctl is not here")
    def test_systemd_takes_the_catalog(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(root + "/var/lib/systemd/catalog")
            os.makedirs(root + "/usr/lib/systemd/catalog")
            shutil.copy(SOURCES + "/systemd/imaged.catalog", root + "/usr/lib/systemd/catalog")
            update = subprocess.run(["journalctl", "--root", root, "--update-catalog"], capture_output=True, text=True, check=True)
            self.assertEqual(update.stderr, "")
            listed = subprocess.run(["journalctl", "--root", root, "--list-catalog"], capture_output=True, text=True, check=True).stdout
        self.assertEqual(len(listed.splitlines()), 8, listed)
        self.assertTrue(all(" imaged: " in line for line in listed.splitlines()), listed)


class Examples(Case):
    def setUp(self):
        # As the unit's, which outlives the daemon.
        self.runtime = tempfile.TemporaryDirectory()
        self.addCleanup(self.runtime.cleanup)
        super().setUp()

    def start_daemon(self):
        with unittest.mock.patch.dict(os.environ, RUNTIME_DIRECTORY=self.runtime.name):
            super().start_daemon()

    def run_on_bus(self, *command):
        return subprocess.run(command, capture_output=True, text=True, timeout=60,
                              env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "BUS": "--address=" + self.address})

    def test_the_python_program_pulls(self):
        run = self.run_on_bus("/usr/bin/python3", EXAMPLES + "pull.py", self.image("succeed"))
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("success sha256:", run.stdout)
        self.assertIn("failed", self.run_on_bus("/usr/bin/python3", EXAMPLES + "pull.py", self.image("crash")).stdout)

    def test_the_shell_script_pulls(self):
        run = self.run_on_bus("sh", EXAMPLES + "pull.sh", self.image("succeed"))
        self.assertEqual((run.returncode, run.stdout.strip()), (0, "success"), run.stderr)

    def test_a_program_notices_that_imaged_left(self):
        """Killed under the job, and started again with a job of somebody else's."""
        number = 0
        for words in (("/usr/bin/python3", EXAMPLES + "pull.py"), ("sh", EXAMPLES + "pull.sh"), (IMAGECTL, f"--address={self.address}", "pull")):
            with self.subTest(program=words[-1]), open(self.directory + "/output", "w") as output:
                program = self.spawn([*words, self.image("wait")], stdout=output, stderr=output,
                                     env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "BUS": "--address=" + self.address})
                client = self.client()
                self.eventually(lambda: any(job[0] > number and job[3] == "running" for job in client.call(MANAGER, "ListJobs")[0]))
                number = client.call(MANAGER, "ListJobs")[0][-1][0]
                self.daemon.kill()
                self.daemon.wait()
                self.eventually(lambda: not self.has_owner(client))
                self.start_daemon()
                self.assertGreater(other := client.pull(self.image("succeed")), number)
                number = other
                self.assertNotEqual(program.wait(20 * sanitizers.SLOWER), 0)
                with open(self.directory + "/output") as text:
                    self.assertNotIn("success", text.read())

    def test_the_c_program_lists(self):
        program = self.directory + "/list-images"
        flags = subprocess.run(["pkg-config", "--cflags", "--libs", "gio-2.0"], capture_output=True, text=True, check=True)
        subprocess.run(["cc", "-Wall", "-Werror", EXAMPLES + "list-images.c", "-o", program, *flags.stdout.split()], check=True)
        run = self.run_on_bus(program)
        self.assertEqual((run.returncode, run.stdout), (0, ""), run.stderr)


class BusPage(unittest.TestCase):
    """docs/dbus.md has what the interface's XML has, member by member, and nothing else."""

    def setUp(self):
        with open(SOURCES + "/docs/dbus.md", encoding="utf-8") as file:
            self.text = file.read()

    def rows(self, heading):
        """The cells of the table under HEADING by the name in the first: for each cell the words in backquotes."""
        section, = re.findall(rf"(?m)^## {heading}\n(.*?)(?=^## |\Z)", self.text, re.S)
        lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")]
        rows = [[re.findall("`([^`]+)`", cell) for cell in line] for line in lines]
        names = [row[0][0] for row in rows]
        self.assertEqual(len(names), len(set(names)), "twice in the table")
        return dict(zip(names, rows))

    def test_methods_with_their_arguments_options_and_errors(self):
        for interface in (MANAGER, JOB):
            methods, elements = interface_xml.methods_of(interface), interface_xml.elements_of(interface, "method")
            rows = self.rows(f"Methods of `{interface}`")
            self.assertEqual(set(rows), set(methods), f"the rows of docs/dbus.md and the methods of {interface}")
            for name, method in methods.items():
                with self.subTest(name):
                    _, signature, _, options, direct, through_job = rows[name]
                    types = {way: " ".join(arg.get("type") for arg in elements[name].findall("arg") if arg.get("direction") == way) or "-"
                             for way in ("in", "out")}
                    self.assertEqual(signature, [f"{types['in']} → {types['out']}"])
                    self.assertEqual(set(options), set(method.options))
                    self.assertEqual(set(direct), method.direct)
                    self.assertEqual(set(through_job), method.through_job)

    def test_properties_and_signals_with_their_types(self):
        for interface in (MANAGER, JOB):
            rows = self.rows(f"Properties of `{interface}`")
            self.assertEqual({name: row[1] for name, row in rows.items()},
                             {name: [kind] for name, kind in interface_xml.properties_of(interface).items()})
            rows = self.rows(f"Signals of `{interface}`")
            self.assertEqual({name: row[1] for name, row in rows.items()},
                             {name: [arg.get("type") for arg in element.findall("arg")]
                              for name, element in interface_xml.elements_of(interface, "signal").items()})

    def test_errors_are_those_of_the_daemon(self):
        with open(SOURCES + "/lib/base/error.cpp", encoding="utf-8") as file:
            known = set(re.findall(r'"([A-Z]\w+)"', file.read()))
        self.assertEqual(set(self.rows("Errors")), known)
        self.assertEqual(interface_xml.KNOWN, known)

    def test_no_other_member_is_named(self):
        known = set(interface_xml.KNOWN) | {"PropertiesChanged", "NameOwnerChanged", "NAME"}
        for interface in (MANAGER, JOB):
            for kind in ("method", "property", "signal"):
                known |= set(interface_xml.elements_of(interface, kind))
        self.assertEqual(set(re.findall(r"`([A-Z][A-Za-z]+)`", self.text)) - known, set())


@unittest.skipUnless(shutil.which("man"), "needs man-db")
class ManualPages(unittest.TestCase):
    def check(self, path):
        run = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", path], capture_output=True, text=True,
                             env={**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        for line in run.stdout.splitlines():
            self.assertLessEqual(len(line), 80, line)
            # Names are typed as they stand there: none is divided.
            self.assertFalse(line.endswith("\N{HYPHEN}"), line)
        return run.stdout

    def made(self, *command):
        with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
            subprocess.run(["/usr/bin/python3", *command], stdout=file, check=True)
            return self.check(file.name)

    def test_the_interface_page_has_every_member(self):
        paths = [f"{SOURCES}/dbus/org.imaged1.{name}.xml" for name in ("Manager", "Job")]
        page = self.made(SOURCES + "/docs/interface-pages.py", "1", *paths)
        for path in paths:
            with open(path, encoding="utf-8") as file:
                for name in re.findall(r'<(?:method|signal|property) name="(\w+)"', file.read()):
                    self.assertIn(name, page)

    def test_the_page_of_imagectl_has_every_verb(self):
        page = self.made(SOURCES + "/docs/imagectl-page.py", IMAGECTL, "1")
        text = subprocess.run([IMAGECTL, "--help"], capture_output=True, text=True, check=True).stdout
        for line in text.split("Verbs:\n")[1].split("\n\n")[0].split("\n"):
            self.assertRegex(page, rf"(?m)^ +{line.split()[0]} \[OPTION")

    def test_the_written_pages_have_every_option_and_key(self):
        page = self.check(SOURCES + "/docs/imaged.8")
        with open(SOURCES + "/daemon/process/command-line.cpp", encoding="utf-8") as file:
            for option in re.findall(r'{"([a-z-]+)", (?:no|required)_argument', file.read()):
                self.assertIn("--" + option, page)
        page = self.check(SOURCES + "/docs/imaged.conf.5")
        with open(SOURCES + "/systemd/imaged.conf", encoding="utf-8") as file:
            sample_lines = file.read().splitlines()
        sample = {match.group(1) for line in sample_lines if (match := re.match(r"#([A-Z]\w+)=", line))}
        with open(SOURCES + "/daemon/process/config.cpp", encoding="utf-8") as file:
            keys = set(re.findall(r'Key{\s*"\w+",\s*"(\w+)"', file.read()))
        self.assertEqual(sample, keys)
        for key in keys:
            self.assertIn(key + "=", page)
        # As they are typed: sections have upper and lower case.
        sections = {}
        for line in sample_lines:
            if line.startswith("["):
                section = sections.setdefault(line, set())
            elif match := re.match(r"#([A-Z]\w+)=", line):
                section.add(match.group(1))
        parts = re.split(r"(?m)^(\[\w+\])$", page)
        self.assertEqual({heading: set(re.findall(r"(?m)^ {7}([A-Z]\w+)=(?:  |$)", text)) for heading, text in zip(parts[1::2], parts[2::2])}, sections)


class Units(unittest.TestCase):
    def unit(self, name):
        with open(f"{SOURCES}/systemd/{name}.in", encoding="utf-8") as file:
            text = file.read().replace("@libexecdir@", "/usr/libexec").replace("@bindir@", "/usr/bin")
        path = os.path.join(tempfile.mkdtemp(), name)
        self.addCleanup(shutil.rmtree, os.path.dirname(path))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_the_services_are_hardened(self):
        for name in ("imaged.service", "imaged-proxy@.service", "imaged-update-check.service", "imaged-update.service", "imaged-prune.service"):
            with self.subTest(name):
                run = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", self.unit(name)],
                                     capture_output=True, text=True)
                score = re.search(r"Overall exposure level for \S+: ([0-9.]+)", run.stdout)
                self.assertIsNotNone(score, run.stdout + run.stderr)
                self.assertLessEqual(float(score.group(1)), 2.5)


    def test_one_skopeo_looks_into_no_other(self):
        """They have one user. By a user namespace of its own each lacks what the kernel asks for to read another's environment, memory or descriptors, and so
        does not see it in /proc either."""
        with open(self.unit("imaged-proxy@.service"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        for line in ("PrivateUsers=yes", "ProtectProc=invisible", "ProcSubset=pid", "CapabilityBoundingSet=", "NoNewPrivileges=yes", "RestrictNamespaces=yes",
                     "PrivateTmp=yes", "PrivateIPC=yes", "KeyringMode=private"):
            self.assertIn(line, lines)

    def test_what_reads_images_has_a_limit_of_memory(self):
        for name, lines in (("imaged.service", {"MemoryMax=4G", "OOMPolicy=continue"}), ("imaged-proxy@.service", {"MemoryMax=1G"})):
            with open(self.unit(name), encoding="utf-8") as file:
                self.assertLessEqual(lines, set(file.read().splitlines()))

    def test_a_first_boot_enables_no_timer(self):
        """As systemd does where no machine-id is set: by presets, and what none names."""
        with tempfile.TemporaryDirectory() as root:
            for name, directory in (("imaged.preset", "system-preset/80-"), ("imaged-prune.timer", "system/"), ("imaged-update-check.timer", "system/"),
                                    ("imaged-metrics.socket", "system/"), ("imaged-proxy.socket", "system/")):
                target = f"{root}/usr/lib/systemd/{directory}{name}"
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copy(f"{SOURCES}/systemd/{name}", target)
            subprocess.run(["systemctl", f"--root={root}", "preset-all", "--preset-mode=enable-only"], check=True, capture_output=True)
            wanted = sorted(name for _, _, names in os.walk(root + "/etc/systemd/system") for name in names)
            self.assertEqual(wanted, ["imaged-metrics.socket", "imaged-proxy.socket"])


class ShellLines(unittest.TestCase):
    """Of each section of the guide whose lines are to be pasted it is known which test runs them; that test names it."""
    ON_HOSTS = {"Other hosts": "examples that need other hosts; test-hosts.py has the same words against its own"}
    RUN_BY = {"Install it": "system/service.py", "Configure it": "system/service.py", "Who may enter the repository": "system/service.py",
              "The journal": "system/service.py", "Metrics for Prometheus": "system/service.py", "For a single user": "system/jobs.py", "Registries": "integration/test-configuration.py",
              "Going back to an earlier version": "integration/test-rollback.py", "Changes between versions": "integration/test-packages.py",
              "Disk usage": "integration/test-disk-usage.py", "Deltas: updates as small as their difference": "integration/test-delta-export.py",
              "Deploying what was pulled": "integration/test-deploy.py"}

    def test_every_section_with_shell_lines_is_run(self):
        with_lines = self.sections_with_lines("administration.md")
        self.assertEqual(with_lines, {*self.ON_HOSTS, *self.RUN_BY})
        for title, test in self.RUN_BY.items():
            with open(f"{SOURCES}/tests/{test}", encoding="utf-8") as file:
                self.assertIn(title, file.read())

    def test_the_lines_for_a_fleet_are_those_of_its_run(self):
        with open(SOURCES + "/tests/soak/fleet.py", encoding="utf-8") as file:
            self.assertEqual(self.sections_with_lines("fleet.md"), set(re.findall(r'\blines\("([^"]+)"\)', file.read())))

    @staticmethod
    def sections_with_lines(page):
        with open(f"{SOURCES}/docs/{page}", encoding="utf-8") as file:
            sections = dict(part.split("\n", 1) for part in file.read().split("\n## ")[1:])
        return {title for title, text in sections.items() if re.search(r"(?m)^    +[a-z\[]", text)}


class Promises(unittest.TestCase):
    """docs/security.md names for each thing that somebody cannot do the test that holds it."""

    def tables(self):
        """(heading cells, rows) of each table with a column of tests."""
        with open(SOURCES + "/docs/security.md", encoding="utf-8") as file:
            blocks = re.findall(r"(?m)(?:^\|.*\n)+", file.read())
        for block in blocks:
            heading, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
            if any("cannot" in cell or cell == "test" for cell in heading):
                yield heading, rows

    def missing(self, cell):
        """What is named in a cell, and not there: files, each with cases behind it."""
        text, case_count, missing, file = "", None, [], ""
        for name in [*re.findall("`([^`]+)`", cell), ""]:
            path = f"{SOURCES}/tests/" + ("integration/" + name if name.startswith("test-") else name.replace("unit-", "unit/", 1))
            if not name or name.startswith(("test-", "unit-", "tests/")):
                if case_count == 0:
                    missing.append(f"a case of {file}")
                file, case_count = name, 0
                if name.startswith("tests/"):
                    path, case_count = f"{SOURCES}/{name}", 0 if name.endswith(".py") else 1
                if not os.path.exists(path):
                    missing.append(name)
                elif name.startswith("unit-"):
                    text = "\n".join([*os.listdir(path), *(part.read_text() for part in pathlib.Path(path).iterdir())])
                elif os.path.isfile(path):
                    with open(path, encoding="utf-8") as opened:
                        text = opened.read()
                continue
            case_count = (case_count or 0) + 1
            pattern = {"unit": rf'(?m)^{re.escape(name)}\.cpp$|TEST_CASE\w*\([^"\n]*"{re.escape(name)}"'}.get(file[:4], rf"(?m)^ *(class|def) {re.escape(name)}\(")
            if not re.search(pattern, text):
                missing.append(f"{file} {name}")
        return missing

    def test_each_row_names_tests_that_are_there(self):
        tables = list(self.tables())
        self.assertGreaterEqual(sum("cannot" in " ".join(heading) for heading, _ in tables), 2)
        for heading, rows in tables:
            self.assertEqual(heading[-1], "test")
            for row in rows:
                with self.subTest(row[0]):
                    self.assertEqual(len(row), len(heading), row)
                    self.assertIn("`test", row[-1], "it names no test")
                    self.assertEqual(self.missing(row[-1]), [])

    def test_each_attempt_of_a_taken_over_worker_is_made(self):
        with open(SOURCES + "/docs/security.md", encoding="utf-8") as file:
            attempts = set(re.findall(r"(?<=[ (])\*([^*|]+)\*", file.read()))
        with open(SOURCES + "/tests/integration/hostile-worker.cpp", encoding="utf-8") as file:
            text = file.read()
        self.assertGreater(len(attempts), 30)
        self.assertEqual({attempt for attempt in attempts if f'"{attempt}' not in text}, set())


class Paths(unittest.TestCase):
    def test_the_files_that_the_documents_name_are_there(self):
        missing = []
        for name in os.listdir(SOURCES + "/docs"):
            if name.endswith(".md"):
                with open(f"{SOURCES}/docs/{name}", encoding="utf-8") as file:
                    paths = re.findall(r"`((?:lib|daemon|client|dbus|systemd|tests)/[a-zA-Z0-9@./-]+\.[a-z]+)`", file.read())
                missing += [f"{name}: {path}" for path in paths if not os.path.exists(f"{SOURCES}/{path}")]
        self.assertEqual(missing, [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
