# SPDX-License-Identifier: Apache-2.0
"""Options of the tests with many cases: --only WORDS runs those whose names contain WORDS; --long adds the heavy ones; --seed S repeats one of those with random faults."""
import argparse
import os
import sys
import unittest

OPTIONS = argparse.Namespace(only="", long=False, seed=None)


def main(description):
    """Runs the tests of the program, which need root: a bare repository does."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", default="")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int)
    _, rest = parser.parse_known_args(namespace=OPTIONS)
    if os.geteuid() != 0:
        sys.exit(77)
    unittest.main(argv=[sys.argv[0], "-v", *rest])
