#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zstd:chunked layers of a registry: only what changed is fetched, the tree is that of a full pull, and a report says what was fetched."""
import base64
import collections
import dataclasses
import email.utils
import math
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

import chunked_layer
import encapsulation
import faulty_registry as faults
import oci_layout
import ostree_repository
import registry
import run_options
import worker
from chunked_case import Case, FILES, OWN, Updates, entries, other_blob, random_bytes
from killed import FAULT_LAYER
from loop_mount import extents, loop_mount
from oci_layout import Entry, directory


class FromRegistry(Updates):
    """What depends on the registry and on the layer alone."""

    def answered(self, after, since):
        """What the registry answered to requests for parts of AFTER."""
        return [size for path, status, size, agent in self.registry.answers()[since:] if path.endswith(after.digest) and agent.startswith(OWN) and status == 206]

    def test_many_parts_come_in_few_answers(self):
        after, details, since = self.update(range(0, FILES, 5))
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
        # The tables, and thirty files, which are 3 MB of small ones between large.
        self.assertEqual(len(self.answered(after, since)), 2)

    def test_large_tables_show_as_well_whether_many_parts_come_in_an_answer(self):
        """Between each two files that changed there is less than a sixteenth of them: no reason to fetch it, unless each part is an answer of its own."""
        def files(*changed):
            return [Entry(f"usr/file{number:02}", content=random_bytes(f"{number} {number in changed}", (160 if number % 2 else 8) * 1024)) for number in range(24)] + \
                [Entry(f"usr/rest{number}", content=random_bytes(f"rest{number}", 900_000)) for number in range(2)]

        def padded(parts):
            for row in parts["table"]["entries"][:6]:
                row["padding"] = base64.b64encode(random_bytes(row["name"], 720_000)).decode()
        after = chunked_layer.layer(files(*range(1, 24, 2)), padded)
        self.assertGreater(after.parts["tables"], 4 << 20)
        self.push("few", chunked_layer.layer(files()))
        self.push("few-after", after)
        self.pull("few")
        stored, whole, changed = self.repository, self.whole("few-after"), 12 * (160 * 1024 + 200)

        def cut_in_the_last(handler):
            _, headers, data = handler.answer
            faults.head(handler, 206, headers, len(data))
            handler.wfile.write(data[:-100])
            handler.close_connection = True
        for what, fault in (("in one answer", faults.send), ("in an answer that breaks in the tar-split", cut_in_the_last)):
            with self.subTest(what):
                front, asked = self.front(), []

                def answer(handler, fault=fault, asked=asked):
                    asked.append(faults.ranges_asked(handler))
                    (faults.send if len(asked) > 1 else fault)(handler)
                front.fault = (after.digest, answer, None)
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                details = self.pull("few-after", front.address)
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], whole))
                self.assertLess(details["bytes-fetched"], after.parts["tables"] + changed)
                self.assertEqual(len(asked[0]), 2)
                front.stop()

    def test_a_registry_that_gives_one_part_at_a_time_gives_them_one_by_one(self):
        changed = tuple(range(0, FILES, 5))
        after = chunked_layer.layer(entries(*changed))
        self.push("after", after)
        self.pull("before")
        stored, whole = self.repository, self.whole("after")

        def first(handler, ranges):
            (begin, end), *_ = ranges
            handler.answer = (206, [("Content-Range", f"bytes {begin}-{end - 1}/{len(after.data)}")], after.data[begin:end])
            faults.send(handler)

        def parts(change=lambda ranges: ranges, boundary="boundary", **more):
            def fault(handler, ranges):
                handler.answer = (206, [("Content-Type", f"multipart/byteranges; boundary={boundary}")], faults.several(after.data, change(ranges), **more))
                faults.send(handler)
            return fault

        def all_of_it(handler, _):
            handler.answer = (200, [], after.data)
            faults.send(handler)
        for what, fault in (("all of it", all_of_it), ("the first alone", first), ("a refusal", lambda handler, _: faults.status(416)(handler)), ("too long a header", lambda handler, _: faults.status(431)(handler)),
                            ("another order", parts(lambda ranges: ranges[::-1])), ("fewer, and an end", parts(lambda ranges: ranges[:1])), ("others", parts(lambda ranges: [(begin + 1, end + 1) for begin, end in ranges])),
                            ("of something larger", parts(size=1 << 30)), ("another boundary", parts(boundary="other")), ("no boundary", parts(boundary=""))):
            with self.subTest(what):
                front = self.front()
                asked = []

                def answer(handler, fault=fault, asked=asked):
                    ranges = faults.ranges_asked(handler)
                    asked.append(ranges)
                    (fault(handler, ranges) if len(ranges) > 1 else faults.send(handler))
                front.fault = (after.digest, answer, None)
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                details = self.pull("after", front.address)
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], whole))
                # It is asked for several once; the gaps between the files are too large to be fetched as well.
                self.assertEqual(len([ranges for ranges in asked if len(ranges) > 1]), 1)
                self.assertGreater(len(asked), len(changed) / 2)
                front.stop()

    def test_an_answer_with_many_parts_that_breaks_is_continued(self):
        after = chunked_layer.layer(entries(*range(0, FILES, 5)))
        self.push("after", after)
        self.pull("before")
        whole = self.whole("after")
        front, asked = self.front(), []

        def cut(handler):
            ranges = faults.ranges_asked(handler)
            asked.append(ranges)
            if len(asked) != 2:
                return faults.send(handler)
            _, headers, data = handler.answer
            faults.head(handler, 206, headers, len(data))
            handler.wfile.write(data[:len(data) // 2])
            handler.close_connection = True
        front.fault = (after.digest, cut, None)
        details = self.pull("after", front.address)
        self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], whole))
        # What had come is not asked for again.
        self.assertEqual(len(asked), 3)
        self.assertLess(sum(end - begin for begin, end in asked[2]), sum(end - begin for begin, end in asked[1]) * 0.6)
        self.assertEqual(asked[2][-1], asked[1][-1])

    def three_layers(self, *changed):
        return [chunked_layer.layer([dataclasses.replace(entry, path=f"l{number}/{entry.path}") for entry in entries(*changed)]) for number in range(3)]

    def away(self, seconds, how, **settings):
        """An update of three layers from a registry that is away for SECONDS when some parts of the first have come."""
        self.push("three", *self.three_layers())
        after = self.three_layers(*range(0, FILES, 5))
        self.push("three-after", *after)
        self.pull("three")
        front, asked, since = self.front(), [], len(self.registry.answers())

        def answer(handler):
            asked.append(time.monotonic())
            (how if len(asked) > 1 and time.monotonic() < asked[1] + seconds else faults.send)(handler)
        front.fault = ("|".join(layer.digest for layer in after), answer, None)
        details = self.pull("three-after", front.address, **{"layers-at-once": 1, **settings})
        self.assertGreater(asked[-1] - asked[1], seconds)
        self.assertEqual(details["merge-commit"], self.whole("three-after"))
        return details, after

    def test_parts_of_a_registry_that_is_away_are_waited_for(self):
        for what, how in (("resets", faults.cut_off), ("502", faults.status(502)), ("429", faults.status(429))):
            with self.subTest(what):
                self.make_repository()
                details, after = self.away(3.5, how, **{"stall-milliseconds": 10000})
                self.assertEqual((details["layers-partial"], details["fetched-whole"]), (3, []))
                self.assertLess(details["bytes-fetched"], sum(len(layer.data) for layer in after) / 2)

    def test_a_busy_registry_is_asked_for_parts_again_when_it_says(self):
        changed = tuple(range(0, FILES, 5))
        after = chunked_layer.layer(entries(*changed))
        self.push("after", after)
        self.pull("before")
        stored, whole = self.repository, self.whole("after")
        for what, several, when in (("seconds", False, lambda left: str(math.ceil(left))), ("a date", False, lambda left: email.utils.formatdate(math.ceil(time.time() + left), usegmt=True)),
                                    ("many parts, seconds", True, lambda left: str(math.ceil(left)))):
            with self.subTest(what):
                front, lock = self.front(), threading.Lock()
                asked, refused, until = [], [], [0]

                def answer(handler, several=several, when=when, lock=lock, asked=asked, refused=refused, until=until):
                    ranges, now = faults.ranges_asked(handler), time.monotonic()
                    with lock:
                        asked.append((ranges, now))
                        if len(asked) == 2 if several else len(asked) in (8, 20):
                            until[0] = now + 2.5
                        if now < until[0]:
                            refused.append((ranges, now, until[0]))
                    if now < until[0]:
                        return faults.status(429, Retry_After=when(until[0] - now))(handler)
                    if len(ranges) > 1 and not several:
                        (begin, end), *_ = ranges
                        handler.answer = (206, [("Content-Range", f"bytes {begin}-{end - 1}/{len(after.data)}")], after.data[begin:end])
                    return faults.send(handler)
                front.fault = (after.digest, answer, None)
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                details = self.pull("after", front.address, **{"stall-milliseconds": 20000})
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], whole))
                print(f"    {what}: {len(refused)} of {len(asked)} requests refused")
                self.assertGreaterEqual(len(refused), 1 if several else 2)
                # Those that are on their way, each once.
                self.assertLessEqual(len(refused), 2 * 6)
                for ranges, now, end in refused:
                    again = [time for wanted, time in asked if wanted == ranges and time > now]
                    self.assertGreater(min(again), end)
                self.assertLess(details["bytes-fetched"], 0.5 * len(after.data))
                front.stop()

    def test_a_registry_that_is_busy_for_long_is_not_asked_for_whole_layers(self):
        """The pull says when to come back, or comes back then if that is soon; skopeo, which would be refused as well, is not asked."""
        before, after = self.three_layers(), self.three_layers(*range(0, FILES, 5))
        self.push("busy", *before)
        self.push("busy-after", *after)
        self.pull("busy")
        stored, whole = self.repository, self.whole("busy-after")
        for what, count, header, settings, error in (("once", 1, {"Retry_After": "4"}, {}, "asks to come back in 4 seconds"), ("once, and again when it says", 1, {"Retry_After": "4"}, {"retries": 1}, None),
                                                     ("always", 1000, {"Retry_After": "3600"}, {"retries": 2}, "asks to come back in 3600 seconds"), ("always, without a time", 1000, {}, {}, "is busy (status 429)")):
            with self.subTest(what):
                front, asked, begun = self.front(), [], time.monotonic()

                def answer(handler, count=count, header=header, asked=asked):
                    asked.append((time.monotonic(), handler.headers.get("User-Agent", ""), handler.headers.get("Range")))
                    (faults.status(429, **header) if 2 <= len(asked) <= count + 1 else faults.send)(handler)
                front.fault = ("|".join(layer.digest for layer in after), answer, None)
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                result = self.run_pull("busy-after", front.address, **{"layers-at-once": 1, **settings})
                self.assertEqual([request for request in asked if not request[1].startswith(OWN) or request[2] is None], [])
                if error:
                    self.assertEqual(result["error-name"], "SourceUnreachable", result)
                    self.assertIn(error, result["message"])
                    self.assertLess(time.monotonic() - begun, 15)
                    front.fault = None
                    details = self.pull("busy-after", front.address)
                else:
                    self.assertEqual(result["outcome"], "success", result)
                    self.assertGreaterEqual(asked[2][0] - asked[1][0], 4)
                    details = result["details"]
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (3, [], whole))
                front.stop()

    @unittest.skipUnless(os.getuid() == 0, "writes to /etc/containers/certs.d")
    def test_why_there_are_no_parts_names_what_is_wrong_here(self):
        after = chunked_layer.layer(entries(4))
        self.push("after", after)
        certificates = self.directory / "certificates"
        certificates.mkdir()
        registry.make_certificates(certificates)
        proxy, front = faults.FaultyRegistry(self.registry.address, certificates), self.front()
        self.addCleanup(proxy.stop)
        place = pathlib.Path("/etc/containers/certs.d", front.address)
        place.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, place)
        (place / "gone.crt").symlink_to("nowhere")
        for address, environment, told in ((front.address, {}, f"{place}/gone.crt cannot be opened"),
                                           ("registry.test:5000", {"HTTP_PROXY": f"https://user:hidden@{proxy.address}"}, "the certificate of the proxy 127.0.0.1 for registry.test: ")):
            with self.subTest(told):
                self.make_repository()
                self.pull("before")
                self.service.environment.update(environment)
                details = self.pull("after", address)
                self.assertEqual(details["layers-partial"], 0)
                self.assertEqual(len(details["fetched-whole"]), 1)
                self.assertIn(told, details["fetched-whole"][0])
                self.assertNotIn("hidden", str(details))

    def test_the_next_attempt_fetches_parts_too(self):
        details, after = self.away(3, faults.cut_off, **{"stall-milliseconds": 4000, "retries": 1})
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (3, []))

    def test_of_many_files_of_one_size_those_with_the_content_are_found(self):
        def files(directory, *changed):
            return [Entry(f"{directory}/file{number}", content=random_bytes(f"{number} {number in changed}", 4096)) for number in range(1000)]
        self.push("many", chunked_layer.layer(files("usr/a")))
        after = chunked_layer.layer(files("usr/b", *range(0, 1000, 100)))
        self.push("many-moved", after)
        self.pull("many")
        self.assert_reused("many-moved", after, 10 * 3 * 4200)

    def test_where_nearly_all_has_changed_all_of_it_is_fetched_once(self):
        """Its tables, which show that, are not fetched again, and it is a layer that other programs use."""
        after, details, since = self.update(tuple(range(140)))
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, [f"layer {after.digest}: little of it would be saved"]))
        self.assertEqual((details["bytes-fetched"], details["bytes-reused"]), (len(after.data), 0))
        self.assert_counted(self.wire_bytes(after, since), 2 * len(after.data))  # and a full pull
        self.assertNotEqual(self.resolve("ostree/container/blob/" + after.digest.replace(":", "_3A_")), "")

    def test_a_tenth_is_saved(self):
        after, details, _ = self.update(tuple(range(20, 150)))
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
        self.assertLess(details["bytes-fetched"], 0.91 * len(after.data))

    def test_a_layer_of_another_compression_is_fetched_as_ever(self):
        self.pull("before")
        self.push("gzip", oci_layout.layer(entries(3)))
        details = self.pull("gzip")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, []))

    def test_progress_says_what_is_fetched(self):
        self.push("after", chunked_layer.layer(entries(3, 80)))
        self.pull("before")
        run = self.start_pull("after").finish()
        progress = [message for message in run.messages if "bytes-total" in message]
        fetched = run.result["details"]["bytes-fetched"]
        self.assertEqual((progress[-1]["bytes-done"], progress[-1]["bytes-total"]), (fetched, fetched))
        fractions = [message["fraction"] for message in progress]
        self.assertEqual(fractions, sorted(fractions))
        layers = [message for message in run.messages if message.get("state") == "done"]
        self.assertEqual([layer["total"] for layer in layers], [fetched])

    def test_progress_of_a_layer_whose_parts_are_of_no_use_ends_with_what_was_fetched(self):
        def break_it(parts):
            parts["split"].pop()
        self.push("after", chunked_layer.layer(entries(3, 80), break_it))
        self.pull("before")
        run = self.start_pull("after").finish()
        progress = [message for message in run.messages if "bytes-total" in message]
        fetched = run.result["details"]["bytes-fetched"]
        self.assertEqual(len(run.result["details"]["fetched-whole"]), 1)
        self.assertEqual((progress[-1]["bytes-done"], progress[-1]["bytes-total"]), (fetched, fetched))
        fractions = [message["fraction"] for message in progress]
        self.assertEqual(fractions, sorted(fractions))


class Partial(Updates):
    """What depends on how the repository keeps objects as well."""

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
        self.assert_counted(self.wire_bytes(after, since), wire + len(after.data))

    def test_what_imaged_exports_is_fetched_in_part(self):
        conf = self.directory / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{self.registry.address}"\ninsecure = true\n')
        blobs = {}
        for tag, changed in (("plain", ()), ("plain2", (5, 50, 149))):
            self.push(tag, oci_layout.layer(entries(*changed)))
            self.pull(tag)
            destination = f"docker://{self.registry.address}/test/image:exported-{tag}"
            result = worker.Run("docker://stored/image:t", self.repository, kind="export", arguments={"destination": destination, "compression": "zstd:chunked"},
                                env={"CONTAINERS_REGISTRIES_CONF": str(conf), "CONTAINERS_POLICY": str(self.policy)}).finish().result
            self.assertEqual(result["outcome"], "success", result)
            blobs[tag] = result["details"]["bytes-written"]
        expected = self.whole("exported-plain2")
        self.make_repository()
        self.pull("exported-plain")
        since = len(self.registry.answers())
        details = self.pull("exported-plain2")
        self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], expected))
        wire = sum(size for path, _, size, agent in self.registry.answers()[since:] if "/blobs/" in path and agent.startswith(OWN))
        self.assert_counted(wire, details["bytes-fetched"])
        # Three files of 28 KiB that do not compress, and the tables.
        self.assertLess(wire, 3 * 30 * 1024 + 16 * 1024)
        encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_files_that_moved_or_have_another_owner_are_not_fetched(self):
        moved = [dataclasses.replace(entry, path=entry.path.replace("usr/bin/", "usr/lib/new/"), uid=7, mode=0o750) if entry.path.startswith("usr/bin/") else entry for entry in entries()]
        after = chunked_layer.layer(moved)
        self.push("moved", after)
        self.pull("before")
        self.assert_reused("moved", after, 8192)

    def test_files_of_other_images_are_not_fetched(self):
        """Whatever the compression that they came in, and whether or not there is a version of the image."""
        self.push("other", oci_layout.layer(entries()))
        after = chunked_layer.layer([dataclasses.replace(entry, path="srv/" + entry.path) for entry in entries(1)])
        self.push("shared", after)
        self.pull("other", target="docker://another/image:x")
        self.assert_reused("shared", after, 40 * 1024)

    def assert_not_named(self, tag, change, sizes=(32768,)):
        """The pull of TAG finds that some of its objects, which CHANGE has changed, are damaged, and gives them to no image. When they are right again, it does as ever."""
        victims = [path for path in sorted(self.repository.glob("objects/*/*.file")) if path.stat().st_size in sizes][:5]
        contents = [path.read_bytes() for path in victims]
        for path, content in zip(victims, contents):
            path.write_bytes(change(content))
        before = self.resolve("ostree/container/image/docker_3A__2F__2F_stored/image_3A_t")
        result = self.run_pull(tag)
        self.assertEqual(result.get("error-name"), "RepositoryDamaged", result)
        self.assertTrue([path for path in victims if path.parent.name + path.stem in result["message"]], result["message"])
        self.assertEqual(self.resolve("ostree/container/image/docker_3A__2F__2F_stored/image_3A_t"), before)
        for path, content in zip(victims, contents):
            path.write_bytes(content)
        details = self.pull(tag)
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
        encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_a_damaged_file_is_not_named(self):
        self.push("after", chunked_layer.layer(entries(9)))
        self.push("moved", chunked_layer.layer([dataclasses.replace(entry, path="srv/" + entry.path) for entry in entries()]))
        for tag in ("after", "moved"):
            for what, change in (("other bytes", lambda content: bytes(len(content))), ("fewer", lambda content: content[:-1]), ("more", lambda content: content + b"x")):
                if tag == "moved" and what != "other bytes":
                    continue  # those of another size are not looked at
                with self.subTest(f"{tag}, {what}"):
                    self.make_repository()
                    self.pull("before")
                    self.assert_not_named(tag, change)

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

    def test_files_with_runs_of_zeros(self):
        """The table has a row for each run and each part between. A reader who does not know of them gets the file all the same: they decide at most how much is fetched."""
        zeros, some = bytes, random_bytes

        def files(number):
            parts = {"leading": zeros(5000) + some(number, 3000), "trailing": some(number, 3000) + zeros(5000), "all": zeros(3_000_000), "shortest": some(number, 9) + zeros(1024) + some(1, 9),
                     "too short": zeros(1023) + some(1, 9), "many": (some(number, 50) + zeros(2000)) * 200, "large": some(1, 100_000) + zeros(4_000_000 + number) + some(1, 100_000)}
            return [*entries(number), *(Entry("opt/" + name, content=content) for name, content in parts.items())]

        def rows(change):
            def changed(parts):
                of_chunks = [row for row in parts["table"]["entries"] if "chunkSize" in row]
                assert len(of_chunks) > 400
                change(parts["table"]["entries"], of_chunks)
            return changed
        hostile = {
            "as skopeo has them": lambda _, chunks: None, "none": lambda all_rows, _: all_rows.__setitem__(slice(None), [row for row in all_rows if row["type"] != "chunk"]),
            "overlapping": lambda _, chunks: [row.update(chunkOffset=0) for row in chunks], "gaps": lambda _, chunks: [row.update(chunkOffset=row.get("chunkOffset", 0) * 2) for row in chunks],
            "too short": lambda _, chunks: [row.update(chunkSize=1) for row in chunks], "longer than the file": lambda _, chunks: [row.update(chunkSize=1 << 62) for row in chunks],
            "all zeros": lambda _, chunks: [row.update(chunkType="zeros") for row in chunks], "no zeros": lambda _, chunks: [row.pop("chunkType", None) for row in chunks],
            "elsewhere": lambda _, chunks: [row.update(offset=1 << 40) for row in chunks if row["type"] == "chunk"], "other digests": lambda _, chunks: [row.update(chunkDigest="sha256:" + "0" * 64) for row in chunks],
            "nonsense": lambda _, chunks: [row.update(chunkSize=-1, chunkOffset="x", chunkType=[{}], chunkDigest=None) for row in chunks]}
        self.push("zeros", chunked_layer.layer(files(1)))
        self.pull("zeros")
        stored = self.repository
        for name, change in hostile.items():
            with self.subTest(name):
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                after = chunked_layer.layer(files(2), rows(change))
                self.push("after", after)
                details = self.pull("after")
                self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], self.whole("after")))
                self.assertLess(details["bytes-fetched"], 0.2 * len(after.data))
                encapsulation.ostree(self.repository, "fsck", "--quiet")

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

    def test_other_programs_are_not_told_what_a_blob_holds_that_was_not_read(self):
        after, details, _ = self.update((7,))
        self.assertEqual(details["layers-partial"], 1)
        name = after.digest.replace(":", "_3A_")
        self.assertNotEqual(self.resolve("imaged/derived/" + name), "")
        self.assertEqual(self.resolve("ostree/container/blob/" + name), "")
        # That is no damage, and the ref goes with the image.
        self.assertEqual(self.states(), [("ok", None)])
        verified = worker.pull("", self.repository, kind="verify").result["details"]
        self.assertEqual((verified["sound"], verified["unverified"]), (True, []), verified)
        self.assertEqual(self.pull("after")["layers-fetched"], 0)
        # Nor where the record is there and the ref is not, as after a kill between the two.
        (self.repository / "refs/heads/imaged/derived" / name).unlink()
        self.assertEqual(self.pull("after")["layers-fetched"], 0)
        self.assertNotEqual(self.resolve("imaged/derived/" + name), "")
        self.assertEqual(self.resolve("ostree/container/blob/" + name), "")
        # Nor in a repository that the image is copied to.
        other = ostree_repository.init(self.directory / f"copied{self.number}", self.mode)
        copied = worker.pull("docker://stored/image:t", self.repository, kind="copy", arguments={"repository": str(other)})
        self.assertEqual(copied.result["outcome"], "success", copied.result)
        self.assertEqual((other / "refs/heads/imaged/derived" / name).exists(), True)
        self.assertEqual((other / "refs/heads/ostree/container/blob" / name).exists(), False)
        self.pull("before")
        self.assertEqual(self.resolve("imaged/derived/" + name), "")


class BarePartial(Partial):
    mode = "bare"

    @unittest.skipUnless(os.getuid() == 0, "owners")
    def setUp(self):
        super().setUp()


class Shared(Case):
    """Large files whose content an object has with another owner, mode or attributes: the new object shares its blocks where the file system can."""
    # A hole at the end, one in the middle, and the same content twice.
    LARGE = {"large": random_bytes("large", 3 << 20), "odd": random_bytes("odd", 300_001), "end": random_bytes("end", 200_000) + bytes(1 << 20), "middle": random_bytes("m", 200_000) + bytes(1 << 20) + b"x",
             "twin1": random_bytes("twin", 1 << 20), "twin2": random_bytes("twin", 1 << 20)}
    CONTENTS = len(set(LARGE.values()))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.push("large", chunked_layer.layer(cls.files()))
        cls.push("more", chunked_layer.layer([*cls.files(), Entry("usr/new", content=random_bytes("new", 100_000))]))
        cls.others = {"owner": {"uid": 7}, "mode": {"mode": 0o4751}, "attributes": {"xattrs": {"user.note": b"x"}}}
        for what, change in cls.others.items():
            cls.push(what, chunked_layer.layer(cls.files(**change)))

    @classmethod
    def files(cls, **change):
        return [directory("usr"), Entry("usr/small", content=random_bytes("small", 100_000), **change), Entry("usr/empty", **change), *(Entry(f"usr/{name}", content=content, **change) for name, content in cls.LARGE.items())]

    def on_disk(self, *options):
        """Has the repository on a file system of its own."""
        scratch = self.enterContext(tempfile.TemporaryDirectory(dir="/var/tmp"))
        self.make_repository(self.enterContext(loop_mount(pathlib.Path(scratch), *options)))

    def objects(self):
        """The places on the disk of the objects with each large content."""
        found = collections.defaultdict(list)
        for path in self.repository.glob("objects/*/*.file"):
            if path.stat().st_size > 128 * 1024:
                found[path.read_bytes()].append(extents(path))
        self.assertEqual(set(found), set(self.LARGE.values()))
        return found.values()

    def assert_shared(self, tag, **settings):
        details = self.pull(tag, **settings)
        self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], self.whole(tag)))
        self.assertEqual(details["objects-reflinked"], self.CONTENTS)
        self.assertLess(details["bytes-written"], 128 * 1024)
        for objects in self.objects():
            self.assertGreater(len(objects), 1)
            self.assertEqual([one for one in objects if one != objects[0]], [])
            self.assertEqual({shared for *_, shared in objects[0]}, {True})
        encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_the_blocks_are_shared(self):
        self.on_disk("-m", "reflink=1")
        self.pull("large")
        for tag in self.others:
            with self.subTest(tag):
                self.assert_shared(tag, confined=os.getuid() == 0 and tag == "mode")

    def test_a_file_system_that_cannot(self):
        self.on_disk("-m", "reflink=0")
        self.pull("large")
        details = self.pull("owner")
        self.assertEqual((details["layers-partial"], details["objects-reflinked"], details["merge-commit"]), (1, 0, self.whole("owner")))
        self.assertGreater(details["bytes-written"], 3 << 20)
        encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_what_cannot_be_shared_is_written(self):
        """The file system is asked once, unless it is full; what it gives is looked at. If a stored file changes after it was read, the layer is fetched."""
        self.on_disk("-m", "reflink=1")
        self.pull("large")
        stored = self.repository
        for what, errno, shared in (("not supported", 95, 0), ("full", 28, self.CONTENTS - 1)):
            with self.subTest(what):
                self.repository = stored.with_name(f"repo-{errno}")
                subprocess.run(["cp", "-aT", "--reflink=always", stored, self.repository], check=True)
                details = self.pull("owner", env={"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "ficlone", "FAULT_PATH": str(self.repository), "FAULT_ERRNO": str(errno), "FAULT_TIMES": "1"})
                self.assertEqual((details["layers-partial"], details["objects-reflinked"], details["merge-commit"]), (1, shared, self.whole("owner")))
                encapsulation.ostree(self.repository, "fsck", "--quiet")
        for what, change in (("other bytes", "printf x | dd of={} conv=notrunc status=none"), ("fewer", "truncate -s 1000 {}"), ("more", "printf x >>{}")):
            with self.subTest(what):
                self.repository = stored.with_name("repo-" + what.replace(" ", "-"))
                subprocess.run(["cp", "-aT", "--reflink=always", stored, self.repository], check=True)
                before = {path: path.read_bytes() for path in self.repository.glob("objects/*/*.file")}
                victim = next(path for path, content in before.items() if content == self.LARGE["large"])
                run = change.format(victim)
                details = self.pull("owner", env={"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "ficlone", "FAULT_PATH": str(self.repository), "FAULT_ERRNO": "0", "FAULT_RUN": run})
                self.assertTrue(victim.read_bytes() != before[victim])
                if what == "more":
                    self.assertEqual((details["layers-partial"], details["fetched-whole"], details["objects-reflinked"]), (1, [], self.CONTENTS - 1))
                else:
                    self.assertEqual((details["layers-partial"], details["objects-reflinked"]), (0, 0))
                    self.assertRegex(" ".join(details["fetched-whole"]), "^layer .*usr/large.*a file of the repository changed while it was copied$")
                self.assertEqual(details["merge-commit"], self.whole("owner"))
                victim.write_bytes(before[victim])
                encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_large_files_that_stay_are_not_written(self):
        self.pull("large")
        details = self.pull("more", env={"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "create", "FAULT_PATH": str(self.repository), "FAULT_NAME": "large-", "FAULT_ERRNO": "28"})
        self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], self.whole("more")))
        encapsulation.ostree(self.repository, "fsck", "--quiet")

    def test_a_file_that_is_damaged_after_it_was_found(self):
        """It is read again as a part of the layer, whose diff-id is then wrong: the layer is fetched, the files that stay are checked."""
        self.pull("large")
        image = "ostree/container/image/docker_3A__2F__2F_stored/image_3A_t"
        stored = self.resolve(image)
        objects = {path.read_bytes(): path for path in self.repository.glob("objects/*/*.file")}
        for name in ("large", "small"):
            content = self.LARGE.get(name) or random_bytes("small", 100_000)
            victim = objects[content]
            with self.subTest(name):
                damage = f"printf x | dd of={victim} conv=notrunc status=none"
                settings = {"LD_PRELOAD": FAULT_LAYER, "FAULT_CALL": "openat", "FAULT_PATH": str(self.repository), "FAULT_NAME": victim.name, "FAULT_AFTER": "1", "FAULT_ERRNO": "0", "FAULT_RUN": damage}
                result = self.run_pull("more", env=settings)
                self.assertNotEqual(victim.read_bytes(), content)
                self.assertEqual((result["outcome"], result["error-name"]), ("failed", "RepositoryDamaged"), result)
                self.assertIn(victim.parent.name + victim.stem, result["message"])
                self.assertEqual(self.resolve(image), stored)
                victim.write_bytes(content)
        details = self.pull("more")
        self.assertNotEqual(details["merge-commit"], stored)
        self.assertEqual((details["layers-partial"], details["merge-commit"]), (1, self.whole("more")))
        encapsulation.ostree(self.repository, "fsck", "--quiet")


class BareShared(Shared):
    mode = "bare"

    @unittest.skipUnless(os.getuid() == 0, "owners")
    def setUp(self):
        super().setUp()


@unittest.skipUnless(os.getuid() == 0, "owners")


class Reported(Case):
    """What is fetched, and why not less."""

    def test_prepare_says_what_is_fetched(self):
        small = chunked_layer.layer([Entry("srv/x", content=random_bytes("x", 9000))])
        moved = [dataclasses.replace(entry, path="srv/" + entry.path) for entry in entries(1)]
        cases = {"some": [chunked_layer.layer(entries(3, 80))], "nearly all": [chunked_layer.layer(entries(*range(140)))], "several": [chunked_layer.layer(entries(5)), small, chunked_layer.layer(moved)],
                 "plain": [oci_layout.layer(entries(7))], "no split": [chunked_layer.layer(entries(8), lambda parts: parts["annotations"].update({chunked_layer.PREFIX + "tarsplit-position": None}))],
                 "a table that lies": [chunked_layer.layer(entries(9), lambda parts: parts["table"]["entries"][4].update(endOffset=1 << 40))]}
        self.pull("before")
        stored = self.repository
        for name, layers in cases.items():
            with self.subTest(name):
                tag = name.replace(" ", "-")
                self.push(tag, *layers)
                self.repository = stored
                before = sorted(str(path) for path in stored.rglob("*"))
                told = self.prepared(tag)["bytes-to-fetch"]
                self.assertEqual(sorted(str(path) for path in stored.rglob("*")), before)
                self.make_repository()
                subprocess.run(["cp", "-aT", stored, self.repository], check=True)
                fetched = self.pull(tag)["bytes-fetched"]
                tables = sum(layer.parts["tables"] - len(chunked_layer.skippable(b"")) for layer in layers if name == "a table that lies")
                self.assertEqual(told + tables, fetched)
        # A registry that gives no parts, and into an empty repository.
        self.repository = stored
        layer, = cases["some"]
        front = self.front()
        front.fault = (layer.digest, lambda handler: (faults.status(416) if handler.headers.get("Range") else faults.send)(handler), None)
        self.assertEqual(self.prepared("some", front.address)["bytes-to-fetch"], len(layer.data))
        self.make_repository()
        since = len(self.registry.answers())
        self.assertEqual(self.prepared("some")["bytes-to-fetch"], len(layer.data))
        self.assertEqual(self.wire_bytes(layer, since), 0)

    def test_prepare_says_what_is_fetched_for_the_name_that_it_is_given(self):
        """Small files and chunks are looked for at their paths in the version that is stored under that name."""
        def image(*changed):
            large = random_bytes("large", 3 << 20)
            small = [Entry(f"usr/small{number}", content=random_bytes(f"small{number}" + "changed" * (number in changed), 900)) for number in range(400)]
            return chunked_layer.layer([*small, Entry("usr/large", content=(b"changed" if changed else b"") + large)])
        self.push("stored", image())
        self.push("after", image(3, 4))
        own = f"docker://{self.registry.address}/test/image:after"
        self.pull("stored")
        stored = self.repository
        told = {}
        for target in ("docker://stored/image:t", ""):
            self.repository = stored
            told[target] = self.prepared("after", target=target)["bytes-to-fetch"]
            self.make_repository()
            subprocess.run(["cp", "-aT", stored, self.repository], check=True)
            # Without a target it is stored under its own name, which has no version yet.
            self.assertEqual(self.pull("after", target=target)["bytes-fetched"], told[target], target)
        self.assertLess(told["docker://stored/image:t"], told[""] / 2)
        # An image that is stored under its own name.
        self.make_repository()
        self.pull("stored", target=own)
        told = self.prepared("after")["bytes-to-fetch"]
        self.assertEqual(self.pull("after", target="")["bytes-fetched"], told)

    def test_nearly_all_of_a_blob_that_is_another_is_not_taken(self):
        """What is put together of the parts of a layer and its tables has to have the digest of its blob."""
        self.push("after", after := chunked_layer.layer(entries(*range(140))))
        self.pull("before")
        whole, front = self.whole("after"), self.front()
        spoilt = dataclasses.replace(after, data=after.data[:-40] + bytes([after.data[-40] ^ 1]) + after.data[-39:])  # in the footer, which no reader needs

        def other(handler):
            (begin, _), *_ = faults.ranges_asked(handler) or [(None, None)]
            (other_blob(handler, spoilt) if begin is not None and begin != after.parts["table_offset"] else faults.send(handler))
        front.fault = (after.digest, other, None)
        details = self.pull("after", front.address)
        self.assertEqual((details["layers-partial"], len(details["fetched-whole"]), details["merge-commit"]), (0, 2, whole))
        self.assertRegex(details["fetched-whole"][1], "digest")

    def test_layers_that_are_fetched_as_a_whole_all_alike_are_counted(self):
        small = [chunked_layer.layer([Entry(f"srv/{number}", content=random_bytes(number, 9000))]) for number in range(3)]
        self.push("small", *small, self.before)
        self.pull("before", target="docker://another/image:x")
        details = self.pull("small")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, ["3 layers: smaller than 1 MiB"]))

    def test_a_table_that_lies_of_contents_makes_no_damage(self):
        """A file is fetched that is here; what is here is looked at, and stays."""
        def lie(parts):
            for row in parts["table"]["entries"][:20]:
                row["digest"] = "sha256:" + "0" * 64
        self.push("after", chunked_layer.layer(entries(9), lie))
        self.pull("before")
        details = self.pull("after")
        self.assertEqual((details["layers-partial"], details["fetched-whole"], details["merge-commit"]), (1, [], self.whole("after")))
        self.assertGreater(details["bytes-fetched"], 20 * 28 * 1024)


if __name__ == "__main__":
    if os.getuid() == 0:
        run_options.main(__doc__)
    unittest.main(verbosity=2)
