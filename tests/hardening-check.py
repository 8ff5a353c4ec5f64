#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The built programs, and the modules that they load, are hardened: PIE, full RELRO, no executable stack, CET, stack protector, and FORTIFY where the build is optimised.

Usage: hardening-check.py OPTIMISED PROGRAM…
"""
import re
import subprocess
import sys
import unittest

OPTIMISED, PROGRAMS = sys.argv[1] == "true", sys.argv[2:]


def readelf(option, program):
    return subprocess.run(["readelf", "--wide", option, program], check=True, capture_output=True, text=True).stdout


class Hardening(unittest.TestCase):
    def check_each(self, option, pattern, wanted=True):
        for program in PROGRAMS:
            with self.subTest(program=program):
                (self.assertRegex if wanted else self.assertNotRegex)(readelf(option, program), pattern)

    def test_position_independent(self):
        self.check_each("--file-header", r"Type:\s+DYN")
        for program in PROGRAMS:
            if not program.endswith(".so"):
                self.assertRegex(readelf("--dynamic", program), r"FLAGS_1.*\bPIE\b", program)

    def test_relocations_are_read_only(self):
        self.check_each("--program-headers", r"GNU_RELRO")
        self.check_each("--dynamic", r"FLAGS.*\b(BIND_)?NOW\b")

    def test_the_stack_is_not_executable(self):
        self.check_each("--program-headers", r"GNU_STACK.*\bRW\b(?!E)")
        self.check_each("--program-headers", r"LOAD.*\bRWE\b", wanted=False)

    def test_control_flow_is_enforced(self):
        if "x86-64" not in readelf("--file-header", PROGRAMS[0]).lower():
            self.skipTest("CET is x86-64's")
        # The note that says so needs start files of the C library that say so too, which Debian's do not; the code does
        # not: each function that can be called indirectly begins with an endbr64.
        for program in PROGRAMS:
            with self.subTest(program=program), open(program, "rb") as file:
                self.assertGreater(file.read().count(b"\xf3\x0f\x1e\xfa"), 100)

    def test_stacks_are_protected(self):
        self.check_each("--dyn-syms", r"__stack_chk_fail")

    def test_library_calls_are_fortified(self):
        if not OPTIMISED:
            self.skipTest("an unoptimised build has no FORTIFY")
        for program in PROGRAMS:
            with self.subTest(program=program):
                checked = set(re.findall(r"__(\w+)_chk\b", readelf("--dyn-syms", program))) - {"stack"}
                self.assertTrue(checked, "no call is checked")

    def test_nothing_is_searched_for_libraries_but_the_system(self):
        self.check_each("--dynamic", r"\((RPATH|RUNPATH)\)", wanted=False)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
