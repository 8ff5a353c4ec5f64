# SPDX-License-Identifier: Apache-2.0
"""Trees as dictionaries, path → (kind, mode, uid, gid, xattrs, content): out of an OSTree repository, out of a directory; and what differs."""
import functools
import hashlib
import os
import re
import stat
import subprocess

from gi.repository import GLib

VERSION = tuple(int(part) for part in subprocess.run(["ostree", "--version"], check=True, capture_output=True, text=True).stdout
                .split("Version:")[1].split()[0].strip("'").split(".")[:2])
VAR_MOVES = VERSION < (2024, 3)  # From then on OSTree fills /var from the commit's; before, a layer's /var is stored below usr/share.
FACTORY_VAR = "usr/share/factory/var"
MOVED = {"etc": "usr/etc", **({"var": FACTORY_VAR} if VAR_MOVES else {})}  # where a layer's directories are stored, if elsewhere
DROPPED_CHILDREN = ("run", "tmp", "proc", "sys", "dev")
_LINE = re.compile(r"(.)0(\d{4}) (\d+) (\d+) +\d+ ([0-9a-f]{64})(?: [0-9a-f]{64})? \{ (.*?) \} (/.*)", re.S)


def of_commit(repository, commit):
    """The tree of COMMIT in a bare repository."""
    text = subprocess.run(["ostree", f"--repo={repository}", "ls", "-R", "-X", "-C", commit], check=True,
                          capture_output=True).stdout.decode("utf-8", "surrogateescape")
    tree, hashes = {}, {}
    for line in text.splitlines():
        kind, mode, uid, gid, checksum, xattrs, path = _LINE.fullmatch(line).groups()
        content, kind = "", {"d": "dir", "l": "symlink", "-": "file"}[kind]
        if kind == "symlink":
            path, _, content = path.partition(" -> ")
        elif kind == "file":
            if checksum not in hashes:
                hashes[checksum] = _hash(f"{repository}/objects/{checksum[:2]}/{checksum[2:]}.file")
            content = hashes[checksum]
        tree[path.lstrip("/")] = (kind, int(mode, 8), int(uid), int(gid), _xattrs(xattrs), content)
    return tree


@functools.cache
def _xattrs(text):
    """What `ostree ls -X` prints of them: pairs of a name and its value."""
    found = {bytes(name).rstrip(b"\0").decode(): bytes(value) for name, value in GLib.Variant.parse(GLib.VariantType("a(ayay)"), text, None, None).unpack()}
    return tuple(sorted(found.items()))


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


def leads(tree, path, target):
    """Whether PATH is a link to TARGET, by its text."""
    kind, *_, text = tree.get(path, ("none", ""))
    if kind != "symlink":
        return False
    return os.path.normpath(os.path.join("/", os.path.dirname(path), text)) == "/" + target


def inside(tree, path):
    return {other[len(path):]: entry for other, entry in tree.items() if other == path or other.startswith(path + "/")}


def one_directory(tree, name, place):
    """TREE with its directory NAME at PLACE, and below it what only PLACE has. A link of one of them to the other adds nothing."""
    own, beside = inside(tree, name), inside(tree, place)
    rest = {path: entry for path, entry in tree.items() if not (path + "/").startswith((name + "/", place + "/"))}
    if not own:
        return rest if leads(tree, place, name) else tree
    if leads(tree, place, name):
        result = {} if leads(tree, name, place) else own
    elif leads(tree, name, place):
        result = beside
    else:
        result = dict(own)
        if own[""][0] == "dir" and beside.get("", ("",))[0] == "dir":
            for path in sorted(beside):
                parents = ["/".join(path.split("/")[:number]) for number in range(1, path.count("/") + 1)]
                if leads(tree, place + path, name + path) or any(result.get(parent, ("",))[0] != "dir" for parent in parents):
                    continue
                if path not in result or leads(tree, name + path, place + path):
                    result[path] = beside[path]
    return {**rest, **{place + path: entry for path, entry in result.items()}}


def place(path):
    """Where the running libostree has PATH of a layer stored."""
    first, slash, rest = path.partition("/")
    return MOVED.get(first, first) + slash + rest


def mapped(tree):
    """What a generic image with that rootfs is stored as."""
    implicit = ("dir", 0o755, 0, 0, (), "")
    out = {path: entry for path, entry in tree.items() if path.partition("/")[0] not in DROPPED_CHILDREN or "/" not in path}
    # An empty value is none, and OSTree has names in UTF-8 only.
    out = {path: (*entry[:4], tuple((name, value) for name, value in entry[4] if value), entry[5])
           for path, entry in out.items() if not any(0xdc80 <= ord(letter) <= 0xdcff for letter in path)}
    for name, stored in MOVED.items():
        out = one_directory(out, name, stored)
    for path in ("usr/etc/hostname", "usr/etc/resolv.conf"):
        if path in out and out[path][0] == "file" and out[path][5] == hashlib.sha256().hexdigest():
            del out[path]
    for path in sorted(out):
        for number in range(1, path.count("/") + 1):
            out.setdefault("/".join(path.split("/")[:number]), implicit)
    return out


def differences(expected, actual):
    """One line for each path that differs."""
    return [f"{path or '/'}: expected {expected.get(path, 'nothing')}, found {actual.get(path, 'nothing')}"
            for path in sorted(expected.keys() | actual.keys()) if expected.get(path) != actual.get(path)]


def _hash(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
