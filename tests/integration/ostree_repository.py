# SPDX-License-Identifier: Apache-2.0
"""Repositories for tests. They have no reserve (min-free-space): whether a test passes is no question of how full the disk is."""
import functools
import os
import pathlib
import subprocess
import tempfile

import gi

gi.require_version("OSTree", "1.0")
from gi.repository import Gio, OSTree


def init(path, mode="bare"):
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    directories, configuration = _empty(mode)
    for name in directories:
        (path / name).mkdir(exist_ok=True)
    (path / "config").write_text(configuration)
    return path


def without_reserve(path):
    subprocess.run(["ostree", f"--repo={path}", "config", "set", "core.min-free-space-percent", "0"], check=True)
    return path


def opened(path):
    repository = OSTree.Repo.new(Gio.File.new_for_path(str(path)))
    repository.open(None)
    return repository


def refs(path):
    """The commits of all refs by name: what `ostree refs` and `ostree rev-parse` say, without a process for each."""
    return opened(path).list_refs(None, None)[1]


@functools.cache
def _empty(mode):
    """The directories and the configuration of an empty one, as ostree makes it: once for all that a test has."""
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["ostree", f"--repo={directory}", "init", f"--mode={mode}"], check=True)
        without_reserve(directory)
        found = [(os.path.relpath(path, directory), files) for path, _, files in os.walk(directory)]
        assert [(path, files) for path, files in found if files] == [(".", ["config"])], found
        return [path for path, _ in found], pathlib.Path(directory, "config").read_text()
