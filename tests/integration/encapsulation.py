# SPDX-License-Identifier: Apache-2.0
"""Images made of OSTree commits, as ostree-ext encapsulates them."""
import hashlib
import os
import pathlib
import subprocess

from gi.repository import GLib

import oci_layout


def ostree(repository, *arguments, **keywords):
    return subprocess.run(["ostree", f"--repo={repository}", *arguments], check=True, capture_output=True, text=True, **keywords).stdout.strip()


def commit_entries(repository, commit):
    """The entries of the layer that ostree-ext makes of COMMIT in a bare repository."""
    entries, seen = [], set()

    def add_xattrs(name, file):
        found = sorted((key.encode() + b"\0", os.getxattr(file, key, follow_symlinks=False))
                       for key in os.listxattr(file, follow_symlinks=False))
        if not found:
            return
        content = GLib.Variant("a(ayay)", found).get_data_as_bytes().get_data()
        path = f"sysroot/ostree/repo/xattrs/{hashlib.sha256(content).hexdigest()}"
        if path not in seen:
            seen.add(path)
            entries.append(oci_layout.Entry(path, content=content))
        entries.append(oci_layout.Entry(f"{name[:-5]}.file-xattrs-link", "hardlink", target=path))

    def add(checksum, kind):
        if (checksum, kind) in seen:
            return
        seen.add((checksum, kind))
        path = f"objects/{checksum[:2]}/{checksum[2:]}.{kind}"
        file = pathlib.Path(repository) / path
        status = file.lstat()
        content = b"" if file.is_symlink() else file.read_bytes()
        name = f"sysroot/ostree/repo/{path}"
        if kind == "file":
            add_xattrs(name, file)
            entries.append(oci_layout.Entry(name, "symlink" if file.is_symlink() else "file", content, status.st_mode & 0o7777,
                                            status.st_uid, status.st_gid, os.readlink(file) if file.is_symlink() else ""))
        else:
            entries.append(oci_layout.Entry(name, content=content))

    add(commit, "commit")
    if (pathlib.Path(repository) / f"objects/{commit[:2]}/{commit[2:]}.commitmeta").exists():
        add(commit, "commitmeta")
    for line in ostree(repository, "ls", "-R", "-C", commit).splitlines():
        fields = line.split()
        if fields[0].startswith("d"):
            add(fields[4], "dirtree")
            add(fields[5], "dirmeta")
        else:
            add(fields[4], "file")
    return entries


def commit_layer(repository, commit):
    return oci_layout.layer(commit_entries(repository, commit))


def encapsulate(layout, tag, repository, commit, derived=()):
    """An image of COMMIT, with DERIVED layers on top."""
    layer = commit_layer(repository, commit)
    labels = {"ostree.final-diffid": layer.diff_id, "ostree.commit": commit}
    return layout.image(tag, [layer, *derived], config={"config": {"Labels": labels}})
