# SPDX-License-Identifier: Apache-2.0
"""Repositories for tests, made by ostree. They have no reserve (min-free-space): whether a test passes is no question of how full the disk is."""
import pathlib
import subprocess


def init(path, mode="bare"):
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ostree", f"--repo={path}", "init", f"--mode={mode}"], check=True)
    with open(path / "config", "a") as config: # [core] is the only section
        config.write("min-free-space-percent=0\n")
    return path
