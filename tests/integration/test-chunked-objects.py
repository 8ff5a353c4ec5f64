#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Parts of zstd:chunked layers: chunks of large files, what a killed pull has fetched, and layers of ostree objects."""
import dataclasses
import json
import os
import subprocess
import unittest

import chunked_layer
import encapsulation
import faulty_registry as faults
import oci_layout
import ostree_repository
import run_options
import worker
from chunked_case import Case, CommitImages, entries, other_blob, random_bytes
from oci_layout import Entry, directory


class Chunks(Case):
    """Large files that changed in some places."""
    LARGE = 6 << 20
    INSERTIONS = [(place << 20, b"more", 0) for place in (1, 3, 5)]

    def content(self, *edits):
        """With EDITS, each a place and what takes the place of how many bytes there."""
        content = random_bytes("large", self.LARGE)
        for place, data, count in edits:
            content = content[:place] + data + content[place + count:]
        return content

    def large(self, *edits, path="usr/large"):
        """entries() and a large file with EDITS."""
        return [*entries(), Entry(path, content=self.content(*edits))]

    def test_of_a_large_file_the_chunks_that_changed_are_fetched(self):
        self.push("large", chunked_layer.layer(self.large()))
        self.pull("large")
        stored = self.repository
        middle = self.LARGE // 2
        # About 64 KiB a chunk: of each edit there are one or two, and some around it.
        for what, edits, chunks in (("some bytes", [(middle, b"changed", 7)], 1), ("at the begin and end", [(0, b"changed", 7), (self.LARGE - 7, b"changed", 7)], 2), ("bytes more", [(middle, b"changed", 0)], 1),
                                    ("bytes fewer", [(middle, b"", 5)], 1), ("longer", [(self.LARGE, b"changed" * 10, 0)], 1), ("shorter", [(self.LARGE - 300_000, b"", 300_000)], 1)):
            with self.subTest(what):
                after = chunked_layer.layer(self.large(*edits))
                self.push("after", after)
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                told = self.prepared("after")["bytes-to-fetch"]
                details = self.assert_reused("after", after, chunks * 512 * 1024)
                if what == "some bytes":
                    print(f"    {told} bytes without the stored version's paths")

    def test_what_imaged_exports_has_chunks(self):
        """They end where the content says, so those of another version are the same but for some."""
        edits = {"plain": [], "changed": [(3 << 20, b"changed", 7)], "longer": [(3 << 20, b"changed", 0)], "zeros": [(1 << 20, bytes(2 << 20), 2 << 20)],
                 "longer-at-places": self.INSERTIONS, "moved": self.INSERTIONS, "in-another-order": [(0, random_bytes("large", self.LARGE)[-(2 << 20):], 0), (6 << 20, b"", 2 << 20)]}
        for tag, changes in edits.items():
            self.push(tag, oci_layout.layer(self.large(*changes, path="opt/other" if tag == "moved" else "usr/large")))
            self.pull(tag)
            result = worker.Run("docker://stored/image:t", self.repository, kind="export", arguments={"destination": f"oci:{self.directory}/out:{tag}", "compression": "zstd:chunked"}).finish().result
            self.assertEqual(result["outcome"], "success", result)
            self.registry.push(f"oci:{self.directory}/out:{tag}", f"test/image:out-{tag}")
        index = json.loads((self.directory / "out/index.json").read_text())
        for manifest in index["manifests"]:
            def blob(digest):
                return (self.directory / "out/blobs" / digest.replace(":", "/")).read_bytes()
            layer, = json.loads(blob(manifest["digest"]))["layers"]
            chunked_layer.read(blob(layer["digest"]), layer["annotations"])
        for tag in list(edits)[1:]:
            with self.subTest(tag):
                whole = self.whole(f"out-{tag}")
                self.make_repository()
                self.pull("out-plain")
                details = self.pull(f"out-{tag}")
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], whole))
                print(f"    {tag}: {details['bytes-fetched']} bytes")
                self.assertLess(details["bytes-fetched"], 1 << 20)

    def test_chunks_that_lie(self):
        """The tree is that of a full pull; a layer that is put together wrongly is fetched as a whole."""
        def rows(change):
            def changed(parts):
                of_large = [row for row in parts["table"]["entries"] if row["name"] == "usr/large"]
                assert len(of_large) > 50
                change(of_large)
            return changed

        def swapped(of_large):
            of_large[3]["chunkDigest"], of_large[4]["chunkDigest"] = of_large[4]["chunkDigest"], of_large[3]["chunkDigest"]

        def old(of_large):
            # The chunk that changed is said to be what it was.
            before = json.loads(chunks_before)["entries"]
            for row, was in zip(of_large, [row for row in before if row["name"] == "usr/large"]):
                row["chunkDigest"] = was["chunkDigest"]

        def offsets(of_large):
            for row in of_large[5:9]:
                row["offset"] += 3
        large = chunked_layer.layer(self.large())
        chunks_before = large.parts["table"]
        self.push("large", large)
        self.pull("large")
        stored, whole = self.repository, None
        edit = (self.LARGE // 2, b"changed", 7)
        # In part, with all of the file; in part, with chunks; as a whole.
        all_of_it, in_part, as_a_whole = range(3)
        for what, change, end in (
                ("overlapping", lambda rows: rows[5].update(chunkOffset=rows[4]["chunkOffset"]), all_of_it), ("sizes", lambda rows: rows[5].update(chunkSize=rows[5]["chunkSize"] + 1), all_of_it),
                ("too large", lambda rows: rows[-1].update(chunkSize=1 << 63), all_of_it), ("fewer", lambda rows: rows[-1].update(type="dir", name="x"), all_of_it), ("no digests", lambda rows: [row.pop("chunkDigest") for row in rows], all_of_it),
                ("behind the file", lambda rows: rows[-1].update(offset=1 << 40), all_of_it), ("order", lambda rows: rows[6].update(offset=rows[4]["offset"]), all_of_it),
                ("other digests", lambda rows: [row.update(chunkDigest="sha256:" + "0" * 64) for row in rows], all_of_it), ("swapped", swapped, in_part), ("no change", old, as_a_whole), ("in the middle of frames", offsets, in_part)):
            with self.subTest(what):
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                after = chunked_layer.layer(self.large(edit), rows(change))
                self.push("after", after)
                details = self.pull("after")
                tree = encapsulation.ostree(self.repository, "ls", "-d", "-C", details["merge-commit"], "/")
                if whole is None:
                    repository = self.repository
                    commit, self.repository = self.pulled_whole("after"), self.directory / f"repo{self.number}"
                    whole = encapsulation.ostree(self.repository, "ls", "-d", "-C", commit, "/")
                    self.repository = repository
                self.assertEqual(tree, whole)
                print(f"    {what}: {details['bytes-fetched']} of {len(after.data)} bytes, {details['fetched-whole']}")
                self.assertEqual((details["layers-partial"], len(details["fetched-whole"])), (0, 1) if end == as_a_whole else (1, 0))
                if end != as_a_whole:
                    (self.assertLess if end == in_part else self.assertGreater)(details["bytes-fetched"], self.LARGE)


class Killed(Case):
    """What a pull of an ordinary layer that was killed has fetched is in the repository, without a ref."""
    mode = "bare" if os.getuid() == 0 else "bare-user"

    @staticmethod
    def files(*changed):
        return [*(Entry(f"usr/lib/file{number}", content=random_bytes(f"{number} {number in changed}", 2 << 20)) for number in range(60)),
                *(Entry(f"usr/share/file{number}", content=random_bytes(f"small {number} {number // 10 in changed}", 50_000)) for number in range(500))]

    def test_it_is_not_fetched_again(self):
        self.push("large", chunked_layer.layer(self.files()))
        changed = chunked_layer.layer(self.files(*range(40)))
        self.push("large-update", changed)
        for what, tag, confined in (("a first pull", "large", False), ("an update, confined", "large-update", os.getuid() == 0)):
            with self.subTest(what):
                self.make_repository()
                if tag != "large":
                    self.pull("large")
                done, total = self.kill_pull(tag, 0.8, rate=30_000_000, confined=confined)
                encapsulation.ostree(self.repository, "fsck", "--quiet")
                since = len(self.registry.answers())
                details = self.pull(tag, confined=confined)
                wire = sum(size for path, status, size, agent in self.registry.answers()[since:] if "/blobs/" in path)
                print(f"    {what}: {done} of {total} bytes when it was killed, then {wire}: {wire + done - total} twice")
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], self.whole(tag)))
                self.assertLess(wire + done - total, (32 << 20) + (12 << 20))
                self.assertLess(wire, 0.55 * total)
                encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_the_tree_is_that_of_any_pull(self):
        """With entries whose paths lead through files and links that were stored early."""
        large = random_bytes("large", 2 << 20)
        odd = [directory("usr"), Entry("usr/file", content=large), Entry("usr/file/below", content=large[:100_000]), Entry("usr/second", content=large[:200_000]), Entry("usr/link", "hardlink", target="usr/second"),
               Entry("usr/link/below", content=b"x"), Entry("usr/soft", "symlink", target="new"), Entry("usr/soft/below", content=large[:300_000]), Entry("usr/late", "hardlink", target="usr/later"), Entry("usr/later", content=large[:400_000]),
               Entry("usr/replaced", content=large[:500_000]), Entry("usr/replaced", content=large[:600_000]), Entry("run/dropped", content=large), Entry("usr/kept", "hardlink", target="run/dropped"), Entry("usr/setuid", content=large[1:], mode=0o4755)]
        trees = set()
        for tag, layer in (("odd", chunked_layer.layer(odd)), ("odd-gzip", oci_layout.layer(odd))):
            self.push(tag, layer)
            self.make_repository()
            details = self.pull(tag)
            trees.add(encapsulation.ostree(self.repository, "ls", "-d", "-C", details["merge-commit"], "/"))
            encapsulation.ostree(self.repository, "fsck", "--quiet")
        self.assertEqual(len(trees), 1)

    @unittest.skipUnless(os.getuid() == 0, "needs root to store files with their owners")
    def test_of_a_layer_that_lies_no_file_can_be_executed_with_other_rights(self):
        layer = chunked_layer.layer([Entry("usr/bin/evil", content=b"#!/bin/sh" + bytes(100_000), mode=0o4755), Entry("usr/bin/group", content=b"#!/bin/sh" + bytes(2000), mode=0o2755), *self.files()])
        self.push("honest", layer)
        self.push("lies", dataclasses.replace(layer, diff_id="sha256:" + "1" * 64))
        self.assert_lies_give_no_rights()


class Archive(Case):
    mode = "archive"

    def test_files_of_an_archive_repository_are_fetched_and_that_is_reported(self):
        after = chunked_layer.layer(entries(3))
        self.push("after", after)
        self.assertEqual(self.pull("before")["fetched-whole"], [])
        details = self.pull("after")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, ["1 layer: the mode of the repository keeps files compressed"]))
        self.assertEqual(details["bytes-fetched"], len(after.data))


class Objects(CommitImages):
    """Layers of OSTree objects, whose names say which objects they are: those that are here are not fetched, whatever image brought them."""

    def test_of_chunks_the_objects_that_changed_are_fetched(self):
        self.push_commit("one", split=self.two_chunks)
        after = self.push_commit("two", 1, 2, 3, 4, split=self.two_chunks)
        self.pull("one")
        since = len(self.registry.answers())
        details = self.pull("two")
        self.assertEqual((details["layers-fetched"], details["layers-partial"], details["fetched-whole"]), (3, 2, ["1 layer: smaller than 1 MiB"]), details)
        wire = sum(self.wire_bytes(layer, since) for layer in after[1:])
        whole = sum(len(layer.data) for layer in after[1:])
        tables = sum(layer.parts["tables"] for layer in after[1:])
        print(f"    {wire} bytes of {whole} in two chunks, {tables} of them tables")
        self.assertLess(wire, 1.1 * (tables + 4 * 30 * 1024))
        self.assertEqual(details["merge-commit"], self.whole("two"))
        encapsulation.ostree(self.repository, "fsck", "--quiet")
        verified = worker.pull("", self.repository, kind="verify").result["details"]
        self.assertEqual((verified["sound"], verified["unverified"]), (True, []), verified)
        self.assertEqual(self.states(), [("ok", None)])
        for layer in after[1:]:
            name = layer.digest.replace(":", "_3A_")
            self.assertNotEqual(self.resolve("imaged/objects/" + name), "")
            self.assertEqual(self.resolve("ostree/container/blob/" + name), "")
        self.assertEqual(self.pull("two")["layers-fetched"], 0)
        ref = self.repository / "refs/heads/imaged/objects" / after[1].digest.replace(":", "_3A_")
        ref.rename(self.directory / "ref")
        self.assertEqual([state for state, _ in self.states()], ["damaged"])
        (self.directory / "ref").rename(ref)
        # They go with the image.
        self.pull("before", target="docker://stored/image:t")
        self.assertEqual([str(ref) for ref in (self.repository / "refs/heads/imaged/objects").iterdir()], [])

    def test_of_a_large_file_the_chunks_that_changed_are_fetched(self):
        """Nothing says which object it was before: those of about its size are looked in."""
        large = random_bytes("large", 6 << 20)
        changed = large[:3 << 20] + b"changed" + large[(3 << 20) + 7:]
        others = [Entry(f"usr/other{number}", content=random_bytes(f"other{number}", (6 << 20) + number)) for number in range(2)]
        for split in (None, self.two_chunks):
            with self.subTest(split=split):
                self.make_repository()
                self.push_commit("one", files=[*entries(), Entry("usr/large", content=large), *others], split=split)
                self.push_commit("two", files=[*entries(), Entry("usr/large", content=changed), *others], split=split)
                self.pull("one")
                told = self.prepared("two")["bytes-to-fetch"]
                details = self.pull("two")
                print(f"    {told} bytes announced, {details['bytes-fetched']} fetched")
                self.assertEqual(details["bytes-fetched"], told)
                self.assertLess(details["bytes-fetched"], 1 << 20)
                self.assertEqual(details["merge-commit"], self.whole("two"))
                encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_a_commit_layer_is_fetched_in_part_as_well(self):
        self.push_commit("one")
        self.push_commit("two", 100)
        self.pull("one")
        details = self.pull("two")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []), details)
        self.assertLess(details["bytes-fetched"], 100_000)
        self.assertEqual(details["merge-commit"], self.whole("two"))

    def test_into_an_empty_repository_no_table_is_fetched_beside_the_layer(self):
        layers = self.push_commit("one", split=self.two_chunks)
        self.assertEqual(self.pull("one")["bytes-fetched"], sum(len(layer.data) for layer in layers))

    def test_objects_of_another_image_are_used(self):
        self.push_commit("one", split=self.two_chunks)
        self.push_commit("two", *range(9, 15), split=self.two_chunks)
        self.pull("one", target="ostree-unverified-image:docker://another/image:x")
        details = self.pull("two")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (2, ["1 layer: smaller than 1 MiB"]), details)
        self.assertEqual(details["merge-commit"], self.whole("two"))

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_a_confined_worker_does_it_too(self):
        self.push_commit("one", split=self.two_chunks)
        self.push_commit("two", *range(40, 46), split=self.two_chunks)
        self.pull("one", confined=True)
        details = self.pull("two", confined=True)
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (2, ["1 layer: smaller than 1 MiB"]), details)
        self.assertEqual(details["merge-commit"], self.whole("two"))

    def test_what_a_killed_pull_fetched_is_not_fetched_again(self):
        def files(*changed):
            return [Entry(f"usr/lib/file{number}", content=random_bytes(f"{number} {number in changed}", 2 << 20)) for number in range(72)]
        self.push_commit("large", files=files())
        after = self.push_commit("large-update", *range(40), files=files(*range(40)))
        early = 32 << 20
        for what, tag, confined in (("a first pull", "large", False), ("an update, confined", "large-update", True)):
            with self.subTest(what):
                self.make_repository()
                if tag != "large":
                    self.pull("large")
                done, total = self.kill_pull(tag, 0.8, rate=30_000_000, confined=confined)
                encapsulation.ostree(self.repository, "fsck", "--quiet")
                self.assertEqual(self.resolve("ostree/container/image/docker_3A__2F__2F_stored/image_3A_t") != "", tag != "large")
                since = len(self.registry.answers())
                details = self.pull(tag, confined=confined)
                wire = sum(size for path, status, size, agent in self.registry.answers()[since:] if "/blobs/" in path)
                print(f"    {what}: {done} of {total} bytes when it was killed, then {wire}: {wire + done - total} twice")
                self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []), details)
                self.assertLess(wire + done - total, early + (6 << 20))
                self.assertLess(wire, 0.5 * total)
                self.assertEqual(details["merge-commit"], self.whole(tag))
                encapsulation.ostree(self.repository, "fsck", "--quiet")
        self.assertEqual(len(after), 1)

    @unittest.skipUnless(os.getuid() == 0, "needs root to store files with their owners")
    def test_of_a_layer_that_lies_no_file_can_be_executed_with_other_rights(self):
        """Its other files are in the repository until the next prune."""
        files = [Entry("usr/bin/evil", content=b"#!/bin/sh" + bytes(100_000), mode=0o4755), Entry("usr/bin/group", content=b"#!/bin/sh", mode=0o2755),
                 *(Entry(f"usr/lib/file{number}", content=random_bytes(number, 4 << 20)) for number in range(30))]
        layer, = self.push_commit("honest", files=files)
        wrong = "sha256:" + "1" * 64
        self.layout.image("lies", [dataclasses.replace(layer, diff_id=wrong)],
                          config={"config": {"Labels": {"ostree.final-diffid": wrong, "ostree.commit": self.commit(files)[0]}}})
        self.registry.push(self.layout.reference("lies"), "test/image:lies")
        self.repository = self.directory / "bare"
        ostree_repository.init(self.repository, "bare")
        self.assert_lies_give_no_rights()

    def test_a_damaged_object_is_not_named(self):
        self.push_commit("one")
        self.push_commit("two", 100)
        self.pull("one")
        for what, change in (("other bytes", lambda content: bytes(len(content))), ("fewer", lambda content: content[:-1])):
            with self.subTest(what):
                victim = next(path for path in sorted(self.repository.glob("objects/*/*.file")) if path.stat().st_size == 32768)
                content = victim.read_bytes()
                victim.write_bytes(change(content))
                result = self.run_pull("two")
                self.assertEqual(result.get("error-name"), "RepositoryDamaged", result)
                self.assertIn(victim.parent.name + victim.stem, result["message"])
                victim.write_bytes(content)
        details = self.pull("two")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))

    def test_tables_that_lie(self):
        self.push_commit("one")
        self.pull("one")
        stored, self.repository = self.repository, None

        def names(parts):
            rows = parts["table"]["entries"]
            large = [row for row in rows if row["size"] == 32768]
            large[4]["name"], large[5]["name"] = large[5]["name"], large[4]["name"]

        def no_checksum(parts):
            parts["table"]["entries"][3]["name"] = "sysroot/ostree/repo/objects/zz/nonsense.file"

        def size(parts):
            parts["table"]["entries"][4]["size"] += 1
        self.push_commit("right", 50)
        self.make_repository()
        right = self.pull("right")["merge-commit"]
        for what, change in (("swapped names", names), ("a name that is no checksum", no_checksum), ("another size", size)):
            with self.subTest(what):
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                self.push_commit("lie", 50, change=change)
                details = self.pull("lie")
                self.assertEqual((details["layers-partial"], len(details["fetched-whole"])), (0, 1), details)
                print(f"    {what}: {details['fetched-whole'][0].split(': ', 1)[1][:150]}")
                self.assertEqual(encapsulation.ostree(self.repository, "show", details["base-commit"] if "base-commit" in details else right).splitlines()[0][:6], "commit")

    def test_a_part_of_a_lying_blob_keeps_nobody_from_the_right_one(self):
        """As of derived layers; and where the record of the layer is lost, its ref serves nobody."""
        for lose_records in (False, True):
            with self.subTest(lose_records=lose_records):
                self.make_repository()
                self.push_commit("one", split=self.two_chunks)
                self.pull("one")
                right = self.push_commit("right", *range(6), split=self.two_chunks, change=lambda parts: parts["blob"].extend(chunked_layer.skippable(bytes(1 << 18))))
                evil = self.push_commit("evil", *range(10, 16), split=self.two_chunks)
                # The manifest of an image that says of the right one's blobs what is in the other's, which are smaller.
                lies = [dataclasses.replace(good, diff_id=bad.diff_id, annotations=bad.annotations) for good, bad in zip(right[1:], evil[1:])]
                config = {"config": {"Labels": {"ostree.final-diffid": lies[-1].diff_id}}}
                self.layout.image("lie", [evil[0], *lies], config=config)
                self.registry.push(self.layout.reference("lie"), "test/image:lie")
                front = self.front()
                blobs = dict(zip((layer.digest for layer in right[1:]), evil[1:]))

                def other(handler):
                    other_blob(handler, next(layer for digest, layer in blobs.items() if digest in handler.path))
                front.fault = ("sha256", lambda handler: (other if any(digest in handler.path for digest in blobs) else faults.send)(handler), None)
                result = self.run_pull("lie", front.address)
                self.assertEqual(result["outcome"], "success", result)
                self.assertEqual(result["details"]["layers-partial"], 2)
                if lose_records:
                    for record in (self.repository / "extensions/imaged/layers").iterdir():
                        record.unlink()
                details = self.pull("right", target="ostree-unverified-image:docker://stored/other:t")
                self.assertGreaterEqual(details["layers-fetched"], 2, details)
                self.assertEqual(details["layers-partial"], 0)
                self.assertEqual(details["merge-commit"], self.whole("right"))
                front.stop()


if __name__ == "__main__":
    if os.getuid() == 0:
        run_options.main(__doc__)
    unittest.main(verbosity=2)
