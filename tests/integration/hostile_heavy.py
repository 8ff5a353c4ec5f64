# SPDX-License-Identifier: Apache-2.0
"""Hostile layers that take minutes or gigabytes: for the long mode of test-hostile-images.py."""
import hashlib
import subprocess

import oci_layout
from hostile_tar import END, entry, header, pax
from oci_layout import Blob

UNSUPPORTED, OK = "UnsupportedImage", "success"
PIECE = 1 << 20


class Streamed:
    """A layer written piece by piece; the compressor runs beside."""

    def __init__(self, layout, command, suffix):
        self.layout, self.media_type = layout, oci_layout.LAYER + suffix
        self.file = open(layout.path / "streamed", "wb+")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self.file)
        self.hash = hashlib.sha256()

    def write(self, data):
        self.hash.update(data)
        self.process.stdin.write(data)

    def blob(self):
        self.process.stdin.close()
        assert self.process.wait() == 0
        with self.file:
            self.file.seek(0)
            content = self.file.read()
        return Blob(content, self.media_type, "sha256:" + self.hash.hexdigest())


def streamed(write, command=("gzip", "-1", "-n"), suffix="+gzip"):
    def build(layout):
        stream = Streamed(layout, list(command), suffix)
        write(stream.write)
        stream.write(END)
        layout.image("t", [stream.blob()])
    return build


def zeros(size):
    def write(out):
        out(header(b"bomb", size))
        for _ in range(size // PIECE):
            out(b"\0" * PIECE)
    return write


def many(count, name):
    def write(out):
        for start in range(0, count, 1000):
            out(b"".join(entry(name(number)) for number in range(start, start + 1000)))
    return write


def deep_implicit(count):
    def write(out):
        for number in range(count):
            path = b"/".join([b"%07d" % number] * 250) + b"/x"
            out(pax([(b"path", path)]) + entry(b"x"))
    return write


def linked(count):
    def write(out):
        for number in range(30):
            target = b"a/../" * 15 + (b"l%d" % (number - 1) if number else b"d")
            out(entry(b"l%d" % number, kind=b"2", link=target))
        for number in range(count):
            out(entry(b"l29/x%d" % number))
    return write


def all_cases():
    yield "heavy: 20 GiB of zeros in gzip", streamed(zeros(20 << 30), ("gzip", "-9", "-n")), UNSUPPORTED, "to one"
    yield "heavy: 20 GiB of zeros in zstd", streamed(zeros(20 << 30), ("zstd", "-q", "-19", "-c"), "+zstd"), UNSUPPORTED, "to one"
    yield "heavy: 10 million entries", streamed(many(10_000_000, lambda n: b"d%d/f%d" % (n // 1000, n))), UNSUPPORTED, "2000000 entries"
    yield "heavy: 10 million times one entry", streamed(many(10_000_000, lambda n: b"x")), UNSUPPORTED, "2000000 entries"
    yield "heavy: 10 million names that are not UTF-8", streamed(many(10_000_000, lambda n: b"\xff%d" % n)), UNSUPPORTED, "2000000 entries"
    yield "heavy: 300,000 files in one directory", streamed(many(300_000, lambda n: b"d/%d" % n)), UNSUPPORTED, "larger than an OSTree object"
    yield "heavy: directories that nobody listed", streamed(deep_implicit(2000)), UNSUPPORTED, "does not list"
    yield "heavy: entries through thirty links", streamed(linked(100_000)), UNSUPPORTED, "symbolic links"
