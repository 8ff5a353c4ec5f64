# SPDX-License-Identifier: Apache-2.0
"""Makes the layers of a chunked image from a commit in a bare OSTree repository: format version 1 of ostree-ext's
encapsulation, as lib/layer/object-layer.hpp describes it. The first layer holds the commit with its directories, each
further one the files of one chunk."""
import hashlib
import io
import os
import re
import stat
import subprocess
import tarfile

from gi.repository import GLib

OBJECTS = "sysroot/ostree/repo/objects"
LISTED = re.compile(r"([-ld])(\d+) (\d+) (\d+)\s+(\d+) ([0-9a-f]{64}) (?:([0-9a-f]{64}) )?(/.*)")


def listing(repository, commit):
    """(type, checksum, dirmeta's checksum, path) of everything in COMMIT."""
    lines = subprocess.run(["ostree", f"--repo={repository}", "ls", "-R", "-C", commit], check=True, stdout=subprocess.PIPE, text=True)
    for line in lines.stdout.splitlines():
        kind, _, _, _, _, checksum, meta, path = LISTED.fullmatch(line).groups()
        yield kind, checksum, meta, path.split(" -> ")[0].lstrip("/") if kind == "l" else path.lstrip("/")


def object_name(checksum, kind):
    return f"{OBJECTS}/{checksum[:2]}/{checksum[2:]}.{kind}"


def add(tar, name, kind=tarfile.REGTYPE, content=b"", mode=0o644, uid=0, gid=0, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.linkname = kind, mode, uid, gid, link
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content) if content else None)


def add_skeleton(tar):
    for directory in ["sysroot", "sysroot/ostree", "sysroot/ostree/repo", OBJECTS] + [f"{OBJECTS}/{byte:02x}" for byte in range(256)]:
        add(tar, directory, tarfile.DIRTYPE, mode=0o755)


def xattrs_of(path):
    """As OSTree serialises them: a(ayay), sorted by name."""
    names = sorted(os.listxattr(path, follow_symlinks=False))
    pairs = [(name.encode() + b"\0", os.getxattr(path, name, follow_symlinks=False)) for name in names if name != "security.selinux"]
    return GLib.Variant("a(ayay)", pairs).get_data_as_bytes().get_data() if pairs else b""


def add_file(tar, repository, checksum, known_xattrs):
    path = f"{repository}/objects/{checksum[:2]}/{checksum[2:]}.file"
    status = os.lstat(path)
    xattrs = xattrs_of(path)
    xattrs_name = object_name(hashlib.sha256(xattrs).hexdigest(), "file-xattrs")
    if xattrs_name not in known_xattrs:
        known_xattrs.add(xattrs_name)
        add(tar, xattrs_name, content=xattrs)
    add(tar, object_name(checksum, "file-xattrs-link"), tarfile.LNKTYPE, link=xattrs_name)
    owned = {"mode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
    if stat.S_ISLNK(status.st_mode):
        add(tar, object_name(checksum, "file"), tarfile.SYMTYPE, link=os.readlink(path), **owned)
    else:
        with open(path, "rb") as file:
            add(tar, object_name(checksum, "file"), content=file.read(), **owned)


def write_layers(layout, repository, commit, chunk_of):
    """Appends layers to LAYOUT and returns them; CHUNK_OF gives the name of a path's chunk."""
    metadata, chunks, seen = {}, {}, set()
    for kind, checksum, meta, path in listing(repository, commit):
        if kind == "d":
            metadata[object_name(checksum, "dirtree")] = metadata[object_name(meta, "dirmeta")] = None
        elif checksum not in seen:
            seen.add(checksum)
            chunks.setdefault(chunk_of(path), []).append((checksum, [path]))
    layers = []
    with layout.layer(layers) as tar:
        add_skeleton(tar)
        for name in [object_name(commit, "commit"), *metadata]:
            with open(repository + name.removeprefix("sysroot/ostree/repo"), "rb") as file:
                add(tar, name, content=file.read())
    for _, objects in sorted(chunks.items()):
        with layout.layer(layers) as tar:
            add_skeleton(tar)
            known_xattrs = set()
            for checksum, paths in sorted(objects):
                add_file(tar, repository, checksum, known_xattrs)
                for path in paths:
                    add(tar, re.sub(r"^usr/etc(/|$)", r"etc\1", path), tarfile.LNKTYPE, link=object_name(checksum, "file"))
    return layers, ["ostree export of commit " + commit, *sorted(chunks)]
