#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zstd:chunked layers of a registry: only what changed is fetched, the tree is that of a full pull, and what lies is fetched as a whole or refused."""
import base64
import dataclasses
import json
import os
import pathlib
import random
import subprocess
import tempfile
import time
import unittest

import chunked_layer
import encapsulation
import faulty_registry as faults
import oci_layout
import ostree_repository
import registry
import skopeo_service
import worker
from oci_layout import Entry, directory

OWN = "imaged/"
FILES = 150


def entries(*changed):
    """Files of 32 KiB that do not compress, in /etc, /usr and /opt; those whose numbers are in CHANGED have another content, of the same size."""
    found = [directory("etc"), directory("usr"), directory("usr/bin"), directory("opt")]
    for number in range(FILES):
        seed = (f"{number}" + ("changed" if number in changed else "")).encode()
        content = (seed * (32768 // len(seed) + 1))[:4096] + random_bytes(seed, 28 * 1024)
        found.append(Entry(f"{('etc', 'usr/bin', 'opt')[number % 3]}/file{number}", content=content, uid=number % 2))
    return found


def random_bytes(seed, count):
    return random.Random(seed).randbytes(count)


def other_blob(handler, layer):
    """Answers with parts of LAYER whatever blob is asked for."""
    first, last = map(int, handler.headers["Range"].removeprefix("bytes=").split("-")) if handler.headers.get("Range") else (0, len(layer.data) - 1)
    handler.answer = (206, [("Content-Range", f"bytes {first}-{last}/*")], layer.data[first:last + 1])
    faults.send(handler)


class Case(unittest.TestCase):
    mode = "bare-user"

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.directory.chmod(0o755)
        cls.layout = oci_layout.Layout(cls.directory / "layout")
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        cls.policy = cls.directory / "policy.json"
        cls.policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
        cls.number = 0
        cls.before = chunked_layer.layer(entries())
        cls.push("before", cls.before)

    @classmethod
    def push(cls, tag, *layers):
        cls.layout.image(tag, list(layers))
        return cls.registry.push(cls.layout.reference(tag), f"test/image:{tag}")

    def setUp(self):
        self.service = skopeo_service.SkopeoService()
        self.addCleanup(self.service.stop)
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "HTTP_PROXY", "http_proxy"):
            self.service.environment.pop(name, None)
        self.make_repository()

    def make_repository(self):
        type(self).number += 1
        self.repository = self.directory / f"repo{self.number}"
        ostree_repository.init(self.repository, self.mode)

    def start_pull(self, tag, address=None, target="docker://stored/image:t", **settings):
        address = address or self.registry.address
        conf = self.directory / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        return worker.Run(f"docker://{address}/test/image:{tag}", self.repository, target=target,
                          settings={"skopeo-service": self.service.path, "stall-milliseconds": 5000, **settings},
                          env={"CONTAINERS_REGISTRIES_CONF": str(conf), "CONTAINERS_POLICY": str(self.policy)})

    def run_pull(self, *arguments, **options):
        return self.start_pull(*arguments, **options).finish().result

    def pull(self, tag, address=None, **settings):
        result = self.run_pull(tag, address, **settings)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def whole(self, tag):
        """The merge commit that a full pull gives."""
        repository, self.repository = self.repository, None
        self.make_repository()
        details = self.pull(tag)
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, []))
        self.repository = repository
        return details["merge-commit"]

    def wire_bytes(self, layer, since=0):
        """What the registry says it sent of LAYER to the reader."""
        return sum(size for path, status, size, agent in self.registry.answers()[since:] if path.endswith(layer.digest) and agent.startswith(OWN))

    def front(self):
        front = faults.FaultyRegistry(self.registry.address)
        self.addCleanup(front.stop)
        return front


class Partial(Case):
    def update(self, changed, **settings):
        after = chunked_layer.layer(entries(*changed))
        self.push("after", after)
        self.pull("before", **settings)
        since = len(self.registry.answers())
        details = self.pull("after", **settings)
        self.assertEqual(details["merge-commit"], self.whole("after"))
        return after, details, since

    def test_an_update_fetches_what_changed(self):
        changed = (0, 1, 2, 77, 149)
        after, details, since = self.update(changed)
        self.assertEqual((details["layers-fetched"], details["layers-partial"], details["fetched-whole"]), (1, 1, []))
        wire = details["bytes-fetched"]
        self.assertEqual(details["bytes-reused"], len(after.data) - wire)
        table = after.parts["tables"]
        wanted = sum(entry["endOffset"] - entry["offset"] for entry in after.parts["table_entries"] if int(entry["name"].rsplit("file")[1]) in changed)
        print(f"    {wire} bytes of {len(after.data)}: {wanted} of the changed files, {table} of table and tar-split")
        self.assertLess(wire, 1.1 * (wanted + table))
        # Counted where they come from; a full pull of the same layer is among the answers.
        self.assertEqual(self.wire_bytes(after, since), wire + len(after.data))

    def test_nothing_but_the_table_is_fetched_where_all_is_here(self):
        after, details, _ = self.update(())
        self.assertEqual(details["layers-fetched"], 0)  # the same diff-id
        self.push("more", chunked_layer.layer([*entries(), directory("opt/more")]))
        details = self.pull("more")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
        self.assertLess(details["bytes-fetched"], 64 * 1024)
        self.assertEqual(details["merge-commit"], self.whole("more"))
        encapsulation.ostree(self.repository, "fsck", "--quiet")

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_a_confined_worker_does_it_too(self):
        _, details, _ = self.update((5, 50), confined=True)
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))

    def test_where_most_has_changed_all_of_it_is_fetched(self):
        after, details, _ = self.update(tuple(range(140)))
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, []))
        self.assertGreater(details["bytes-fetched"], len(after.data))  # and its table

    def test_a_layer_of_another_compression_is_fetched_as_ever(self):
        self.pull("before")
        self.push("gzip", oci_layout.layer(entries(3)))
        details = self.pull("gzip")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, []))

    def test_a_damaged_file_is_fetched(self):
        after = chunked_layer.layer(entries(9))
        self.push("after", after)
        self.pull("before")
        expected = self.whole("after")
        victim = next(path for path in sorted(self.repository.glob("objects/*/*.file")) if path.stat().st_size == 32768)
        victim.write_bytes(bytes(32768))
        details = self.pull("after")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
        self.assertEqual(details["merge-commit"], expected)


    def test_pulls_that_are_killed_leave_nothing_wrong(self):
        self.push("after", chunked_layer.layer(entries(*range(60))))
        self.pull("before")
        expected = self.whole("after")
        done = 0
        for step in range(12):
            run = self.start_pull("after")
            time.sleep(0.02 * step)
            done += run.process.poll() is not None
            run.process.kill()
            run.process.wait()
            run.lines.close()
            run.channel.close()
            encapsulation.ostree(self.repository, "fsck", "--quiet")
        print(f"    {12 - done} of 12 were killed before their end")
        details = self.pull("after")
        self.assertEqual((details["merge-commit"], details["fetched-whole"]), (expected, []))


class BarePartial(Partial):
    mode = "bare"

    @unittest.skipUnless(os.getuid() == 0, "owners")
    def setUp(self):
        super().setUp()


class Hostile(Case):
    """Whatever table, tar-split and server say, a pull ends with the tree that the diff-id names, and says when it fetched all of the layer."""

    def setUp(self):
        super().setUp()
        self.pull("before")
        self.stored = self.repository
        self.right = None

    def stored_as(self, layer):
        """The commit of LAYER, which is the same for the same tar."""
        return encapsulation.ostree(self.repository, "rev-parse", "ostree/container/blob/" + layer.digest.replace(":", "_3A_")).strip()

    @staticmethod
    def begins_before(handler, offset):
        """Whether a part of the blob is asked for that begins there."""
        wanted = handler.headers.get("Range")
        return wanted is not None and int(wanted.removeprefix("bytes=").split("-")[0]) < offset

    def refused(self, what, change=None, fault=None, where=lambda layer: len(layer.data)):
        if self.right is None:
            right = chunked_layer.layer(entries(4, 40))
            self.push("right", right)
            self.make_repository()
            self.assertEqual(self.pull("right")["layers-partial"], 0)
            self.right = self.stored_as(right)
        with self.subTest(what):
            self.make_repository()
            subprocess.run(["cp", "-aT", self.stored, self.repository], check=True)
            after = chunked_layer.layer(entries(4, 40), change)
            self.push("after", after)
            front = self.front()
            if fault:
                front.fault = (after.digest, lambda handler: (fault if self.begins_before(handler, where(after)) else faults.send)(handler), None)
            details = self.pull("after", front.address)
            self.assertEqual(details["layers-partial"], 0)
            self.assertEqual(len(details["fetched-whole"]), 1, details)
            print(f"    {what}: {details['fetched-whole'][0].split(': ', 1)[1][:150]}")
            self.assertEqual(self.stored_as(after), self.right)
            front.stop()

    def test_tables_that_lie(self):
        def each(function):
            def change(parts):
                for entry in parts["table"]["entries"]:
                    function(entry)
            return change

        def swapped(parts):
            rows = parts["table"]["entries"]
            for key in ("offset", "endOffset", "size"):
                rows[4][key], rows[5][key] = rows[5][key], rows[4][key]

        def same_place(parts):
            rows = parts["table"]["entries"]
            rows[4].update(offset=rows[3]["offset"], endOffset=rows[3]["endOffset"])

        def another_file(parts):
            # Of the same size, and here: the digest leads to it, the diff-id does not.
            rows = parts["table"]["entries"]
            rows[4]["digest"], rows[4]["name"] = rows[7]["digest"], rows[7]["name"]

        annotations = chunked_layer.PREFIX
        for what, change in (
                ("another digest of the table", lambda parts: parts["annotations"].update({annotations + "manifest-checksum": "sha256:" + "0" * 64})),
                ("another digest of the tar-split", lambda parts: parts["table"].update(tarSplitDigest="sha256:" + "0" * 64)),
                ("no digest of the tar-split", lambda parts: parts["table"].update(tarSplitDigest="")),
                ("another version", lambda parts: parts["table"].update(version=2)),
                ("no JSON", lambda parts: parts.update(table=b"nonsense")),
                ("deep nesting", lambda parts: parts.update(table=b'{"version":1,"entries":' + b"[" * 100000)),
                ("a long text", lambda parts: parts.update(table=b'{"version":1,"x":"' + b"x" * 5_000_000 + b'"}')),
                ("files behind the blob", each(lambda entry: entry.update(endOffset=1 << 40))),
                ("swapped", swapped), ("the same place", same_place), ("another file", another_file),
                ("another size", lambda parts: parts["table"]["entries"][4].update(size=5)),
                ("no tar-split", lambda parts: parts["annotations"].update({annotations + "tarsplit-position": None})),
                ("fewer files", lambda parts: parts["table"]["entries"].pop()),
                ("a file less in front", lambda parts: parts["table"]["entries"].pop(0))):
            self.refused(what, change)

    def test_tar_splits_that_lie(self):
        def header(parts):
            # Another owner: the bytes are those of a tar, and not those of the diff-id.
            line = next(line for line in parts["split"] if line["type"] == 2)
            data = bytearray(base64.b64decode(line["payload"]))
            data[200] ^= 1
            line["payload"] = base64.b64encode(bytes(data)).decode()
        for what, change in (
                ("another header", header), ("no end", lambda parts: parts["split"].pop()), ("no lines", lambda parts: parts.update(split=b"")),
                ("nonsense", lambda parts: parts.update(split=b"nonsense\n")), ("a long line", lambda parts: parts.update(split=b"x" * 20_000_000)),
                ("a file too many", lambda parts: parts["split"].append({"type": 1, "name": "x", "size": 5})),
                ("an endless file", lambda parts: parts["split"].insert(1, {"type": 1, "name": "x", "size": (1 << 64) - 1})),
                ("a bomb", lambda parts: parts.update(split=(json.dumps({"type": 2, "payload": base64.b64encode(bytes(3 << 20)).decode()}).encode() + b"\n") * 50))):
            self.refused(what, change)

    def test_frames_that_lie(self):
        def served(data_of):
            """A server that sends other bytes where ranges of the blob are asked for."""
            def fault(handler):
                status, headers, data = handler.answer
                handler.answer = (status, headers, data_of(data))
                faults.send(handler)
            return fault
        for what, data_of in (("other bytes", lambda data: bytes(len(data))), ("one bit", lambda data: data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]),
                              ("a bomb", lambda data: (chunked_layer.frame(bytes(64 << 20)) + data)[:len(data)])):
            self.refused(what, fault=served(data_of))
            self.refused(what + " of a file", fault=served(data_of), where=lambda layer: layer.parts["table_offset"])

    def test_servers_that_lie_of_ranges(self):
        def another(handler):
            status, headers, data = handler.answer
            handler.answer = (status, [(key, value.replace("bytes ", "bytes 1") if key.lower() == "content-range" else value) for key, value in headers], data)
            faults.send(handler)
        for what, fault in (("no ranges", self.without_ranges), ("another range", another), ("a refusal", faults.status(416)), ("nothing", faults.truncated)):
            self.refused(what, fault=fault)

    def without_ranges(self, handler):
        data = self.layout.blob_path("sha256:" + handler.path.rsplit(":", 1)[1]).read_bytes()
        handler.answer = (200, [("Content-Type", "application/octet-stream")], data)
        faults.send(handler)

    def test_a_part_of_a_lying_blob_keeps_nobody_from_the_right_one(self):
        """The blob's digest is not verified of a part. So what it is said to hold counts for the image that said it, and for no other."""
        right = chunked_layer.layer(entries(8))
        evil = chunked_layer.layer(entries(9))
        self.push("right", right)
        # The manifest of an image that says of the right one's blob what is in another.
        lie = dataclasses.replace(right, diff_id=evil.diff_id, annotations=evil.annotations)
        front = self.front()
        self.push("evil", evil)
        self.push("lie", lie)
        front.fault = (right.digest, lambda handler: other_blob(handler, evil), None)
        result = self.run_pull("lie", front.address, target="docker://stored/image:t")
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(result["details"]["layers-partial"], 1)
        details = self.pull("right")
        self.assertEqual(details["layers-fetched"], 1)
        self.assertEqual(details["merge-commit"], self.whole("right"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
