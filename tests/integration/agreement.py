# SPDX-License-Identifier: Apache-2.0
"""What imaged's verify calls sound, `ostree fsck` calls sound, and libostree can check out: checked of each repository of the tests at its end."""
import os
import pathlib
import subprocess
import tempfile

import ostree_repository
import worker
from gi.repository import GLib
from ostree_repository import OSTree

AT_FDCWD = -100


def ostree(repository, *arguments):
    # What GLib calls a programming error ends the process.
    environment = {**os.environ, "G_DEBUG": "fatal-criticals"}
    return subprocess.run(["ostree", f"--repo={repository}", *map(str, arguments)], capture_output=True, text=True, errors="replace", env=environment)


def images(repository):
    """The commits of the images that REPOSITORY has."""
    refs = pathlib.Path(repository, "refs/heads/ostree/container/image")
    return sorted({path.read_text(errors="replace").strip() for path in refs.rglob("*") if path.is_file()})


def problems(repository):
    """Where the three do not agree about REPOSITORY, as lines; what verify calls unsound, no other has to find."""
    commits = images(repository)
    if not commits:
        return []
    verified = worker.Run("", repository, kind="verify").finish().result
    if verified["outcome"] != "success" or not verified["details"]["sound"]:
        return []
    fsck = ostree(repository, "fsck", "--quiet")
    found = [] if fsck.returncode == 0 else [f"ostree fsck: {fsck.stderr.strip()}"]
    opened = ostree_repository.opened(repository)
    # As `ostree checkout` does it. Owners are root's to give.
    options = OSTree.RepoCheckoutAtOptions()
    options.mode = OSTree.RepoCheckoutMode.NONE if opened.get_mode() == OSTree.RepoMode.BARE and os.geteuid() == 0 else OSTree.RepoCheckoutMode.USER
    for commit in commits:
        # Hard links where that can be: beside the repository.
        with tempfile.TemporaryDirectory(dir=pathlib.Path(repository).parent) as directory:
            try:
                opened.checkout_at(options, AT_FDCWD, directory + "/tree", commit, None)
            except GLib.Error as error:
                found.append(f"ostree checkout {commit}: {error.message}")
            if os.geteuid() != 0:  # nobody else is kept out by a mode
                subprocess.run(["chmod", "-R", "u+rwX", directory], check=True, stderr=subprocess.DEVNULL)
    return found


def repositories(directory):
    """The repositories in DIRECTORY; those of host systems are four levels deep."""
    found = []
    for path, names, _ in os.walk(directory):
        if {"objects", "refs", "tmp"}.issubset(names):
            found.append(path)
        if found[-1:] == [path] or path.removeprefix(str(directory)).count("/") >= 4:
            names.clear()
    return found


def check(directory):
    """The three must agree about every repository in DIRECTORY."""
    found = {path: lines for path in repositories(directory) if (lines := problems(path))}
    assert not found, found


class Scratch(tempfile.TemporaryDirectory):
    """A temporary directory. When it is removed, the three must agree about every repository in it."""

    def cleanup(self):
        try:
            check(self.name)
        finally:
            super().cleanup()
