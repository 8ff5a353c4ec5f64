# SPDX-License-Identifier: Apache-2.0
"""Repositories for tests. They have no reserve (min-free-space): whether a test passes is no question of how full the disk is."""
import pathlib
import subprocess


def init(path, mode="bare"):
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ostree", f"--repo={path}", "init", f"--mode={mode}"], check=True)
    return without_reserve(path)


def without_reserve(path):
    subprocess.run(["ostree", f"--repo={path}", "config", "set", "core.min-free-space-percent", "0"], check=True)
    return path
