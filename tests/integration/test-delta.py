#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Deltas between images: applied as a stream, found by themselves, and refused or replaced by the layers where they lie."""
import collections
import functools
import gzip
import itertools
import json
import os
import pathlib
import random as randomness
import subprocess
import tempfile
import time
import unittest

import chunked_layer
import delta_artifact
import encapsulation
import faulty_registry as faults
import killed
import oci_layout
import ostree_repository
import registry
import run_options
import sanitizers
import signing
import skopeo_service
import tar_diff
import worker
from delta_artifact import Artifact, frame_with_prefix, opened, operation, packed
from oci_layout import Entry, directory
from run_options import OPTIONS
from tar_diff import ADD, COPY, DATA, OPEN, PREFIXED, SEEK, VERSIONS

OWN = "imaged/"
STORED = "docker://stored/image:t"


def random_bytes(seed, count):
    return randomness.Random(seed).randbytes(count)


@functools.cache
def content_of(number, version):
    """32 KiB that do not compress; another VERSION differs in some places, and a little in length."""
    content = bytearray(random_bytes(f"file {number}", 32768))
    if version:
        for place in range(0, len(content), 5000):
            content[place:place + 20] = random_bytes(f"{number} {version} {place}", 20)
        content += f"version {version}".encode()
    return bytes(content)


def entries(*changed, version=1, files=60):
    found = [directory("etc"), directory("usr"), directory("usr/bin"), directory("opt"), Entry("opt/link", "symlink", target="../usr"),
             Entry("linked", "symlink", target="usr")]
    for number in range(files):
        found.append(Entry(f"{('etc', 'usr/bin', 'opt')[number % 3]}/file{number}", content=content_of(number, version if number in changed else 0), uid=number % 2))
    return found


class Case(unittest.TestCase):
    mode = "bare-user"

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.directory.chmod(0o755)
        cls.layout = oci_layout.Layout(cls.directory / "layout")
        cls.deltas = oci_layout.Layout(cls.directory / "deltas")
        cls.policy = cls.directory / "policy.json"
        cls.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        cls.number = 0
        cls.image("before", entries())

    @classmethod
    def image(cls, tag, *layers, **options):
        """An image in the layout. Keeps the tars of its layers."""
        tars = [oci_layout.tar(layer) if isinstance(layer, list) else None for layer in layers]
        blobs = [layer if tar is None else oci_layout.compressed(tar) for layer, tar in zip(layers, tars)]
        cls.layout.image(tag, blobs, **options)
        if "tars" not in cls.__dict__:
            cls.tars, cls.blobs = {}, {}
        cls.blobs[tag] = blobs
        cls.tars[tag] = tars
        return blobs

    def artifact(self, old, new, version=2, change=None, diffs=None, **options):
        """The delta from one image of the layout to another."""
        _, source_config = delta_artifact.image(self.layout, old)
        if diffs is None:
            files = tar_diff.files_of(*self.tars[old])
            known = {blob.diff_id for blob in self.blobs[old]}
            diffs = {blob.digest: delta_artifact.diff(files, tar, version) for blob, tar in zip(self.blobs[new], self.tars[new]) if blob.diff_id not in known}
        return Artifact(*delta_artifact.image(self.layout, new), source_config, diffs, change, **options)

    def setUp(self):
        self.make_repository()

    def make_repository(self):
        type(self).number += 1
        self.repository = self.directory / f"repo{self.number}"
        ostree_repository.init(self.repository, self.mode)

    def environment(self):
        return {"CONTAINERS_POLICY": str(self.policy)}

    def run_job(self, image, target=STORED, **options):
        return worker.pull(image, self.repository, target=target, env=self.environment(), **options).result

    def pulled(self, image, **options):
        result = self.run_job(image, **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def stored(self, tag, **options):
        """An image of the layout, pulled as a whole."""
        return self.pulled(self.layout.reference(tag), arguments={"delta": "never"}, **options)

    def imported(self, path, image=STORED, **arguments):
        with open(path, "rb") as file:
            return worker.Run(image, self.repository, kind="import-archive", input=file, arguments=arguments, env=self.environment()).finish().result

    def whole(self, tag):
        """The merge commit that a full pull gives."""
        repository = self.repository
        self.make_repository()
        commit = self.stored(tag)["merge-commit"]
        self.repository = repository
        return commit

    def assert_refused(self, result, error, *texts):
        self.assertEqual((result["outcome"], result.get("error-name")), ("failed", error), result)
        for text in texts:
            self.assertIn(text, result["message"])

    def fsck(self):
        encapsulation.ostree(self.repository, "fsck", "--quiet")


class Files(Case):
    """Deltas in a layout and in an archive."""

    def test_a_delta_in_a_layout_makes_the_image(self):
        changed = (0, 1, 2, 31)
        for version in (1, 2):
            with self.subTest(version=version):
                self.make_repository()
                after, = self.image("after", [*entries(*changed), Entry("opt/new", content=b"new")])
                delta = self.artifact("before", "after", version)
                self.stored("before")
                details = self.pulled(delta.into(self.deltas, "d"))
                self.assertEqual((details["delta"], details["delta-layers"], details["layers-partial"], details["fetched-whole"]), (delta.digest, 1, 0, []))
                self.assertEqual(details["digest"], delta.target)
                self.assertEqual(details["merge-commit"], self.whole("after"))
                size = [layer["size"] for layer in delta.document["layers"]][2]
                self.assertEqual((details["bytes-fetched"], details["delta-bytes"], details["bytes-saved"]), (size, size, len(after.data) - size))
                print(f"    version {version}: {size} bytes of {len(after.data)}")
                self.fsck()

    def test_a_delta_in_an_archive_makes_the_image(self):
        self.image("after", entries(5, 6))
        delta = self.artifact("before", "after")
        self.stored("before")
        result = self.imported(delta.archive(self.directory / "delta.tar"))
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual((result["details"]["merge-commit"], result["details"]["delta"]), (self.whole("after"), delta.digest))
        # Once more, out of the file by its path and with nothing to do.
        details = self.pulled(f"oci-archive:{self.directory}/delta.tar")
        self.assertEqual((details["changed"], details["digest"]), (False, delta.target))

    def test_layers_that_are_stored_are_not_in_it_and_whole_ones_may_be(self):
        base = entries(files=20)
        more = [Entry("usr/more", content=random_bytes("more", 100_000))]
        self.image("one", base, more)
        new = [Entry("usr/new", content=random_bytes("new", 100_000))]
        blobs = self.image("two", entries(3, files=20), more, new, new + more)
        files = tar_diff.files_of(*self.tars["one"])
        diffs = {blobs[0].digest: delta_artifact.diff(files, self.tars["two"][0]), blobs[2].digest: blobs[2],
                 blobs[3].digest: oci_layout.layer(new + more, "zstd")}
        delta = self.artifact("one", "two", diffs=diffs)
        self.stored("one")
        details = self.pulled(delta.into(self.deltas, "d"))
        self.assertEqual((details["layers-fetched"], details["delta-layers"], details["merge-commit"]), (3, 3, self.whole("two")))
        self.fsck()

    def test_what_is_made_by_a_delta_is_known_by_its_content_alone(self):
        after, = self.image("after", entries(5))
        self.stored("before")
        self.pulled(self.artifact("before", "after").into(self.deltas, "d"))
        name = after.digest.replace(":", "_3A_")
        refs = encapsulation.ostree(self.repository, "refs").split()
        self.assertIn("imaged/derived/" + name, refs)
        self.assertNotIn("ostree/container/blob/" + name, refs)
        verified = worker.pull("", self.repository, kind="verify").result["details"]
        self.assertEqual((verified["sound"], verified["unverified"]), (True, []), verified)
        self.assertEqual(self.stored("after")["layers-fetched"], 0)

    def test_without_the_image_that_it_starts_from_it_is_refused(self):
        self.image("after", entries(5))
        reference = self.artifact("before", "after").into(self.deltas, "d")
        self.assert_refused(self.run_job(reference), "NotFound", "which is not stored")
        # Nor does it serve if it leaves out a layer that is not stored.
        blobs = self.image("more", entries(5), [Entry("more")])
        self.stored("before")
        files = tar_diff.files_of(*self.tars["before"])
        delta = self.artifact("before", "more", diffs={blobs[0].digest: delta_artifact.diff(files, self.tars["more"][0])})
        self.assert_refused(self.run_job(delta.into(self.deltas, "d")), "NotFound", blobs[1].digest, "does not contain the layer")

    def test_another_image_than_the_one_of_the_name_may_be_the_source(self):
        self.image("after", entries(5))
        self.stored("before", target="docker://stored/other:t")
        details = self.pulled(self.artifact("before", "after").into(self.deltas, "d"))
        self.assertEqual(details["delta-layers"], 1)

    def test_the_option_never_refuses_it_and_a_digest_is_that_of_the_image(self):
        self.image("after", entries(5))
        delta = self.artifact("before", "after")
        self.stored("before")
        reference = delta.into(self.deltas, "d")
        self.assert_refused(self.run_job(reference, arguments={"delta": "never"}), "UnsupportedImage", "never")
        for digest in (delta.digest, "sha256:" + 64 * "0"):
            self.assert_refused(self.run_job(reference, digest=digest), "DigestMismatch")
            self.assert_refused(self.imported(delta.archive(self.directory / "delta.tar"), digest=digest), "DigestMismatch")
        self.assert_refused(self.run_job(reference, target="docker://stored/image@sha256:" + 64 * "0"), "DigestMismatch")
        self.assertEqual(self.pulled(reference, digest=delta.target)["digest"], delta.target)

    def test_a_policy_that_demands_a_signature_is_not_met_by_a_delta(self):
        self.image("after", entries(5))
        delta = self.artifact("before", "after")
        self.stored("before")
        reference, archive = delta.into(self.deltas, "d"), delta.archive(self.directory / "delta.tar")
        for source in ("ostree-image-signed:", "ostree-remote-image:fedora:"):
            self.assert_refused(self.run_job(source + reference), "PolicyRejected")
            self.assert_refused(self.run_job(source + f"oci-archive:{archive}"), "PolicyRejected")
        for transport in ("oci", "oci-archive"):
            self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}], "transports": {transport: {"": [
                {"type": "signedBy", "keyType": "GPGKeys", "keyData": "AAAA"}]}}}))
            for result in [self.run_job(reference if transport == "oci" else f"oci-archive:{archive}")] + [self.imported(archive)] * (transport != "oci"):
                self.assert_refused(result, "PolicyRejected")
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        self.pulled(reference)

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_a_confined_worker_does_it_too(self):
        self.image("after", entries(5))
        self.stored("before")
        details = self.pulled(self.artifact("before", "after").into(self.deltas, "d"), settings={"confined": True})
        self.assertEqual((details["delta-layers"], details["merge-commit"]), (1, self.whole("after")))


@unittest.skipUnless(os.getuid() == 0, "owners")
class BareFiles(Files):
    mode = "bare"


@unittest.skipUnless(os.getuid() == 0, "owners")
class Objects(Case):
    """Images of an OSTree commit: the files of a delta are objects."""

    def commit_image(self, tag, *changed):
        tree, source = self.directory / f"tree-{tag}", self.directory / "source"
        for entry in entries(*changed):
            if entry.kind == "file":
                path = tree / entry.path.replace("etc/", "usr/etc/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(entry.content)
        if not source.exists():
            ostree_repository.init(source, "bare")
        commit = encapsulation.ostree(source, "commit", "--branch=t", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0", "--add-metadata-string=ostree.bootable=true")
        found = encapsulation.commit_entries(source, commit)
        files = [entry for entry in found if ".file" in entry.path or "/xattrs/" in entry.path]
        layers = [[entry for entry in found if entry not in files], files]
        derived = [Entry("usr/derived", content=content_of("derived", len(changed)))]
        return self.image(tag, *layers, derived, config={"config": {"Labels": {"ostree.final-diffid": oci_layout.layer(files).diff_id, "ostree.commit": commit}}})

    def test_objects_are_the_source_of_layers_of_objects(self):
        self.commit_image("one")
        blobs = self.commit_image("two", 3, 4)
        target = "ostree-unverified-image:docker://stored/image:t"
        self.stored("one", target=target)
        delta = self.artifact("one", "two")
        details = self.pulled("ostree-unverified-image:" + delta.into(self.deltas, "d"), target=target)
        self.assertEqual((details["delta-layers"], details["fetched-whole"]), (3, []), details)
        print(f"    {details['delta-bytes']} bytes of {sum(len(blob.data) for blob in blobs)}")
        self.assertEqual(details["merge-commit"], self.whole("two"))
        self.fsck()
        verified = worker.pull("", self.repository, kind="verify").result["details"]
        self.assertEqual((verified["sound"], verified["unverified"]), (True, []), verified)

    def test_deltas_that_imaged_makes_of_them(self):
        target = "ostree-unverified-image:docker://stored/image:t"
        self.commit_image("first")
        blobs = self.commit_image("second", 3, 4)
        expected = self.whole("second")
        self.stored("first", target=target)
        pristine = self.repository
        for compatible in (False, True):
            with self.subTest(compatible=compatible):
                destination = f"oci:{self.directory}/objects-{compatible}:d"
                result = worker.Run(self.layout.reference("second"), pristine, kind="export", arguments={"destination": destination, "delta-from": "docker://stored/image:t", "compatible": compatible}).finish().result
                self.assertEqual(result["outcome"], "success", result)
                made = result["details"]
                print(f"    {made['bytes-written']} bytes of {made['bytes-replaced']}, {made['layers-made']} layers made, {made['layers-whole']} whole, {made['layers-kept']} kept")
                self.assertLess(made["bytes-written"] * 10, made["bytes-replaced"])
                self.repository = self.directory / f"applied-{compatible}"
                subprocess.run(["cp", "-aT", pristine, self.repository], check=True)
                details = self.pulled("ostree-unverified-image:" + destination, target=target)
                self.assertEqual((details["merge-commit"], details["fetched-whole"], details["delta-layers"]), (expected, [], len(blobs)), details)
                self.fsck()


class Hostile(Case):
    """Deltas that are wrong in whichever way: nothing is stored but what the image's config names, within 64 MiB. With --long there are 300 more, with faults that nobody chose."""

    LIMIT_KIB = 64 << 10
    ERRORS = ("CorruptInput", "DigestMismatch", "NotFound", "UnsupportedImage")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.large = random_bytes("large", 17 << 20)
        cls.image("old", [*entries(files=20), Entry("usr/large", content=cls.large)])
        cls.image("new", [*entries(1, 5, files=20), Entry("usr/large", content=cls.large)])
        cls.image("other", entries(2, files=20))
        cls.peak, cls.tried = 0, 0
        cls.layer, = cls.blobs["new"]
        cls.files = tar_diff.files_of(*cls.tars["old"])
        case = cls()
        case.make_repository()
        case.stored("old")
        cls.pristine, cls.right = case.repository, case.whole("new")

    @classmethod
    def tearDownClass(cls):
        print(f"    {cls.tried} deltas, at most {cls.peak // 1024} MiB")
        super().tearDownClass()

    def setUp(self):
        self.start_over()
        self.refs = self.all_refs()

    def start_over(self):
        """A repository with the old image."""
        self.make_repository()
        subprocess.run(["cp", "-aT", "--reflink=auto", self.pristine, self.repository], check=True)

    def all_refs(self):
        heads = self.repository / "refs/heads"
        return {str(path.relative_to(heads)): path.read_text() for path in heads.rglob("*") if path.is_file()}

    def import_it(self, delta):
        path = delta.archive(self.directory / "hostile.tar") if isinstance(delta, Artifact) else delta
        with open(path, "rb") as file:
            run = worker.Run(STORED, self.repository, kind="import-archive", input=file, env=self.environment()).finish()
        type(self).tried += 1
        type(self).peak = max(self.peak, run.rss)
        if not sanitizers.SANITIZED:
            self.assertLess(run.rss, self.LIMIT_KIB)
        self.assertEqual(run.status, 0)
        return run.result

    def refused(self, what, delta, errors=ERRORS, text=""):
        with self.subTest(what):
            if isinstance(delta, list):
                delta = packed(b"".join(delta))
            if isinstance(delta, bytes):
                delta = self.artifact("old", "new", diffs={self.layer.digest: delta})
            result = self.import_it(delta)
            self.assertEqual(result["outcome"], "failed", result)
            self.assertIn(result["error-name"], errors, result)
            self.assertIn(text, result["message"])
            self.assertEqual(self.all_refs(), self.refs)
            print(f"    {what}: {result['error-name']}: {result['message'].rsplit('tar-diff: ')[-1][-110:]}")

    def test_names(self):
        good = delta_artifact.operations(self.files, self.tars["new"][0])
        for name in ("../etc/file0", "/etc/file0", "etc/../etc/file0", "usr/../../../../etc/passwd", "..", ".", "", "/", "etc", "opt", "opt/link", "linked", "linked/bin/file1", "opt/link/bin/file1",
                     "etc/file0/x", "nowhere", "etc/nowhere", "etc/file0\0", "x/" * 2000, "sysroot/ostree/repo/objects/00/" + "0" * 62 + ".file",
                     "sysroot/ostree/repo/objects/zz/1.file", "sysroot/ostree/repo/objects/../config", "sysroot/ostree/repo/config"):
            self.refused(repr(name[:40]), [opened(name), *good], ("CorruptInput",))
        self.refused("a name over the limit", [operation(OPEN, b"x" * 4097), *good], ("UnsupportedImage",))
        self.refused("a name that is no text", [operation(OPEN, b"\xff\xfe"), *good], ("CorruptInput",))
        self.refused("a name that ends early", [operation(OPEN, b"etc", size=4000)], ("CorruptInput",))
        # Spelled otherwise it is the same file.
        result = self.import_it(self.artifact("old", "new", diffs={self.layer.digest: packed(b"".join([opened("./etc//file0"), *good]))}))
        self.assertEqual((result["outcome"], result["details"]["merge-commit"]), ("success", self.right), result)

    def test_sizes(self):
        tar = self.tars["new"][0]
        start = [operation(DATA, tar[:1024]), opened("etc/file0")]
        for what, more in (("copy", [operation(COPY, size=32769)]), ("copy after a seek", [operation(SEEK, size=32768), operation(COPY, size=1)]), ("copy without end", [operation(COPY, size=2 ** 64 - 1)]),
                           ("sums over the end", [operation(ADD, bytes(32769))]), ("sums without end", [operation(ADD, bytes(100), size=2 ** 40)]), ("sums that end early", [operation(ADD, bytes(10), size=100)]),
                           ("seek", [operation(SEEK, size=2 ** 63)]), ("data", [operation(DATA, b"x", size=2 ** 62)]), ("a number without end", [b"\0" + b"\xff" * 11]),
                           ("an unknown operation", [operation(6, b"x")]), ("nothing after an operation", [b"\2"])):
            self.refused(what, start + more)
        self.refused("no file", [operation(COPY, size=10)])
        copies = packed(operation(DATA, self.tars["other"][0]) + (opened("usr/large") + operation(COPY, size=17 << 20)) * 40_000)
        self.refused("copies without end", self.artifact("old", "other", diffs={self.blobs["other"][0].digest: copies}), ("UnsupportedImage",), "expand to more than")
        self.refused("seeks without end", VERSIONS[2] + chunked_layer.frame(opened("etc/file0")) + chunked_layer.frame(operation(SEEK, size=0) * 1_000_000, 1) * 60, ("UnsupportedImage",))
        self.refused("names without end", VERSIONS[2] + chunked_layer.frame(opened("etc/file0") * 200_000, 1) * 21, ("UnsupportedImage",))
        self.refused("zeros without end", VERSIONS[2] + chunked_layer.frame(bytes(1 << 24), 1) * 64)

    def test_prefixes(self):
        old, content = self.files["etc/file0"], random_bytes("content", 100_000)
        frame = frame_with_prefix(old, content)

        def made(*more, name="etc/file0"):
            return [opened(name), *(operation(PREFIXED, one) for one in more)]
        self.refused("a prefix over the limit", made(frame, name="usr/large"), ("UnsupportedImage",))
        zeros = bytes(20 << 20)
        self.refused("a window over the limit", made(frame_with_prefix(old, zeros, 29, False)), ("UnsupportedImage",))
        self.refused("a window and a size over the limit", made(frame_with_prefix(old, zeros, 29)), ("UnsupportedImage",))
        self.refused("another prefix", made(frame_with_prefix(random_bytes("x", 32768), random_bytes("x", 32768) * 2)))
        self.refused("frames without end", made(*[frame_with_prefix(old, zeros, 20, False)] * 200))
        head = b"\x28\xb5\x2f\xfd"
        for what, bad in (("no frame", b"no frame"), ("nothing", b""), ("cut off", frame[:-10]), ("a skippable frame", chunked_layer.skippable(b"x" * 50)), ("a size that lies", head + b"\xe0" + b"\xff" * 8 + frame[9:]),
                          ("a window that lies", head + b"\0\xff" + frame[9:]), ("a key", head + b"\x03" + frame[5:]), ("random", head + random_bytes("r", 5000))):
            self.refused("a frame: " + what, made(bad))
        self.refused("in version 1", packed(b"".join(made(frame)), 1), ("CorruptInput",))

    def test_the_largest_prefixes_fit_into_memory(self):
        """Two layers at once, each with a file at both limits."""
        def layers(version):
            return [[Entry(f"usr/large{number}", content=random_bytes(number, (16 << 20) - 100) + b"version %d" % version)] for number in range(2)]
        self.image("large", *layers(1))
        self.image("larger", *layers(2))
        self.stored("large")
        run = worker.Run(self.artifact("large", "larger").into(self.deltas, "d"), self.repository, target=STORED, env=self.environment()).finish()
        self.assertEqual((run.result["outcome"], run.result["details"]["delta-layers"]), ("success", 2), run.result)
        print(f"    {run.rss // 1024} MiB")
        if not sanitizers.SANITIZED:
            self.assertLess(run.rss, self.LIMIT_KIB)

    def test_streams(self):
        good = delta_artifact.diff(self.files, self.tars["new"][0])
        body = b"".join(delta_artifact.operations(self.files, self.tars["new"][0]))
        for what, bad in (("nothing", b""), ("half a magic", good[:5]), ("magic alone", good[:8]), ("another version", b"tardf3\n\0" + good[8:]), ("plain operations", good[:8] + body), ("gzip", good[:8] + gzip.compress(body)),
                          ("cut off", good[:-50]), ("a bit", good[:300] + bytes([good[300] ^ 1]) + good[301:]), ("trailing garbage", good + b"garbage"), ("the tar itself", self.tars["new"][0]),
                          ("the layer itself", self.layer.data), ("the wrong layer", delta_artifact.diff(self.files, self.tars["other"][0])), ("an empty one", packed(b"")),
                          ("a layer twice", packed(body * 2)), ("without the end", packed(body[:-600])), ("with more", packed(body + operation(DATA, b"more"))),
                          ("a window of 1 GiB", VERSIONS[2] + b"\x28\xb5\x2f\xfd\0\xa0" + good[14:])):
            self.refused(what, bad)

    def test_documents(self):
        good = delta_artifact.diff(self.files, self.tars["new"][0])
        (manifest, config), (_, source), (other_manifest, other_config) = (delta_artifact.image(self.layout, tag) for tag in ("new", "old", "other"))
        made = {self.layer.digest: good}
        self.refused("another image's config", Artifact(manifest, other_config, source, made))
        self.refused("another image's manifest", Artifact(other_manifest, config, source, made))
        self.refused("another image", Artifact(other_manifest, other_config, source, {self.blobs["other"][0].digest: good}))
        self.refused("a layer of another image", Artifact(manifest, config, source, {**made, self.blobs["other"][0].digest: good}))
        self.refused("no layer", Artifact(manifest, config, source, {}), ("NotFound",))
        self.refused("a source that is not here", Artifact(manifest, config, b"{}", made), ("NotFound",))
        self.refused("a layer that claims to be the original", Artifact(manifest, config, source, {self.layer.digest: oci_layout.Blob(b"not a layer", oci_layout.LAYER + "+gzip")}))
        self.refused("another layer", Artifact(manifest, config, source, {self.layer.digest: self.blobs["other"][0]}))
        diff_ids = json.loads(config)
        diff_ids["rootfs"]["diff_ids"] = [self.blobs["other"][0].diff_id]
        lie = json.dumps(diff_ids).encode()
        lying = json.loads(manifest)
        lying["config"].update(digest=oci_layout.digest(lie), size=len(lie))
        self.refused("another diff-id", Artifact(json.dumps(lying).encode(), lie, source, made), ("DigestMismatch",))
        changes = {"no source": lambda document: document.pop("annotations"), "a source that is no digest": lambda document: document["annotations"].update({delta_artifact.PREFIX + "source-config": "x"}),
                   "no manifest": lambda document: document["layers"].pop(0), "no config": lambda document: document["layers"].pop(1), "two manifests": lambda document: document["layers"].insert(0, document["layers"][0]),
                   "no layers": lambda document: document.pop("layers"), "layers that are a number": lambda document: document.update(layers=7), "a layer twice": lambda document: document["layers"].append(document["layers"][2]),
                   "a size that lies": lambda document: document["layers"][2].update(size=5), "a larger size": lambda document: document["layers"][2].update(size=2 ** 60), "a size below zero": lambda document: document["layers"][2].update(size=-1),
                   "a blob that is not there": lambda document: document["layers"][2].update(digest="sha256:" + "0" * 64), "no target": lambda document: document["layers"][2]["annotations"].pop(delta_artifact.PREFIX + "to"),
                   "another type": lambda document: document["layers"][2].update(mediaType="text/plain"), "no type": lambda document: document.update(artifactType="x/y"),
                   "many layers": lambda document: document.update(layers=document["layers"] * 2000)}
        for what, change in changes.items():
            self.refused(what, Artifact(manifest, config, source, made, change))
        for number, what in ((0, "the manifest"), (1, "the config"), (2, "the diff")):
            delta = Artifact(manifest, config, source, made)
            digest = delta.document["layers"][number]["digest"]
            data = delta.blobs[digest]
            delta.blobs[digest] = data[:50] + bytes([data[50] ^ 1]) + data[51:]
            self.refused("another content of " + what, delta)

    def fault(self, random, parts):
        """Spoils PARTS, the operations of a delta and its artifact's change."""
        def place():
            return random.randrange(len(parts["operations"]))

        def flipped():
            number = place()
            data = bytearray(parts["operations"][number])
            data[random.randrange(min(len(data), random.choice((4, 40, 1 << 20))))] ^= 1 << random.randrange(8)
            parts["operations"][number] = bytes(data)

        def dropped():
            parts["operations"].pop(place())

        def twice():
            parts["operations"].insert(place(), parts["operations"][place()])

        def exchanged():
            one, other = place(), place()
            parts["operations"][one], parts["operations"][other] = parts["operations"][other], parts["operations"][one]

        def another():
            parts["operations"].insert(place(), operation(random.randrange(7), random_bytes(str(random.random()), random.randrange(64)), random.choice((None, None, 0, 1, 2 ** 20, 2 ** 64 - 1))))

        def name():
            parts["operations"].insert(place(), opened(random.choice((*self.files, "../x", "/etc/passwd", "opt/link", "", "a/" * 3000))))

        def cut():
            parts["change"].append(lambda diff: diff[:random.randrange(len(diff))])

        def bit():
            def change(diff):
                data = bytearray(diff)
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
                return bytes(data)
            parts["change"].append(change)

        def document():
            def change(document):
                where = random.choice((document, document["annotations"], *document["layers"], *(layer["annotations"] for layer in document["layers"])))
                where[random.choice(sorted(where))] = random.choice((None, 0, -1, 2 ** 64, "", "sha256:" + "1" * 64, [], {}, [{}], self.layer.digest, oci_layout.LAYER))
            parts["document"].append(change)
        chosen = random.choice((flipped, flipped, dropped, twice, exchanged, another, name, cut, bit, document, document))
        chosen()
        return chosen.__name__

    def test_faults_that_nobody_chose(self):
        ends = {}
        right = {version: delta_artifact.operations(self.files, self.tars["new"][0], version) for version in (1, 2)}
        self.addCleanup(lambda: print(f"    {ends}"))
        for seed in [OPTIONS.seed] if OPTIONS.seed is not None else range(300 if OPTIONS.long else 16):
            random = randomness.Random(seed)
            version = 1 + seed % 2
            parts = {"operations": list(right[version]), "change": [], "document": []}
            what = [self.fault(random, parts) for _ in range(random.choice((1, 1, 2, 3)))]
            diff = packed(b"".join(parts["operations"]), version)
            for change in parts["change"]:
                diff = change(diff)

            def spoil(document):
                for change in parts["document"]:
                    try:
                        change(document)
                    except (KeyError, TypeError, AttributeError, IndexError):
                        pass  # an earlier fault has taken away what this one would spoil
            with self.subTest(f"seed {seed}: {what}"):
                result = self.import_it(self.artifact("old", "new", diffs={self.layer.digest: diff}, change=spoil))
                ends[result.get("error-name", "success")] = ends.get(result.get("error-name", "success"), 0) + 1
                if result["outcome"] == "success":
                    self.assertEqual(result["details"]["merge-commit"], self.right, result)
                    self.start_over()
                else:
                    self.assertIn(result["error-name"], (*self.ERRORS, "InvalidArgument"), result)
                    self.assertEqual(self.all_refs(), self.refs)
        self.fsck()


@unittest.skipUnless(killed.FAULT_LAYER, "FAULT_LAYER names the library that ends a worker between two calls")
class Killed(Case):
    """Pulls by a delta that are killed before each fifth call that changes the repository, of each kind; with --long, before each."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.image("old", entries(files=12))
        cls.image("new", [*entries(1, files=12), Entry("opt/new", content=b"new")], [Entry("usr/second", content=content_of(1, 2))])

    def setUp(self):
        super().setUp()
        self.stored("old")
        self.expected = self.whole("new")
        self.refs = self.all_refs()
        self.name, = [name for name in self.refs if "container/image" in name]
        self.pristine = self.directory / f"{self.repository.name}-pristine"
        self.repository.rename(self.pristine)

    def all_refs(self):
        heads = self.repository / "refs/heads"
        return {str(path.relative_to(heads)): path.read_text() for path in heads.rglob("*") if path.is_file()}

    def begin(self):
        subprocess.run(["rm", "-rf", self.repository], check=True)
        subprocess.run(["cp", "-aT", self.pristine, self.repository], check=True)

    def try_all(self, run_again, image, begin=None, **options):
        tried = collections.Counter()
        for call, after in killed.at_each_call(self.repository, begin or self.begin, image, self.repository, env=self.environment(), step=1 if OPTIONS.long else 9, **options):
            with self.subTest(call=call, after=after):
                tried[call] += 1
                self.fsck()
                # The layers of the image are there for as long as its name leads to it.
                now = self.all_refs()
                if now[self.name] == self.refs[self.name]:
                    self.assertEqual({name: now.get(name) for name in self.refs}, self.refs)
                details = run_again()
                self.assertEqual((details["merge-commit"], details["fetched-whole"]), (self.expected, []))
                self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
        print(f"    killed before {sum(tried.values())} calls: {dict(tried)}")
        self.assertGreater(len(tried), 5)

    def test_a_delta_in_a_layout(self):
        reference = self.artifact("old", "new").into(self.deltas, "killed")
        self.try_all(lambda: self.pulled(reference), reference, target=STORED)

    def test_a_delta_in_a_file(self):
        path = self.artifact("old", "new").archive(self.directory / "killed.tar")

        def begin():
            self.begin()
            file = open(path, "rb")
            self.addCleanup(file.close)
            return {"input": file}

        def again():
            result = self.imported(path)
            self.assertEqual(result["outcome"], "success", result)
            return result["details"]
        self.try_all(again, STORED, begin, kind="import-archive")


class Offline(Case):
    """An update on a stick."""

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a network namespace")
    def test_a_host_without_a_network_takes_a_delta_from_a_file(self):
        self.image("after", entries(5, 6))
        delta = self.artifact("before", "after")
        self.stored("before")
        path = delta.archive(self.directory / "stick.tar")
        program = self.directory / "worker"
        program.write_text(f"#!/bin/sh\nexec unshare --net {worker.PROGRAM}\n")
        program.chmod(0o755)
        self.addCleanup(setattr, worker, "PROGRAM", worker.PROGRAM)
        worker.PROGRAM = str(program)
        result = self.imported(path)
        self.assertEqual((result["outcome"], result["details"]["delta"]), ("success", delta.digest), result)
        worker.PROGRAM = os.environ["IMAGED_WORKER"]
        self.assertEqual(result["details"]["merge-commit"], self.whole("after"))


class RegistryCase(Case):
    """With a registry, and imaged-proxy that reads it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        cls.conf = cls.directory / "registries.conf"
        cls.push("before")

    @classmethod
    def push(cls, tag, name="test/image"):
        return cls.registry.push(cls.layout.reference(tag), f"{name}:{tag}")

    def setUp(self):
        super().setUp()
        self.service = skopeo_service.as_unit(self)

    def environment(self):
        return {"CONTAINERS_REGISTRIES_CONF": str(self.conf), **super().environment()}

    def start_pull(self, tag, address=None, arguments=None, target=STORED, name="test/image", prefix="", **settings):
        address = address or self.registry.address
        self.conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        return worker.Run(f"{prefix}docker://{address}/{name}:{tag}", self.repository, target=target, arguments=arguments, env=self.environment(),
                          settings={"skopeo-service": self.service.path, "stall-milliseconds": 5000, **settings})

    def pull(self, tag, *arguments, **options):
        result = self.start_pull(tag, *arguments, **options).finish().result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def wire_bytes(self, since=0):
        """What the registry sent of blobs."""
        return sum(size for path, status, size, agent in self.registry.answers()[since:] if "/blobs/" in path)

    def front(self):
        front = faults.FaultyRegistry(self.registry.address)
        self.addCleanup(front.stop)
        return front


@unittest.skipUnless(killed.FAULT_LAYER, "FAULT_LAYER names the library that ends a worker between two calls")
class KilledOnTheWire(RegistryCase, Killed):
    """The same from a registry."""
    test_a_delta_in_a_layout = test_a_delta_in_a_file = None

    def test_a_delta_in_a_registry(self):
        for tag in ("old", "new"):
            self.push(tag)
        self.artifact("old", "new").push(self.registry.address, "test/image")
        self.conf.write_text(f'[[registry]]\nlocation = "{self.registry.address}"\ninsecure = true\n')
        self.try_all(lambda: self.pull("new"), f"docker://{self.registry.address}/test/image:new", target=STORED, settings={"skopeo-service": self.service.path})


class Found(RegistryCase):
    """Deltas that a registry lists."""

    def offer(self, *changed, old="before", new="after", version=2, beside=()):
        """An update in the registry, and its delta."""
        self.image(new, entries(*changed))
        self.push(new)
        delta = self.artifact(old, new, version)
        delta.push(self.registry.address, "test/image", *beside)
        return delta

    def test_an_update_asks_for_a_delta_and_takes_it(self):
        delta = self.offer(0, 7, 8)
        self.pull("before")
        since = len(self.registry.answers())
        details = self.pull("after")
        wire = self.wire_bytes(since)
        self.assertEqual((details["delta"], details["delta-layers"], details["fetched-whole"]), (delta.digest, 1, []), details)
        self.assertEqual(details["merge-commit"], self.whole("after"))
        layer, = self.blobs["after"]
        print(f"    {wire} bytes of blobs from the registry, {details['delta-bytes']} of them the delta; the layer has {len(layer.data)}")
        self.assertLess(wire, len(layer.data) / 10)
        self.assertEqual(self.pull("after")["changed"], False)
        # The manifest and the config of the update are fetched under its own name, whose policy holds.
        self.assertIn("/v2/test/image/manifests/after", [path for path, *_ in self.registry.answers()[since:]])

    def test_a_large_delta_comes_through_either_reader(self):
        """By imaged-proxy's own one, as for large layers, also for a confined worker; by a skopeo that is the worker's child."""
        self.image("after", [*entries(1), Entry("opt/new", content=random_bytes("new", 400_000))])
        self.push("after")
        delta = self.artifact("before", "after")
        delta.push(self.registry.address, "test/image")
        blob = delta.document["layers"][2]["digest"]
        expected = self.whole("after")
        for what, settings in (("service", {}), ("confined", {"confined": True}), ("child", {"skopeo-service": None})):
            if what == "confined" and os.getuid() != 0:
                continue
            with self.subTest(what):
                self.make_repository()
                self.pull("before", **settings)
                since = len(self.registry.answers())
                details = self.pull("after", **settings)
                self.assertEqual((details["delta"], details["merge-commit"]), (delta.digest, expected), details)
                agents = [agent for path, status, size, agent in self.registry.answers()[since:] if path.endswith(blob) and size > 300_000]
                self.assertEqual([agent.startswith(OWN) for agent in agents], [what != "child"], agents)

    def test_delta_never_fetches_the_layers(self):
        self.offer(0, 7)
        self.pull("before")
        since = len(self.registry.answers())
        details = self.pull("after", arguments={"delta": "never"})
        self.assertEqual((details.get("delta"), details["delta-layers"], details["delta-bytes"], details["fetched-whole"]), (None, 0, 0, []))
        self.assertFalse([path for path, *_ in self.registry.answers()[since:] if "/manifests/sha256-" in path])

    def test_without_anything_stored_or_listed_nothing_is_said(self):
        self.image("other", entries(3))
        self.push("other")
        self.pull("before")
        details = self.pull("other")
        self.assertEqual((details["delta-layers"], details["fetched-whole"]), (0, []))
        self.make_repository()
        self.offer(9, 10)
        self.assertEqual(self.pull("after")["delta-layers"], 0)

    def test_a_delta_that_is_larger_than_the_layers_is_left(self):
        self.image("after", entries(2))
        self.push("after")
        layer, = self.blobs["after"]
        Artifact(*delta_artifact.image(self.layout, "after"), delta_artifact.image(self.layout, "before")[1],
                 {layer.digest: packed(operation(DATA, self.tars["after"][0])) + bytes(len(layer.data))}).push(self.registry.address, "test/image")
        self.pull("before")
        details = self.pull("after")
        self.assertEqual((details["delta-layers"], details["fetched-whole"]), (0, []))

    def test_the_smallest_of_those_that_serve_is_taken(self):
        self.image("after", entries(11, 12))
        older, newer = self.artifact("before", "after", 1), self.artifact("before", "after", 2)
        for delta in (older, newer):
            delta.push(self.registry.address, "test/image", older if delta is newer else newer)
        self.image("strange", entries(40))
        stranger = self.artifact("strange", "after")

        def silent(document):
            document["annotations"]["org.example"] = "another one, whose entry does not name its source"
        unnamed = self.artifact("before", "after", 2, silent)
        unnamed.described = lambda: {"mediaType": oci_layout.MANIFEST, "artifactType": tar_diff.ARTIFACT, "digest": unnamed.digest, "size": len(unnamed.text)}
        self.push("after")
        stranger.push(self.registry.address, "test/image", older, newer)
        self.pull("before")
        self.assertEqual(self.pull("after")["delta"], newer.digest)
        unnamed.push(self.registry.address, "test/image", stranger)
        self.make_repository()
        self.pull("before")
        self.assertEqual(self.pull("after")["delta"], unnamed.digest)

    def test_deltas_beyond_the_limit_are_reported(self):
        self.image("strange", entries(41))
        delta = self.offer(11)
        stranger = self.artifact("strange", "after")
        stranger.push(self.registry.address, "test/image", delta)
        unnamed = [{key: value for key, value in artifact.described().items() if key != "annotations"} for artifact in (*[stranger] * 8, delta)]
        index = {"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": unnamed}
        delta_artifact.put_manifest(self.registry.address, "test/image", delta.tag, json.dumps(index).encode(), oci_layout.INDEX)
        self.pull("before")
        details = self.pull("after")
        self.assertEqual((details["delta-layers"], details["fetched-whole"]), (0, ["the list of deltas: only 8 of 9 that may fit were read"]))

    def test_a_layout_lists_deltas_as_well(self):
        self.image("after", entries(5))
        delta = self.artifact("before", "after")
        for data in (*delta.blobs.values(), delta.text):
            self.layout.put(data)
        index = json.dumps({"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [delta.described()]}).encode()
        self.layout.withdraw(delta.tag)
        self.layout.manifests.append({"mediaType": oci_layout.INDEX, "digest": self.layout.put(index), "size": len(index),
                                      "annotations": {"org.opencontainers.image.ref.name": delta.tag}})
        self.layout.write_index()
        self.addCleanup(self.layout.withdraw, delta.tag)
        self.stored("before")
        self.assertEqual(self.pulled(self.layout.reference("after"))["delta"], delta.digest)

    def test_for_any_reason_the_layers_are_fetched_and_the_outcome_says_why(self):
        self.image("after", entries(6, 13))
        self.push("after")
        layer, = self.blobs["after"]
        stored = tar_diff.files_of(*self.tars["before"])
        good = delta_artifact.diff(stored, self.tars["after"][0])
        expected = self.whole("after")

        def damaged(blob):
            return blob[:200] + bytes([blob[200] ^ 0x40]) + blob[201:]
        cases = (("damaged", damaged(good), None), ("cut", good[:-100], None), ("another layer", delta_artifact.diff(stored, self.tars["before"][0]), None),
                 ("gone", good, faults.status(404)), ("other bytes", good, faults.other), ("shorter", good, faults.shorter), ("longer", good, faults.longer), ("truncated", good, faults.truncated),
                 ("reset", good, faults.reset), ("stalled", good, faults.stalled))
        # Read by imaged-proxy's service, and by a skopeo that is the worker's child.
        for (what, diff, fault), settings in itertools.product(cases, ({}, {"skopeo-service": None})):
            if settings and not fault:
                continue
            with self.subTest(what, **settings):
                self.make_repository()
                self.pull("before")
                delta = self.artifact("before", "after", diffs={layer.digest: diff})
                delta.push(self.registry.address, "test/image")
                front = self.front()
                if fault:
                    front.fault = (oci_layout.digest(diff), fault, None)
                details = self.pull("after", front.address, **settings)
                self.assertEqual((details.get("delta"), details["delta-layers"], len(details["fetched-whole"])), (None, 0, 1), details)
                self.assertEqual(details["merge-commit"], expected)
                self.assertGreaterEqual(details["bytes-fetched"], len(layer.data))
                print(f"    {what}: {details['fetched-whole'][0].split(': ', 1)[1][:150]}")
                self.fsck()
                front.stop()

    def test_a_list_of_deltas_that_cannot_be_read_is_reported(self):
        delta = self.offer(6)
        expected, front = self.whole("after"), self.front()

        def list_of(text):
            return lambda handler: faults.send(handler, text)
        entry = delta.described()
        for what, path, fault, reason in (("denied", delta.tag, faults.status(403), "403|denied"), ("fails", delta.tag, faults.status(500), "500"), ("no JSON", delta.tag, list_of(b"<html>"), "JSON"),
                                          ("no index", delta.tag, list_of(delta.text), "not an index"), ("too large", delta.tag, list_of(json.dumps({"manifests": [entry] * 20_000}).encode()), "maximum allowed size|larger than the limit"),
                                          ("a size", delta.tag, list_of(json.dumps({"manifests": [{**entry, "size": -1}]}).encode()), "size"),
                                          ("a digest", delta.tag, list_of(json.dumps({"manifests": [{**entry, "digest": "sha256:../x"}] * 10}).encode()), "digest"),
                                          ("no artifact", delta.digest, faults.status(404), "does not have"), ("denied artifact", delta.digest, faults.status(403), "403|denied"),
                                          ("another artifact", delta.digest, faults.other, "digest|JSON")):
            with self.subTest(what):
                self.make_repository()
                front.fault = None
                self.pull("before", front.address)
                front.fault = ("/manifests/" + path, fault, None)
                details = self.pull("after", front.address)
                self.assertEqual((details["delta-layers"], details["merge-commit"], len(details["fetched-whole"])), (0, expected, 1), details)
                self.assertRegex(details["fetched-whole"][0], reason)
                print(f"    {what}: {details['fetched-whole'][0][:200]}")

    def test_a_missing_or_damaged_file_of_the_source_has_the_layer_fetched(self):
        """The image needs the file too. A damaged one is given to no image."""
        self.offer(6)
        expected = self.whole("after")
        for change in (lambda path: path.write_bytes(bytes(32768)), os.unlink, lambda path: path.write_bytes(b"short")):
            self.make_repository()
            self.pull("before")
            victim = next(path for path in sorted(self.repository.glob("objects/*/*.file")) if path.stat().st_size == 32768)
            change(victim)
            if victim.exists():
                result = self.start_pull("after").finish().result
                self.assertEqual(result.get("error-name"), "RepositoryDamaged", result)
                self.assertIn(victim.parent.name + victim.stem, result["message"])
                victim.unlink()
            details = self.pull("after")
            self.assertEqual((details["delta-layers"], len(details["fetched-whole"]), details["merge-commit"]), (0, 1, expected), details)

    def test_the_policy_of_the_image_holds_whatever_delta_there_is(self):
        keys = signing.KeyRing(self.directory / "gnupg", ["vendor"])
        self.addCleanup(keys.close)
        delta = self.offer(14)
        self.pull("before")
        lookaside = self.directory / "lookaside/test"
        (self.directory / "registries.d").mkdir()
        (self.directory / "registries.d/test.yaml").write_text(
            f"docker:\n  {self.registry.address}:\n    lookaside: file://{self.directory}/lookaside\n    sigstore: file://{self.directory}/lookaside\n")
        lax = self.policy.read_text()
        self.addCleanup(self.policy.write_text, lax)
        self.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {
            self.registry.address: [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(keys.files["vendor"])}]}}}))
        os.environ["CONTAINERS_REGISTRIES_D"] = str(self.directory / "registries.d")
        self.addCleanup(os.environ.pop, "CONTAINERS_REGISTRIES_D")
        self.directory.joinpath("gnupg").chmod(0o755)
        for prefix in ("", "ostree-image-signed:"):
            refused = self.start_pull("after", prefix=prefix).finish().result
            self.assert_refused(refused, "PolicyRejected")
        # A signature of the delta is none of the image; the image's own lets it in.
        for digest, error in ((delta.digest, "PolicyRejected"), (delta.target, None)):
            text = self.directory / "signed.json"
            text.write_bytes(delta.text if digest == delta.digest else delta_artifact.image(self.layout, "after")[0])
            keys.sign_image(text, f"{self.registry.address}/test/image:after", "vendor", lookaside / f"image@{digest.replace(':', '=')}/signature-1")
            result = self.start_pull("after", prefix="ostree-image-signed:").finish().result
            if error:
                self.assert_refused(result, error)
            else:
                self.assertEqual((result["outcome"], result["details"]["delta"]), ("success", delta.digest), result)

    def test_pulls_that_are_killed_leave_nothing_wrong(self):
        self.image("after", entries(*range(0, 60, 2)))
        self.push("after")
        # A frame for each operation: it is done as soon as it is here.
        operations = delta_artifact.operations(tar_diff.files_of(*self.tars["before"]), self.tars["after"][0])
        diff = VERSIONS[2] + b"".join(map(chunked_layer.frame, operations))
        delta = self.artifact("before", "after", diffs={self.blobs["after"][0].digest: diff})
        delta.push(self.registry.address, "test/image")
        self.pull("before")
        expected = self.whole("after")
        done = 0
        for step in range(16):
            # In the middle of the operations, of which some more are done each time.
            run = self.start_pull("after", rate=len(diff) // 3)
            while (message := run.next_message()) is not None and message.get("phase") != "fetch":
                pass
            time.sleep(0.2 * step)
            done += run.process.poll() is not None
            run.process.kill()
            run.process.wait()
            run.lines.close()
            run.channel.close()
            self.fsck()
        print(f"    {16 - done} of 16 were killed before their end")
        details = self.pull("after")
        self.assertEqual((details["merge-commit"], details["fetched-whole"]), (expected, []))
        self.assertEqual(self.resolve("imaged/derived/" + self.blobs["after"][0].digest.replace(":", "_3A_")) != "", True)
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
        self.assertTrue(delta)

    def resolve(self, ref):
        place = self.repository / "refs/heads" / ref
        return place.read_text().strip() if place.exists() else ""

    def test_a_registry_that_names_a_delta_of_another_image_is_not_believed(self):
        self.image("after", entries(15))
        self.image("evil", entries(15, 16, 17))
        self.push("after")
        evil = self.artifact("before", "evil")
        evil.push(self.registry.address, "test/image")
        index = {"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [evil.described()]}
        tag = oci_layout.digest(delta_artifact.image(self.layout, "after")[0]).replace(":", "-")
        delta_artifact.put_manifest(self.registry.address, "test/image", tag, json.dumps(index).encode(), oci_layout.INDEX)
        self.pull("before")
        details = self.pull("after")
        self.assertEqual((details["delta-layers"], details["merge-commit"]), (0, self.whole("after")))
        self.assertIn(f"delta {evil.digest}: it makes the image {evil.target}", details["fetched-whole"])


if __name__ == "__main__":
    run_options.main(__doc__)
