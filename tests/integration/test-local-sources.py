#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imaged reads local images itself: layouts, directories and archives, by a skopeo that may not read their layers, or by none; and what it leaves to skopeo ends as skopeo
says."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

import golden
import oci_layout
import ostree_repository
import registry
import sanitizers
import worker
from oci_layout import Entry, directory, whiteout
from repository_case import ScratchCase

NOBODY = 65534
ANYTHING = [{"type": "insecureAcceptAnything"}]
# Demands nothing of what is pulled here, and has skopeo asked all the same.
BY_SKOPEO = {"default": ANYTHING, "transports": {"atomic": {"": [{"type": "reject"}]}}}
NAME = "docker://registry.example/app:1"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class Case(ScratchCase):
    def setUp(self):
        super().setUp()
        os.chmod(self.directory, 0o755)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.layers = [oci_layout.layer([directory("usr"), Entry("usr/random", content=os.urandom(300_000))], "zstd"), oci_layout.layer([Entry("usr/new", content=b"n")])]
        self.digest = self.layout.image("t", self.layers)
        self.number = 0
        self.environment = {}
        self.policy({"default": ANYTHING})

    def policy(self, document):
        path = self.directory / "policy.json"
        path.write_text(json.dumps(document))
        self.environment["CONTAINERS_POLICY"] = str(path)

    def repository(self, mode="bare"):
        self.number += 1
        return ostree_repository.init(self.directory / f"repo{self.number}", mode)

    def archive(self, name="t.tar", compress=()):
        """Of the layout as it is."""
        path = self.directory / name
        subprocess.run(["tar", "-C", self.layout.path, *compress, "-cf", path, "."], check=True)
        return path

    def replaced_skopeo(self, script):
        programs = self.directory / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "skopeo").write_text(script)
        (programs / "skopeo").chmod(0o755)
        self.environment["PATH"] = f"{programs}:{os.environ['PATH']}"

    def result(self, image, repository=None, **options):
        return worker.pull("ostree-unverified-image:" + image, repository or self.repository(), env=self.environment, target=NAME, **options).result

    def details(self, image, repository=None, **options):
        result = self.result(image, repository, **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]


class Past(Case):
    """What does not go through skopeo."""

    def test_a_skopeo_that_cannot_read_layers_is_enough_for_layouts_and_directories(self):
        expected = self.details(self.layout.reference("t"))
        self.layout.as_dir("t", self.directory / "dir")
        real = shutil.which("skopeo")
        self.replaced_skopeo(f"#!/bin/sh\nexec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {real} \"$@\"\n")
        for image, blobs in ((self.layout.reference("t"), self.layout.path / "blobs/sha256"), (f"dir:{self.directory}/dir", self.directory / "dir")):
            with self.subTest(image):
                for layer in self.layers:
                    (blobs / layer.digest.removeprefix("sha256:")).chmod(0o600)
                details = self.details(image)
                self.assertEqual((details["digest"], details["merge-commit"]), (self.digest, expected["merge-commit"]))
                self.assertEqual(details["bytes-fetched"], sum(len(layer.data) for layer in self.layers))

    def test_an_archive_needs_no_skopeo_and_is_not_unpacked(self):
        expected = self.details(self.layout.reference("t"))
        archive = self.archive()
        archive.chmod(0o600)
        self.replaced_skopeo("#!/bin/sh\nexit 1\n")
        for name in (f"{archive}", f"{archive}:t"):
            with self.subTest(name):
                repository = self.repository()
                self.assertEqual(worker.Run(f"oci-archive:{name}", repository, kind="prepare", env=self.environment).finish().result["details"]["digest"], self.digest)
                details = self.details(f"oci-archive:{name}", repository)
                self.assertEqual((details["digest"], details["merge-commit"]), (self.digest, expected["merge-commit"]))
                self.assertEqual(details["bytes-fetched"], sum(len(layer.data) for layer in self.layers))
                golden.ostree(repository, "fsck")
                again = self.details(f"oci-archive:{name}", repository)
                self.assertEqual((again["changed"], again["bytes-fetched"]), (False, 0))
        # skopeo is asked what is wrong, and has ended.
        self.assertIn("skopeo's image proxy", self.result(f"oci-archive:{archive}:other")["message"])

    def test_it_is_repaired_from_its_archive(self):
        archive = self.archive()
        self.replaced_skopeo("#!/bin/sh\nexit 1\n")
        repository = self.repository()
        self.details(f"oci-archive:{archive}", repository)
        objects = [path for path in (repository / "objects").glob("*/*.file") if path.stat().st_size == 300_000]
        self.assertEqual(len(objects), 1)
        objects[0].unlink()
        arguments = {"images": [NAME], "repair": True, "source": f"oci-archive:{archive}"}
        result = worker.Run("", repository, kind="verify", arguments=arguments, env=self.environment).finish().result
        self.assertEqual(result["outcome"], "success", result)
        self.assertTrue(objects[0].exists())
        golden.ostree(repository, "fsck")

    def test_what_is_tampered_with_is_refused_and_not_kept(self):
        archive, broken = self.archive(), self.directory / "broken.tar"
        data = archive.read_bytes()
        at = data.index(self.layers[0].data) + 1000
        broken.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1:])
        self.layout.as_dir("t", self.directory / "dir")
        blob = self.directory / "dir" / self.layers[0].digest.removeprefix("sha256:")
        blob.write_bytes(blob.read_bytes()[:-1] + b"x")
        for image in (f"oci-archive:{broken}", f"dir:{self.directory}/dir"):
            with self.subTest(image):
                repository = self.repository()
                result = self.result(image, repository)
                self.assertEqual(result.get("error-name"), "DigestMismatch", result)
                self.assertIn(self.layers[0].digest, result["message"])
                self.assertEqual([name for name in golden.refs(repository) if name.startswith(golden.IMAGE)], [])


class Left(Case):
    """What skopeo decides, ends as it does when skopeo reads everything."""

    def both(self, image, **options):
        """The results without and with skopeo; those of a success are said in short."""
        results = []
        for policy in ({"default": ANYTHING}, BY_SKOPEO):
            self.policy(policy)
            result = self.result(image, **options)
            results.append((result["outcome"], result.get("error-name"), result.get("message"), result.get("details", {}).get("digest"), result.get("details", {}).get("merge-commit")))
        return results

    def assert_same(self, image, error=None, **options):
        past, through = self.both(image, **options)
        # Names of temporary directories differ.
        self.assertEqual((past[:2], past[3:]), (through[:2], through[3:]), (past, through))
        self.assertEqual(past[1] or None, error, past)
        return past

    def index(self, entries):
        (self.layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))

    def test_archives_of_every_kind(self):
        entry, = self.layout.manifests
        architecture = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
        other = self.layout.image("u", [oci_layout.layer([Entry("usr/u")])])
        both = list(self.layout.manifests)

        def nested(kind, entries):
            text = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
            return {"mediaType": kind, "digest": self.layout.put(text), "size": len(text), "annotations": {"org.opencontainers.image.ref.name": "t"}}

        def for_platform(entry, name):
            return {**entry, "platform": {"os": "linux", "architecture": name}}
        platforms = [for_platform(both[1], "s390x" if architecture != "s390x" else "amd64"), for_platform(both[0], architecture)]
        for what, entries, names in (
                ("two", both, {"": "InvalidReference", ":t": None, ":u": None, ":none": "NotFound", ":": "InvalidReference"}),
                ("the same twice", [entry, {**entry, "annotations": {}}], {"": "InvalidReference", ":t": None}),
                ("none", [], {"": "InvalidReference", ":t": "NotFound"}),
                ("platforms without an index", platforms, {"": "InvalidReference"}),
                ("an index", [nested(oci_layout.INDEX, platforms)], {"": None, ":t": None}),
                ("an index without this platform", [nested(oci_layout.INDEX, platforms[:1])], {":t": "NotFound"}),
                ("an index in an index", [nested(oci_layout.INDEX, [nested(oci_layout.INDEX, platforms)])], {":t": "UnsupportedImage"}),
                # By its name, which lists of Docker's in a layout do not have; a later skopeo says what it is.
                ("a list of Docker's", [nested(DOCKER_LIST, platforms)], {"": None, ":t": "NotFound" if worker.SKOPEO_VERSION < (1, 10) else "UnsupportedImage"}),
                ("a name of containerd's only", [{**entry, "annotations": {"io.containerd.image.name": "t"}}], {"": None, ":t": "NotFound"})):
            self.index(entries)
            archive = self.archive("kind.tar")
            for name, error in names.items():
                with self.subTest(what, name=name):
                    past = self.assert_same(f"oci-archive:{archive}{name}", error)
                    if error is None:
                        self.assertEqual(past[3], other if name == ":u" else self.digest)

    def test_archives_that_are_broken(self):
        archive = self.archive()
        whole = archive.read_bytes()
        end = whole.index(self.layers[0].data) + 1000
        for what, data, error in (("nothing", b"", "CorruptInput"), ("no tar", b"nonsense" * 1000, "CorruptInput"), ("cut in a layer", whole[:end], "CorruptInput"),
                                  ("cut after the last block", whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512), None)):
            with self.subTest(what):
                path = self.directory / "broken.tar"
                path.write_bytes(data)
                self.assert_same(f"oci-archive:{path}:t", error)
        self.assert_same(f"oci-archive:{self.directory}/missing.tar", "NotFound")
        layer = self.layout.blob_path(self.layers[1].digest)
        layer.write_bytes(layer.read_bytes() + b"more")
        self.assert_same(f"oci-archive:{self.archive('longer.tar')}:t", "DigestMismatch")
        layer.unlink()
        self.assert_same(f"oci-archive:{self.archive('less.tar')}:t", "NotFound")

    def test_another_digest_than_was_asked_for(self):
        past = self.assert_same(f"oci-archive:{self.archive()}:t", "DigestMismatch", digest="sha256:" + "0" * 64)
        self.assertIn(self.digest, past[2])

    def test_compressed_archives_and_pipes_go_through_skopeo(self):
        self.assertEqual(self.assert_same(f"oci-archive:{self.archive('t.tar.gz', ['-z'])}:t")[3], self.digest)
        # What is read from a pipe is gone: nobody but skopeo opens it. Where that does so several times, it waits for another writer.
        data = self.archive().read_bytes()
        pipe = self.directory / "pipe"
        os.mkfifo(pipe)

        def write():
            try:
                pipe.write_bytes(data)
            except BrokenPipeError:
                pass
        results = []
        for policy in ({"default": ANYTHING}, BY_SKOPEO):
            self.policy(policy)
            writer = threading.Thread(target=write)
            writer.start()
            results.append(self.result(f"oci-archive:{pipe}:t", settings={"stall-milliseconds": 2000}).get("error-name"))
            os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))  # for a writer that nobody has read from
            writer.join(10 * sanitizers.SLOWER)
            self.assertFalse(writer.is_alive())
        # Where skopeo checks the policy by a copy (before image proxy protocol 0.2.6), the pipe is empty when it is read for the image.
        self.assertEqual(results, ["", "" if worker.SKOPEO_VERSION >= (1, 10) else "SourceUnreachable"])

    def test_directories_that_are_broken(self):
        self.layout.as_dir("t", self.directory / "dir")
        blob = self.directory / "dir" / self.layers[1].digest.removeprefix("sha256:")
        right = blob.read_bytes()
        reference = f"dir:{self.directory}/dir"
        for data, error in ((right[:-1], "DigestMismatch"), (right + b"x", "DigestMismatch"), (b"", "DigestMismatch")):
            blob.write_bytes(data)
            self.assertEqual(self.result(reference).get("error-name"), error)
        blob.unlink()
        self.assertEqual(self.result(reference).get("error-name"), "NotFound")
        blob.symlink_to("/etc/hostname")
        self.assertEqual(self.result(reference).get("error-name"), "DigestMismatch")
        blob.unlink()
        blob.write_bytes(right)
        self.assertEqual(self.details(reference)["digest"], self.digest)

    def test_the_policy_decides_as_it_does_of_other_images(self):
        archive = self.archive()
        scoped = {"default": ANYTHING, "transports": {"oci-archive": {str(archive): [{"type": "reject"}]}}}
        for policy in ({"default": [{"type": "reject"}]}, scoped, {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nonexistent"}]}, {}, {"default": []}):
            with self.subTest(json.dumps(policy)):
                self.policy(policy)
                self.assertEqual(self.result(f"oci-archive:{archive}").get("error-name"), "PolicyRejected")
        self.policy({"default": ANYTHING})
        result = worker.pull(f"ostree-image-signed:oci-archive:{archive}", self.repository(), env=self.environment).result
        self.assertEqual(result.get("error-name"), "PolicyRejected", result)
        self.assertIn("insecureAcceptAnything", result["message"])


class OtherUsers(Case):
    """A worker of a user's own bus reads what that user may read."""

    def setUp(self):
        super().setUp()
        place = self.directory / "bin"
        place.mkdir()
        program = pathlib.Path(worker.PROGRAM).resolve()
        for name in (program.name, "imaged-jobs.so"):
            shutil.copy(program.with_name(name), place)
        self.script, self.start = place / "as-nobody", f"exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {place}/{program.name}\n"
        self.script.write_text("#!/bin/sh\n" + self.start)
        self.script.chmod(0o755)
        self.home = self.directory / "home"
        self.home.mkdir()
        os.chown(self.home, NOBODY, NOBODY)
        self.root, self.roots_environment = worker.PROGRAM, self.environment
        self.addCleanup(setattr, worker, "PROGRAM", self.root)
        worker.PROGRAM, self.environment = str(self.script), self.environment | {"HOME": str(self.home), "TMPDIR": str(self.home)}

    def test_a_user_stores_files_that_their_owner_may_not_write(self):
        """A user.* attribute of such a file is root's to set."""
        modes = (0o444, 0o400, 0o000, 0o200, 0o555, 0o4755, 0o1644)
        first = [*(Entry(f"usr/lib/{mode:o}", content=b"%o" % mode * 100, mode=mode) for mode in modes), Entry("usr/lib/empty", mode=0o400), Entry("usr/lib/large", content=os.urandom(3 << 20), mode=0o444),
                 Entry("usr/lib/zeros", content=bytes(5 << 20), mode=0o444), Entry("usr/lib/gone", mode=0o444), Entry("usr/lib/link", "hardlink", target="usr/lib/444"), Entry("usr/lib/soft", "symlink", target="444")]
        self.layout.image("modes", [oci_layout.layer(first), oci_layout.layer([whiteout("usr/lib/gone"), Entry("usr/lib/444", content=b"newer", mode=0o400)])])
        image = "ostree-unverified-image:" + self.layout.reference("modes")
        repositories = [self.home / name for name in ("repo", "copy", "archive")]
        for path, mode in zip(repositories, ("bare-user", "bare-user", "archive")):
            subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", ostree_repository.init(path, mode)], check=True)
        details = self.details(self.layout.reference("modes"), repositories[0])
        for source, destination in ((0, 2), (0, 1)):
            copied = worker.Run(NAME, repositories[source], kind="copy", arguments={"repository": str(repositories[destination])}, env=self.environment).finish().result
            self.assertEqual(copied["outcome"], "success", copied)
        for path in repositories:
            verified = worker.Run("", path, kind="verify", env=self.environment).finish().result
            self.assertTrue(verified["details"]["sound"], verified)
        worker.PROGRAM = self.root
        roots = ostree_repository.init(self.directory / "roots", "bare-user")
        self.assertEqual(worker.pull(image, roots, env=self.roots_environment).result["details"]["merge-commit"], details["merge-commit"])
        files = {path.name: path.stat().st_mode for path in roots.glob("objects/*/*.file")}
        self.assertEqual({path.name: path.stat().st_mode for path in repositories[0].glob("objects/*/*.file")}, files)
        self.assertGreater(len(files), len(modes))

    def test_a_user_pulls_although_root_has_logins_below_run(self):
        """podman makes /run/containers for root alone, where skopeo looks for logins of a user without a runtime directory."""
        server = registry.Registry(self.directory / "registry")
        self.addCleanup(server.stop)
        server.push(self.layout.reference("t"), "test/image:t")
        self.script.write_text("#!/bin/sh -e\nif [ -z \"$INSIDE\" ]; then INSIDE=1 exec unshare --mount \"$0\"; fi\nmount -t tmpfs tmpfs /run\nmkdir -m 0700 /run/containers\n" + self.start)
        self.environment |= {"CONTAINERS_REGISTRIES_CONF": str(server.configuration), "XDG_RUNTIME_DIR": ""}
        for host_credentials in (True, False):
            with self.subTest(host_credentials=host_credentials):
                details = self.details(f"docker://{server.address}/test/image:t", self.home / "repo", settings={"host-credentials": host_credentials})
                self.assertEqual(details["digest"], self.digest)
                shutil.rmtree(self.home / "repo")

    def test_nobody_reads_what_is_not_for_everybody(self):
        archive = self.archive()
        archive.chmod(0o600)
        # What the user may not open, skopeo, which has the same rights, says no word of either.
        result = self.result(f"oci-archive:{archive}", self.home / "repo")
        self.assertEqual(result["outcome"], "failed", result)
        self.assertIn("permission denied", result["message"])
        archive.chmod(0o644)
        self.assertEqual(self.details(f"oci-archive:{archive}", self.home / "repo")["digest"], self.digest)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
