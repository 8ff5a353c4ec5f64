# SPDX-License-Identifier: Apache-2.0
"""What ostree-ext wrote (tests/data), unpacked; and OSTree repositories looked at with ostree's own tool."""
import hashlib
import os
import pathlib
import re
import subprocess

from gi.repository import GLib

import ostree_repository
import tree

DATA = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2])) / "tests/data"
BLOB, IMAGE = "ostree/container/blob/", "ostree/container/image/"
BASE, DERIVED = IMAGE + "oci_3A_oci_3A_base", IMAGE + "oci_3A_oci_3A_derived"


def unpack(name, directory):
    """oci.tar.gz or repo.tar.gz, into DIRECTORY."""
    subprocess.run(["tar", "-xzf", DATA / name, "--xattrs", "--xattrs-include=*", "-C", directory], check=True)
    path = pathlib.Path(directory) / name.split(".")[0]
    return ostree_repository.without_reserve(path) if path.name == "repo" else path


def expected_refs():
    return dict(line.split() for line in (DATA / "refs.txt").read_text().splitlines())


def ostree(repository, *arguments):
    return subprocess.run(["ostree", f"--repo={repository}", *arguments], check=True, capture_output=True, text=True).stdout


def refs(repository):
    return ostree_repository.refs(repository)


def listing(repository, ref):
    return ostree(repository, "ls", "-R", "-X", "-C", ref)


def derived_listing():
    """The listing of the derived image as the running libostree has it stored."""
    return stored_here((DATA / "derived.ls").read_text())


def stored_here(text):
    """TEXT, the listing of what a libostree before 2024.3 stored, as the running one has it stored (see docs/releases.md)."""
    return Listing(text).text() if tree.VAR_MOVES else Listing(text).with_var_in_place().text()


class Listing:
    """What listing() returns, to be changed and written anew: checksums of directories follow from what is in them."""
    LINE = re.compile(r"([dl-]0\d{4} \d+ \d+ +\d+) ([0-9a-f]{64})(?: ([0-9a-f]{64}))? (\{ .*? \}) (/.*?)(?: -> (.*))?")

    def __init__(self, text):
        self.entries = {}  # path → (kind to size, checksum, that of a directory's owner and mode, attributes, target of a link)
        for line in text.splitlines():
            *entry, path, target = self.LINE.fullmatch(line).groups()
            self.entries[path] = (*entry, target)

    def with_var_in_place(self):
        """/usr/share/factory/var moved to /var, over what is there; and no directory that is there only to hold it."""
        for path in [path for path in self.entries if (path + "/").startswith("/" + tree.FACTORY_VAR + "/")]:
            self.entries[path.removeprefix("/usr/share/factory")] = self.entries.pop(path)
        for parent in ("/usr/share/factory", "/usr/share", "/usr"):
            if parent in self.entries and not any(self.below(parent)):
                del self.entries[parent]
        return self

    def below(self, path):
        """The files and the directories in PATH, in the order of ostree."""
        prefix = path.rstrip("/") + "/"
        children = sorted(name for name in self.entries if name.startswith(prefix) and name != path and "/" not in name[len(prefix):])
        return [name for name in children if not self.is_directory(name)], [name for name in children if self.is_directory(name)]

    def is_directory(self, path):
        return self.entries[path][0].startswith("d")

    def text(self):
        return "".join(line + "\n" for line in self.written("/")[1])

    def written(self, path):
        """The checksum of PATH, and the lines of it and of what is below."""
        columns, checksum, meta, attributes, target = self.entries[path]
        below = []
        if self.is_directory(path):
            files, directories = [[(name, *self.written(name)) for name in names] for names in self.below(path)]
            below = [line for _, _, lines in files + directories for line in lines]
            checksum = hashlib.sha256(GLib.Variant("(a(say)a(sayay))", (
                [(os.path.basename(name), bytes.fromhex(sum)) for name, sum, _ in files],
                [(os.path.basename(name), bytes.fromhex(sum), bytes.fromhex(self.entries[name][2])) for name, sum, _ in directories],
            )).get_data_as_bytes().get_data()).hexdigest()
        line = " ".join(part for part in (columns, checksum, meta, attributes, path) if part) + (f" -> {target}" if target is not None else "")
        return checksum, [line, *below]
