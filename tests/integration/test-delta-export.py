#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Deltas that imaged makes: they make the target's layers byte for byte out of the source image's files, and are written where others find them."""
import collections
import json
import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import unittest
import urllib.request

import killed
import oci_layout
import ostree_repository
import real_daemon
import registry
import run_options
import sanitizers
import tar_diff
import worker
from oci_layout import Entry, directory, whiteout
from repository_case import ScratchCase
from run_options import OPTIONS

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
MIB = 1024 * 1024


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def program(seed, size, shift=0):
    """Like machine code: noise with addresses in it that all move by SHIFT."""
    source, out = random.Random(seed), bytearray()
    while len(out) < size:
        out += source.randbytes(60) + (source.randrange(1 << 24) + shift).to_bytes(4, "little")
    return bytes(out[:size])


def edited(data, seed, count=20):
    """DATA with some bytes changed, some taken out and some put in."""
    source, data = random.Random(seed), bytearray(data)
    for _ in range(count):
        at = source.randrange(len(data))
        data[at:at + source.randrange(30)] = source.randbytes(source.randrange(60))
    return bytes(data)


TEXT = b"".join(b"line %d of a text that packages have\n" % number for number in range(20_000))
LARGE = program("large", 20 * MIB)
OLD = [[directory("usr"), directory("usr/bin"), Entry("usr/bin/tool", content=program(1, 3 * MIB), mode=0o755), Entry("usr/bin/link", "hardlink", target="usr/bin/tool"),
        Entry("usr/lib/libx.so.1.2.3", content=noise(2, MIB)), Entry("usr/share/text", content=TEXT), Entry("usr/share/same", content=noise(3, 2 * MIB)),
        Entry("usr/share/moved", content=noise(4, 300_000)), Entry("usr/share/large", content=LARGE), Entry("usr/share/small", content=b"s" * 70),
        Entry("usr/share/short", content=b"1"), Entry("usr/share/empty"), Entry("etc/conf", content=TEXT[:5000]), Entry("usr/etc/only", content=TEXT[:6000]),
        Entry("var/lib/state", content=TEXT[:200_000]), Entry("usr/share/ünï", content=noise(9, 100_000)), Entry("usr/sym", "symlink", target="bin")],
       [Entry("usr/share/second", content=noise(5, MIB))]]
NEW = [[directory("usr", mtime=9), directory("usr/bin"), Entry("usr/bin/tool", content=program(1, 3 * MIB, 0x1230), mode=0o755, mtime=7), Entry("usr/bin/link", "hardlink", target="usr/bin/tool"),
        Entry("usr/lib/libx.so.1.2.10", content=edited(noise(2, MIB), 6)), Entry("usr/share/text", content=TEXT.replace(b"19999", b"many")),
        Entry("./usr/share/same", content=noise(3, 2 * MIB), mtime=7), Entry("usr/other/place", content=noise(4, 300_000)),
        Entry("usr/share/large", content=edited(program("large", 20 * MIB, 0x40), 7)), Entry("usr/share/small", content=b"s" * 71), Entry("usr/share/short", content=b"2"),
        Entry("usr/share/empty"), Entry("etc/conf", content=TEXT[:5000] + b"more\n"), Entry("usr/etc/only", content=TEXT[:6100]),
        Entry("var/lib/state", content=TEXT[:100_000] + b"changed" + TEXT[100_000:200_000]), Entry("usr/share/" + "long/" * 60 + "name", content=noise(8, 5000)),
        Entry("usr/share/ünï", content=noise(9, 100_001)), Entry("usr/sym", content=TEXT[:3000])],
       OLD[1], [Entry("usr/share/third", content=TEXT), whiteout("usr/share/short")]]


MADE = {}


def made_of(layer, **options):
    """The tar and the blob of LAYER. Those of the two images that most tests have are made once."""
    if isinstance(layer, oci_layout.Blob):
        return layer.data, layer
    key = id(layer), *options.items()
    if key in MADE:
        return MADE[key]
    data = oci_layout.tar(layer)
    made = data, oci_layout.compressed(data, **options)
    if any(layer is one for one in (*OLD, *NEW)):
        MADE[key] = made
    return made


class Case(ScratchCase):
    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory / "oci")
        self.repository = ostree_repository.init(self.directory / "repo")

    def images(self, old, new, **options):
        """Stores OLD, puts NEW beside it, each a list of layers that are lists of entries or blobs."""
        self.tars, self.digests = {}, {}
        for tag, layers in (("old", old), ("new", new)):
            made = [made_of(layer, **options) for layer in layers]
            blobs = [blob for _, blob in made]
            self.tars[tag], self.digests[tag] = [data for data, _ in made], self.layout.image(tag, blobs, config={"config": {"Labels": {"version": tag}}})
        self.old, self.new = (self.layout.reference(tag) for tag in ("old", "new"))
        result = worker.pull(self.old, self.repository).result
        self.assertEqual(result["outcome"], "success", result)

    def run_export(self, destination, image=None, **options):
        arguments = {"destination": destination, "delta-from": options.pop("old", self.old), **options.pop("arguments", {})}
        return worker.Run(image or self.new, self.repository, kind="export", arguments=arguments, **options).finish()

    def exported(self, *arguments, **options):
        run = self.run_export(*arguments, **options)
        self.assertEqual(run.result["outcome"], "success", run.result)
        return run.result["details"]

    def refused(self, error, text, *arguments, **options):
        result = self.run_export(*arguments, **options).result
        self.assertEqual((result["outcome"], result.get("error-name")), ("failed", error), result)
        self.assertIn(text, result["message"])

    def check(self, artifact, files=None):
        """The artifact makes each layer of the new image that the old one does not have, and has its documents."""
        files = files or tar_diff.files_of(*self.tars["old"])
        self.assertEqual(oci_layout.digest(artifact.target_text), self.digests["new"])
        have = {oci_layout.digest(data) for data in self.tars["old"]}
        for number, data in enumerate(self.tars["new"]):
            made = artifact.tar(number, files)
            self.assertEqual(made is None, oci_layout.digest(data) in have)
            self.assertIn(made, (None, data))


class Layouts(Case):
    def test_the_delta_makes_the_layers_byte_for_byte(self):
        self.images(OLD, NEW)
        details = self.exported(f"oci:{self.directory}/out")
        out = tar_diff.Layout(self.directory / "out")
        listed, = out.listed(self.digests["new"])
        self.assertEqual((listed["digest"], listed["artifactType"]), (details["digest"], tar_diff.ARTIFACT))
        artifact = tar_diff.Artifact(listed, out.blob)
        self.check(artifact)
        self.assertEqual(listed["annotations"], {tar_diff.PREFIX + "source-config": artifact.source_config})
        self.assertEqual((details["layers"], details["layers-kept"], details["layers-made"], details["layers-whole"]), (3, 1, 2, 0))
        self.assertEqual((details["original-digest"], details["delta-from"]), (self.digests["new"], self.old))
        self.assertEqual(details["bytes-written"], sum(layer["size"] for layer in artifact.layers.values()))
        self.assertLess(details["bytes-written"] * 4, details["bytes-replaced"])
        self.assertEqual(oci_layout.check_layout(self.directory / "out"), [])
        # Each kind of file the way that is meant for it.
        _, found = tar_diff.operations(artifact.blob(artifact.layers[artifact.target["layers"][0]["digest"]]))
        names = [payload.decode() for operation, _, payload in found if operation == tar_diff.OPEN]
        for name in ("usr/bin/tool", "usr/lib/libx.so.1.2.3", "usr/share/same", "usr/share/moved", "usr/share/large", "var/lib/state", "usr/share/ünï"):
            self.assertIn(name, names)
        # A link is no source, and of what lies in /etc and in /usr/etc the merged tree does not tell which is whose.
        self.assertEqual([name for name in names if name in ("usr/sym", "etc/conf", "etc/only", "usr/etc/only")], [])
        kinds = {operation for operation, _, _ in found}
        self.assertLessEqual({tar_diff.DATA, tar_diff.OPEN, tar_diff.COPY, tar_diff.ADD}, kinds)

    def test_the_same_again_is_the_same_delta(self):
        self.images(OLD, NEW)
        first = self.exported(f"oci:{self.directory}/out:a")
        self.assertEqual(self.exported(f"oci:{self.directory}/out:b"), {**first, "destination": f"oci:{self.directory}/out:b"})
        self.assertEqual(len(tar_diff.Layout(self.directory / "out").listed(self.digests["new"])), 1)

    def test_one_for_older_programs_has_no_frames(self):
        self.images(OLD, NEW)
        details = self.exported(f"oci:{self.directory}/out:d", arguments={"compatible": True})
        out = tar_diff.Layout(self.directory / "out")
        entry, = out.entries("d")
        artifact = tar_diff.Artifact(entry, out.blob)
        self.check(artifact)
        for layer in artifact.layers.values():
            version, found = tar_diff.operations(out.blob(layer))
            self.assertEqual(version, 1)
            self.assertNotIn(tar_diff.PREFIXED, [operation for operation, _, _ in found])
        self.assertLess(details["bytes-written"] * 3, details["bytes-replaced"])

    def test_deltas_lie_beside_images_and_each_other(self):
        self.images(OLD, NEW)
        self.layout.image("older", [oci_layout.layer(OLD[1])])
        self.assertEqual(worker.pull(self.layout.reference("older"), self.repository).result["outcome"], "success")
        before = json.loads((self.directory / "oci/index.json").read_text())["manifests"]
        for old in (self.old, self.layout.reference("older"), self.old):
            self.exported(f"oci:{self.directory}/oci", old=old)
        out = tar_diff.Layout(self.directory / "oci")
        self.assertEqual([entry for entry in out.index["manifests"] if entry in before], before)
        self.assertEqual(len(out.index["manifests"]), len(before) + 3)
        first, second = sorted(out.listed(self.digests["new"]), key=lambda entry: -entry["size"])
        for entry in (first, second):
            tar_diff.Artifact(entry, out.blob)
        self.assertNotEqual(first["digest"], second["digest"])
        # Names of images still lead to images.
        self.refused("InvalidArgument", "has an image with the tag new", f"oci:{self.directory}/oci:new")
        subprocess.run(["skopeo", "inspect", self.new], check=True, capture_output=True)

    def test_what_others_listed_stays(self):
        self.images(OLD, NEW)
        self.exported(f"oci:{self.directory}/out")
        out = tar_diff.Layout(self.directory / "out")
        entry, = out.entries("sha256-" + self.digests["new"][7:])
        other = {"mediaType": oci_layout.MANIFEST, "digest": "sha256:" + "1" * 64, "size": 5, "artifactType": "application/vnd.example", "annotations": {"a": "b"}, "x": [1]}
        text = json.dumps({**json.loads(out.blob(entry)), "manifests": [other], "annotations": {"c": "d"}}).encode()
        (self.directory / "out/blobs/sha256" / oci_layout.digest(text)[7:]).write_bytes(text)
        entry.update(digest=oci_layout.digest(text), size=len(text))
        (self.directory / "out/index.json").write_text(json.dumps(out.index))
        details = self.exported(f"oci:{self.directory}/out")
        out = tar_diff.Layout(self.directory / "out")
        self.assertEqual(out.listed(self.digests["new"])[0], other)
        self.assertEqual([entry["digest"] for entry in out.listed(self.digests["new"])], [other["digest"], details["digest"]])
        self.assertEqual(json.loads(out.blob(out.entries("sha256-" + self.digests["new"][7:])[0]))["annotations"], {"c": "d"})

    def test_a_file_of_etc_has_the_name_that_the_image_gives_it(self):
        self.images([[Entry("etc/conf", content=TEXT)]], [[Entry("etc/conf", content=TEXT + b"more")]])
        details = self.exported(f"oci:{self.directory}/out")
        out = tar_diff.Layout(self.directory / "out")
        artifact = tar_diff.Artifact(out.listed(self.digests["new"])[0], out.blob)
        self.check(artifact)
        self.assertLess(details["bytes-written"], 1000)
        layer, = artifact.layers.values()
        self.assertIn(b"etc/conf", [payload for operation, _, payload in tar_diff.operations(out.blob(layer))[1] if operation == tar_diff.OPEN])

    def test_layers_that_gain_nothing_are_put_in_as_they_are(self):
        # Compressed better than a delta is.
        source = random.Random(5)
        words = ["".join(source.choices("abcdefgh", k=source.randrange(2, 9))) for _ in range(300)]
        data = oci_layout.tar([Entry("usr/x", content=" ".join(source.choice(words) for _ in range(200_000)).encode())])
        packed = subprocess.run(["zstd", "-q", "-c", "--ultra", "-22"], input=data, capture_output=True, check=True).stdout
        self.images([OLD[1]], [OLD[1], oci_layout.Blob(packed, oci_layout.LAYER + "+zstd", oci_layout.digest(data))])
        self.tars["new"][1] = data
        details = self.exported(f"oci:{self.directory}/out")
        out = tar_diff.Layout(self.directory / "out")
        artifact = tar_diff.Artifact(out.listed(self.digests["new"])[0], out.blob)
        self.check(artifact)
        self.assertEqual((details["layers-made"], details["layers-whole"]), (0, 1))
        layer, = artifact.layers.values()
        self.assertEqual((layer["digest"], layer["mediaType"]), (artifact.target["layers"][1]["digest"], artifact.target["layers"][1]["mediaType"]))

    def test_an_image_that_differs_in_its_config_only_makes_a_delta_without_layers(self):
        self.images([OLD[1]], [OLD[1]])
        details = self.exported(f"oci:{self.directory}/out")
        self.assertEqual((details["layers-kept"], details["layers-made"], details["layers-whole"], details["bytes-written"]), (1, 0, 0, 0))
        out = tar_diff.Layout(self.directory / "out")
        self.check(tar_diff.Artifact(out.listed(self.digests["new"])[0], out.blob))

    def test_layers_with_one_content_and_layers_that_come_twice(self):
        layer = oci_layout.layer(NEW[2])
        again = oci_layout.compressed(oci_layout.tar(NEW[2]), "zstd")
        self.images([OLD[0], OLD[1]], [OLD[1]])
        self.digests["new"] = self.layout.image("new", [layer, layer, again])
        self.tars["new"] = [oci_layout.tar(NEW[2])] * 3
        self.exported(f"oci:{self.directory}/out")
        out = tar_diff.Layout(self.directory / "out")
        artifact = tar_diff.Artifact(out.listed(self.digests["new"])[0], out.blob)
        self.assertEqual(len(artifact.layers), 2)
        self.check(artifact)


class Archives(Case):
    def test_an_archive_holds_the_delta_alone(self):
        self.images(OLD, NEW)
        details = self.exported(f"oci-archive:{self.directory}/delta.tar")
        archive = tar_diff.Layout(self.directory / "delta.tar")
        entry, = archive.index["manifests"]
        self.assertEqual(entry["digest"], details["digest"])
        self.check(tar_diff.Artifact(entry, archive.blob))
        self.assertEqual(oci_layout.check_layout(self.directory / "delta.tar"), [])
        self.refused("InvalidArgument", "delta.tar is there already", f"oci-archive:{self.directory}/delta.tar")
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])

    def test_the_target_may_be_in_an_archive(self):
        self.images(OLD, NEW)
        subprocess.run(["skopeo", "copy", "--quiet", self.new, f"oci-archive:{self.directory}/new.tar:new"], check=True)
        subprocess.run(["gzip", "-k", self.directory / "new.tar"], check=True)
        for name in ("new.tar", "new.tar.gz"):
            self.exported(f"oci-archive:{self.directory}/delta-{name}", image=f"oci-archive:{self.directory}/{name}:new")
            archive = tar_diff.Layout(self.directory / f"delta-{name}")
            self.check(tar_diff.Artifact(archive.index["manifests"][0], archive.blob))


@unittest.skipUnless(shutil.which("docker-registry"), "needs Debian's docker-registry")
class Registries(Case):
    def setUp(self):
        super().setUp()
        self.registry = registry.Registry(self.directory / "registry")
        self.addCleanup(self.registry.stop)
        (self.directory / "registries.conf").write_text(f'[[registry]]\nlocation = "{self.registry.address}"\ninsecure = true\n')
        self.environment = {"CONTAINERS_REGISTRIES_CONF": str(self.directory / "registries.conf")}

    def raw(self, name):
        return subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{self.registry.address}/{name}"], check=True, capture_output=True).stdout

    def blob(self, descriptor):
        data = urllib.request.urlopen(f"http://{self.registry.address}/v2/test/image/blobs/{descriptor['digest']}").read()
        self.assertEqual((oci_layout.digest(data), len(data)), (descriptor["digest"], descriptor["size"]))
        return data

    def test_it_lies_beside_the_image_and_is_listed(self):
        self.images(OLD, NEW)
        self.layout.image("older", [oci_layout.layer(OLD[1])])
        self.assertEqual(worker.pull(self.layout.reference("older"), self.repository).result["outcome"], "success")
        self.registry.push(self.new, "test/image:new")
        digest = oci_layout.digest(self.raw("test/image:new"))
        self.digests["new"] = digest
        image, destination = f"docker://{self.registry.address}/test/image:new", f"docker://{self.registry.address}/test/image"
        details = [self.exported(destination, image=image, old=old, env=self.environment) for old in (self.old, self.layout.reference("older"), self.old)]
        self.assertEqual(details[0], details[2])
        listed = json.loads(self.raw("test/image:sha256-" + digest[7:]))["manifests"]
        self.assertEqual({entry["digest"] for entry in listed}, {details[0]["digest"], details[1]["digest"]})
        for entry in listed:
            self.assertIn(tar_diff.PREFIX + "source-config", entry["annotations"])
        entry = next(entry for entry in listed if entry["digest"] == details[0]["digest"])
        texts = {entry["digest"]: self.raw(f"test/image@{entry['digest']}")}
        self.check(tar_diff.Artifact(entry, lambda descriptor: texts.pop(descriptor["digest"], None) or self.blob(descriptor)))
        # The image is what it was.
        self.assertEqual(oci_layout.digest(self.raw("test/image:new")), digest)

    def test_other_artifacts_stay_listed_as_they_are(self):
        self.images(OLD, NEW)
        self.registry.push(self.new, "test/image:new")
        digest = oci_layout.digest(self.raw("test/image:new"))
        image, destination = f"docker://{self.registry.address}/test/image:new", f"docker://{self.registry.address}/test/image"
        text = self.raw("test/image:new")
        index = {"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [{"mediaType": oci_layout.MANIFEST, "digest": digest, "size": len(text), "artifactType": "application/vnd.example"}]}
        urllib.request.urlopen(urllib.request.Request(f"http://{self.registry.address}/v2/test/image/manifests/sha256-{digest[7:]}", method="PUT", data=json.dumps(index).encode(),
                                                      headers={"Content-Type": oci_layout.INDEX}))
        before = self.raw("test/image:sha256-" + digest[7:])
        result = self.run_export(destination, image=image, env=self.environment).result
        after = self.raw("test/image:sha256-" + digest[7:])
        if result["outcome"] == "success":  # a skopeo that knows OCI 1.1
            listed = json.loads(after)["manifests"]
            self.assertEqual((listed[0], len(listed)), (index["manifests"][0], 2))
        else:
            self.assertEqual((result["error-name"], after), ("Failed", before), result)
            self.assertIn("not listed", result["message"])

    def test_a_stored_image_is_read_where_it_came_from_at_its_own_version(self):
        self.images(OLD, NEW)
        self.registry.push(self.new, "test/image:new")
        image = f"docker://{self.registry.address}/test/image:new"
        stored = worker.pull(image, self.repository, env=self.environment).result
        self.assertEqual(stored["outcome"], "success", stored)
        self.digests["new"] = stored["details"]["digest"]
        self.registry.push(self.layout.reference("old"), "test/image:new")  # the tag has moved on
        self.exported(f"oci:{self.directory}/out", image=image, env=self.environment)
        out = tar_diff.Layout(self.directory / "out")
        self.check(tar_diff.Artifact(out.listed(self.digests["new"])[0], out.blob))
        # The same, stored under a name that leads nowhere.
        self.assertEqual(worker.pull(f"docker://{self.registry.address}/test/image@{self.digests['new']}", self.repository, target="docker://nowhere.invalid/x:y", env=self.environment).result["outcome"], "success")
        self.exported(f"oci:{self.directory}/out2", image="docker://nowhere.invalid/x:y", env=self.environment)
        self.registry.stop()
        self.refused("SourceUnreachable", "", f"oci:{self.directory}/out3", image=image, env=self.environment)


@unittest.skipUnless(shutil.which("docker-registry"), "needs Debian's docker-registry")
class Guide(Registries):
    """What administration.md has to paste under "Deltas: updates as small as their difference", by imagectl on a bus; and the hosts that the deltas are for."""
    test_it_lies_beside_the_image_and_is_listed = test_other_artifacts_stay_listed_as_they_are = test_a_stored_image_is_read_where_it_came_from_at_its_own_version = None

    def host(self, name):
        """imagectl of an imaged with a repository of its own."""
        directory = self.directory / name
        directory.mkdir()
        daemon = real_daemon.Daemon(directory, ostree_repository.init(directory / "repo"), "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n", self.environment)
        self.addCleanup(daemon.stop)

        def imagectl(*words):
            run = subprocess.run([IMAGECTL, *words], cwd=self.directory, capture_output=True, text=True, timeout=120 * sanitizers.SLOWER, env={**os.environ, "IMAGED_BUS_ADDRESS": daemon.address})
            self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
            return run.stdout
        return imagectl

    def test_the_lines_of_the_guide(self):
        guide = (pathlib.Path(__file__).resolve().parents[2] / "docs/administration.md").read_text()
        section = guide.split("\n## Deltas: updates as small as their difference\n")[1].split("\n## ")[0]
        lines = [line.split() for line in section.splitlines() if line.startswith("    ")]
        self.assertEqual([words[:2] for words in lines], [["imagectl", "pull"], ["imagectl", "delta"], ["imagectl", "delta"]])
        for tag, layers in (("1", OLD), ("2", NEW)):
            self.layout.image(tag, [oci_layout.layer(layer) for layer in layers])
            self.registry.push(self.layout.reference(tag), f"host:{tag}")
        here, online, offline = (self.host(name) for name in ("here", "online", "offline"))
        for words in lines:
            here(*(word.replace("registry.example", self.registry.address) for word in words[1:]))
        names = [f"{self.registry.address}/host:{tag}" for tag in "12"]
        for host in (online, offline):
            host("pull", names[0])
        found = json.loads(online("--json", "pull", names[1]))
        self.assertEqual((found["delta-layers"], found["fetched-whole"]), (2, []), found)
        self.registry.stop()
        applied = json.loads(offline("--json", "import-archive", "update.tar", names[1]))
        self.assertEqual((applied["delta-layers"], applied["digest"], applied["merge-commit"]), (2, found["digest"], found["merge-commit"]))


class Errors(Case):
    def test_wrong_arguments_are_named(self):
        self.images([OLD[1]], [[Entry("usr/x", content=noise("other", 40_000))]])
        out = f"oci:{self.directory}/out"
        self.refused("NotFound", "docker://no/where:x", out, old="docker://no/where:x")
        self.refused("InvalidArgument", "a delta would be empty", out, image=self.old)
        self.refused("NotFound", "", out, image=self.layout.reference("absent"))
        self.refused("InvalidArgument", "must not name a tag", "docker://localhost:1/a/b:c")
        self.refused("InvalidArgument", "is neither empty nor", f"oci:{self.repository}")
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])

    def test_a_stored_image_of_which_the_source_has_another_version_now(self):
        self.images(OLD, NEW)
        self.assertEqual(worker.pull(self.new, self.repository).result["outcome"], "success")
        self.layout.image("new", [oci_layout.layer(OLD[1]), oci_layout.layer(NEW[2])])
        self.refused("DigestMismatch", self.digests["new"], f"oci:{self.directory}/out")
        self.assertFalse((self.directory / "out/index.json").exists())

    def test_an_image_that_came_from_an_archive_needs_a_source(self):
        self.images(OLD, NEW)
        subprocess.run(["skopeo", "copy", "--quiet", self.new, f"oci-archive:{self.directory}/new.tar:new"], check=True)
        with open(self.directory / "new.tar", "rb") as archive:
            result = worker.Run("docker://host/new:1", self.repository, kind="import-archive", input=archive).finish().result
        self.assertEqual(result["outcome"], "success", result)
        self.refused("InvalidArgument", "name the archive", f"oci:{self.directory}/out", image="docker://host/new:1")

    def test_a_repository_of_compressed_objects_cannot_be_the_source(self):
        self.repository = ostree_repository.init(self.directory / "archive", "archive")
        self.images(OLD, NEW)
        self.refused("UnsupportedImage", "mode", f"oci:{self.directory}/out")


class Hostile(Case):
    """Tars that strangers made: the delta makes their bytes, or the job says what is wrong with them; within the limits of memory."""
    MEMORY = 200_000  # KiB

    def attempt(self, name, data, compression="gzip"):
        blob = oci_layout.compressed(data, compression)
        self.digests["new"] = self.layout.image("new", [blob])
        self.tars["new"] = [data]
        run = self.run_export(f"oci:{self.directory}/out:{name}")
        if not sanitizers.SANITIZED:
            self.assertLess(run.rss, self.MEMORY, name)
        if run.result["outcome"] != "success":
            self.assertIn(run.result["error-name"], ("CorruptInput", "UnsupportedImage", "InvalidArgument"), (name, run.result))
            return run.result["error-name"]
        out = tar_diff.Layout(self.directory / "out")
        entry, = out.entries(name)
        self.check(tar_diff.Artifact(entry, out.blob))
        return "made"

    def test_tars_of_all_kinds(self):
        self.images(OLD, OLD)
        base = oci_layout.tar([entry for entry in NEW[0] if entry.path != "usr/share/large"])
        same = next(entry for entry in OLD[0] if entry.path == "usr/share/same")
        results = {}
        for name, data in self.tars_of_all_kinds(base, same):
            with self.subTest(name):
                results[name] = self.attempt(name, data)
        self.assertGreater(sum(result == "made" for result in results.values()), 15, results)

    def tars_of_all_kinds(self, base, same):
        yield "plain", base
        yield "gnu", oci_layout.tar(NEW[0], format=tarfile.GNU_FORMAT)
        yield "ustar", oci_layout.tar([entry for entry in NEW[0] if len(entry.path) < 90 and entry.path.isascii()], format=tarfile.USTAR_FORMAT)
        yield "empty", b""
        yield "zeros", bytes(10240)
        yield "no end", base.rstrip(b"\0")
        yield "more behind", base + b"x" * 5000
        yield "no tar", noise("x", 100_000)
        for cut in (100, 600, 5000, MIB, 3 * MIB + 777, len(base) - 3000):
            yield f"cut at {cut}", base[:cut]
        source = random.Random(3)
        for number in range(30 if OPTIONS.long else 8):
            data = bytearray(base)
            for _ in range(source.randrange(1, 6)):
                at = source.choice((source.randrange(len(data)), source.randrange(len(data) // 512) * 512 + source.randrange(512), source.randrange(1024)))
                data[at] = source.randrange(256)
            yield f"broken {number}", bytes(data)
        for size in (0, 1, 63, 64, 511, 513, 2 * MIB - 1, 2 * MIB + 1):
            yield f"size {size}", oci_layout.tar([Entry("usr/share/same", content=(same.content + b"y")[:size])])
        yield "many of one name", oci_layout.tar([same] * 20)
        yield "links first", oci_layout.tar([Entry("usr/share/x", "hardlink", target="usr/share/same"), same, Entry("usr/share/y", "hardlink", target="usr/share/same")])
        yield "many files alike", oci_layout.tar([Entry(f"usr/share/n{number}", content=same.content[:1000] + b"%d" % number) for number in range(3000)])
        yield "zeros in a file", oci_layout.tar([Entry("usr/share/large", content=bytes(9 * MIB))])
        yield "one block again and again", oci_layout.tar([Entry("usr/share/large", content=LARGE[:32] * 300_000)])
        lying = bytearray(oci_layout.tar([same]))
        lying[124:136] = b"77777777777\0"
        lying[148:156] = b"%06o\0 " % (sum(lying[:148]) + 8 * 32 + sum(lying[156:512]))
        yield "a size that lies", bytes(lying)

    def test_a_bomb_ends_at_the_limit(self):
        self.images(OLD, OLD)
        self.layout.image("new", [oci_layout.layer([Entry("usr/share/zeros", content=bytes(64 * MIB))])])
        run = self.run_export(f"oci:{self.directory}/out", settings={"layer-bytes": 16 * MIB})
        self.assertEqual(run.result["error-name"], "UnsupportedImage", run.result)
        self.assertFalse((self.directory / "out/index.json").exists())

    def test_a_wrong_blob_is_seen(self):
        self.images(OLD, NEW)
        for name, blob in (("diff-id", oci_layout.layer(NEW[2])), ("digest", None)):
            with self.subTest(name):
                if blob:
                    blob.diff_id = "sha256:" + "0" * 64
                    self.layout.image("new", [oci_layout.layer(OLD[1]), blob])
                else:
                    blob = oci_layout.layer(NEW[0])
                    self.layout.image("new", [oci_layout.layer(OLD[1]), blob])
                    self.layout.blob_path(blob.digest).write_bytes(oci_layout.layer(NEW[2]).data.ljust(len(blob.data), b"\0"))
                self.refused("DigestMismatch", "", f"oci:{self.directory}/out")
        self.assertFalse((self.directory / "out/index.json").exists())

    def test_objects_that_are_gone_or_changed_make_the_delta_larger_or_fail_but_never_wrong(self):
        self.images(OLD, NEW)
        objects = sorted((self.repository / "objects").glob("*/*.file"), key=lambda path: -path.lstat().st_size)
        objects[0].unlink()
        self.exported(f"oci:{self.directory}/out:gone")
        for path in objects[1:8]:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        self.exported(f"oci:{self.directory}/out:changed")
        out = tar_diff.Layout(self.directory / "out")
        for tag in ("gone", "changed"):
            self.check(tar_diff.Artifact(out.entries(tag)[0], out.blob))

    def test_a_job_that_is_cancelled_or_killed_leaves_nothing(self):
        self.images(OLD, NEW)
        for how in ("cancel", "kill"):
            run = worker.Run(self.new, self.repository, kind="export", arguments={"destination": f"oci:{self.directory}/out-{how}", "delta-from": self.old})
            while (message := run.next_message()) is not None and message.get("phase") != "fetch":
                pass
            if how == "kill":
                run.process.kill()
                run.process.wait()
                run.lines.close()
                run.channel.close()
            else:
                run.cancel()
                self.assertEqual(run.finish().result["outcome"], "cancelled")
            self.assertFalse((self.directory / f"out-{how}/index.json").exists())
        self.exported(f"oci:{self.directory}/out-kill")
        self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
        self.assertEqual([name for name in os.listdir(self.directory / "out-kill/blobs/sha256") if name.startswith(".")], [])

    @unittest.skipUnless(killed.FAULT_LAYER, "FAULT_LAYER names the library that ends a worker between two calls")
    def test_a_job_that_is_killed_before_a_call_leaves_its_destination_unchanged_or_whole(self):
        """Before each seventh call that changes a file, of each kind; with LONG=1 in the environment, before each."""
        self.images([[Entry(f"usr/f{number}", content=noise(number, 20_000)) for number in range(4)]],
                    [[Entry(f"usr/f{number}", content=edited(noise(number, 20_000), 1, 3)) for number in range(4)], [Entry("usr/g", content=noise(0, 20_000) + b"more")]])
        for destination in ("oci", "oci-archive"):
            out, fresh, tried = self.directory / f"out-{destination}", self.directory / "fresh", collections.Counter()
            if destination == "oci":
                shutil.copytree(self.directory / "oci", fresh)
            before = json.loads((self.directory / "oci/index.json").read_text())

            def begin():
                shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
                if destination == "oci":
                    shutil.copytree(fresh, out)
            arguments = {"destination": f"{destination}:{out}", "delta-from": self.old}
            for call, after in killed.at_each_call(self.directory, begin, self.new, self.repository, kind="export", arguments=arguments, step=1 if os.environ.get("LONG") else 13):
                with self.subTest(destination=destination, call=call, after=after):
                    tried[call] += 1
                    if destination == "oci":
                        self.assertEqual(oci_layout.check_layout(out), [])
                        listed = json.loads((out / "index.json").read_text())["manifests"]
                        self.assertEqual(listed[:len(before["manifests"])], before["manifests"])
                        self.assertIn(len(listed), (len(before["manifests"]), len(before["manifests"]) + 2))
                    elif out.exists():
                        self.assertEqual(oci_layout.check_layout(out), [])
                        continue  # it is refused now: the delta is there
                    self.exported(f"{destination}:{out}")
                    layout = tar_diff.Layout(out)
                    self.check(tar_diff.Artifact(layout.listed(self.digests["new"])[0] if destination == "oci" else layout.index["manifests"][0], layout.blob))
                    self.assertEqual([name for name in os.listdir(self.repository / "tmp") if name.startswith("imaged-")], [])
                    self.assertEqual([str(path) for path in self.directory.rglob(".imaged-*")] + [str(path) for path in self.directory.glob("*.imaged-*")], [])
            print(f"    {destination}: killed before {sum(tried.values())} calls: {dict(tried)}")
            self.assertGreater(len(tried), 3)
        subprocess.run(["ostree", f"--repo={self.repository}", "fsck", "--quiet"], check=True)


if __name__ == "__main__":
    run_options.main(__doc__)
