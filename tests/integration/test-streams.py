# SPDX-License-Identifier: Apache-2.0
"""The stream of a layer: every compression, whole and broken, from a layout's file and through skopeo's pipe."""
import gzip
import hashlib
import os
import re
import struct
import subprocess
import sys
import unittest

import oci_layout
import tree
from oci_layout import LAYER, Blob, Entry, digest, directory
from repository_case import STORED, RepositoryCase

CONTENT = b"".join(hashlib.sha256(bytes([number % 251, number // 251])).digest() for number in range(9000))  # does not compress
ENTRIES = [directory("opt"), Entry("opt/first", content=CONTENT), Entry("opt/last", content=b"last" * 700)]
TAR = oci_layout.tar(ENTRIES)
GZIP, ZSTD = LAYER + "+gzip", LAYER + "+zstd"


def zstd(data):
    return subprocess.run(["zstd", "-q", "-3", "-c"], input=data, capture_output=True, check=True).stdout


def skippable(data, number=0):
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


def in_parts(pack, *cuts):
    edges = [0, *cuts, len(TAR)]
    return b"".join(pack(TAR[start:end]) for start, end in zip(edges, edges[1:]))


def blob(data, media_type, diff_id=None):
    return Blob(data, media_type, diff_id or digest(TAR))


class Streams(RepositoryCase):
    def references(self, layer):
        """The image of LAYER in both ways that blobs come."""
        self.layout.image("t", [layer])
        return {"file": "ostree-unverified-image:" + self.layout.reference("t"),
                "pipe": "ostree-unverified-image:" + self.layout.packed("t", self.directory / "packed.tar.gz")}

    def assert_stored(self, layer):
        for way, reference in self.references(layer).items():
            with self.subTest(way):
                self.assertEqual(self.pulled(reference)["layers-fetched"], 1)
                stored = tree.of_commit(self.repository, STORED)
                self.assertEqual(stored["opt/first"][5], hashlib.sha256(CONTENT).hexdigest())
                self.assertEqual(set(stored), {"", "opt", "opt/first", "opt/last"})
                for ref in self.refs().split():
                    self.ostree("refs", "--delete", ref)
                # A commit that imaged verified serves without a ref too.
                self.ostree("prune", "--refs-only")

    def assert_refused_both_ways(self, error, layer, *texts):
        return [self.assert_refused(error, layer.digest, *texts, reference=reference) for reference in self.references(layer).values()]

    def test_gzip_with_one_member(self):
        self.assert_stored(blob(gzip.compress(TAR), GZIP))

    def test_gzip_with_many_members_some_of_them_empty(self):
        self.assert_stored(blob(gzip.compress(b"") + in_parts(gzip.compress, 1, 511, 70000, 70000, len(TAR) - 1) + gzip.compress(b""), GZIP))

    def test_zstd_with_many_frames(self):
        self.assert_stored(blob(in_parts(zstd, 1, 511, 70000, 200000), ZSTD))

    def test_zstd_with_skippable_frames_before_between_and_behind(self):
        # As zstd:chunked has them: its table of contents is a skippable frame at the end.
        frames = skippable(b"") + zstd(TAR[:5000]) + skippable(b"x" * 100000, 7) + zstd(TAR[5000:]) + skippable(b"toc", 15)
        self.assert_stored(blob(frames, ZSTD))

    def test_plain_tar(self):
        self.assert_stored(blob(TAR, LAYER))

    def test_docker_media_types_and_the_manifest_as_served(self):
        self.layout.image("t", [blob(gzip.compress(TAR), GZIP)])
        reference = self.layout.as_dir("t", self.directory / "dir", docker=True)
        served = (self.directory / "dir/manifest.json").read_bytes()
        self.assertEqual(self.pulled("ostree-unverified-image:" + reference)["digest"], digest(served))
        stored = self.ostree("show", "--print-metadata-key=ostree.manifest", STORED).strip()
        self.assertEqual(stored, "'" + served.decode() + "'")

    def test_the_content_wins_over_a_media_type_that_lies(self):
        self.assert_stored(blob(zstd(TAR), GZIP))

    def test_plain_content_wins_too(self):
        self.assert_stored(blob(TAR, ZSTD))

    def test_what_fits_no_media_type_is_an_error(self):
        self.assert_refused_both_ways("CorruptInput", blob(CONTENT, GZIP, digest(CONTENT)), "no tar, nor one that gzip, zstd, xz or bzip2")

    def test_xz_and_bzip2_with_one_stream_and_many(self):
        for command in ("xz", "bzip2"):
            def pack(data, options=("-c",)):
                return subprocess.run([command, *options], input=data, capture_output=True, check=True).stdout
            with self.subTest(command):
                self.assert_stored(blob(pack(TAR), f"{LAYER}+{command}"))
                self.assert_stored(blob(in_parts(pack, 1, 511, 70000, 200000), LAYER))
                self.assert_refused_both_ways("CorruptInput", blob(pack(TAR)[:-20], LAYER, digest(TAR)), command, "cut off")
                self.assert_refused_both_ways("CorruptInput", blob(pack(TAR)[:2000] + bytes(2000), LAYER, digest(TAR)), command, "corrupt")

    def test_xz_that_needs_more_memory_than_there_is_for_it(self):
        packed = subprocess.run(["xz", "-c", "--lzma2=dict=192MiB,nice=8,mode=fast,mf=hc3,depth=1"], input=TAR, capture_output=True, check=True).stdout
        self.assert_refused_both_ways("UnsupportedImage", blob(packed, LAYER + "+xz", digest(TAR)), "xz", "128 MiB")

    def test_zero_padding_behind_the_end_of_the_tar(self):
        data = TAR + bytes(300_000)
        self.assert_stored(blob(gzip.compress(data), GZIP, digest(data)))

    def test_garbage_behind_the_end_of_the_tar_that_the_diff_id_covers(self):
        data = TAR + CONTENT
        self.assert_stored(blob(gzip.compress(data), GZIP, digest(data)))

    def test_garbage_behind_the_end_of_the_tar_that_the_diff_id_does_not_cover(self):
        self.assert_refused_both_ways("DigestMismatch", blob(gzip.compress(TAR + CONTENT), GZIP), digest(TAR))

    def test_garbage_behind_the_compressed_stream_is_read_to_its_end(self):
        # More than a pipe holds: FinishPipe could not answer before all of it is read.
        self.assert_stored(blob(gzip.compress(TAR) + CONTENT * 8, GZIP))

    def test_a_stream_cut_off_anywhere_names_layer_and_offset(self):
        last = TAR.index(b"opt/last")
        for media_type, whole, lengths in ((GZIP, gzip.compress(TAR), (20, 150000, -1)), (ZSTD, zstd(TAR), (20, 150000, -1)),
                                           (LAYER, TAR, (1000, last + 200, last + 512 + 700))):
            for length in lengths:
                with self.subTest(media_type=media_type, length=length):
                    layer = blob(whole[:length], media_type)
                    self.layout.image("t", [layer])
                    self.assertRegex(self.assert_refused("CorruptInput", layer.digest), r"at byte \d+")

    def test_a_corrupt_block_names_layer_and_offset(self):
        for media_type, whole in ((GZIP, gzip.compress(TAR)), (ZSTD, zstd(TAR))):
            with self.subTest(media_type):
                middle = len(whole) // 2
                broken = bytearray(whole)
                broken[middle:middle + 64] = bytes(byte ^ 0xa5 for byte in broken[middle:middle + 64])
                layer = blob(bytes(broken), media_type)
                self.layout.image("t", [layer])
                # Where bytes that do not compress are stored as they are, only a checksum can tell.
                result = self.pull()
                self.assertIn(result["error-name"], ("CorruptInput", "DigestMismatch"), result)
                self.assertIn(layer.digest, result["message"])
                self.assertEqual(self.refs(), "")

    def test_a_wrong_gzip_checksum(self):
        whole = bytearray(gzip.compress(TAR))
        whole[-8] ^= 1
        self.assert_refused_both_ways("CorruptInput", blob(bytes(whole), GZIP), "at byte")

    def test_a_header_with_a_wrong_checksum_names_layer_and_offset(self):
        second = TAR.index(b"opt/last")
        broken = bytearray(TAR)
        broken[second] ^= 1
        messages = self.assert_refused_both_ways("CorruptInput", blob(gzip.compress(bytes(broken)), GZIP, digest(bytes(broken))))
        for message in messages:
            self.assertTrue(re.search(r"at byte \d+ of the uncompressed stream", message), message)

    def tearDown(self):
        if self.refs():
            self.ostree("fsck", "--quiet")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository needs root
    unittest.main(verbosity=2)
