# SPDX-License-Identifier: Apache-2.0
"""The Debian packages, installed by apt into a booted system, and tested from inside: run.py … [RELEASE…]

Packages of another source than this one are built anew first.
"""
import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import cockpit  # noqa: E402
import machine  # noqa: E402
import scene  # noqa: E402
from administration import Administration  # noqa: E402
from jobs import Jobs  # noqa: E402
from packages import Packages  # noqa: E402
from rights import Rights  # noqa: E402
from service import Service  # noqa: E402


def tests_of(case, wanted):
    """In the order in which they are written: the system they look at is one."""
    names = [name for name in vars(case) if name.startswith("test_")]
    return [case(name) for name in names if not wanted or any(part in name for part in wanted)]


def checksum_of(source):
    """Of everything that packages are made of."""
    files = subprocess.run(["git", "-C", source, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".",
                            ":!tests/integration", ":!tests/system"], check=True, capture_output=True, text=True).stdout
    sums = hashlib.sha256()
    for name in sorted(filter(None, files.split("\0"))):
        if os.path.isfile(os.path.join(source, name)):
            with open(os.path.join(source, name), "rb") as file:
                sums.update(f"{name} {hashlib.sha256(file.read()).hexdigest()}\n".encode())
    return sums.hexdigest()


def packages_of(release, source, build):
    directory = os.path.join(build, "packages", release)
    record, wanted = os.path.join(directory, "source.sum"), checksum_of(source)
    if not os.path.isfile(record) or open(record, encoding="utf-8").read() != wanted:
        subprocess.run([os.path.join(source, "dev"), "package", release], check=True)
        with open(record, "w", encoding="utf-8") as file:
            file.write(wanted)
    return directory


def test(release, arguments):
    """Whether all passed."""
    packages = packages_of(release, arguments.source, arguments.build)
    base = f"{arguments.chroots}/system-{release}"
    directory = tempfile.mkdtemp(prefix=f"imaged-{release}-", dir="/var/tmp")
    begin = time.monotonic()
    tested = machine.Machine.copy_of(base, directory + "/root")
    try:
        scene.prepare_packages(tested, packages)
        scene.prepare(tested)
        cockpit.prepare(tested)
        tested.boot()
        scene.fill_registries(tested)
        if arguments.only:
            tested.shell(f"apt-get install -y -qq --no-install-recommends {scene.PACKAGES}/*.deb 2>&1")
        scene.Case.machine = tested
        suite = unittest.TestSuite(test for case in (Packages, Jobs, Rights, Service, Administration, cockpit.Cockpit) for test in tests_of(case, arguments.only))
        result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
        failed = len(result.failures) + len(result.errors)
        print(f"{release}: {result.testsRun - failed - len(result.skipped)} passed, {failed} failed, {len(result.skipped)} skipped "
              f"in {time.monotonic() - begin:.0f} s")
        return failed == 0 and result.testsRun > 0
    finally:
        tested.halt()
        if not arguments.keep:
            shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser()
    for option in ("source", "build", "chroots"):
        parser.add_argument("--" + option, required=True)
    parser.add_argument("--keep", action="store_true", help="leave the root directory behind")
    parser.add_argument("--only", action="append", help="run the tests with this in their names")
    parser.add_argument("releases", nargs="+", help="CHROOTS has a root directory of each, system-RELEASE")
    arguments = parser.parse_args()
    return 0 if all([test(release, arguments) for release in arguments.releases]) else 1


if __name__ == "__main__":
    sys.exit(main())
