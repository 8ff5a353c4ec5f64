#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The worker's peak memory on images that would make it large: at most 64 MiB, whatever the order of entries. Prints one figure for each.

--long has shapes of up to 1,300,000 entries (half an hour, gigabytes of disk); --only WORDS runs those whose names contain WORDS.
"""
import hashlib
import subprocess
import sys
import zlib

import oci_layout
import ostree_repository
import run_options
import sanitizers
import worker
from hostile_tar import END, entry, header, pax
from oci_layout import Blob
from repository_case import ScratchCase
from run_options import OPTIONS

# The limit is 64 MiB, which --long tests. The short shapes have half as many entries as the largest images in the wild and a limit of their own, somewhat above what they take; the
# worker itself has 22 MiB.
LIMIT_KIB = (64 if OPTIONS.long else 50) << 10


def streamed(pieces):
    """A layer that is compressed as it is made."""
    packed, whole = [], hashlib.sha256()
    compressor = zlib.compressobj(1, wbits=31)
    for piece in (*pieces, END):
        packed.append(compressor.compress(piece))
        whole.update(piece)
    return Blob(b"".join(packed) + compressor.flush(), oci_layout.LAYER + "+gzip", "sha256:" + whole.hexdigest())


def long_name(path, content=b""):
    return pax([(b"path", path)]) + entry(b"x", content)


def directories(count, form):
    return [header(form % number, kind=b"5") for number in range(count)]


def shapes(scale):
    """(name, function that gives the entries of each layer); SCALE is 1 or 8."""
    def several(count):
        return range(count * scale)
    yield "files in one directory", lambda: [[header(b"d/file-%07d" % n) for n in range(min(100_000 * scale, 200_000))]]
    yield "files, directories in turn, not listed", lambda: [(header(b"d%d/%07d" % (n % 500, n)) for n in range(min(250_000 * scale, 1_000_000)))]
    yield "files, directories in turn, listed", lambda: [[*directories(500, b"d%d/"), *(header(b"d%d/%07d" % (n % 500, n)) for n in several(100_000))]]
    yield "long names, directories in turn", lambda: [(long_name(b"d%d/%06d" % (n % 20, n) + b"n" * 240) for n in range(min(100_000 * scale, 200_000)))]
    yield "files of a few names, last directory first", lambda: [(header(b"d%06d/%d" % (60_000 - n // 20, n % 20)) for n in several(100_000))]
    yield "files in any order", lambda: [(header(b"d%d/%07d" % (n * 7919 % 1009, n * 104_729 % 300_007)) for n in range(min(150_000 * scale, 300_000)))]
    yield "directories", lambda: [directories(5_000 * scale, b"d%d/")]
    yield "directories that are not listed", lambda: [(header(b"usr/share/some/package-%d/locale/%d/LC_MESSAGES/f" % (n // 7, n % 7)) for n in several(37_500))]
    yield "levels", lambda: [(long_name(b"%d/" % n + b"/".join([b"x"] * 250)) for n in range(20 * scale))]
    yield "hard links to one file", lambda: [[entry(b"file", b"1"), *(header(b"l/%06d" % n, kind=b"1", link=b"file") for n in range(min(50_000 * scale, 100_000)))]]
    yield "hard links to a file below", lambda: [[entry(b"file", b"1")], [header(b"l/%06d" % n, kind=b"1", link=b"file") for n in range(min(20_000 * scale, 40_000))]]
    yield "symbolic links", lambda: [(header(b"s/%06d" % n, kind=b"2", link=b"t" * 90 + b"%d" % (n % 7)) for n in range(min(25_000 * scale, 50_000)))]
    yield "whiteouts", lambda: [[entry(b"file", b"1")], [header(b"w/.wh.%06d" % n) for n in range(min(50_000 * scale, 100_000))]]
    yield "attributes", lambda: [(pax([(b"SCHILY.xattr.user.note", b"%d" % n + b"v" * 3000)]) + header(b"x/%05d" % n) for n in range(250 * scale))]
    yield "layers", lambda: [[entry(b"d/%d" % n, b"%d" % n)] for n in range(min(150 * scale, 1000))]
    yield "layers of many files", lambda: [[header(b"usr/l%d/d%d/%d" % (layer, n % 97, n)) for n in range(5_000 * scale)] for layer in range(6)]


class Memory(ScratchCase):
    def pulled(self, number, layers):
        layout = oci_layout.Layout(self.directory / f"layout{number}")
        layout.image("t", [streamed(pieces) for pieces in layers])
        repository = self.directory / f"repo{number}"
        ostree_repository.init(repository)
        run = worker.pull("ostree-unverified-image:" + layout.reference("t"), repository)
        self.assertEqual(run.result["outcome"], "success", run.result)
        verified = worker.pull("", repository, kind="verify")
        self.assertTrue(verified.result["details"]["sound"], verified.result)
        subprocess.run(["rm", "-rf", layout.path, repository], check=True)
        return run.rss, verified.rss

    def test_each_shape_stays_below_the_limit(self):
        peaks = {}
        for number, (name, layers) in enumerate(shapes(8 if OPTIONS.long else 1)):
            if OPTIONS.only in name:
                peaks[name] = self.pulled(number, layers())
                print(f"{name}: pull {peaks[name][0] / 1024:.0f} MiB, verify {peaks[name][1] / 1024:.0f} MiB", file=sys.stderr)
        if not sanitizers.SANITIZED:
            self.assertEqual({}, {name: peak for name, peak in peaks.items() if max(peak) > LIMIT_KIB})


if __name__ == "__main__":
    run_options.main(__doc__)
