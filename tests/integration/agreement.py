# SPDX-License-Identifier: Apache-2.0
"""What imaged's verify calls sound, `ostree fsck` calls sound, and `ostree checkout` can be made of: checked of each repository of the tests at its end."""
import os
import pathlib
import subprocess
import tempfile

import worker


def ostree(repository, *arguments):
    return subprocess.run(["ostree", f"--repo={repository}", *map(str, arguments)], capture_output=True, text=True, errors="replace")


def problems(repository):
    """Where the three do not agree about REPOSITORY, as lines; what verify calls unsound, no other has to find."""
    if not (pathlib.Path(repository) / "config").exists() or "ostree/container/image/" not in ostree(repository, "refs").stdout:
        return []
    verified = worker.Run("", repository, kind="verify").finish().result
    if verified["outcome"] != "success" or not verified["details"]["sound"]:
        return []
    fsck = ostree(repository, "fsck", "--quiet")
    found = [] if fsck.returncode == 0 else [f"ostree fsck: {fsck.stderr.strip()}"]
    mode = ostree(repository, "config", "get", "core.mode").stdout.strip()
    options = ["--user-mode"] if mode != "bare" or os.geteuid() != 0 else []
    known = set()
    for line in ostree(repository, "refs", "--revision", "--list", "ostree/container/image").stdout.splitlines():
        ref, commit = line.split()
        if commit in known:
            continue
        known.add(commit)
        # Hard links where that can be: beside the repository.
        with tempfile.TemporaryDirectory(dir=pathlib.Path(repository).parent) as directory:
            checkout = ostree(repository, "checkout", *options, ref, directory + "/tree")
            if checkout.returncode != 0:
                found.append(f"ostree checkout {ref}: {checkout.stderr.strip()}")
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


class Scratch(tempfile.TemporaryDirectory):
    """A temporary directory. When it is removed, the three must agree about every repository in it."""

    def cleanup(self):
        try:
            found = {path: lines for path in repositories(self.name) if (lines := problems(path))}
        finally:
            super().cleanup()
        assert not found, found
