# SPDX-License-Identifier: Apache-2.0
"""Hostile commits: images that say to be an encapsulated OSTree commit. The objects of a right one come from libostree; then one thing is wrong."""
import hashlib
import os
import pathlib
import struct
import subprocess
import tempfile

import oci_layout
import ostree_repository
from oci_layout import Blob, Entry

CORRUPT, UNSUPPORTED, OK = "CorruptInput", "UnsupportedImage", "success"
OBJECTS = "sysroot/ostree/repo/objects/"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def path_of(checksum, kind):
    return f"{OBJECTS}{checksum[:2]}/{checksum[2:]}.{kind}"


def meta(kind, data):
    """A metadata object under its right name."""
    return Entry(path_of(sha256(data), kind), content=data)


def offsets(ends, size):
    width = next(width for width in (1, 2, 4) if size + len(ends) * width < 256 ** width)
    return b"".join(end.to_bytes(width, "little") for end in ends)


def array(elements):
    body, ends = b"", []
    for element in elements:
        body += element
        ends.append(len(body))
    return body + (offsets(ends, len(body)) if ends else b"")


def row(name, *checksums):
    body = name.encode("utf-8", "surrogateescape") + b"\0"
    ends = [len(body)]
    for checksum in checksums:
        body += bytes.fromhex(checksum)
        ends.append(len(body))
    return body + offsets(ends[:-1][::-1], len(body))


def dirtree(files=(), directories=()):
    """The bytes of (a(say)a(sayay))."""
    first = array([row(*file) for file in files])
    body = first + array([row(*directory) for directory in directories])
    return body + offsets([len(first)], len(body))


DIRMETA = struct.pack(">III", 0, 0, 0o40755)


def commit(tree, root=sha256(DIRMETA)):
    """The bytes of (a{sv}aya(say)sstayay) without metadata, parent or text."""
    start = b"\0\0"  # two empty strings
    fixed = start + b"\0" * (-len(start) % 8) + struct.pack(">Q", 0) + bytes.fromhex(tree)
    end = len(fixed)
    body = fixed + bytes.fromhex(root)
    return body + bytes([end, 2, 1, 0, 0, 0])


class Sample:
    """The objects of a commit that libostree made: path → Entry. None of them is in a sample of another owner."""

    def __init__(self, owner=0):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
            root = pathlib.Path(scratch, "tree/usr/lib")
            root.mkdir(parents=True)
            (root / "file").write_text(f"content {owner}")
            (root / "link").symlink_to(f"file{owner}")
            repository = pathlib.Path(scratch, "repo")
            ostree_repository.init(repository)
            self.commit = subprocess.run(["ostree", f"--repo={repository}", "commit", "--branch=x", f"--owner-uid={owner}", "--owner-gid=0", "--no-xattrs",
                                          scratch + "/tree"], check=True, capture_output=True, text=True).stdout.strip()
            self.objects = {}
            for path in sorted((repository / "objects").glob("*/*")):
                name = OBJECTS + str(path.relative_to(repository / "objects"))
                if path.is_symlink():
                    self.objects[name] = Entry(name, "symlink", mode=0o777, uid=owner, target=os.readlink(path))
                else:
                    self.objects[name] = Entry(name, mode=path.stat().st_mode & 0o7777, uid=owner, content=path.read_bytes())

    def of(self, kind):
        return [entry for name, entry in self.objects.items() if name.endswith("." + kind)]

    def rest(self, *without):
        return [entry for entry in self.objects.values() if entry not in without]


def image(layers):
    """Layers as an ostree image: the label names the last of them."""
    blobs = [oci_layout.layer(entries) if not isinstance(entries, Blob) else entries for entries in layers]
    return blobs, {"config": {"Labels": {"ostree.final-diffid": blobs[-1].diff_id}}}


def made(tree_objects, root):
    """A commit of dirtrees that were made here."""
    dirmeta = meta("dirmeta", DIRMETA)
    return [[dirmeta, *tree_objects, meta("commit", commit(root))]]


def chain(depth):
    trees, below = [], dirtree()
    for _ in range(depth):
        trees.append(meta("dirtree", below))
        below = dirtree(directories=[("d", sha256(below), sha256(DIRMETA))])
    return [*trees, meta("dirtree", below)], sha256(below)


def bomb(levels):
    trees, below = [], dirtree()
    for _ in range(levels):
        trees.append(meta("dirtree", below))
        below = dirtree(directories=[(f"d{n}", sha256(below), sha256(DIRMETA)) for n in range(10)])
    return [*trees, meta("dirtree", below)], sha256(below)


def link_to(target):
    """A tree of one symbolic link under the checksum of its header, (uuuusa(ayay))."""
    header = struct.pack(">IIII", 0, 0, 0o120777, 0) + target + b"\0" + bytes([16 + len(target) + 1])
    name = sha256(struct.pack(">II", len(header), 0) + header)
    tree = dirtree(files=[("link", name)])
    text = target.decode("utf-8", "surrogateescape")
    return [meta("dirtree", tree), Entry(path_of(name, "file"), "symlink", mode=0o777, target=text)], sha256(tree)


def layer_cases():
    sample = Sample()
    tree, dirmeta, file, commit_entry = (sample.of(kind)[0] for kind in ("dirtree", "dirmeta", "file", "commit"))
    yield "its files in a chunk", [sample.rest(*sample.of("file")), sample.of("file")], OK, ""
    yield "made by hand", made(*chain(3)), OK, ""
    yield "made by hand, with a link", made(*link_to(b"plain")), OK, ""
    yield "a link to what is not UTF-8", made(*link_to(b"\xff")), CORRUPT, "not UTF-8"
    owner = 0
    for kind, count in {"dirtree": 3, "dirmeta": 1, "file": 2}.items():
        for number in range(count):
            owner += 1
            fresh = Sample(owner)  # the repository has none of it
            yield f"without {kind} {number}", [fresh.rest(fresh.of(kind)[number])], CORRUPT, "does not contain"
    yield "right", [sample.rest()], OK, ""
    yield "without the commit", [sample.rest(commit_entry)], CORRUPT, "no commit"
    yield "nothing at all", [[Entry("x")]], CORRUPT, "no commit"
    yield "a second commit", [sample.rest() + [meta("commit", commit("0" * 64))]], CORRUPT, "second commit"
    yield "a commit in a chunk", [sample.rest(), [meta("commit", commit("0" * 64))]], CORRUPT, "chunk"
    for entry in (tree, dirmeta, file, commit_entry):
        kind = entry.path.rsplit(".", 1)[1]
        changed = Entry(entry.path, content=entry.content + b"x", mode=entry.mode)
        yield f"another content of a {kind}", [sample.rest(entry) + [changed]], CORRUPT, "checksum"
        yield f"a {kind} that is a link", [sample.rest(entry) + [Entry(entry.path, "symlink", target="/etc/passwd")]], CORRUPT, ""
        yield f"a {kind} that is a fifo", [sample.rest(entry) + [Entry(entry.path, "fifo")]], CORRUPT, ""
        yield f"a {kind} of nothing", [sample.rest(entry) + [Entry(entry.path, mode=entry.mode)]], CORRUPT, "checksum"
        yield f"a {kind} by another name", [sample.rest(entry) + [Entry(path_of("1" * 64, kind), content=entry.content, mode=entry.mode)]], CORRUPT, "checksum"
    changed = Entry(file.path, content=file.content, mode=0o4777)
    yield "another mode of a file", [sample.rest(file) + [changed]], CORRUPT, "checksum"
    yield "another owner of a file", [sample.rest(file) + [Entry(file.path, content=file.content, mode=file.mode, uid=7)]], CORRUPT, "checksum"
    yield "a name that is no checksum", [sample.rest() + [Entry(OBJECTS + "zz/" + "z" * 62 + ".file")]], CORRUPT, "not named by a checksum"
    yield "an object that climbs", [sample.rest() + [Entry(OBJECTS + "../../config")]], CORRUPT, '".."'
    yield "the repository's own files", [sample.rest() + [Entry("sysroot/ostree/repo/config", content=b"[core]\nmode=archive\n")]], OK, ""
    for name in ("..", ".", "a/b", "", "../../" + "imaged-escape"):
        for files, directories in (([(name, "1" * 64)], []), ([], [(name, sha256(dirtree()), sha256(DIRMETA))])):
            listing = dirtree(files, directories)
            yield f"a {'file' if files else 'directory'} named {name!r}", made([meta("dirtree", dirtree()), meta("dirtree", listing)], sha256(listing)), CORRUPT, ""
    for files, directories in ((2, 0), (1, 1), (0, 2)):
        twice = dirtree([("x", "1" * 64)] * files, [("x", sha256(dirtree()), sha256(DIRMETA))] * directories)
        yield f"one name for {files} files and {directories} directories", made([meta("dirtree", dirtree()), meta("dirtree", twice)], sha256(twice)), CORRUPT, "two entries"
    first = path_of("1" * 64, "file-xattrs-link")
    yield "attributes of nothing", [sample.rest() + [Entry(first, "hardlink", target=path_of("2" * 64, "file-xattrs"))]], CORRUPT, "did not come"
    yield "attributes elsewhere", [sample.rest() + [Entry("x"), Entry(first, "hardlink", target="x")]], CORRUPT, "does not lead"
    yield "attributes of garbage", [sample.rest() + [meta("file-xattrs", b"garbage")]], CORRUPT, ""
    yield "attributes of 300 KiB", [sample.rest() + [meta("file-xattrs", b"\0" * 300 * 1024)]], CORRUPT, "limit"
    yield "a dirtree of 11 MiB", [sample.rest() + [meta("dirtree", b"\0" * (11 << 20))]], CORRUPT, "limit"
    for kind, size in (("commit", 40), ("dirtree", 5), ("dirmeta", 7)):
        yield f"a {kind} of garbage", [sample.rest(*(sample.of("commit") if kind == "commit" else [])) + [meta(kind, b"\xff" * size)]], CORRUPT, ""
    yield "commitmeta of garbage", [sample.rest() + [Entry(path_of(sample.commit, "commitmeta"), content=b"\xff" * 100)]], (CORRUPT, OK), ""
    yield "commitmeta of 11 MiB", [sample.rest() + [Entry(path_of(sample.commit, "commitmeta"), content=b"\0" * (11 << 20))]], CORRUPT, "limit"
    yield "1,000 deep", made(*chain(1000)), UNSUPPORTED, "deeper than 256"
    yield "ten thousand million paths", made(*bomb(10)), UNSUPPORTED, "10000000 paths"
    yield "a commit of a tree that is not there", [[meta("dirmeta", DIRMETA), meta("commit", commit("3" * 64))]], CORRUPT, "does not contain"


def all_cases():
    for name, layers, outcome, text in layer_cases():
        yield f"commits: {name}", *image(layers), outcome, text
