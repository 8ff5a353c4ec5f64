# SPDX-License-Identifier: Apache-2.0
"""imaged-worker writes stored images back out: they unpack to the original's tree, and pull as the same layers."""
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import unittest

import chunked_layer
import golden
import oci_layout
import ostree_repository
import tree
import worker
from oci_layout import Entry, directory, opaque, whiteout
from repository_case import ScratchCase


def export(image, repository, destination, **arguments):
    return worker.Run(image, repository, kind="export", arguments={"destination": destination, **arguments}).finish().result


def unpacked(layout, tag, into):
    subprocess.run(["umoci", "unpack", "--image", f"{layout}:{tag}", into], check=True, capture_output=True)
    return tree.of_directory(into / "rootfs")


def links(root):
    """The groups of hard links below ROOT."""
    groups = {}
    for folder, _, files in os.walk(root):
        for name in files:
            status = os.lstat(os.path.join(folder, name))
            if status.st_nlink > 1:
                groups.setdefault(status.st_ino, []).append(os.path.relpath(os.path.join(folder, name), root))
    return sorted(sorted(group) for group in groups.values())


def documents(layout, tag):
    index = json.loads((layout / "index.json").read_text())
    entry = next(item for item in index["manifests"] if item.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag)

    def blob(descriptor):
        data = (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
        assert hashlib.sha256(data).hexdigest() == descriptor["digest"][7:] and len(data) == descriptor["size"]
        return data
    manifest = json.loads(blob(entry))
    for layer in manifest["layers"]:
        blob(layer)
    return entry["digest"], manifest, json.loads(blob(manifest["config"]))


class Case(ScratchCase):
    def exported(self, *arguments, **options):
        result = export(*arguments, **options)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def pulled(self, image, repository, **options):
        result = worker.pull(image, repository, **options).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]


class Golden(Case):
    """A chunked image and one with layers on top, in the repository that ostree-ext wrote."""

    def setUp(self):
        super().setUp()
        self.source = golden.unpack("repo.tar.gz", self.directory)
        self.original = golden.unpack("oci.tar.gz", self.directory)
        self.out = self.directory / "out"
        self.details = {tag: self.exported(f"oci:oci:{tag}", self.source, f"oci:{self.out}:{tag}") for tag in ("base", "derived")}

    def test_as_zstd_chunked_each_layer_says_where_its_files_are(self):
        for tag, out in ((tag, out) for tag in ("base", "derived") for out in ("chunked", "again")):
            self.exported(f"oci:oci:{tag}", self.source, f"oci:{self.directory}/{out}:{tag}", compression="zstd:chunked")
        for tag in ("base", "derived"):
            digest, manifest, config = documents(self.directory / "chunked", tag)
            self.assertEqual(digest, documents(self.directory / "again", tag)[0])
            self.assertEqual(config["rootfs"], documents(self.out, tag)[2]["rootfs"])
            for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
                self.assertEqual(layer["mediaType"], oci_layout.LAYER + "+zstd")
                _, tar = chunked_layer.read((self.directory / "chunked/blobs" / layer["digest"].replace(":", "/")).read_bytes(), layer["annotations"])
                self.assertEqual(chunked_layer.digest(tar), diff_id)
        # What is written as something else again does not say it any more.
        self.exported("oci:oci:base", self.source, f"oci:{self.directory}/plain:base", compression="zstd")
        for layer in documents(self.directory / "plain", "base")[1]["layers"]:
            self.assertEqual([key for key in layer.get("annotations", {}) if key.startswith(chunked_layer.PREFIX)], [])

    def test_both_unpack_to_the_trees_of_the_originals(self):
        for tag in ("base", "derived"):
            expected = unpacked(self.original, tag, self.directory / f"original-{tag}")
            found = unpacked(self.out, tag, self.directory / f"exported-{tag}")
            # What no import keeps over a base with a read-only root: see "filtered" of the pull.
            expected = {path: entry for path, entry in expected.items() if path.split("/")[0] not in ("opt", "run")}
            found = {path: entry for path, entry in found.items() if path.split("/")[0] not in ("opt", "run")}
            self.assertEqual(tree.differences(expected, found), [], tag)

    def test_commit_and_chunk_layers_are_reproduced_bit_for_bit(self):
        self.assertEqual((self.details["base"]["layers"], self.details["base"]["layers-kept"]), (6, 6))
        _, original, config = documents(self.original, "base")
        digest, exported, config_now = documents(self.out, "base")
        self.assertEqual(config_now, config)
        self.assertEqual(exported["annotations"], original["annotations"])
        self.assertEqual([layer.get("annotations") for layer in exported["layers"]], [layer.get("annotations") for layer in original["layers"]])
        self.assertEqual(digest, self.details["base"]["digest"])
        self.assertEqual(self.details["base"]["digest-kept"], digest == self.details["base"]["original-digest"])

    def test_of_what_imaged_pulled_the_config_is_the_same_bytes(self):
        # ostree-ext stores its own spelling of the config, imaged the registry's.
        fresh = ostree_repository.init(self.directory / "fresh")
        self.pulled("ostree-unverified-image:oci:oci:base", fresh, cwd=self.directory)
        self.exported("oci:oci:base", fresh, f"oci:{self.directory}/same:base")
        _, original, _ = documents(self.original, "base")
        _, exported, _ = documents(self.directory / "same", "base")
        self.assertEqual(exported["config"], original["config"])

    def test_history_and_labels_are_kept_and_the_last_diff_id_follows(self):
        _, _, original = documents(self.original, "derived")
        _, _, exported = documents(self.out, "derived")
        self.assertEqual(exported["history"], original["history"])
        self.assertEqual(exported["config"], original["config"])

    def test_what_was_exported_pulls_as_the_same_layers(self):
        fresh = ostree_repository.init(self.directory / "fresh")
        for tag in ("base", "derived"):
            self.pulled(f"oci:{self.out}:{tag}", fresh)
        self.assertEqual(golden.listing(fresh, golden.IMAGE + self.ref(f"oci:{self.out}:base")), (golden.DATA / "base.ls").read_text())
        self.assertEqual(golden.listing(fresh, golden.IMAGE + self.ref(f"oci:{self.out}:derived")), golden.derived_listing())
        _, original, _ = documents(self.original, "derived")
        _, exported, _ = documents(self.out, "derived")
        for old, new in zip(original["layers"], exported["layers"]):
            old, new = (golden.BLOB + layer["digest"].replace(":", "_3A_") for layer in (old, new))
            self.assertEqual(golden.listing(fresh, new), golden.stored_here(golden.listing(self.source, old)))
        golden.ostree(fresh, "fsck")

    def ref(self, image):
        return next(name[len(golden.IMAGE):] for name in golden.refs(self.directory / "fresh") if name.endswith("_3A_" + image.rpartition(":")[2]))

    def test_a_damaged_object_is_named_and_nothing_is_published(self):
        victim = next(path for path in sorted((self.source / "objects").glob("*/*.file")) if path.stat().st_size > 100 and not path.is_symlink())
        data = bytearray(victim.read_bytes())
        data[50] ^= 1
        victim.write_bytes(data)
        result = export("oci:oci:base", self.source, f"oci:{self.directory}/broken:base")
        self.assertEqual(result["error-name"], "RepositoryDamaged", result)
        self.assertIn(victim.parent.name + victim.name.partition(".")[0], result["message"])
        self.assertFalse((self.directory / "broken/index.json").exists())


LOWER = [directory("usr"), directory("usr/bin", 0o755), Entry("usr/bin/tool", content=b"tool", mode=0o4755),
         Entry("usr/bin/alias", "hardlink", target="usr/bin/tool"), Entry("usr/bin/same", content=b"tool", mode=0o4755),
         directory("etc", 0o750, gid=42), Entry("etc/conf", content=b"conf", xattrs={"user.note": b"a note"}),
         directory("var/lib/thing", 0o700, uid=33), Entry("var/lib/thing/state", content=b"1" * 300_000),
         Entry("bin", "symlink", target="usr/bin", mode=0o777), Entry("opt/" + "long/" * 40 + "name", content=b"deep"),
         Entry("usr/share/ünï", content=b"u"), Entry("usr/share/gone", content=b"x"), Entry("usr/share/dir/below", content=b"x"),
         Entry("etc/old", content=b"x"), Entry("big-owner", content=b"o", uid=4_000_000, gid=4_000_001)]
UPPER = [whiteout("usr/share/gone"), opaque("usr/share/dir"), Entry("usr/share/dir/new", content=b"n"), whiteout("etc/old"),
         Entry("etc/link", "hardlink", target="etc/conf"), directory("usr/bin", 0o711), Entry("usr/empty", content=b""),
         directory("srv/empty", 0o755)]


def hard(path, target):
    return Entry(path, "hardlink", target=target)


class LinksToLowerLayers(Case):
    """Hard links to files of lower layers, whose names the same layer gives to something else or takes away."""
    A, B = Entry("usr/a", content=b"A", mode=0o640, uid=7), Entry("usr/b", content=b"B")
    NEW = Entry("usr/a", content=b"new", mode=0o755)
    IN_DIRECTORY = [directory("usr/d"), Entry("usr/d/a", content=b"A")]
    # The layers above that of A and B, and what is in usr then.
    STACKS = {
        "a new file": ([[hard("usr/0", "usr/a"), NEW]], {"0": "A", "a": "new", "b": "B"}),
        "the link's name comes later": ([[hard("usr/z", "usr/a"), NEW]], {"z": "A", "a": "new", "b": "B"}),
        "a symbolic link": ([[hard("usr/0", "usr/a"), Entry("usr/a", "symlink", target="x")]], {"0": "A", "a": "-> x", "b": "B"}),
        "of the layer between": ([[Entry("usr/a", content=b"mid")], [hard("usr/0", "usr/a"), NEW]], {"0": "mid", "a": "new", "b": "B"}),
        "two links": ([[hard("usr/0", "usr/a"), hard("usr/1", "usr/a"), NEW]], {"0": "A", "1": "A", "a": "new", "b": "B"}),
        "a link to the link, afterwards": ([[hard("usr/0", "usr/a"), NEW, hard("usr/1", "usr/0")]], {"0": "A", "1": "A", "a": "new", "b": "B"}),
        "a later layer removes the link": ([[hard("usr/0", "usr/a"), hard("usr/1", "usr/a"), NEW], [whiteout("usr/0")]], {"1": "A", "a": "new", "b": "B"}),
        "the new file first": ([[NEW, hard("usr/0", "usr/a")]], {"0": "new", "a": "new", "b": "B"}),
        "a whiteout": ([[hard("usr/0", "usr/a"), whiteout("usr/a")]], {"0": "A", "b": "B"}),
        "a whiteout of its directory": ([IN_DIRECTORY, [hard("usr/0", "usr/d/a"), whiteout("usr/d")]], {"0": "A", "a": "A", "b": "B"}),
        "an opaque directory": ([IN_DIRECTORY, [hard("usr/0", "usr/d/a"), opaque("usr/d"), Entry("usr/d/n", content=b"n")]], {"0": "A", "a": "A", "b": "B", "d/n": "n"}),
        "a file in place of its directory": ([IN_DIRECTORY, [hard("usr/0", "usr/d/a"), Entry("usr/d", content=b"d")]], {"0": "A", "a": "A", "b": "B", "d": "d"}),
        "a directory in place of it": ([[hard("usr/0", "usr/a"), directory("usr/a"), Entry("usr/a/n", content=b"n")]], {"0": "A", "a/n": "n", "b": "B"}),
        "in a new directory": ([[directory("usr/n", mode=0o711), hard("usr/n/0", "usr/a"), NEW]], {"n/0": "A", "a": "new", "b": "B"}),
        "another link": ([[hard("usr/0", "usr/a"), hard("usr/a", "usr/b")]], {"0": "A", "a": "B", "b": "B"}),
        "another link, and a link to the first": ([[hard("usr/0", "usr/a"), hard("usr/a", "usr/b"), hard("usr/1", "usr/0")]], {"0": "A", "1": "A", "a": "B", "b": "B"}),
        "names change places": ([[hard("usr/0", "usr/a"), hard("usr/a", "usr/b"), hard("usr/b", "usr/0")]], {"0": "A", "a": "B", "b": "A"}),
        "names change places, and the third goes": ([[hard("usr/0", "usr/a"), hard("usr/a", "usr/b"), hard("usr/b", "usr/0")], [whiteout("usr/0")]], {"a": "B", "b": "A"}),
    }

    def contents(self, place):
        found = {}
        for folder, _, files in os.walk(place / "usr"):
            for name in files:
                path = os.path.join(folder, name)
                found[os.path.relpath(path, place / "usr")] = "-> " + os.readlink(path) if os.path.islink(path) else open(path, encoding="utf-8").read()
        return found

    def test_they_hold_what_they_held(self):
        layout, source, fresh = oci_layout.Layout(self.directory / "oci"), ostree_repository.init(self.directory / "repo"), ostree_repository.init(self.directory / "fresh")
        for number, (what, (layers, expected)) in enumerate(self.STACKS.items()):
            with self.subTest(what):
                tag, place = f"t{number}", self.directory / str(number)
                layout.image(tag, [oci_layout.layer(entries) for entries in ([directory("usr"), self.A, self.B], *layers)])
                original = unpacked(self.directory / "oci", tag, place / "original")
                self.assertEqual(self.contents(place / "original/rootfs"), expected)
                pulled = self.pulled(layout.reference(tag), source)
                golden.ostree(source, "checkout", "--user-mode", pulled["merge-commit"], place / "stored")
                self.assertEqual(self.contents(place / "stored"), expected)
                for compression in ("gzip", "zstd:chunked"):
                    self.exported(layout.reference(tag), source, f"oci:{place}/{compression[-4:]}:x", compression=compression)
                    again = self.pulled(f"oci:{place}/{compression[-4:]}:x", fresh)
                    self.assertEqual(golden.listing(fresh, again["merge-commit"]), golden.listing(source, pulled["merge-commit"]))
                # Docker and podman give the file what its last link says.
                tar = [entry for layer in documents(place / "gzip", "x")[1]["layers"]
                       for entry in tarfile.open(place / "gzip/blobs" / layer["digest"].replace(":", "/"))]
                self.assertEqual({(entry.mode, entry.uid) for entry in tar if entry.islnk() and entry.linkname == "usr/a" and expected.get(entry.name[4:]) == "A"} - {(0o640, 7)}, set())
                self.assertEqual(tree.differences(original, unpacked(place / "gzip", "x", place / "again")), [])


class Generic(Case):
    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory / "oci")
        self.digest = self.layout.image(
            "app", [oci_layout.layer(LOWER), oci_layout.layer(UPPER)],
            config={"config": {"Labels": {"org.opencontainers.image.version": "7"}, "Env": ["A=b"]}, "x-unknown": {"kept": [1, None]},
                    "history": [{"created_by": "lower"}, {"created_by": "nothing", "empty_layer": True}, {"created_by": "upper", "comment": "c"}]},
            manifest={"annotations": {"org.example.note": "n"}})
        self.image = self.layout.reference("app")
        self.source = ostree_repository.init(self.directory / "repo")
        self.pulled(self.image, self.source)

    def test_it_unpacks_to_the_tree_of_the_original_hard_links_included(self):
        expected = unpacked(self.directory / "oci", "app", self.directory / "original")
        for compression in ("gzip", "none"):  # zstd: see below; Debian's umoci does not know it
            out = self.directory / f"out-{compression}"
            details = self.exported(self.image, self.source, f"oci:{out}:x", compression=compression)
            found = unpacked(out, "x", self.directory / f"tree-{compression}")
            self.assertEqual(tree.differences(expected, found), [])
            self.assertEqual(links(self.directory / f"tree-{compression}/rootfs"), links(self.directory / "original/rootfs"))
            self.assertEqual(details["digest-kept"], False)
            self.assertEqual((details["original-digest"], details["digest"]), (self.digest, documents(out, "x")[0]))

    def test_it_pulls_as_the_same_layers(self):
        self.exported(self.image, self.source, f"oci:{self.directory}/out:x", compression="zstd")
        fresh = ostree_repository.init(self.directory / "fresh")
        again = self.pulled(f"oci:{self.directory}/out:x", fresh)
        trees = [sorted(golden.listing(repository, ref) for ref in golden.refs(repository) if ref.startswith(golden.BLOB))
                 for repository in (self.source, fresh)]
        self.assertEqual(trees[0], trees[1])
        first = worker.pull(self.image, self.source).result["details"]
        self.assertEqual(golden.listing(fresh, again["merge-commit"]), golden.listing(self.source, first["merge-commit"]))

    def test_as_zstd_chunked_it_pulls_as_the_same_layers_and_comes_out_as_it_was(self):
        first = self.exported(self.image, self.source, f"oci:{self.directory}/out:x", compression="zstd:chunked")
        _, manifest, config = documents(self.directory / "out", "x")
        found = {}
        for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"]):
            rows, tar = chunked_layer.read((self.directory / "out/blobs" / layer["digest"].replace(":", "/")).read_bytes(), layer["annotations"])
            self.assertEqual(chunked_layer.digest(tar), diff_id)
            found.update({row["name"].rstrip("/"): row for row in rows})
        self.assertEqual((found["etc/conf"]["xattrs"], found["usr/bin"]["mode"], found["big-owner"]["uid"]), ({"user.note": "YSBub3Rl"}, 0o711, 4_000_000))
        self.assertEqual((found["usr/bin/alias"]["type"], found["usr/share/.wh.gone"]["type"], found["bin"]["linkName"]), ("hardlink", "reg", "usr/bin"))
        fresh = ostree_repository.init(self.directory / "fresh")
        again = self.pulled(f"oci:{self.directory}/out:x", fresh)
        pulled = worker.pull(self.image, self.source).result["details"]
        self.assertEqual(golden.listing(fresh, again["merge-commit"]), golden.listing(self.source, pulled["merge-commit"]))
        second = self.exported(f"oci:{self.directory}/out:x", fresh, f"oci:{self.directory}/again:x", compression="zstd:chunked")
        self.assertEqual((second["digest"], second["digest-kept"]), (first["digest"], True))

    def test_a_layer_with_a_path_that_occurs_twice_has_no_table(self):
        twice = [Entry("usr/f", content=b"first"), Entry("usr/d", "symlink", target="f"), directory("usr/f"), Entry("usr/f/below", content=b"b"), whiteout("usr/f")]
        for number, entries in enumerate((twice, LOWER)):
            self.layout.image("twice", [oci_layout.layer(entries)])
            self.pulled(self.layout.reference("twice"), self.source)
            self.exported(self.layout.reference("twice"), self.source, f"oci:{self.directory}/out{number}:x", compression="zstd:chunked")
            layer, = documents(self.directory / f"out{number}", "x")[1]["layers"]
            blob = (self.directory / f"out{number}/blobs" / layer["digest"].replace(":", "/")).read_bytes()
            names = tarfile.open(fileobj=io.BytesIO(chunked_layer.unpacked(blob))).getnames()
            self.assertEqual("annotations" in layer, len(set(names)) == len(names), names)

    def test_a_second_export_of_what_came_out_is_bit_for_bit_the_same(self):
        first = self.exported(self.image, self.source, f"oci:{self.directory}/out:x", compression="none")
        fresh = ostree_repository.init(self.directory / "fresh")
        self.pulled(f"oci:{self.directory}/out:x", fresh)
        second = self.exported(f"oci:{self.directory}/out:x", fresh, f"oci:{self.directory}/again:x", compression="none")
        self.assertEqual((second["digest"], second["digest-kept"], second["layers-kept"]), (first["digest"], True, 2))

    def test_hard_links_have_the_owner_and_mode_of_their_file(self):
        # Docker and podman give them to the file.
        of_tool = {"target": "usr/tool", "mode": 0o4751, "uid": 3, "gid": 4}
        self.layout.image("links", [oci_layout.layer([Entry("usr/tool", content=b"t", mode=0o4751, uid=3, gid=4), Entry("usr/alias", "hardlink", **of_tool)]),
                                    oci_layout.layer([Entry("usr/late", "hardlink", **of_tool), Entry("etc/late", "hardlink", **of_tool)])])
        self.pulled(self.layout.reference("links"), self.source)
        self.exported(self.layout.reference("links"), self.source, f"oci:{self.directory}/out:x", compression="zstd:chunked")
        found = []
        for layer in documents(self.directory / "out", "x")[1]["layers"]:
            rows, _ = chunked_layer.read((self.directory / "out/blobs" / layer["digest"].replace(":", "/")).read_bytes(), layer["annotations"])
            found += [(row["type"], row["mode"], row["uid"], row["gid"]) for row in rows if row["type"] != "dir"]
        # Of lower layers too.
        self.assertEqual(found, [("reg", 0o4751, 3, 4)] + 3 * [("hardlink", 0o4751, 3, 4)])

    def test_documents_keep_what_is_not_about_bytes(self):
        self.exported(self.image, self.source, f"oci:{self.directory}/out:x")
        _, old_manifest, old = documents(self.directory / "oci", "app")
        _, new_manifest, new = documents(self.directory / "out", "x")
        self.assertEqual({**old, "rootfs": None}, {**new, "rootfs": None})
        self.assertEqual(new_manifest["annotations"], old_manifest["annotations"])

    def test_an_archive_holds_the_same_image_and_is_never_overwritten(self):
        archive = self.directory / "app.tar"
        details = self.exported(self.image, self.source, f"oci-archive:{archive}:x")
        raw = subprocess.run(["skopeo", "inspect", "--raw", f"oci-archive:{archive}:x"], check=True, capture_output=True).stdout
        self.assertEqual("sha256:" + hashlib.sha256(raw).hexdigest(), details["digest"])
        self.assertEqual(self.exported(self.image, self.source, f"oci:{self.directory}/out:x")["digest"], details["digest"])
        result = export(self.image, self.source, f"oci-archive:{archive}:x")
        self.assertEqual(result["error-name"], "InvalidArgument", result)
        self.assertEqual(sorted(path.name for path in self.directory.glob("app.tar*")), ["app.tar"])
        self.assertEqual([name for name in os.listdir(self.source / "tmp") if name.startswith("imaged-")], [])

    def test_a_layout_keeps_its_other_images(self):
        out = self.directory / "out"
        self.exported(self.image, self.source, f"oci:{out}:a")
        self.exported(self.image, self.source, f"oci:{out}:b", compression="none")
        self.exported(self.image, self.source, f"oci:{out}:a")
        self.assertNotEqual(documents(out, "a")[0], documents(out, "b")[0])
        self.assertEqual(len(json.loads((out / "index.json").read_text())["manifests"]), 2)

    def test_a_directory_that_is_something_else_is_refused(self):
        result = export(self.image, self.source, f"oci:{self.source}:x")
        self.assertEqual(result["error-name"], "InvalidArgument", result)
        self.assertEqual(export("docker://a/b:c", self.source, f"oci:{self.directory}/out:x")["error-name"], "NotFound")

    @unittest.skipUnless(shutil.which("docker-registry"), "needs Debian's docker-registry")
    def test_a_registry_serves_what_was_exported(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % probe.getsockname()[1]
        (self.directory / "registry.yml").write_text(
            f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {self.directory}/registry\nhttp:\n  addr: {address}\n")
        registry = subprocess.Popen(["docker-registry", "serve", self.directory / "registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(registry.wait)
        self.addCleanup(registry.kill)
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(address.rpartition(":")[2]))) == 0:
                    break
            time.sleep(0.05)
        registries = self.directory / "registries.conf"
        registries.write_text(f'[[registry]]\nlocation = "{address}"\ninsecure = true\n')
        environment = {"CONTAINERS_REGISTRIES_CONF": str(registries)}
        name = f"docker://{address}/app:1"
        result = worker.Run(self.image, self.source, kind="export", arguments={"destination": name}, env=environment).finish().result
        self.assertEqual(result["outcome"], "success", result)
        fresh = ostree_repository.init(self.directory / "fresh")
        pulled = self.pulled(name, fresh, env=environment)
        self.assertEqual(pulled["digest"], result["details"]["digest"])
        first = worker.pull(self.image, self.source).result["details"]
        self.assertEqual(golden.listing(fresh, pulled["merge-commit"]), golden.listing(self.source, first["merge-commit"]))
        registry.kill()
        registry.wait()
        result = worker.Run(self.image, self.source, kind="export", arguments={"destination": name}, env=environment).finish().result
        self.assertEqual(result["error-name"], "SourceUnreachable", result)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
