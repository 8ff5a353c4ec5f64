#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""zstd:chunked layers of a registry: only what changed is fetched, the tree is that of a full pull, and what lies is fetched as a whole or refused."""
import base64
import collections
import dataclasses
import email.utils
import json
import math
import os
import pathlib
import random as randomness
import re
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from gi.repository import GLib

import bus_fixture
import chunked_layer
import encapsulation
import faulty_registry as faults
import oci_layout
import ostree_repository
import real_daemon
import registry
import run_options
import sanitizers
import skopeo_service
import worker
from killed import FAULT_LAYER
from loop_mount import extents, loop_mount
from oci_layout import Entry, directory
from run_options import OPTIONS

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
    return randomness.Random(seed).randbytes(count)


def other_blob(handler, layer):
    """Answers with parts of LAYER whatever blob is asked for."""
    ranges = faults.ranges_asked(handler) or [(0, len(layer.data))]
    if len(ranges) > 1:
        size = int(re.search(rb"Content-Range: bytes [0-9-]+/([0-9]+)", handler.answer[2]).group(1))
        handler.answer = (206, [("Content-Type", "multipart/byteranges; boundary=boundary")], faults.several(layer.data, ranges, size=size))
    else:
        handler.answer = (206, [("Content-Range", f"bytes {ranges[0][0]}-{ranges[0][1] - 1}/*")], layer.data[slice(*ranges[0])])
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
        cls.number, cls.commits = 0, {}
        cls.before = chunked_layer.layer(entries())
        cls.push("before", cls.before)

    @classmethod
    def push(cls, tag, *layers):
        cls.layout.image(tag, list(layers))
        return cls.registry.push(cls.layout.reference(tag), f"test/image:{tag}")

    def setUp(self):
        self.service = skopeo_service.as_unit(self)
        self.make_repository()

    def make_repository(self, place=None):
        type(self).number += 1
        self.repository = (place or self.directory) / f"repo{self.number}"
        ostree_repository.init(self.repository, self.mode)

    def start_pull(self, tag, address=None, target="docker://stored/image:t", kind="pull", env=None, **settings):
        address = address or self.registry.address
        conf = self.directory / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        return worker.Run(f"docker://{address}/test/image:{tag}", self.repository, target=target, kind=kind,
                          settings={"skopeo-service": self.service.path, "stall-milliseconds": 5000, **settings},
                          env={"CONTAINERS_REGISTRIES_CONF": str(conf), "CONTAINERS_POLICY": str(self.policy), **(env or {})})

    def run_pull(self, *arguments, **options):
        return self.start_pull(*arguments, **options).finish().result

    def assert_lies_give_no_rights(self):
        """What was stored early of "lies", whose diff-id is wrong, has no setuid or setgid file; "honest" has two."""
        result = self.run_pull("lies")
        self.assertEqual(result["error-name"], "DigestMismatch", result)
        objects = [path.stat() for path in self.repository.glob("objects/*/*.file")]
        self.assertGreater(sum(status.st_size for status in objects), 40 << 20)
        self.assertEqual([status for status in objects if status.st_mode & 0o6000], [])
        self.pull("honest")
        self.assertEqual(len([path for path in self.repository.glob("objects/*/*.file") if path.stat().st_mode & 0o6000]), 2)

    def pull(self, tag, address=None, **settings):
        result = self.run_pull(tag, address, **settings)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def whole(self, tag):
        """The merge commit that a full pull gives; of an image of the layout once."""
        known = [entry["digest"] for entry in self.layout.manifests if entry["annotations"]["org.opencontainers.image.ref.name"] == tag]
        if not known:
            return self.pulled_whole(tag)
        if known[0] not in self.commits:
            self.commits[known[0]] = self.pulled_whole(tag)
        return self.commits[known[0]]

    def pulled_whole(self, tag):
        repository, self.repository = self.repository, None
        self.make_repository()
        details = self.pull(tag)
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (0, []))
        self.repository = repository
        return details["merge-commit"]

    def resolve(self, ref):
        """What REF names; empty if there is none."""
        place = self.repository / "refs/heads" / ref
        return place.read_text().strip() if place.exists() else ""

    def states(self):
        """What a list says of the images: state and error."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
            daemon = real_daemon.Daemon(scratch, self.repository)
            try:
                client = daemon.client()
                listed, = client.call(bus_fixture.MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))
                client.close()
            finally:
                daemon.stop()
        return [(image.get("state"), image.get("error")) for image in listed]

    def wire_bytes(self, layer, since=0):
        """What the registry says it sent of LAYER to the reader."""
        return sum(size for path, status, size, agent in self.registry.answers()[since:] if path.endswith(layer.digest) and agent.startswith(OWN))

    def assert_counted(self, wire, told):
        """WIRE has what is between the parts of an answer, too."""
        self.assertLessEqual(told, wire)
        self.assertLess(wire, told + 4096)

    def assert_reused(self, tag, layer, most):
        """Pulls TAG, of LAYER, and sees that at most MOST bytes beside the tables were fetched, by the registry's count."""
        since = len(self.registry.answers())
        details = self.pull(tag)
        wire = self.wire_bytes(layer, since)
        print(f"    {wire} bytes of {len(layer.data)}, {layer.parts['tables']} of them table and tar-split")
        self.assertEqual((details["layers-partial"], details["fetched-whole"]), (1, []))
        self.assert_counted(wire, details["bytes-fetched"])
        self.assertLess(wire, layer.parts["tables"] + most)
        self.assertEqual(details["merge-commit"], self.whole(tag))
        encapsulation.ostree(self.repository, "fsck", "--quiet")
        return details

    def prepared(self, tag, address=None, kind="prepare", target="", **options):
        result = self.run_pull(tag, address, kind=kind, target=target, **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def kill_pull(self, tag, share, **settings):
        """Kills a pull of TAG when it has fetched SHARE of the bytes. Returns how many it had, and how many there are."""
        run = self.start_pull(tag, **settings)
        while (message := run.next_message()) is not None:
            if message.get("bytes-total") and message["bytes-done"] > share * message["bytes-total"]:
                break
        os.killpg(run.process.pid, 9)
        run.process.wait()
        run.lines.close()
        run.channel.close()
        return message["bytes-done"], message["bytes-total"]

    def front(self):
        front = faults.FaultyRegistry(self.registry.address)
        self.addCleanup(front.stop)
        return front


class Updates(Case):
    def update(self, changed, **settings):
        after = chunked_layer.layer(entries(*changed))
        self.push("after", after)
        self.pull("before", **settings)
        since = len(self.registry.answers())
        details = self.pull("after", **settings)
        self.assertEqual(details["merge-commit"], self.whole("after"))
        return after, details, since


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
class CommitImages(Case):
    def commit(self, files):
        """A commit of FILES, and its entries in a layer."""
        tree = self.directory / f"tree{self.number}"
        for entry in files:
            if entry.kind == "file":
                path = tree / entry.path.replace("etc/", "usr/etc/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(entry.content)
                if entry.mode & 0o6000:
                    path.chmod(entry.mode)
        source = self.directory / "source"
        if not source.exists():
            ostree_repository.init(source, "bare")
        commit = encapsulation.ostree(source, "commit", "--branch=t", f"--tree=dir={tree}", "--owner-uid=0", "--owner-gid=0", "--add-metadata-string=ostree.bootable=true")
        return commit, encapsulation.commit_entries(source, commit)

    def push_commit(self, tag, *changed, files=None, split=None, change=None, cut=chunked_layer.chunks_of):
        """An image of a commit of FILES or entries(); SPLIT gives the number of the chunk for each file object, without one all is in the commit layer."""
        commit, found = self.commit(files or entries(*changed))
        parts = {}
        for entry in found:
            file = ".file" in entry.path or "/xattrs/" in entry.path
            parts.setdefault(split(entry) if split and file else -1, []).append(entry)
        layers = [chunked_layer.layer(parts[number], change, cut=cut) for number in sorted(parts)]
        labels = {"ostree.final-diffid": layers[-1].diff_id, "ostree.commit": commit}
        self.layout.image(tag, layers, config={"config": {"Labels": labels}})
        self.registry.push(self.layout.reference(tag), f"test/image:{tag}")
        return layers

    def start_pull(self, tag, address=None, target="ostree-unverified-image:docker://stored/image:t", **settings):
        return super().start_pull(tag, address, target, **settings)

    @staticmethod
    def two_chunks(entry):
        return int(entry.path.split("/")[4][0], 16) % 2 if "/objects/" in entry.path else 0


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
