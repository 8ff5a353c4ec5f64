# SPDX-License-Identifier: Apache-2.0
"""A registry with images of zstd:chunked layers, and pulls of them: for the tests of such layers."""
import functools
import json
import os
import pathlib
import random as randomness
import re
import tempfile
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
    return (small_random_bytes if count <= 64 << 10 else made_random_bytes)(seed, count)


def made_random_bytes(seed, count):
    return randomness.Random(seed).randbytes(count)


# Most layers of a test hold the same small files.
small_random_bytes = functools.lru_cache(maxsize=1024)(made_random_bytes)


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
