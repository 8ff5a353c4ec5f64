# SPDX-License-Identifier: Apache-2.0
"""Trees as dictionaries, path → (kind, mode, uid, gid, xattrs, content): out of an OSTree repository, out of a directory; and what differs."""
import hashlib
import os
import re
import stat
import subprocess

from gi.repository import GLib

DROPPED_CHILDREN = ("run", "tmp", "proc", "sys", "dev")
_LINE = re.compile(r"(.)0(\d{4}) (\d+) (\d+) +\d+ ([0-9a-f]{64})(?: [0-9a-f]{64})? \{ (.*?) \} (/.*)", re.S)


def of_commit(repository, commit):
    """The tree of COMMIT in a bare repository."""
    text = subprocess.run(["ostree", f"--repo={repository}", "ls", "-R", "-X", "-C", commit], check=True,
                          capture_output=True).stdout.decode("utf-8", "surrogateescape")
    tree = {}
    for line in text.splitlines():
        kind, mode, uid, gid, checksum, xattrs, path = _LINE.fullmatch(line).groups()
        found = {bytes(name).rstrip(b"\0").decode(): bytes(value)
                 for name, value in GLib.Variant.parse(GLib.VariantType("a(ayay)"), xattrs, None, None).unpack()}
        content, kind = "", {"d": "dir", "l": "symlink", "-": "file"}[kind]
        if kind == "symlink":
            path, _, content = path.partition(" -> ")
        elif kind == "file":
            content = _hash(f"{repository}/objects/{checksum[:2]}/{checksum[2:]}.file")
        tree[path.lstrip("/")] = (kind, int(mode, 8), int(uid), int(gid), tuple(sorted(found.items())), content)
    return tree


def of_directory(root):
    """The tree below the directory ROOT, as it is on disk; kinds that a repository cannot hold are left out."""
    tree = {}
    for folder, directories, files in os.walk(root):
        for path in [folder] * (folder == str(root)) + [os.path.join(folder, name) for name in directories + files]:
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            xattrs = {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}
            xattrs.pop("security.selinux", None)
            if stat.S_ISDIR(status.st_mode):
                kind, content = "dir", ""
            elif stat.S_ISLNK(status.st_mode):
                kind, content = "symlink", os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                kind, content = "file", _hash(path)
            else:
                continue
            name = os.path.relpath(path, root)
            tree["" if name == "." else name] = (kind, mode, status.st_uid, status.st_gid, tuple(sorted(xattrs.items())), content)
    return tree


def mapped(tree, var_moves=True):
    """What a generic image with that rootfs is stored as."""
    out = {}
    implicit = ("dir", 0o755, 0, 0, (), "")
    for path, entry in sorted(tree.items()):
        first, _, rest = path.partition("/")
        if first in DROPPED_CHILDREN and rest:
            continue
        if first == "etc":
            path = "usr/" + path
        elif first == "var" and var_moves:
            path = "usr/share/factory/" + path
        if path in ("usr/etc/hostname", "usr/etc/resolv.conf") and entry[0] == "file" and entry[5] == hashlib.sha256().hexdigest():
            continue
        out[path] = entry
        for number in range(1, path.count("/") + 1):
            parent = "/".join(path.split("/")[:number])
            if parent not in tree:
                out.setdefault(parent, implicit)
    return out


def differences(expected, actual):
    """One line for each path that differs."""
    return [f"{path or '/'}: expected {expected.get(path, 'nothing')}, found {actual.get(path, 'nothing')}"
            for path in sorted(expected.keys() | actual.keys()) if expected.get(path) != actual.get(path)]


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
