#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Trials of imaged in odd surroundings, each by its name: HELD, NOT HELD and why, or NOT TRIED and what this machine lacks.

./dev soak odd [--list] [WORD…]: those whose names contain one of the words, all by default.
"""
import argparse
import collections
import contextlib
import importlib.util
import io
import os
import pathlib
import re
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
INTEGRATION = HERE.parent / "integration"
sys.path[:0] = [str(HERE), str(INTEGRATION)]

# Every point, and where it is tried: classes of odd_trials, classes (or all) of tests of the suite. A word picks tests by their names.
TRIALS = [
    ("1 refs to what does not exist", "odd_trials", ["RefsToWhatDoesNotExist", "RefsToWhatDoesNotExistInAnArchive"], ""),
    ("1 scratch directories that vanish", "test-vanishing-files", ["VanishingFiles"], "update|copy|archive|commit"),
    ("2 two daemons on one repository", "odd_trials", ["TwoDaemons"], ""),
    ("2 a leftover is cleared under its lock", "test-vanishing-files", ["VanishingFiles"], "leftover"),
    ("3 paths that are not text", "test-odd-environment", ["PathsThatAreNotText"], ""),
    ("4 file systems that hang", "odd_trials", ["FileSystemsThatHang"], ""),
    ("4 workers and file systems that hang", "test-hangs", ["Hanging", "HangingInTheKernel", "HangingConfiguration", "Unkillable", "Reader"], ""),
    ("4 a containers policy that hangs", "test-polkit", ["HangingPolicy"], ""),
    ("5 repositories that are replaced", "test-odd-environment", ["Replaced"], ""),
    ("6 odd refs", "odd_trials", ["OddRefs"], ""),
    ("7 leftovers", "test-odd-environment", ["Leftovers"], ""),
    ("8 file systems without locks", "test-odd-environment", ["WithoutLocks"], ""),
    ("9 full disks and quotas", "test-faulty-system", ["FaultySystem"], "full|quota|inodes|keeps_free|read_only"),
    ("9 quotas of the kernel", "odd_trials", ["Quotas"], ""),
    ("10 a stderr that nobody reads", "odd_trials", ["StandardErrorThatNobodyReads"], ""),
    ("10 a log that nobody reads", "test-hangs", ["Unread"], ""),
    ("11 a skopeo that cannot be run", "test-skopeo-child", ["CannotBeRun"], ""),
    ("11 too little of everything", "test-odd-environment", ["Opening"], ""),
    ("11 pipes in place of files", "test-odd-environment", ["Pipes"], ""),
    ("11 programs of two versions", "test-odd-environment", ["TwoVersions"], ""),
    ("11 disks and memory that fail", "test-faulty-system", ["FaultySystem"], "broken|memory|descriptors"),
    ("12 what cannot be read", "test-rollback", ["Unreadable"], ""),
    ("kinds of file systems", "odd_trials", ["KindsOfFileSystems"], ""),
    ("ostree without imaged", "odd_trials", ["OstreeAlone"], ""),
]


def load(name):
    """A module of this directory or a test of the suite, whose name is no identifier."""
    path = next(path for path in (HERE / f"{name}.py", INTEGRATION / f"{name}.py") if path.exists())
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def trials():
    for point, name, classes, pattern in TRIALS:
        module = load(name)
        for class_name in classes:
            case = getattr(module, class_name)
            for method in unittest.defaultTestLoader.getTestCaseNames(case):
                if re.search(pattern, method):
                    yield f"{point}: {method.removeprefix('test_').replace('_', ' ')}" + (" (archive)" if class_name.endswith("Archive") else ""), case(method)


def reason(text):
    """The last line of a traceback, and what subtests add."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:300] if lines else "?"


@contextlib.contextmanager
def quiet():
    """What the tests of the suite print is for their logs, and what they run prints at will."""
    output, sys.stdout = sys.stdout, io.StringIO()
    errors = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(errors, 2)
            os.close(errors)
            sys.stdout = output


def attempt(test):
    """The verdict, and why."""
    result = unittest.TestResult()
    with quiet():
        test.run(result)
    bad = result.failures + result.errors
    if bad:
        return "NOT HELD", reason(bad[0][1]) + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
    return ("NOT TRIED", result.skipped[0][1]) if result.skipped else ("HELD", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    chosen = [(name, test) for name, test in trials() if not arguments.words or any(word in name for word in arguments.words)]
    verdicts = collections.Counter()
    for name, test in chosen:
        if arguments.list:
            print(name)
            continue
        started = time.monotonic()
        verdict, why = attempt(test)
        verdicts[verdict] += 1
        print(f"{verdict}  {name} ({time.monotonic() - started:.0f} s)" + (f"\n    {why}" if why else ""), flush=True)
    if not arguments.list:
        print(f"odd: {len(chosen)} trials, {verdicts['HELD']} held, {verdicts['NOT HELD']} not held, {verdicts['NOT TRIED']} not tried here")
    return 1 if verdicts["NOT HELD"] else 0


if __name__ == "__main__":
    sys.exit(main())
