#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Measures imaged against its goals, row by row, side by side with what else does the same work. See docs/performance.md."""
import argparse
import os
import shutil
import sys

import report
import rows
from images import Images
from machine import adopt_orphans, conditions, run, version_of


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="of " + ", ".join(rows.ROWS) + "; all without one")
    parser.add_argument("--quick", action="store_true", help="small images and three runs: says whether something is far off")
    parser.add_argument("--runs", type=int, help="runs of each side (default: 5)")
    parser.add_argument("--on", action="append", metavar="FS:WHERE",
                        help="file systems to measure on: xfs or ext4, in a loop file in tmpfs or on disk (default: xfs:tmpfs, "
                             "xfs:disk and ext4:tmpfs; with --quick the first only)")
    parser.add_argument("--build", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--output", help="directory for growth.svg and results.txt (default: the build directory)")
    parser.add_argument("--page", help="Markdown page whose part between the marks becomes this run's tables")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in rows.ROWS]
    if unknown:
        parser.error("no row is called " + unknown[0])
    options.runs = options.runs or (3 if options.quick else 5)
    options.on = options.on or (["xfs:tmpfs"] if options.quick else ["xfs:tmpfs", "xfs:disk", "ext4:tmpfs"])
    options.file_systems = [tuple(where.split(":")) for where in options.on]
    for where in options.file_systems:
        if len(where) != 2 or where[0] not in ("xfs", "ext4") or where[1] not in ("tmpfs", "disk"):
            parser.error("--on takes xfs or ext4, a colon, tmpfs or disk")
    options.output = options.output or options.build
    return options


def main():
    options = arguments()
    if os.geteuid() != 0:
        sys.exit("bench: mounting file systems needs root")
    cache = os.environ.get("IMAGED_BENCH_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"),
                                                                "imaged-bench")
    adopt_orphans()
    about = conditions()
    peer = "ostree-ext-cli on PATH" if shutil.which("ostree-ext-cli") else "no ostree-ext-cli on PATH: its goals are not measured"
    about.append(f"imaged {version_of(options.build + '/daemon/imaged', '--version').removeprefix('imaged ')}, built with -O2; {peer}")
    about.append(f"{options.runs} runs of each side, alternating, each on a fresh file system; inputs in memory; fsync as by default")
    print("\n".join(about), flush=True)
    bench = rows.Bench(options.build, Images(cache), cache, options)
    results = []
    try:
        for name in options.rows or rows.ROWS:
            for result in rows.ROWS[name](bench):
                results.append(result)
                print("\n" + report.text([result]) + "\n", flush=True)
    finally:
        bench.clean()
    print("\n" + report.text(results))
    with open(os.path.join(options.output, "results.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(about) + "\n\n" + report.text(results) + "\n")
    if options.page:
        report.write_into(options.page, results, about)
    missed = [f"{result.title}: {goal[0]}" for result in results for goal in result.missed()]
    for line in missed:
        print("goal missed: " + line)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
