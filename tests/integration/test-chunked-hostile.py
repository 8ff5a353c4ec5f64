#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zstd:chunked layers that are very large or that lie: memory is limited, and what lies is fetched as a whole or refused."""
import base64
import collections
import dataclasses
import json
import os
import random as randomness
import subprocess
import time
import unittest

import chunked_layer
import encapsulation
import faulty_registry as faults
import run_options
import sanitizers
from chunked_case import Case, CommitImages, entries, other_blob, random_bytes
from oci_layout import Entry
from run_options import OPTIONS


class Large(Case):
    """The worker's memory with tables of many files stays below 64 MiB; with --long there are 300,000 of them."""
    LIMIT_KIB = 64 << 10

    def layer(self, count, place, different=(), change=None):
        """COUNT files at PLACE(number), of some contents, so that they take little room; those of DIFFERENT have another one."""
        contents = [random_bytes(f"{number}", 600) for number in range(64)]
        others = [random_bytes(f"other{number}", 600) for number in range(64)]
        return chunked_layer.layer((Entry(place(number), content=(others if number in different else contents)[number % 64]) for number in range(count)), change)

    def peak(self, tag, **settings):
        run = self.start_pull(tag, **settings).finish()
        self.assertEqual(run.result["outcome"], "success", run.result)
        return run.rss, run.result["details"], run.waited

    def check(self, what, before, after, partial):
        self.make_repository()
        self.push("large", before)
        whole, _, _ = self.peak("large")
        self.push("larger", after)
        rss, details, seconds = self.peak("larger")
        print(f"    {what}: {rss / 1024:.0f} MiB, {seconds:.0f} s, {details['bytes-fetched']} of {len(after.data)} bytes; whole {whole / 1024:.0f} MiB. {details['fetched-whole']}")
        self.assertEqual(details["layers-partial"], partial, details)
        if not sanitizers.SANITIZED:
            self.assertLess(rss, self.LIMIT_KIB)

    def test_very_many_files(self):
        count = 300_000 if OPTIONS.long else 40_000

        def place(number):
            return f"usr/share/d{number // 600:03}/file-{number:07}"
        self.check(f"{count:,} files, some changed", self.layer(count, place), self.layer(count, place, {*range(0, count, 600), *range(5000)}), 1)

    def test_directories_in_turn(self):
        def place(number):
            return f"usr/share/d{number % 300:03}/file-{number:07}"
        self.check("directories in turn", self.layer(15_000, place), self.layer(15_000, place, (5, 6)), 1)

    def test_large_directory(self):
        count = 150_000 if OPTIONS.long else 25_000

        def place(number):
            return f"usr/share/d/file-{number:07}"
        self.check("one large directory", self.layer(count, place), self.layer(count, place, range(0, count, 400)), 1)

    def test_lines_of_the_tar_split_at_their_limit(self):
        def long_lines(parts):
            parts["split"] = b"".join(json.dumps({"type": 2, "payload": base64.b64encode(random_bytes("x", 1_500_000)).decode()}).encode() + b"\n" for _ in range(3))
        before, after = self.layer(4000, "d/{}".format), self.layer(4000, "d/{}".format, (5,), long_lines)
        self.check("long lines", before, after, 0)

    def test_values_of_the_table_at_their_limit(self):
        def long_values(parts):
            for row in parts["table"]["entries"][:8]:
                row["linkName"] = "x" * 1_000_000
        before, after = self.layer(4000, "d/{}".format), self.layer(4000, "d/{}".format, (5,), long_values)
        self.check("long values", before, after, 1)


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
        return wanted is not None and faults.ranges_asked(handler)[0][0] < offset

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
        for what, data_of in (("other bytes", lambda data: bytes(len(data))), ("one bit", lambda data: data[:len(data) // 3] + bytes([data[len(data) // 3] ^ 1]) + data[len(data) // 3 + 1:]),
                              ("a bomb", lambda data: (chunked_layer.frame(bytes(64 << 20)) + data)[:len(data)])):
            self.refused(what, fault=served(data_of))
            self.refused(what + " of a file", fault=served(data_of), where=lambda layer: layer.parts["table_offset"])

    def test_servers_that_lie_of_ranges(self):
        def another(handler):
            status, headers, data = handler.answer
            data = data.replace(b"Content-Range: bytes ", b"Content-Range: bytes 1")
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
        self.assertEqual((details["layers-fetched"], details["fetched-whole"]), (1, ["1 layer: another image says that the blob has another content"]))
        self.assertEqual(details["merge-commit"], self.whole("right"))


class Mixed(CommitImages):
    """Tables, tar-splits, annotations and servers with faults that nobody chose, some at a time, of derived layers and of those of objects. A pull gives the tree that a full pull gives, or fails; with --long 200 times."""

    def fault_of_parts(self, random):
        """A function that spoils what a layer says of itself, and its name."""
        def row(parts):
            return random.choice(parts["table"]["entries"])

        def number(parts):
            one = row(parts)
            one[random.choice(("chunkSize", "chunkOffset", "offset") if "chunkSize" in one else ("size", "offset", "endOffset"))] = random.choice((0, 1, 2 ** 31, 2 ** 63, 2 ** 64 - 1, -1, 1.5, 2 ** 70, random.randrange(1 << 22)))

        def shifted(parts):
            delta, key = random.choice((-3, -1, 1, 8, 512)), random.choice(("offset", "endOffset", "size"))
            for entry in parts["table"]["entries"][random.randrange(40):]:
                entry[key] = max(0, entry[key] + delta)

        def exchanged(parts):
            one, other = row(parts), row(parts)
            keys = ("name", "chunkSize", "chunkDigest", "chunkOffset", "offset") if "chunkSize" in one and "chunkSize" in other else ("name", "size", "digest", "offset", "endOffset", "mode")
            for key in random.sample(keys, random.randrange(1, 4)):
                one[key], other[key] = other[key], one[key]

        def without(parts):
            row(parts).pop(random.choice(("name", "size", "digest", "offset", "endOffset", "type", "chunkSize", "chunkDigest")), None)

        def another_type(parts):
            row(parts)["type"] = random.choice(("dir", "chunk", "symlink", "hardlink", "", "nonsense", 7, None, ["reg"], {"reg": 1}))

        def names(parts):
            row(parts)["name"] = random.choice(("../../etc/passwd", "/etc/passwd", "", "x" * 5000, "a/" * 3000, "usr//bin/./file1", "sysroot/ostree/repo/objects/00/" + "0" * 62 + ".file",
                                                "sysroot/ostree/repo/objects/zz/1.file", "\u0000", ".wh.x"))

        def order(parts):
            random.shuffle(parts["table"]["entries"])

        def twice(parts):
            rows = parts["table"]["entries"]
            rows.insert(random.randrange(len(rows)), dict(row(parts)))

        def fewer(parts):
            parts["table"]["entries"].remove(row(parts))

        def split_line(parts):
            line = random.choice(parts["split"])
            line.update(random.choice(({"size": random.randrange(1 << 20)}, {"type": random.choice((0, 1, 2, 3, "1"))}, {"payload": base64.b64encode(random.randbytes(random.randrange(2000))).decode()})))

        def split_order(parts):
            one, other = random.randrange(len(parts["split"])), random.randrange(len(parts["split"]))
            parts["split"][one], parts["split"][other] = parts["split"][other], parts["split"][one]

        def split_fewer(parts):
            parts["split"].pop(random.randrange(len(parts["split"])))

        def header(parts):
            line = random.choice([line for line in parts["split"] if line["type"] == 2])
            data = bytearray(base64.b64decode(line["payload"]))
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            line["payload"] = base64.b64encode(bytes(data)).decode()

        def annotation(parts):
            key = random.choice(("manifest-checksum", "manifest-position", "tarsplit-position"))
            parts["annotations"][chunked_layer.PREFIX + key] = random.choice((None, "", ":::", "0:1:2:1", "1:1:1", "sha256:" + "0" * 64, "99999999999999999999:1:1:1", "0:18446744073709551615:1:1",
                                                                              f"{random.randrange(1 << 22)}:{random.randrange(1 << 16)}:{random.randrange(1 << 24)}:1"))

        def blob(parts):
            parts["blob"][random.randrange(len(parts["blob"]))] ^= 1 << random.randrange(8)
        return random.choice((number, shifted, exchanged, without, another_type, names, order, twice, fewer, split_line, split_order, split_fewer, header, annotation, blob))

    @staticmethod
    def fault_of_server(random):
        """A function that spoils some answers to requests for parts of a layer."""
        def spoil(handler, change):
            status, headers, data = handler.answer
            handler.answer = (status, headers, change(data))
            faults.send(handler)

        def flipped(data):
            place = random.randrange(len(data))
            return data[:place] + bytes([data[place] ^ 1]) + data[place + 1:]

        def moved(handler):
            status, headers, data = handler.answer
            data = data.replace(b"Content-Range: bytes ", b"Content-Range: bytes 1")
            handler.answer = (status, [(key, value.replace("bytes ", "bytes 1") if key.lower() == "content-range" else value) for key, value in headers], data)
            faults.send(handler)
        choices = {"other bytes": lambda handler: spoil(handler, flipped), "zeros": lambda handler: spoil(handler, lambda data: bytes(len(data))), "fewer": lambda handler: spoil(handler, lambda data: data[:len(data) // 2]),
                   "more": lambda handler: spoil(handler, lambda data: data * 2), "another range": moved, "416": faults.status(416), "500": faults.status(500), "404": faults.status(404),
                   "no end": faults.longer, "cut": faults.truncated, "reset": faults.reset, "no HTTP": faults.not_http, "redirects": faults.redirected_for_ever}
        name = random.choice(sorted(choices))
        share = random.choice((0.2, 0.6, 1))

        def fault(handler):
            return (choices[name] if handler.headers.get("Range") and random.random() < share else faults.send)(handler)
        return name, fault

    def tree(self, details):
        """The checksums of the root of the merged tree; manifests differ, so merge commits do."""
        return encapsulation.ostree(self.repository, "ls", "-d", "-C", details["merge-commit"], "/")

    @staticmethod
    def files(*changed):
        """entries() and a file that has chunks, with some bytes more if any are CHANGED."""
        large = random_bytes("large", 2 << 20)
        if changed:
            large = large[:1 << 20] + b"more" + large[1 << 20:]
        return [*entries(*changed), Entry("usr/large", content=large)]

    def test_faults_that_nobody_chose(self):
        numbers = tuple(range(20, 26))
        cut = chunked_layer.skopeo_chunks_of
        self.push("derived", chunked_layer.layer(self.files(), cut=cut))
        self.push("right", chunked_layer.layer(self.files(*numbers), cut=cut))
        self.push_commit("objects-right", files=self.files(*numbers), split=self.two_chunks, cut=cut)
        self.push_commit("objects", files=self.files(), split=self.two_chunks, cut=cut)
        trees, stored = {}, {}
        for kind, before, right, options in (("derived", "derived", "right", {"target": "docker://stored/image:t"}), ("objects", "objects", "objects-right", {})):
            self.make_repository()
            trees[kind] = self.tree(self.pull(right, **options))
            self.make_repository()
            self.pull(before, **options)
            stored[kind] = self.repository
        ends = collections.Counter()
        seeds = [OPTIONS.seed] if OPTIONS.seed is not None else range(200 if OPTIONS.long else 10)
        for seed in seeds:
            random = randomness.Random(seed)
            kind = ("derived", "objects")[seed % 2]
            changes = [self.fault_of_parts(random) for _ in range(random.choice((0, 1, 1, 2)))]
            server = self.fault_of_server(random) if not changes or random.random() < 0.3 else None
            what = f"seed {seed}: {kind}, {[change.__name__ for change in changes]}, {server and server[0]}"

            def change(parts):
                for one in changes:
                    try:
                        one(parts)
                    except (KeyError, TypeError, ValueError, IndexError):
                        pass  # an earlier fault has taken away what this one would spoil
            with self.subTest(what):
                self.make_repository()
                subprocess.run(["cp", "-aT", stored[kind], self.repository], check=True)
                if kind == "derived":
                    self.push("hostile", chunked_layer.layer(self.files(*numbers), change, cut=cut))
                else:
                    self.push_commit("hostile", files=self.files(*numbers), split=self.two_chunks, change=change, cut=cut)
                front = self.front()
                if server:
                    front.fault = ("blobs", server[1], None)
                started = time.monotonic()
                run = self.start_pull("hostile", front.address, **({"target": "docker://stored/image:t"} if kind == "derived" else {})).finish()
                front.stop()
                seconds = time.monotonic() - started
                result = run.result
                self.assertEqual(run.status, 0)
                self.assertLess(seconds, 120)
                if not sanitizers.SANITIZED:
                    self.assertLess(run.rss, Large.LIMIT_KIB)
                details = result["details"] if result["outcome"] == "success" else {}
                ends["in part" if details.get("layers-partial") and not details["fetched-whole"] else "as a whole" if details else result["error-name"]] += 1
                if details:
                    self.assertEqual(self.tree(details), trees[kind])
                else:
                    self.assertIn(result["outcome"], ("failed",), result)
                encapsulation.ostree(self.repository, "fsck", "--quiet")
                subprocess.run(["rm", "-rf", self.repository], check=True)
        print(f"    {len(seeds)} pulls: {dict(ends)}")


if __name__ == "__main__":
    if os.getuid() == 0:
        run_options.main(__doc__)
    unittest.main(verbosity=2)
