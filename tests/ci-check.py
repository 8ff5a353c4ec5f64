#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What .ci/run and .ci/nightly say and how they end, whatever the commands they run do: ci-check.py SOURCE_ROOT"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.abspath(sys.argv.pop(1))

# In the place of dpkg-query -W -f FORMAT PACKAGE…: all packages are there, and nothing is installed.
DPKG_QUERY = "shift 3; printf 'installed %s\\n' \"$@\""


class Ci(unittest.TestCase):
    def run_with(self, script, commands):
        """SCRIPT in a checkout where ./dev is COMMANDS: lines of a shell's case, by the arguments."""
        with tempfile.TemporaryDirectory() as checkout:
            shutil.copytree(os.path.join(ROOT, ".ci"), checkout + "/.ci")
            with open(checkout + "/dev", "w", encoding="utf-8") as file:
                file.write(f'#!/bin/sh\ncase "$*" in\n{commands}\n*) exit 0 ;;\nesac\n')
            os.chmod(checkout + "/dev", 0o755)
            run = subprocess.run([f"{checkout}/.ci/{script}"], capture_output=True, text=True, timeout=60)
            return run.returncode, run.stdout.splitlines(), run.stderr

    def counted(self, here, other):
        status, lines, _ = self.run_with("run", f'test) {here} ;;\n"test-release other") {other} ;;')
        return status, lines[-1], lines[-2]

    def test_the_last_line_counts_both_releases(self):
        self.assertEqual(self.counted("echo 7 passed, 0 failed", "echo 3 passed, 0 failed")[:2], (0, "10 passed, 0 failed"))

    def test_a_failure_on_either_release_fails(self):
        self.assertEqual(self.counted("echo 7 passed, 0 failed", "echo 2 passed, 1 failed; exit 1")[:2], (1, "9 passed, 1 failed"))
        self.assertEqual(self.counted("echo 6 passed, 2 failed; exit 1", "echo 3 passed, 0 failed")[:2], (1, "9 passed, 2 failed"))

    def test_what_ends_before_it_counts_is_a_failure(self):
        self.assertEqual(self.counted("echo 7 passed, 0 failed", "echo no compiler; exit 1"),
                         (1, "7 passed, 1 failed", "failed: ./dev test-release other"))
        self.assertEqual(self.counted("exit 2", "echo 3 passed, 0 failed"), (1, "3 passed, 1 failed", "failed: ./dev test"))
        self.assertEqual(self.counted("echo 7 passed, 0 failed", "exit 0")[:2], (1, "7 passed, 1 failed"))

    def test_a_release_that_cannot_be_had_is_named(self):
        self.assertEqual(self.counted("echo 7 passed, 0 failed", "echo no archive; exit 77"),
                         (0, "7 passed, 0 failed", "skipped, not tested: ./dev test-release other: no archive"))

    def test_nothing_else_may_be_skipped(self):
        self.assertEqual(self.counted("exit 77", "exit 77")[:2], (1, "0 passed, 1 failed"))
        self.assertEqual(self.counted("echo 7 passed, 2 failed; exit 77", "echo 3 passed, 0 failed")[:2], (1, "10 passed, 2 failed"))
        self.assertEqual(self.counted("echo 7 passed, 0 failed", "echo 3 passed, 1 failed; exit 77")[:2], (1, "10 passed, 1 failed"))

    def test_the_test_command_fails_when_its_runner_is_killed(self):
        with tempfile.TemporaryDirectory() as build:
            os.mkdir(build + "/meson-logs")
            for name, text in (("ninja", "exit 0"), ("meson", f"""[ "$1" = test ] || exit 0
                    echo '{{"name": "x", "result": "OK", "stdout": "", "stderr": ""}}' >{build}/meson-logs/testlog.json; kill -KILL $$"""),
                               ("dpkg-query", DPKG_QUERY)):
                with open(f"{build}/{name}", "w", encoding="utf-8") as file:
                    file.write("#!/bin/sh\n" + text + "\n")
                os.chmod(f"{build}/{name}", 0o755)
            run = subprocess.run([ROOT + "/dev", "test", "x"], capture_output=True, text=True, timeout=60,
                                 env={**os.environ, "IMAGED_BUILD_DIR": build, "PATH": build + ":" + os.environ["PATH"]})
            self.assertEqual((run.returncode, "not every test was run" in run.stderr), (1, True), run.stdout + run.stderr)

    def test_the_build_directory_of_another_checkout_is_refused(self):
        with tempfile.TemporaryDirectory() as build:
            os.mkdir(build + "/meson-info")
            with open(build + "/meson-info/meson-info.json", "w", encoding="utf-8") as file:
                json.dump({"directories": {"source": "/elsewhere"}}, file)
            for command, variable in (("build", "IMAGED_BUILD_DIR"), ("bench", "IMAGED_BENCH_BUILD_DIR")):
                with open(f"{build}/dpkg-query", "w", encoding="utf-8") as file:
                    file.write(f"#!/bin/sh\n{DPKG_QUERY}\n")
                os.chmod(f"{build}/dpkg-query", 0o755)
                run = subprocess.run([ROOT + "/dev", command], capture_output=True, text=True, timeout=60,
                                     env={**os.environ, variable: build, "PATH": f"{build}:{os.environ['PATH']}"}, check=False)
                self.assertEqual(run.returncode, 1)
                self.assertIn(f"{build} is the build directory of /elsewhere", run.stderr)

    def test_the_next_release_is_a_warning_and_nothing_else_is(self):
        status, lines, _ = self.run_with("nightly", '"test-release testing") exit 1 ;;')
        self.assertEqual((status, lines[-1]), (0, "warning: ./dev test-release testing fails"))
        status, _, errors = self.run_with("nightly", '"test-release other all") exit 1 ;;')
        self.assertEqual((status, errors.strip()), (1, "failed: ./dev test-release other all"))
        status, lines, _ = self.run_with("nightly", '"test-release"*) exit 77 ;;')
        self.assertEqual((status, lines[-2:]), (0, ["skipped: ./dev test-release other all: not possible here",
                                                    "skipped: ./dev test-release testing: not possible here"]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
