# SPDX-License-Identifier: Apache-2.0
"""imaged-worker imports images out of archives: what skopeo and docker write, files in place and pipes, right ones and wrong ones."""
import gzip
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
import unittest

import agreement
import golden
import oci_layout
import ostree_repository
import worker
from oci_layout import Entry, directory, whiteout

NAME = "docker://registry.example/app:1"
LOWER = [directory("usr"), Entry("usr/tool", content=b"tool"), Entry("usr/gone", content=b"x"), Entry("usr/big", content=b"b" * 500_000)]
UPPER = [whiteout("usr/gone"), Entry("usr/new", content=b"n")]


class Case(unittest.TestCase):
    def setUp(self):
        scratch = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.layout = oci_layout.Layout(self.directory / "oci")
        self.layers = [oci_layout.layer(LOWER), oci_layout.layer(UPPER)]
        self.digest = self.layout.image("app", self.layers, config={"config": {"Labels": {"version": "7"}}})
        self.repository = ostree_repository.init(self.directory / "repo")

    def load(self, archive, image=NAME, repository=None, **arguments):
        with open(archive, "rb") as file:
            return worker.Run(image, repository or self.repository, kind="import-archive", arguments=arguments, input=file).finish().result

    def loaded(self, *arguments, **options):
        result = self.load(*arguments, **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def skopeo(self, destination, source=None):
        subprocess.run(["skopeo", "copy", "--quiet", source or self.layout.reference("app"), destination], check=True, capture_output=True)

    def expected_tree(self):
        elsewhere = ostree_repository.init(self.directory / "pulled")
        details = worker.pull(self.layout.reference("app"), elsewhere).result["details"]
        return golden.listing(elsewhere, details["merge-commit"])

    def leftovers(self):
        return [name for name in os.listdir(self.repository / "tmp") if name not in ("cache",) and not name.startswith("staging")]


class Right(Case):
    def test_an_oci_archive_keeps_its_digest(self):
        archive = self.directory / "app.tar"
        self.skopeo(f"oci-archive:{archive}:app")
        details = self.loaded(archive)
        self.assertEqual((details["image"], details["digest"], details["version"]), (NAME, self.digest, "7"))
        self.assertEqual(golden.listing(self.repository, details["merge-commit"]), self.expected_tree())
        golden.ostree(self.repository, "fsck")
        self.assertEqual(self.loaded(archive)["changed"], False)
        self.assertEqual(self.leftovers(), [])

    def test_a_docker_archive_gives_the_same_tree_and_always_the_same_digest(self):
        archive = self.directory / "app.tar"
        self.skopeo(f"docker-archive:{archive}:registry.example/app:1")
        details = self.loaded(archive)
        self.assertEqual(golden.listing(self.repository, details["merge-commit"]), self.expected_tree())
        other = ostree_repository.init(self.directory / "other")
        self.assertEqual(self.loaded(archive, repository=other)["digest"], details["digest"])
        refs = [name for name in golden.refs(other) if name.startswith(golden.BLOB)]
        self.assertEqual(sorted(refs), sorted(golden.BLOB + layer.diff_id.replace(":", "_3A_") for layer in self.layers))

    def test_layers_that_are_there_are_not_read(self):
        worker.pull(self.layout.reference("app"), self.repository)
        archive = self.directory / "app.tar"
        self.skopeo(f"oci-archive:{archive}:app")
        details = self.loaded(archive)
        self.assertEqual((details["layers-fetched"], details["bytes-fetched"]), (0, 0))

    def test_pipes_and_compressed_archives_work_too(self):
        archive = self.directory / "app.tar"
        self.skopeo(f"docker-archive:{archive}:registry.example/app:1")
        digest = self.loaded(archive)["digest"]
        def by(*command):
            return lambda data: subprocess.run(command, input=data, capture_output=True, check=True).stdout
        compressions = {"": lambda data: data, "gz": gzip.compress, "xz": by("xz", "-c"), "bz2": by("bzip2", "-c"), "zst": by("zstd", "-qc")}
        for compress in compressions.values():
            data = compress(archive.read_bytes())
            read, write = os.pipe()
            writer = threading.Thread(target=lambda: [os.write(write, data[at:at + 4096]) for at in range(0, len(data), 4096)] and os.close(write))
            writer.start()
            with os.fdopen(read, "rb") as pipe:
                other = ostree_repository.init(self.directory / f"other{len(data)}")
                result = worker.Run(NAME, other, kind="import-archive", input=pipe).finish().result
            writer.join()
            self.assertEqual(result["details"].get("digest"), digest, result)
        for suffix, compress in compressions.items():
            packed = self.directory / f"app.tar.{suffix}"
            packed.write_bytes(compress(archive.read_bytes()))
            other = ostree_repository.init(self.directory / f"other-{suffix}")
            self.assertEqual(self.loaded(packed, repository=other)["digest"], digest, suffix)
            if suffix != "gz":  # skopeo takes them too, but for what Python compresses as one block
                subprocess.run(["skopeo", "inspect", f"docker-archive:{packed}"], check=True, capture_output=True)
        self.assertEqual(self.leftovers(), [])

    def test_one_of_several_images_is_named(self):
        self.layout.image("other", [oci_layout.layer([Entry("usr/other", content=b"o")])])
        archive = self.directory / "both.tar"
        subprocess.run(["tar", "-cf", archive, "-C", self.directory / "oci", "."], check=True)
        self.assertEqual(self.load(archive)["error-name"], "InvalidArgument")
        self.assertEqual(self.load(archive, name="nothing")["error-name"], "NotFound")
        self.assertEqual(self.loaded(archive, name="app")["digest"], self.digest)

    def docker_archive(self, name, change=lambda manifest: manifest, without=()):
        """A docker-archive of two images, its manifest.json as CHANGE makes it."""
        if not hasattr(self, "members"):
            self.skopeo(f"docker-archive:{self.directory / 'whole.tar'}:registry.example/app:1")
            with tarfile.open(self.directory / "whole.tar") as tar:
                self.members = {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
        first, = json.loads(self.members["manifest.json"])
        manifest = change([first, {**first, "RepoTags": ["app:latest", "docker.io/other/app:2"]}])
        with tarfile.open(self.directory / name, "w") as tar:
            for member, data in {**self.members, "manifest.json": json.dumps(manifest).encode()}.items():
                if member not in without and (member.split(".")[-1] not in without or member == "manifest.json"):
                    info = tarfile.TarInfo(member)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return self.directory / name

    def test_names_that_a_pull_takes_are_those_that_an_import_takes(self):
        archive = self.docker_archive("two.tar")
        for name, error in {"registry.example/app:1": None, "app": None, "app:latest": None, "docker.io/library/app": None, "library/app:latest": None, "other/app:2": None,
                            "@0": None, "@1": None, "@2": "NotFound", "registry.example/app": "NotFound", "app:1": "NotFound", "other/app": "NotFound"}.items():
            with self.subTest(name):
                imported = self.load(archive, name=name)
                pulled = worker.pull(f"docker-archive:{archive}:{name}", ostree_repository.init(self.directory / f"repo-{name}".replace("/", "_"))).result
                self.assertEqual((pulled["error-name"], imported["error-name"]), (error or "", error or ""), (pulled, imported))

    def test_what_is_wrong_with_an_archive_has_the_same_name_for_both(self):
        oci = self.directory / "oci.tar"
        self.skopeo(f"oci-archive:{oci}:app")
        (self.directory / "none.tar").write_bytes(b"nonsense" * 1000)

        def one(**changes):
            return lambda manifest: [{**manifest[0], **changes}]
        whole = self.docker_archive("one.tar", one())
        (self.directory / "cut.tar").write_bytes(whole.read_bytes()[:2000])
        for archive, transport, error, text in (
                (self.docker_archive("empty.tar", lambda manifest: []), "docker-archive", "CorruptInput", "no image"),
                (self.docker_archive("few.tar", one(Layers=[])), "docker-archive", "CorruptInput", "layer"),
                (self.docker_archive("no-config.tar", one(), [self.docker_archive("x.tar") and json.loads(self.members["manifest.json"])[0]["Config"]]), "docker-archive", "CorruptInput", ".json"),
                (self.docker_archive("no-layers.tar", one(), ["tar"]), "docker-archive", "CorruptInput", "missing"),
                (self.docker_archive("no-manifest.tar", one(), ["manifest.json"]), "docker-archive", "CorruptInput", "manifest.json"),
                (self.directory / "none.tar", "docker-archive", "CorruptInput", ""), (self.directory / "cut.tar", "docker-archive", "CorruptInput", ""),
                (self.directory / "none.tar", "oci-archive", "CorruptInput", ""), (self.directory / "cut.tar", "oci-archive", "CorruptInput", "")):
            with self.subTest(archive.name, transport=transport):
                for result in (worker.pull(f"{transport}:{archive}", self.repository).result, self.load(archive)):
                    self.assertEqual(result.get("error-name"), error, result)
                    self.assertIn(text, result["message"])
        # The file is fine, and not what the reference says.
        for reference, error, text in ((f"docker-archive:{oci}", "CorruptInput", "oci-archive:FILE"), (f"oci-archive:{whole}", "CorruptInput", "docker-archive:FILE"),
                                       (f"docker-archive:{self.docker_archive('two.tar')}", "InvalidReference", "docker-archive:FILE:NAME:TAG"),
                                       (f"docker-archive:{whole}:@-1", "InvalidReference", "@0"), (f"docker-archive:{whole}:app@sha256:{'0' * 64}", "InvalidReference", "tag")):
            result = worker.pull(reference, self.repository).result
            self.assertEqual(result.get("error-name"), error, result)
            self.assertIn(text, result["message"])

    def test_layers_by_links_as_docker_writes_them(self):
        archive = self.directory / "app.tar"
        config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [self.layers[0].diff_id] * 2}}).encode()
        with tarfile.open(archive, "w") as tar:
            def add(name, data=b"", link=None):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                if link:
                    info.type, info.linkname = tarfile.SYMTYPE, link
                tar.addfile(info, io.BytesIO(data))
            add("a/layer.tar", gzip.decompress(self.layers[0].data))
            add("b/layer.tar", link="../a/layer.tar")
            add("config.json", config)
            add("manifest.json", json.dumps([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode())
        self.assertEqual(self.loaded(archive)["layers"], 2)

    def test_an_exported_archive_comes_back_with_its_digest(self):
        source = golden.unpack("repo.tar.gz", self.directory)
        archive = self.directory / "derived.tar"
        exported = worker.Run("oci:oci:derived", source, kind="export", arguments={"destination": f"oci-archive:{archive}"}).finish().result
        details = self.loaded(archive, image="docker://registry.example/derived:1")
        self.assertEqual(details["digest"], exported["details"]["digest"])
        self.assertEqual(golden.listing(self.repository, details["merge-commit"]), golden.derived_listing())


class Wrong(Case):
    def archive_of(self, change):
        """The layout as an archive, after CHANGE."""
        change()
        archive = self.directory / "wrong.tar"
        subprocess.run(["tar", "-cf", archive, "-C", self.directory / "oci", "."], check=True)
        return archive

    def refused(self, archive, error, **arguments):
        result = self.load(archive, **arguments)
        self.assertEqual(result["error-name"], error, result)
        self.assertEqual(golden.refs(self.repository).keys() & {golden.IMAGE}, set())
        self.assertEqual([name for name in golden.refs(self.repository) if name.startswith(golden.IMAGE)], [])
        self.assertEqual(self.leftovers(), [])
        return result["message"]

    def test_a_tampered_layer(self):
        path = self.layout.blob_path(self.layers[0].digest)
        data = gzip.compress(gzip.decompress(path.read_bytes()).replace(b"tool", b"evil"), 1, mtime=0)
        archive = self.archive_of(lambda: path.write_bytes(data.ljust(path.stat().st_size, b"\0")[:path.stat().st_size]))
        self.refused(archive, "DigestMismatch")

    def test_a_tampered_manifest(self):
        path = self.layout.blob_path(self.digest)
        self.refused(self.archive_of(lambda: path.write_bytes(path.read_bytes() + b" ")), "DigestMismatch")

    def test_another_digest_than_was_asked_for(self):
        self.refused(self.archive_of(lambda: None), "DigestMismatch", digest="sha256:" + "0" * 64)

    def test_a_missing_layer_is_named(self):
        message = self.refused(self.archive_of(self.layout.blob_path(self.layers[1].digest).unlink), "CorruptInput")
        self.assertIn(self.layers[1].digest, message)

    def test_what_is_no_archive(self):
        for number, data in enumerate([b"", b"no archive" * 1000, b"\x1f\x8bbroken" * 100, b"\0" * 1024]):
            archive = self.directory / f"no{number}"
            archive.write_bytes(data)
            self.refused(archive, "CorruptInput")

    def test_what_skopeo_takes_without(self):
        """A layout without the file that says that it is one; an image of no layers as Go writes a list that it never made."""
        archive = self.archive_of((self.directory / "oci/oci-layout").unlink)
        self.assertEqual(self.loaded(archive)["digest"], self.digest)
        self.assertEqual(worker.pull(f"oci-archive:{archive}:app", self.repository).result["details"]["digest"], self.digest)
        files = {"manifest.json": [{"Config": "config.json", "RepoTags": None, "Layers": None}],
                 "config.json": {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": None}}}
        with tarfile.open(self.directory / "empty.tar", "w") as empty:
            for name, document in files.items():
                text = json.dumps(document).encode()
                info = tarfile.TarInfo(name)
                info.size = len(text)
                empty.addfile(info, io.BytesIO(text))
        commits = [self.loaded(self.directory / "empty.tar")["merge-commit"],
                   worker.pull(f"docker-archive:{self.directory}/empty.tar", self.repository).result["details"]["merge-commit"]]
        self.assertEqual([golden.listing(self.repository, commit) for commit in commits], [golden.listing(self.repository, commits[0])] * 2)

    def test_one_that_ends_early(self):
        whole = self.archive_of(lambda: None).read_bytes()
        for size in (700, len(whole) // 2):
            archive = self.directory / f"cut{size}"
            archive.write_bytes(whole[:size])
            self.refused(archive, "CorruptInput")

    def test_a_signature_cannot_be_asked_of_an_archive(self):
        self.refused(self.archive_of(lambda: None), "PolicyRejected", image="ostree-image-signed:" + NAME)

    def test_a_policy_that_rejects_the_transport(self):
        home = self.directory / "home"
        (home / ".config/containers").mkdir(parents=True)
        (home / ".config/containers/policy.json").write_text(json.dumps({
            "default": [{"type": "insecureAcceptAnything"}], "transports": {"oci-archive": {"": [{"type": "reject"}]}}}))
        with open(self.archive_of(lambda: None), "rb") as file:
            result = worker.Run(NAME, self.repository, kind="import-archive", input=file, env={"HOME": str(home)}).finish().result
        self.assertEqual(result["error-name"], "PolicyRejected", result)


class Slow(Case):
    def test_a_pipe_that_drips_does_not_hold_the_job(self):
        """With a shorter stall time than a real job has; the drip is quicker than a registry's may be."""
        reader, writer = os.pipe()
        done = threading.Event()

        def drip():
            while not done.wait(0.005):
                try:
                    os.write(writer, b"x" * 200)
                except OSError:
                    return
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with open(reader, "rb") as pipe:
                run = worker.Run(NAME, self.repository, kind="import-archive", input=pipe, settings={"stall-milliseconds": 500})
                watchdog = threading.Timer(60, run.process.kill)
                watchdog.start()
                run.finish()
                watchdog.cancel()
        finally:
            done.set()
            thread.join()
            os.close(writer)
        self.assertEqual(run.result["error-name"], "SourceUnreachable", run.result)
        self.assertIn("too slow", run.result["message"])
        self.assertLess(run.waited, 30)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
