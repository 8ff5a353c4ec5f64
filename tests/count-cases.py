#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Turns meson's testlog.json into the list of what failed and was skipped, and one last line: N passed, N failed.

Cases are counted, not programs, as far as a program says how many it ran (Catch2 and Python's unittest do). A program
that crashed, ran out of time or failed in another way than by a failed case counts as one failure more.
"""
import json
import re
import sys


def last_number(pattern, text):
    found = re.findall(pattern, text)
    return int(found[-1]) if found else None


def count(test):
    """(passed, failed, skipped) cases of one program."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    result = test["result"]
    if result == "SKIP":
        return 0, 0, 1
    passed, failed, skipped = (1, 0, 0) if result == "OK" else (0, 0, 0)
    ran = last_number(r"(?m)^Ran (\d+) tests? in", text)
    if ran is not None:
        end = re.findall(r"(?m)^(?:OK|FAILED)(?: \((.*)\))?$", text)
        numbers = {key: int(value) for key, value in re.findall(r"([a-z ]+)=(\d+)", end[-1] if end else "")}
        skipped = sum(value for key, value in numbers.items() if key.strip() == "skipped")
        failed = sum(value for key, value in numbers.items()
                     if key.strip() in ("failures", "errors", "unexpected successes"))
        passed = max(0, ran - failed - skipped)
    elif (cases := last_number(r"All tests passed \(\d+ assertions? in (\d+) test cases?\)", text)) is not None:
        passed = cases
    elif (cases := last_number(r"(?m)^test cases: *(\d+)", text)) is not None:
        line = re.findall(r"(?m)^test cases: *\d+.*$", text)[-1]
        failed = last_number(r"(\d+) failed", line) or 0
        skipped = last_number(r"(\d+) skipped", line) or 0
        passed = max(0, cases - failed - skipped)
    if result != "OK" and failed == 0:
        failed = 1
    return passed, failed, skipped


def main():
    total = [0, 0, 0]
    with open(sys.argv[1], encoding="utf-8") as log:
        for line in log:
            test = json.loads(line)
            counts = count(test)
            total = [sum(pair) for pair in zip(total, counts)]
            text = test.get("stdout", "") + "\n" + test.get("stderr", "")
            for skipped in re.findall(r"(?m)^.*\.\.\. skipped .*$", text):
                print(f"skipped: {test['name']}: {skipped}")
            if test["result"] != "OK":
                print(f"{test['result'].lower()}: {test['name']}")
    if total[2]:
        print(f"skipped cases: {total[2]}")
    if total[0] + total[1] == 0:
        print("no test ran", file=sys.stderr)
        total[1] = 1
    print(f"{total[0]} passed, {total[1]} failed")
    return 1 if total[1] else 0


sys.exit(main())
