# SPDX-License-Identifier: Apache-2.0
"""Names, archives and architectures as people and builders write them, through the bus."""
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
import unittest

from gi.repository import GLib

import bus_fixture
import oci_layout
import ostree_repository
import registry
import tree
from bus_case import BusCase
from oci_layout import Entry

ARCHITECTURE = subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()
FOREIGN = "s390x" if ARCHITECTURE != "s390x" else "amd64"
TAG = "org.opencontainers.image.ref.name"
BOOTABLE = ({"containers.bootc": "1"}, {"ostree.bootable": "true"})


class References(BusCase):
    configuration = "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n"

    @classmethod
    def prepare(cls):
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        cls.environment = {"CONTAINERS_REGISTRIES_CONF": str(cls.registry.configuration)}

    def push(self, name, content):
        self.layout.image("t", [oci_layout.layer([Entry("f", content=content)])])
        return self.registry.push(self.layout.reference("t"), name)

    def fetched(self, function):
        """What FUNCTION had the registry serve cannot be seen; what the repository has afterwards can."""
        before = {path.name for path in (self.repository / "objects").rglob("*.file")}
        function()
        return {path.name for path in (self.repository / "objects").rglob("*.file")} - before

    def test_a_tag_and_a_digest_are_pulled_by_the_digest_and_kept_under_the_name(self):
        old = self.push("shop/app:t", b"old")
        self.push("shop/app:t", b"new")
        name = f"{self.registry.address}/shop/app:t@{old}"
        outcome = self.pulled("ostree-unverified-registry:" + name)
        self.assertEqual((outcome["digest"], outcome["image"]), (old, "docker://" + name))
        self.assertEqual(self.described("docker://" + name)["digest"], old)
        self.assertEqual(self.job("Prepare", "docker://" + name)["Outcome"]["digest"], old)
        self.refused("NotFound", reference=f"ostree-unverified-registry:{self.registry.address}/shop/app:t@sha256:{'0' * 64}")

    def push_index(self, name):
        """An index of one image; returns its digest, which is not the image's."""
        self.layout.image("t", [oci_layout.layer([Entry("f", content=b"of an index")])])
        manifest = {key: self.layout.manifests[0][key] for key in ("mediaType", "digest", "size")}
        text = json.dumps({"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [{**manifest, "platform": {"architecture": ARCHITECTURE, "os": "linux"}}]}).encode()
        digest = self.layout.put(text)
        (self.layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": oci_layout.INDEX, "digest": digest, "size": len(text), "annotations": {TAG: "index"}}]}))
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci:{self.layout.path}:index",
                        f"docker://{self.registry.address}/{name}"], check=True)
        return digest

    def test_a_name_with_a_digest_is_given_to_no_other_content(self):
        digest, archive = self.push("pinned/app:t", b"pinned"), self.directory / "pinned.tar"
        subprocess.run(["skopeo", "copy", "--quiet", self.layout.reference("t"), f"oci-archive:{archive}:t"], check=True, capture_output=True)
        source, wrong, right = f"docker://{self.registry.address}/pinned/app:t", f"docker://other.example/x@sha256:{'a' * 64}", f"docker://other.example/x@{digest}"
        for name, properties in ((wrong, self.pull(source, target=wrong)), (wrong, self.job("ImportImage", source, target=wrong, digest=digest)), (wrong, self.import_archive(archive, wrong)),
                                 (right, self.pull(source, target=right)), (right, self.import_archive(archive, right))):
            found = (properties["Result"], properties["ErrorName"].rpartition(".")[2])
            self.assertEqual(found, ("success", "") if name == right else ("failed", "DigestMismatch"), properties["ErrorMessage"])
        index = self.push_index("pinned/index:t")
        self.assertNotEqual(self.pulled(f"docker://{self.registry.address}/pinned/index@{index}", target=f"docker://other.example/x@{index}")["digest"], index)

    def test_a_name_that_no_registry_takes_is_given_to_no_image(self):
        self.push("named/app:t", b"named")
        source, archive = f"docker://{self.registry.address}/named/app:t", self.directory / "named.tar"
        subprocess.run(["skopeo", "copy", "--quiet", self.layout.reference("t"), f"oci-archive:{archive}:t"], check=True, capture_output=True)
        for name in ("x:\x9b", "x\u202e:y", "X:y", "x:'", "x:", "../../x:y", "x:" + "t" * 129):
            for function, arguments in ((self.pull, {"reference": source, "target": "docker://a.example/" + name}),
                                        (self.import_archive, {"path": archive, "image": "docker://a.example/" + name})):
                with self.subTest(name, function=function), self.assertRaises(bus_fixture.BusError) as caught:
                    function(**arguments)
                self.assertEqual(caught.exception.name, bus_fixture.ERROR + "InvalidReference")

    def test_a_name_below_a_stored_one_is_refused_before_anything_is_fetched(self):
        self.push("nest/app:latest", b"app")
        self.push("nest/app/sub:t", b"sub")
        below, above = f"{self.registry.address}/nest/app/sub:t", f"{self.registry.address}/nest/app"
        for first, second in ((above, below), (below, above)):
            with self.subTest(first):
                self.pulled("ostree-unverified-registry:" + first)
                new = self.fetched(lambda: self.refused("InvalidReference", "docker://" + first, "target", reference="ostree-unverified-registry:" + second))
                self.assertEqual(new, set())
                prepared = self.job("Prepare", "docker://" + second)
                self.assertEqual(prepared["ErrorName"], bus_fixture.ERROR + "InvalidReference")
                self.pulled("ostree-unverified-registry:" + second, target="docker://elsewhere/" + first.rpartition("/")[2])
                number, _ = self.client.call(bus_fixture.MANAGER, "Remove", GLib.Variant("(asa{sv})", (["docker://" + first], {})))
                self.assertEqual(self.client.finished(number)["Result"], "success")
        # The directories of refs that are gone are in nobody's way.
        self.pulled("ostree-unverified-registry:" + above)

    def test_a_name_whose_ref_no_file_system_takes_is_refused(self):
        self.layout.image("t", [oci_layout.layer([Entry("f")])])
        self.refused("InvalidReference", "255 bytes", "target", target="docker://host/" + "a.b" * 80)
        self.pulled(target="docker://host/" + "a" * 240)

    def test_a_copy_is_refused_as_well(self):
        self.layout.image("t", [oci_layout.layer([Entry("copied")])])
        self.pulled(target="docker://copy/app")
        other = ostree_repository.init(self.directory / "other")
        for target, error in (("docker://copy/app", ""), ("docker://copy/app/sub:t", bus_fixture.ERROR + "InvalidReference")):
            options = {"target": GLib.Variant("s", target)}
            number, _ = self.client.call(bus_fixture.MANAGER, "Copy", GLib.Variant("(ssa{sv})", ("docker://copy/app", str(other), options)))
            self.assertEqual(self.client.finished(number)["ErrorName"], error)


class Archives(BusCase):
    def setUp(self):
        super().setUp()
        self.manifests = {}
        for name in ("plain", "v3"):
            self.layout.image(name, [oci_layout.layer([Entry("f", content=name.encode())])])
            self.manifests[name] = {key: self.layout.manifests[-1][key] for key in ("mediaType", "digest", "size")}

    def index(self, *entries):
        """An archive whose index leads to an index of ENTRIES, (name, architecture, variant)."""
        listed = [{**self.manifests[name], "platform": {"architecture": architecture, "os": "linux", **({"variant": variant} if variant else {})}}
                  for name, architecture, variant in entries]
        text = json.dumps({"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": listed}).encode()
        (self.layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
            {"mediaType": oci_layout.INDEX, "digest": self.layout.put(text), "size": len(text), "annotations": {TAG: "t"}}]}))
        archive = self.directory / "archive.tar"
        subprocess.run(["tar", "-C", self.layout.path, "-cf", archive, "."], check=True)
        return archive

    def both(self, archive, error=None):
        """An import of the archive and a pull of it give the same; returns the name of the image that they took."""
        imported = self.import_archive(archive, "docker://archive/imported:1")
        pulled = self.pull(f"ostree-unverified-image:oci-archive:{archive}:t")
        for properties in (imported, pulled):
            self.assertEqual(properties["ErrorName"].rpartition(".")[2], error or "", properties["ErrorMessage"])
        if error:
            return imported["ErrorMessage"]
        self.assertEqual(imported["Outcome"]["commit"], pulled["Outcome"]["commit"])
        return next(name for name, manifest in self.manifests.items() if manifest["digest"] == imported["Outcome"]["digest"])

    def test_the_entry_without_a_variant_is_taken(self):
        self.assertEqual(self.both(self.index(("v3", ARCHITECTURE, "v3"), ("plain", ARCHITECTURE, None))), "plain")

    def test_one_entry_twice_is_one_image(self):
        self.assertEqual(self.both(self.index(("plain", ARCHITECTURE, None), ("plain", ARCHITECTURE, None))), "plain")

    def test_an_artifact_in_an_index_is_named_as_what_it_is(self):
        kind = "application/vnd.example.sbom"
        empty = {"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": self.layout.put(b"{}")}
        for media_type, manifest in (("application/vnd.oci.artifact.manifest.v1+json", {"blobs": []}),
                                     (oci_layout.MANIFEST, {"schemaVersion": 2, "config": empty, "layers": [empty]})):
            text = json.dumps({"mediaType": media_type, "artifactType": kind, **manifest}).encode()
            self.manifests["artifact"] = {"mediaType": media_type, "digest": self.layout.put(text), "size": len(text), "artifactType": kind}
            archive = self.index(("artifact", ARCHITECTURE, None))
            for source in (f"oci-archive:{archive}:t", f"oci:{self.layout.path}:t"):
                self.refused("UnsupportedImage", "artifact", kind, reference="ostree-unverified-image:" + source)
            message = self.both(archive, "UnsupportedImage")
            self.assertIn("artifact", message)
            self.assertIn(kind, message)

    def test_an_index_of_an_index_is_refused_by_name(self):
        inner = json.loads((self.index(("plain", ARCHITECTURE, None)) and self.layout.path / "index.json").read_text())["manifests"][0]
        self.manifests["inner"] = {key: inner[key] for key in ("mediaType", "digest", "size")}
        self.assertIn("leads to another index", self.both(self.index(("inner", ARCHITECTURE, None)), "UnsupportedImage"))

    def test_another_architecture_alone_is_refused_and_named(self):
        self.assertIn(f"linux/{FOREIGN}", self.both(self.index(("plain", FOREIGN, None)), "NotFound"))

    def docker_archive(self, layer, plain, extra=b""):
        config = json.dumps({"architecture": ARCHITECTURE, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [oci_layout.digest(plain)]}}).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": ["a/layer.tar"]}]).encode()
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in (("a/layer.tar", layer), ("config.json", config), ("manifest.json", manifest)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        path = self.directory / "docker.tar"
        path.write_bytes(extra + out.getvalue())
        return path

    def test_a_docker_archive_with_layers_that_are_compressed(self):
        plain = oci_layout.tar([Entry("f", content=b"compressed" * 1000)])
        trees = []
        for command in ("cat", "gzip", "zstd", "xz", "bzip2"):
            packed = subprocess.run([command] if command == "cat" else [command, "-c"], input=plain, check=True, capture_output=True).stdout
            archive = self.docker_archive(packed, plain)
            for properties in (self.import_archive(archive, "docker://archive/docker:1"), self.pull(f"ostree-unverified-image:docker-archive:{archive}")):
                with self.subTest(command):
                    self.assertEqual((properties["Result"], properties["ErrorMessage"]), ("success", ""))
                    trees.append(tree.of_commit(self.repository, properties["Outcome"]["commit"]))
        self.assertEqual([found for found in trees if found != trees[0]], [])
        for command in ("xz", "bzip2"):
            # A layer that is not stored yet: it has to be read.
            other = oci_layout.tar([Entry(command, content=b"compressed" * 1000)])
            packed = subprocess.run([command, "-c"], input=other, check=True, capture_output=True).stdout
            outcome = self.import_archive(self.docker_archive(packed, other), "docker://archive/docker:2")["Outcome"]
            self.assertEqual(set(tree.of_commit(self.repository, outcome["commit"])), {"", command})

    def test_a_directory_whose_header_has_a_size(self):
        info = tarfile.TarInfo("a/")
        info.type, info.mode, info.size = tarfile.DIRTYPE, 0o755, 4096
        plain = oci_layout.tar([Entry("f")])
        archive = self.docker_archive(gzip.compress(plain), plain, extra=info.tobuf(tarfile.USTAR_FORMAT))
        self.assertEqual(self.import_archive(archive, "docker://archive/sized:1")["ErrorMessage"], "")


class Architectures(BusCase):
    def image(self, **config):
        return self.layout.image("t", [oci_layout.layer([Entry("f", content=json.dumps(config).encode())])], config=config)

    def config_digest(self):
        return json.loads(self.layout.blob_path(self.layout.manifests[-1]["digest"]).read_text())["config"]["digest"]

    def test_a_bootable_image_of_another_architecture_is_refused_unless_the_caller_says_so(self):
        for labels in BOOTABLE:
            self.image(architecture=FOREIGN, config={"Labels": labels})
            self.refused("UnsupportedImage", FOREIGN, ARCHITECTURE, "any-architecture")
            self.assertEqual(self.pull(any_architecture=False)["Result"], "failed")
            self.assertEqual(self.pulled(any_architecture=True)["architecture"], FOREIGN)
            self.image(architecture=ARCHITECTURE, config={"Labels": labels})
            self.pulled()
        archive = self.directory / "foreign.tar"
        self.image(architecture=FOREIGN, config={"Labels": BOOTABLE[0]})
        subprocess.run(["tar", "-C", self.layout.path, "-cf", archive, "."], check=True)
        for options, result in (({}, "failed"), ({"any_architecture": True}, "success")):
            self.assertEqual(self.import_archive(archive, "docker://foreign/archive:1", **options)["Result"], result)

    def test_what_nobody_boots_may_be_of_any_architecture(self):
        self.image(architecture=FOREIGN)
        self.assertEqual(self.pulled()["architecture"], FOREIGN)

    def test_architecture_system_and_id_are_named_wherever_an_image_is(self):
        self.image(architecture=FOREIGN)
        first = self.config_digest()
        outcome = self.pulled()
        expected = {"architecture": FOREIGN, "os": "linux", "image-id": first}
        image = self.layout.reference("t")
        listed, = [entry for entry in self.client.call(bus_fixture.MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))[0] if entry["image"] == image]
        document = json.loads(self.client.call(bus_fixture.MANAGER, "DescribeImages", GLib.Variant("(a{sv})", ({},)))[0])
        described, = [entry for entry in document["images"] if entry["image"] == image]
        for answer in (outcome, self.described(image), listed, described):
            self.assertEqual({key: answer.get(key) for key in expected}, expected)
        self.image(architecture=ARCHITECTURE)
        prepared = self.job("Prepare", image)["Outcome"]
        self.assertEqual((prepared["image-id"], prepared["previous-image-id"], prepared["architecture"], prepared["os"]),
                         (self.config_digest(), first, ARCHITECTURE, "linux"))

    def test_imagectl_shows_them_and_has_the_option(self):
        self.image(architecture=FOREIGN, config={"Labels": BOOTABLE[0]})
        image = self.layout.reference("t")

        def imagectl(*words):
            return subprocess.run([os.environ["IMAGECTL"], "--address", self.daemon.address, *words], capture_output=True, text=True)
        refused = imagectl("pull", "--no-progress", image)
        self.assertEqual((refused.returncode, "any-architecture" in refused.stderr), (7, True), refused)
        self.assertEqual(imagectl("pull", "--no-progress", "--any-architecture", image).returncode, 0)
        self.assertIn(f"linux/{FOREIGN}", imagectl("show", image).stdout)
        self.assertEqual(json.loads(imagectl("show", "--json", image).stdout)["image-id"], self.config_digest())
        self.assertEqual({entry["architecture"] for entry in json.loads(imagectl("list", "--json").stdout)["images"] if entry["image"] == image}, {FOREIGN})


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
