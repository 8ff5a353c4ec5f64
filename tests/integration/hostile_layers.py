# SPDX-License-Identifier: Apache-2.0
"""Hostile layers of plain images, each with what must become of it: an error and words of its message, or success."""
import gzip
import os
import subprocess
import tarfile
import zlib

import oci_layout
from hostile_tar import END, entry, gnu_long, gnu_sparse, header, padded, pax
from oci_layout import Blob, Entry, compressed, directory, layer

CORRUPT, UNSUPPORTED, MISMATCH, OK = "CorruptInput", "UnsupportedImage", "DigestMismatch", "success"
ESCAPE = "imaged-escape"  # nothing of this name may come to be outside the repository
KINDS = {"file": {}, "dir": {}, "symlink": {"target": "x"}, "hardlink": {"target": "x"}, "fifo": {}, "char": {}}


def raw(data, compression=None):
    return [compressed(data, compression)]


def named(kind, path):
    return Entry(path, kind, **KINDS[kind])


def escaping_paths():
    paths = ["../" + ESCAPE, "a/../../" + ESCAPE, "/../" + ESCAPE, "..", "./../" + ESCAPE, "usr/../../../" + ESCAPE, "a/.."]
    for kind in KINDS:
        for path in paths:
            yield f"{kind} at {path}", [layer([Entry("x"), named(kind, path)])], CORRUPT, '".."'
    for path in paths:
        yield f"hard link to {path}", [layer([Entry("x"), Entry("y", "hardlink", target=path)])], CORRUPT, '".."'
    for kind in KINDS:
        for path in ("/" + ESCAPE, "//" + ESCAPE + "/x", "/proc/self/root/" + ESCAPE):
            yield f"{kind} at {path}", [layer([Entry("x"), named(kind, path)])], OK, ""


def escaping_links():
    for target in ("/", "..", "../../../../../..", "/proc/self/root", "/proc/self/cwd", "/var/tmp", "/proc/1/cwd"):
        for kind in ("file", "dir", "symlink", "hardlink"):
            entries = [Entry("x"), Entry("d", "symlink", target=target), named(kind, "d/" + ESCAPE)]
            yield f"{kind} through a link to {target}", [layer(entries)], OK, ""
            # The link in one layer, what goes through it in the next.
            yield f"{kind} through a lower link to {target}", [layer(entries[:2]), layer([Entry("x"), entries[2]])], OK, ""
    for name, links in {"itself": {"a": "a"}, "another": {"a": "b", "b": "a"}, "42": {f"a{n}" if n else "a": f"a{n + 1}" for n in range(42)},
                        "its child": {"a": "a/b"}}.items():
        entries = [Entry(path, "symlink", target=target) for path, target in links.items()]
        yield f"links to {name}", [layer(entries)], OK, ""
        if name == "42":
            entries.append(directory("a42"))
        for kind in ("file", "dir", "hardlink"):
            yield f"{kind} through links to {name}", [layer([Entry("x"), *entries, named(kind, "a/x")])], CORRUPT, "too many symbolic links"
            lower, upper = layer(entries), layer([Entry("x"), named(kind, "a/x")])
            yield f"{kind} through lower links to {name}", [lower, upper], CORRUPT, "too many symbolic links"


def long_names():
    deep = "/".join(["d"] * 257)
    for kind in KINDS:
        yield f"{kind} 257 deep", [layer([Entry("x"), named(kind, deep)])], UNSUPPORTED, "deeper than 256"
    yield "256 deep", [layer([Entry("/".join(["d"] * 256))])], OK, ""
    for format, name in ((tarfile.PAX_FORMAT, "pax"), (tarfile.GNU_FORMAT, "gnu")):
        def made(*entries):
            return [layer([Entry("x"), *entries], format=format)]
        yield f"4,096 deep, {name}", made(Entry("d/" * 4096 + "x")), UNSUPPORTED, "longer than 4096"
        yield f"2,000 deep, {name}", made(Entry("d/" * 2000 + "x")), UNSUPPORTED, "deeper than 256"
        yield f"a name of 256 bytes, {name}", made(Entry("n" * 256)), UNSUPPORTED, "longer than 255"
        yield f"a link 4,096 deep, {name}", made(Entry("y", "hardlink", target="d/" * 4096)), UNSUPPORTED, "longer than 4096"
        yield f"a symbolic link to 4,096 bytes, {name}", made(Entry("y", "symlink", target="t" * 4096)), UNSUPPORTED, "too long"
        yield f"a symbolic link to 900 KiB, {name}", made(Entry("y", "symlink", target="t" * 900 * 1024)), UNSUPPORTED, "too long"
        yield f"a name of 900 KiB, {name}", made(Entry("n" * 900 * 1024)), UNSUPPORTED, "longer than 4096"
        yield f"a name of 2 MiB, {name}", made(Entry("n" * 2 * 1024 * 1024)), (CORRUPT, UNSUPPORTED), ""
    yield "a link that leads 2,000 deep", [layer([Entry("l", "symlink", target="d/" * 2000), Entry("l/x")])], UNSUPPORTED, "deeper than 256"
    yield "a lower link that leads 2,000 deep", \
        [layer([Entry("l", "symlink", target="d/" * 2000)]), layer([Entry("l/x")])], UNSUPPORTED, "deeper than"
    yield "links on links that lead deep", [layer(
        [Entry("l0", "symlink", target="d/" * 200)] +
        [Entry(f"l{n}", "symlink", target=f"l{n - 1}/" + "d/" * 200) for n in range(1, 30)] + [Entry("l29/x")])], UNSUPPORTED, "deeper than 256"


def attributes():
    def with_xattrs(xattrs, kind="file", target=""):
        return [layer([Entry("x", kind, xattrs=xattrs, target=target)])]
    yield "an attribute of 64 KiB and a byte", with_xattrs({"user.a": b"v" * 65537}), OK, ""
    yield "an attribute of 900 KiB", with_xattrs({"user.a": b"v" * 900 * 1024}), OK, ""
    yield "an attribute of 1 MiB", with_xattrs({"user.a": b"v" * 1024 * 1024}), (CORRUPT, UNSUPPORTED), ""
    yield "attributes of 300 KiB in all", with_xattrs({f"user.{n}": b"v" * 30000 for n in range(10)}), (OK, UNSUPPORTED), ""
    yield "ten thousand attributes", with_xattrs({f"user.{'n' * 40}{n}": b"" for n in range(10000)}), OK, ""
    for kind, target in (("file", ""), ("dir", ""), ("symlink", "t")):
        yield f"a name of 300 bytes on a {kind}", with_xattrs({"trusted." + "n" * 300: b"v"}, kind, target), OK, ""
        yield f"a foreign namespace on a {kind}", with_xattrs({"nothing.known": b"v"}, kind, target), (OK, UNSUPPORTED), ""
        yield f"an ACL on a {kind}", with_xattrs({"system.posix_acl_access": b"garbage"}, kind, target), OK, ""
        yield f"a label on a {kind}", with_xattrs({"security.selinux": b"garbage"}, kind, target), OK, ""
        yield f"a capability of garbage on a {kind}", with_xattrs({"security.capability": b"garbage"}, kind, target), (OK, UNSUPPORTED), ""
        yield f"an overlay's mark on a {kind}", with_xattrs({"trusted.overlay.redirect": b"/" + ESCAPE.encode()}, kind, target), OK, ""
        yield f"ostree's own on a {kind}", with_xattrs({"user.ostreemeta": b"garbage"}, kind, target), OK, ""


def numbers():
    for field in ("uid", "gid"):
        for value in (-1, 2 ** 32 - 1, 2 ** 32, 2 ** 55):
            yield f"{field} {value}", raw(entry(b"x", **{field: value}) + END), CORRUPT, "impossible " + field
        yield f"pax {field} of nonsense", raw(pax([(field.encode(), b"nonsense")]) + entry(b"x") + END), (OK, CORRUPT), ""
        yield f"pax {field} beyond 64 bits", raw(pax([(field.encode(), b"9" * 40)]) + entry(b"x") + END), CORRUPT, "impossible " + field
    yield "size -1", raw(header(b"x", -1) + END), CORRUPT, ""
    yield "size 2^62 and no content", raw(header(b"x", 2 ** 62) + END), (UNSUPPORTED, CORRUPT), ""
    yield "size 600 GiB and no content", raw(header(b"x", 600 << 30) + END), UNSUPPORTED, "512 GiB"
    yield "size 8 GiB and no content", raw(header(b"x", 8 << 30) + END), CORRUPT, "byte"
    yield "size of letters", raw(header(b"x", raw_size=b"abcdefghijkl") + END), (OK, CORRUPT), ""
    yield "pax size -1", raw(pax([(b"size", b"-1")]) + entry(b"x", b"y") + END), (CORRUPT, OK), ""
    yield "pax size 2^63", raw(pax([(b"size", b"%d" % 2 ** 63)]) + entry(b"x", b"y") + END), (CORRUPT, UNSUPPORTED), ""
    yield "mtime -2^60", raw(entry(b"x", mtime=-2 ** 60) + END), OK, ""
    yield "pax mtime of nonsense", raw(pax([(b"mtime", b"1e999"), (b"atime", b"...")]) + entry(b"x") + END), OK, ""
    yield "device numbers beyond 64 bits", raw(pax([(b"SCHILY.devmajor", b"9" * 30)]) + entry(b"x", kind=b"3") + END), OK, ""


def headers():
    good = entry(b"x", b"content") + END
    yield "a wrong header checksum", raw(entry(b"a", b"y") + header(b"x", checksum=1) + END), CORRUPT, "byte"
    yield "garbage", raw(b"garbage " * 512), CORRUPT, "is no tar, nor"
    yield "0xff throughout", raw(b"\xff" * 10240), CORRUPT, "is no tar, nor"
    yield "random bytes", raw(bytes((n * n * 31 + n // 7) % 251 for n in range(1, 30000))), CORRUPT, "is no tar, nor"
    yield "garbage behind an entry", raw(entry(b"a", b"y") + b"\xaa" * 2048), CORRUPT, ""
    for length in (1, 100, 511, 513, 518):
        yield f"cut off after {length} bytes", raw(good[:length]), CORRUPT, ""
    yield "no end", raw(entry(b"x", b"content")), OK, ""
    yield "an empty stream", raw(b""), OK, ""
    yield "zeros alone", raw(b"\0" * 4096), OK, ""
    yield "an empty name", raw(entry(b"") + END), (OK, CORRUPT), ""
    yield "an unknown type", raw(entry(b"x", b"content", kind=b"Z") + END), OK, ""
    yield "a directory with content", raw(entry(b"x/", b"content", kind=b"5") + END), (OK, CORRUPT), ""
    yield "a symbolic link with content", raw(entry(b"x", b"content", kind=b"2", link=b"t") + END), (OK, CORRUPT), ""
    yield "a hard link with content", raw(entry(b"t", b"c") + entry(b"x", b"content", kind=b"1", link=b"t") + END), (OK, CORRUPT), ""
    yield "a symbolic link to nothing", raw(entry(b"x", kind=b"2") + END), CORRUPT, "no target"
    yield "a hard link to nothing", raw(entry(b"x", kind=b"1") + END), (OK, CORRUPT), ""
    yield "a name that is not UTF-8", raw(entry(b"\xff\xfe") + END), OK, ""
    for size in (2, 90):  # libostree's header of an object has another form from 233 bytes on
        yield f"a symbolic link to {size} bytes that are not UTF-8", raw(entry(b"x", kind=b"2", link=b"\xff" * size) + END), OK, ""
    yield "a symbolic link to 900 bytes that are not UTF-8", raw(pax([(b"linkpath", b"\xff" * 900)]) + entry(b"x", kind=b"2", link=b"t") + END), OK, ""
    yield "control characters", raw(entry(b"\x1b[31m\x07\n") + END), OK, ""
    yield "a name with a NUL", raw(pax([(b"path", b"a\0b")]) + entry(b"x") + END), CORRUPT, "NUL"
    yield "one block of zeros in the middle", raw(entry(b"a") + b"\0" * 512 + entry(b"b") + END), CORRUPT, "zeros"
    yield "a pax record that lies about its length", raw(pax(b"99999 path=x\n") + entry(b"x") + END), (OK, CORRUPT), ""
    yield "a pax record without length", raw(pax(b"path=x\n") + entry(b"x") + END), (OK, CORRUPT), ""
    yield "a pax record of length 0", raw(pax(b"0 path=x\n") + entry(b"x") + END), (OK, CORRUPT), ""
    yield "a pax header and nothing", raw(pax([(b"path", b"y")])), (CORRUPT, OK), ""
    yield "a pax header of 1 GiB", raw(header(b"p", 1 << 30, kind=b"x") + b"1" * 4096), CORRUPT, ""
    yield "a global header that renames", raw(entry(b"g", b"20 path=../../etc/x\n", kind=b"g") + entry(b"x") + END), (OK, CORRUPT), ""
    yield "a thousand pax headers", raw(pax([(b"comment", b"c")]) * 1000 + entry(b"x") + END), (OK, CORRUPT), ""
    yield "a thousand long names", raw(gnu_long(b"n" * 10) * 1000 + entry(b"x") + END), (OK, CORRUPT), ""
    yield "a long name of 1 GiB", raw(header(b"././@LongLink", 1 << 30, kind=b"L", magic=b"ustar  \0") + b"n" * 4096), CORRUPT, ""
    yield "a long name that climbs", raw(gnu_long(b"../" * 50 + ESCAPE.encode()) + entry(b"x") + END), CORRUPT, '".."'
    yield "a multi-volume part", raw(entry(b"x", b"c", kind=b"M", magic=b"ustar  \0") + END), (OK, CORRUPT), ""
    yield "a volume label", raw(entry(b"x", kind=b"V", magic=b"ustar  \0") + END), OK, ""


def sparse_files():
    huge = 1 << 50
    yield "a sparse file of 1 PiB", raw(gnu_sparse(b"x", [(0, 0)], huge) + END), UNSUPPORTED, "512 GiB"
    yield "a sparse file of 1,060 MiB in no bytes", raw(gnu_sparse(b"x", [(0, 0)], 1060 << 20) + END), OK, ""
    yield "a sparse file of 20 GiB in no bytes", raw(gnu_sparse(b"x", [(0, 0)], 20 << 30) + END), UNSUPPORTED, "zeros"
    yield "pieces that overlap", raw(gnu_sparse(b"x", [(0, 8), (4, 8)], 16, b"c" * 16) + END), (CORRUPT, OK), ""
    yield "pieces that go backwards", raw(gnu_sparse(b"x", [(8, 8), (0, 8)], 16, b"c" * 16) + END), CORRUPT, ""
    yield "a piece beyond the end", raw(gnu_sparse(b"x", [(1 << 40, 8)], 16, b"c" * 8) + END), (CORRUPT, UNSUPPORTED), ""
    yield "pieces without content", raw(gnu_sparse(b"x", [(0, 1 << 20)], 1 << 20) + END), (OK, CORRUPT), ""
    yield "a negative piece", raw(gnu_sparse(b"x", [(-8, 8)], 16, b"c" * 8) + END), CORRUPT, ""
    for map in (b"nonsense", b"0,5,3", b"0,1" + b",1,1" * 20000, b"99999999999999999999,1"):
        records = [(b"GNU.sparse.major", b"0"), (b"GNU.sparse.minor", b"1"), (b"GNU.sparse.name", b"x"), (b"GNU.sparse.size", b"64"),
                   (b"GNU.sparse.numblocks", b"1"), (b"GNU.sparse.map", map)]
        yield f"a sparse map {map[:20].decode()}", raw(pax(records) + entry(b"y", b"c" * 8) + END), (CORRUPT, OK), ""
    for count in (b"1000000000", b"-1", b"nonsense"):
        records = [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"x"), (b"GNU.sparse.realsize", b"64")]
        yield f"a sparse list of {count.decode()}", raw(pax(records) + entry(b"y", padded(count + b"\n0\n8\n") + b"c" * 8) + END), CORRUPT, ""


class Stream:
    """A layer that no other case has: a verified one would not be fetched again. Its tar, packed in both ways."""

    def __init__(self):
        self.plain = oci_layout.tar([Entry("x", content=os.urandom(50000))])
        self.gzip = gzip.compress(self.plain, 1, mtime=0)
        self.zstd = zstd(self.plain)
        self.diff_id = oci_layout.digest(self.plain)

    def blob(self, data, kind="+gzip"):
        return [Blob(data, oci_layout.LAYER + kind, self.diff_id)]


def zstd(data, *options):
    return subprocess.run(["zstd", "-q", "-1", "-c", *options], input=data, capture_output=True, check=True).stdout


def streams():
    for fraction in (0.0001, 0.0005, 0.5, 0.9999):
        s = Stream()
        yield f"{fraction:%} of a gzip stream", s.blob(s.gzip[:int(len(s.gzip) * fraction)]), CORRUPT, ""
        s = Stream()
        yield f"{fraction:%} of a zstd stream", s.blob(s.zstd[:int(len(s.zstd) * fraction)], "+zstd"), CORRUPT, ""
    for name, damage, text in (
            ("a wrong checksum", lambda data: data[:-8] + b"\0" * 8, "checksum"), ("a reserved block", lambda data: data[:10] + b"\x07" + data[11:], "gzip"),
            ("another method", lambda data: data[:2] + b"\x01" + data[3:], "gzip"), ("a gzip stream in it", lambda data: gzip.compress(data, 1, mtime=0), "is no tar, nor"),
            ("a name without end", lambda data: b"\x1f\x8b\x08\x08" + b"\0" * 6 + b"n" * 100000, "gzip")):
        s = Stream()
        yield f"gzip with {name}", s.blob(damage(s.gzip)), CORRUPT, text
    for name, damage, outcome, text in (
            ("a wrong checksum", lambda data: data[:-4] + b"\0\0\0\0", CORRUPT, "zstd"), ("garbage", lambda data: data[:4] + b"\xff" * 1000, CORRUPT, "zstd"),
            ("a dictionary", lambda data: data[:4] + bytes([data[4] & 0xfc | 1]) + b"\x77" + data[5:], (CORRUPT, UNSUPPORTED), "zstd"),
            ("skippable frames alone", lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" * 1000, MISMATCH, "config says"),
            ("a skippable frame of 4 GiB", lambda data: b"\x50\x2a\x4d\x18\xff\xff\xff\xffabcd", CORRUPT, "zstd")):
        s = Stream()
        yield f"zstd with {name}", s.blob(damage(s.zstd), "+zstd"), outcome, text
    s = Stream()
    yield "zstd with a window of 128 MiB", s.blob(zstd(s.plain * 400, "--long=27"), "+zstd"), MISMATCH, "config says"
    s = Stream()
    yield "zstd with a window of 256 MiB", s.blob(zstd(s.plain * 400, "--ultra", "--long=28"), "+zstd"), UNSUPPORTED, "window"
    s = Stream()
    yield "ten thousand empty members in front", s.blob(gzip.compress(b"", 1, mtime=0) * 10000 + s.gzip), OK, ""
    for name, head, text in (("xz", b"\xfd7zXZ\0", "xz"), ("bzip2", b"BZh91AY&SY", "bzip2")):
        s = Stream()
        yield name, s.blob(head + b"x" * 100, ""), CORRUPT, text
    s = Stream()
    yield "zlib without gzip", s.blob(zlib.compress(s.plain)), CORRUPT, "is no tar, nor"
    s = Stream()
    yield "another diff-id", [Blob(s.gzip, oci_layout.LAYER + "+gzip", "sha256:" + "5" * 64)], MISMATCH, "config says"
    for kind in ("", "+zstd", "+gzip"):
        s = Stream()
        yield f"a media type that says tar{kind}", s.blob(s.gzip, kind), OK, ""


def repetitions():
    yield "one file two thousand times", [layer([Entry("x", content=b"%d" % n) for n in range(2000)])], OK, ""
    yield "a file and a directory in turn", [layer([named(("file", "dir")[n % 2], "x") for n in range(4000)])], OK, ""
    yield "one layer thirty times", [layer([Entry("x")])] * 30, OK, ""
    yield "1,025 layers", [layer([Entry("x")])] * 1025, UNSUPPORTED, "1024"
    chain = [Entry(f"l{n}", "hardlink", target=f"l{n + 1}") for n in range(5000)]
    yield "a chain of five thousand links, last first", [layer(chain + [Entry("l5000")])], OK, ""
    yield "a chain of five thousand links to nothing", [layer(chain)], CORRUPT, "hard link"
    yield "links that lead to each other", [layer([Entry("a", "hardlink", target="b"), Entry("b", "hardlink", target="a")])], CORRUPT, "hard link"
    yield "a link to itself", [layer([Entry("a", "hardlink", target="a")])], OK, ""
    yield "a link to a directory", [layer([directory("d"), Entry("a", "hardlink", target="d")])], CORRUPT, "directory"
    yield "a link to the root", [layer([Entry("a", "hardlink", target="/")])], CORRUPT, "root"
    yield "five thousand top-level devices", [layer([Entry(f"d{n}", "char") for n in range(5000)])], OK, ""
    objects = "sysroot/ostree/repo/objects/"
    for name, target in {"no object": objects + "00/" + "1" * 62 + ".file", "a name that climbs": objects + "../config",
                         "no checksum": objects + "zz/zz.file", "a commit": objects + "00/" + "1" * 62 + ".commit",
                         "the repository's own": "sysroot/ostree/repo/config"}.items():
        yield f"a link into the object store, {name}", [layer([Entry("a", "hardlink", target=target)])], CORRUPT, ""
    yield "files in the object store", [layer([Entry(objects + "00/" + "1" * 62 + ".file", content=b"fake")])], OK, ""
    for name in (".wh.", ".wh..", ".wh..."):
        yield f"a whiteout {name}", [layer([Entry("d/" + name)])], CORRUPT, "whiteout"
    yield "a whiteout of the root", [layer([Entry("x")]), layer([Entry(".wh..wh..opq"), Entry("y")])], OK, ""
    yield "aufs' own", [layer([Entry(".wh..wh.aufs"), directory(".wh..wh.plnk"), Entry(".wh..wh.plnk/1.2")])], OK, ""
    yield "/etc that is a file", [layer([Entry("etc")]), layer([Entry("etc/x")])], (OK, UNSUPPORTED), ""
    yield "/usr that is a link", [layer([Entry("usr", "symlink", target="/"), Entry("etc/x")])], (OK, UNSUPPORTED), ""
    yield "/usr/etc beside /etc", [layer([Entry("usr/etc/x"), Entry("etc/x")])], (OK, UNSUPPORTED), ""


def all_cases():
    """(name, layers, outcome or outcomes, words of the message)"""
    for group in (escaping_paths, escaping_links, long_names, attributes, numbers, headers, sparse_files, streams, repetitions):
        for name, *rest in group():
            yield (f"{group.__name__}: {name}", *rest)
