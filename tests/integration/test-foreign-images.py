# SPDX-License-Identifier: Apache-2.0
"""Images as other builders, other systems and older tools make them, pulled through the bus: what is kept, what is dropped and counted, what is refused and why."""
import base64
import hashlib
import json
import os
import struct
import subprocess
import sys
import unittest

import hostile_tar
import oci_layout
import tree
from bus_case import BusCase
from oci_layout import Blob, Entry, directory

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep
NAMESPACED = struct.pack("<IIIIII", 0x03000001, 1 << 13, 0, 0, 0, 0)  # the same of the host's root


def raw(*parts):
    return oci_layout.compressed(b"".join(parts) + hostile_tar.END)


def with_pax(name, records, content=b"", **fields):
    return hostile_tar.pax(records) + hostile_tar.entry(name, content, **fields)


class Attributes(BusCase):
    def test_those_that_linux_does_not_take_are_dropped_and_counted(self):
        kept = {"user.a": b"x", "trusted.overlay.opaque": b"y", "security.apparmor": b"z"}
        foreign = {"com.apple.provenance": b"\x01", "btrfs.compression": b"zstd", "lustre.lov": b"z"}
        stored = self.stored([directory("usr", xattrs={**kept, **foreign}), Entry("usr/f", xattrs={**kept, **foreign}),
                              Entry("usr/l", "symlink", target="f", xattrs={"user.a": b"x", "trusted.t": b"1", "com.apple.x": b"1"})])
        self.assertEqual((dict(stored["usr"][4]), dict(stored["usr/f"][4]), dict(stored["usr/l"][4])), (kept, kept, {"trusted.t": b"1"}))
        self.assertEqual(self.outcome["attributes-dropped"], 8)
        self.assert_sound()

    def test_those_without_a_value_are_dropped_and_counted(self):
        stored = self.stored([directory("usr", xattrs={"user.empty": b""}), Entry("usr/f", xattrs={"user.empty": b"", "trusted.overlay.metacopy": b""})])
        self.assertEqual((stored["usr"][4], stored["usr/f"][4]), ((), ()))
        self.assertEqual(self.outcome["attributes-dropped"], 3)
        self.assert_sound()

    def test_what_was_dropped_is_counted_whichever_way_the_layers_came(self):
        below = [Entry("f", xattrs={"com.apple.x": b"1"}), Entry("p", "fifo"), Entry("\udce9")]
        counts = {"attributes-dropped": 1, "special-files-dropped": 1, "names-dropped": 1}
        self.stored(below)
        self.assertEqual({key: self.outcome[key] for key in counts}, counts)
        self.assertEqual({key: self.pulled()[key] for key in counts}, counts)  # it is there already
        self.assertEqual({key: self.pulled(target="oci:other:t")[key] for key in counts}, counts)
        self.stored(below, [Entry("g", xattrs={"com.apple.x": b"1"}), Entry("q", "hardlink", target="p")])
        self.assertEqual(self.outcome["layers-fetched"], 1)
        self.assertEqual({key: self.outcome[key] for key in counts}, {"attributes-dropped": 2, "special-files-dropped": 2, "names-dropped": 1})

    def test_those_beyond_the_limits_of_linux_are_dropped_and_counted(self):
        xattrs = {"user.a": b"a", "user." + "n" * 251: b"long name", "user.large": b"v" * 65537}
        stored = self.stored([directory("usr", xattrs=xattrs), Entry("usr/f", xattrs=xattrs)])
        self.assertEqual((dict(stored["usr"][4]), dict(stored["usr/f"][4])), ({"user.a": b"a"}, {"user.a": b"a"}))
        self.assertEqual(self.outcome["attributes-dropped"], 4)
        self.assert_sound()

    def test_one_that_the_file_system_has_no_room_for_is_no_lack_of_space(self):
        probe = self.directory / "probe"
        probe.touch()
        try:
            os.setxattr(probe, "user.large", b"v" * 60000)
        except OSError:
            self.layout.image("t", [oci_layout.layer([Entry("f", xattrs={"user.large": b"v" * 60000})])])
            self.refused("UnsupportedImage", "user.large", "60000 bytes")
        else:
            self.assertEqual(self.stored([Entry("f", xattrs={"user.large": b"v" * 60000})])["f"][4], (("user.large", b"v" * 60000),))

    def test_the_last_of_two_of_one_name_counts(self):
        stored = self.stored(raw(with_pax(b"f", [(b"SCHILY.xattr.user.a", b"first"), (b"SCHILY.xattr.user.b", b"b"), (b"SCHILY.xattr.user.a", b"last")])))
        self.assertEqual(dict(stored["f"][4]), {"user.a": b"last", "user.b": b"b"})

    def test_libarchives_form_is_the_same(self):
        stored = self.stored(raw(with_pax(b"f", [(b"LIBARCHIVE.xattr.com.apple.x", base64.b64encode(b"x")), (b"LIBARCHIVE.xattr.user.a", base64.b64encode(b"x"))])))
        self.assertEqual(dict(stored["f"][4]), {"user.a": b"x"})
        self.assertEqual(self.outcome["attributes-dropped"], 1)

    def test_capabilities_are_kept_in_the_form_that_the_kernel_gives_back(self):
        stored = self.stored([Entry("good", xattrs={"security.capability": CAPABILITY}), Entry("root", xattrs={"security.capability": NAMESPACED}),
                              Entry("bad", xattrs={"security.capability": b"\1\2"}), directory("d", xattrs={"security.capability": b"\1\2"})])
        self.assertEqual([dict(stored[name][4]) for name in ("good", "root", "bad", "d")],
                         [{"security.capability": CAPABILITY}, {"security.capability": CAPABILITY}, {}, {}])
        self.assertEqual(self.outcome["attributes-dropped"], 2)
        self.assert_sound()

    def test_an_access_control_list_is_dropped_and_the_mode_of_the_header_stays(self):
        acl = b"user::rwx,group::r-x,group:7:rwx,mask::rwx,other::---"
        stored = self.stored(raw(with_pax(b"f", [(b"SCHILY.acl.access", acl)], mode=0o770),
                                 with_pax(b"d/", [(b"SCHILY.acl.access", acl), (b"SCHILY.acl.default", acl)], kind=b"5", mode=0o2770),
                                 with_pax(b"x", [(b"SCHILY.xattr.system.posix_acl_access", b"\2\0\0\0x")], mode=0o640)))
        self.assertEqual([stored[name][1] for name in "fdx"], [0o770, 0o2770, 0o640])
        self.assertEqual(self.outcome["attributes-dropped"], 4)
        self.assert_sound()


class Sizes(BusCase):
    def test_entries_without_content_have_none_whatever_size_their_headers_name(self):
        def sized(number, kind, link=b""):
            name = b"%d" % number
            return (hostile_tar.pax([(b"size", b"1024")]) + hostile_tar.header(name + b"/p", kind=kind, link=link) + hostile_tar.entry(name + b"/next", name) +
                    hostile_tar.header(name + b"/h", 1024, kind=kind, link=link) + hostile_tar.entry(name + b"/last", name))
        layer = raw(hostile_tar.entry(b"f", b"f"), with_pax(b"empty", [(b"size", b"")], b"e"),
                    *(sized(number, kind, link) for number, (kind, link) in enumerate([(b"1", b"f"), (b"2", b"f"), (b"3", b""), (b"4", b""), (b"5", b""), (b"6", b"")])))
        stored = self.stored(layer)
        theirs = self.directory / "bundle"
        subprocess.run(["umoci", "unpack", "--image", f"{self.layout.path}:t", theirs], check=True, capture_output=True)
        expected = tree.mapped(tree.of_directory(theirs / "rootfs"))
        expected[""] = stored[""]
        self.assertEqual(tree.differences(expected, stored), [])
        self.assertIn("5/last", stored)


class Streams(BusCase):
    def blob_of(self, name, size, content, *options):
        """A layer of one file of SIZE bytes, CONTENT again and again, compressed with zstd as it is made."""
        packed, whole = self.directory / "packed", hashlib.sha256()
        with open(packed, "wb") as file, subprocess.Popen(["zstd", "-q", "-c", *options], stdin=subprocess.PIPE, stdout=file) as zstd:
            def write(data):
                zstd.stdin.write(data)
                whole.update(data)
            write(hostile_tar.header(name.encode(), size))
            piece = content * ((1 << 20) // len(content))
            for at in range(0, size, len(piece)):
                write(piece[:size - at])
            write(bytes(-size % 512) + hostile_tar.END)
        return Blob(packed.read_bytes(), oci_layout.LAYER + "+zstd", "sha256:" + whole.hexdigest())

    def test_zeros_become_a_hole_and_do_not_count(self):
        size = (1 << 30) + (40 << 20)
        stored = self.stored(self.blob_of("lastlog", size, b"\0", "-1"))
        checksum = subprocess.run(["ostree", f"--repo={self.repository}", "ls", "-C", self.outcome["commit"], "/lastlog"], check=True,
                                  capture_output=True, text=True).stdout.split()[4]
        status = os.stat(self.repository / "objects" / checksum[:2] / (checksum[2:] + ".file"))
        self.assertEqual((status.st_size, "lastlog" in stored), (size, True))
        self.assertLess(status.st_blocks * 512, 1 << 20)
        self.assert_verified()

    def test_a_bomb_is_still_refused(self):
        # Letters in place of zeros take room.
        self.layout.image("t", [self.blob_of("bomb", 1100 << 20, b"x", "-1")])
        self.refused("UnsupportedImage", "to one")

    def test_a_zstd_window_of_128_mib_is_taken_and_a_wider_one_is_not(self):
        for window, error in (("--long=27", None), ("--long=28", "UnsupportedImage")):
            plain = oci_layout.tar([Entry("f", content=window.encode() * 100_000)])
            packed = subprocess.run(["zstd", "-q", "-1", "--ultra", window, "-c"], input=plain, capture_output=True, check=True).stdout
            blob = Blob(packed, oci_layout.LAYER + "+zstd", oci_layout.digest(plain))
            if error:
                self.layout.image("t", [blob])
                self.refused(error, "window", "128 MiB")
            else:
                self.assertIn("f", self.stored(blob))

    def test_one_block_of_zeros_and_more_behind_it_is_corrupt(self):
        self.layout.image("t", [raw(hostile_tar.entry(b"a", b"a"), bytes(512), hostile_tar.entry(b"b", b"b"))])
        self.refused("CorruptInput", "zeros", "at byte 1024")
        self.assertEqual(set(self.stored(oci_layout.compressed(hostile_tar.entry(b"a", b"a") + bytes(512)))), {"", "a"})

    def test_a_nul_in_a_pax_name_is_corrupt(self):
        for key in (b"path", b"linkpath"):
            self.layout.image("t", [raw(with_pax(b"short", [(key, b"usr/a\0b")], kind=b"2" if key == b"linkpath" else b"0", link=b"x"))])
            self.refused("CorruptInput", "NUL")


class Documents(BusCase):
    def test_types_of_the_config_that_docker_takes(self):
        for kind in ("application/octet-stream", "text/html", "application/json", "", oci_layout.CONFIG + "; charset=utf-8", oci_layout.DOCKER_CONFIG):
            with self.subTest(kind):
                layer = oci_layout.layer([Entry("f", content=kind.encode())])
                self.layout.image("t", [layer])
                manifest = json.loads(self.layout.blob_path(self.layout.manifests[-1]["digest"]).read_text())
                stored = self.stored(layer, manifest={"config": {**manifest["config"], "mediaType": kind}})
                self.assertIn("f", stored)

    def test_an_artifact_is_named_as_what_it_is(self):
        for layer_type, word in (("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "encrypted"),
                                 ("application/vnd.stacker.image.layer.squashfs+zstd+verity", "squashfs"), ("application/vnd.erofs.layer.v1", "erofs")):
            blob = oci_layout.layer([Entry("f")])
            blob.media_type = layer_type
            self.layout.image("t", [blob])
            self.refused("UnsupportedImage", word, layer_type)
        self.layout.image("t", [oci_layout.layer([Entry("f")])], manifest={"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "size": 2, "digest": self.layout.put(b"{}")}})
        self.refused("UnsupportedImage", "artifact", "helm")

    def test_a_layer_of_an_octet_stream_is_taken(self):
        blob = oci_layout.layer([Entry("f")])
        blob.media_type = "application/octet-stream"
        self.assertIn("f", self.stored(blob))

    def test_schema_1_is_refused_by_its_name(self):
        path = self.directory / "schema1"
        path.mkdir()
        (path / "version").write_text("Directory Transport Version: 1.1\n")
        (path / "manifest.json").write_text(json.dumps({
            "schemaVersion": 1, "name": "a/b", "tag": "t", "architecture": "amd64", "fsLayers": [{"blobSum": "sha256:" + "a" * 64}],
            "history": [{"v1Compatibility": json.dumps({"id": "a" * 64})}]}))
        self.refused("UnsupportedImage", "schema 1", "push the image again", reference=f"ostree-unverified-image:dir:{path}")

    def test_an_index_that_leads_to_a_manifest_of_docker(self):
        self.layout.image("t", [oci_layout.layer([Entry("f", content=b"docker")])])
        manifest = json.loads(self.layout.blob_path(self.layout.manifests[-1]["digest"]).read_text())
        manifest["mediaType"], manifest["config"]["mediaType"] = oci_layout.DOCKER_MANIFEST, oci_layout.DOCKER_CONFIG
        manifest["layers"][0]["mediaType"] = oci_layout.DOCKER_LAYER
        text = json.dumps(manifest).encode()
        listed = {"mediaType": oci_layout.DOCKER_MANIFEST, "digest": self.layout.put(text), "size": len(text),
                  "platform": {"architecture": subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip(), "os": "linux"}}
        for kind in (oci_layout.INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"):
            # skopeo finds no manifest list of Docker by a tag of a layout.
            tag = ":t" if kind == oci_layout.INDEX else ""
            index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": [listed]}).encode()
            (self.layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
                {"mediaType": kind, "digest": self.layout.put(index), "size": len(index), "annotations": {"org.opencontainers.image.ref.name": "t"}}]}))
            archive = self.directory / "index.tar"
            subprocess.run(["tar", "-C", self.layout.path, "-cf", archive, "."], check=True)
            for reference in (f"oci:{self.layout.path}{tag}", f"oci-archive:{archive}{tag}"):
                outcome = self.pulled("ostree-unverified-image:" + reference)
                self.assertEqual(outcome["digest"], listed["digest"])

    def test_nested_indexes_say_what_to_do(self):
        self.layout.image("t", [oci_layout.layer([Entry("f")])])
        entry = {**self.layout.manifests[-1], "annotations": {"org.opencontainers.image.ref.name": "t"}}
        for _ in range(2):
            index = json.dumps({"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [entry]}).encode()
            entry = {"mediaType": oci_layout.INDEX, "digest": self.layout.put(index), "size": len(index), "annotations": {"org.opencontainers.image.ref.name": "t"}}
        (self.layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        self.refused("UnsupportedImage", "index", "by its digest")

    def test_a_layout_of_several_images_says_what_to_do(self):
        for tag in ("t", "u"):
            self.layout.image(tag, [oci_layout.layer([Entry(tag)])])
        self.refused("InvalidReference", "more than one image", "name one by its tag", reference=f"ostree-unverified-image:oci:{self.layout.path}")

    def test_null_labels_are_empty_ones(self):
        self.stored([Entry("f")], config={"config": {"Labels": {"a": None, "b": "c"}}, "history": [None]})
        self.assertEqual(self.described(self.layout.reference("t"))["labels"], {"a": "", "b": "c"})

    def test_an_image_without_layers(self):
        for number, lists in enumerate(({"rootfs": {"type": "layers", "diff_ids": []}}, {"rootfs": {"type": "layers", "diff_ids": None}})):
            self.assertEqual(set(self.stored(config=lists, manifest={"layers": None if number else []})), {""})
            self.assertEqual(self.outcome["layers"], 0)
            self.assert_sound()

    def test_a_policy_of_selinux_that_is_malformed_says_what_to_do(self):
        files = "etc/selinux/broken/contexts/files/file_contexts"
        policy = [Entry("etc/selinux/config", content=b"SELINUX=enforcing\nSELINUXTYPE=broken\n")]
        for content in (b"this is [ not ( a context\n", b"/usr([ system_u:object_r:usr_t:s0\n"):
            self.layout.image("t", [oci_layout.layer([*policy, Entry("usr/f"), Entry(files, content=content)])])
            message = self.refused("UnsupportedImage", "SELinux policy", "file_contexts", "SELINUX=disabled")
            self.assertNotIn("/proc/", message)


class Times(BusCase):
    def commits_of(self, created, annotations=None):
        layer = oci_layout.layer([Entry("f", content=repr(created).encode())])
        self.layout.image("t", [layer], config={"created": created}, manifest={"annotations": annotations} if annotations else None)
        commits = []
        for _ in range(2):
            self.outcome = self.pulled()
            log = subprocess.run(["ostree", f"--repo={self.repository}", "show", "--raw", self.outcome["merge-commit"]], check=True, capture_output=True, text=True)
            commits.append((self.outcome["merge-commit"], self.described(self.layout.reference("t"))["created"]))
            self.assertIn("ostree.manifest-digest", log.stdout)
            subprocess.run(["ostree", f"--repo={self.repository}", "refs", "--delete", "ostree/container"], check=True, capture_output=True)
        self.assertEqual(commits[0], commits[1])
        return commits[0][1]

    def test_the_same_image_gives_the_same_commit_whatever_its_time(self):
        for created, seconds in {None: 0, "": 0, "0001-01-01T00:00:00Z": 0, "1969-12-31T23:59:59Z": 0, "yesterday": 0, "2024-01-02": 0, "2024-02-30T00:00:00Z": 0,
                                 "1970-01-01T00:00:00Z": 0, "2024-01-02T03:04:05Z": 1704164645, "2024-01-02T03:04:05.123456789+02:00": 1704157445,
                                 "2024-01-02t03:04:05z": 1704164645, "2024-12-31T23:59:60Z": 1735689600, "9999-12-31T23:59:59Z": 253402300799, "9999-12-31T23:59:59-12:00": 0}.items():
            with self.subTest(created):
                self.assertEqual(self.commits_of(created), seconds)

    def test_an_annotation_comes_before_the_config_unless_it_is_malformed(self):
        key = "org.opencontainers.image.created"
        self.assertEqual(self.commits_of("2024-01-02T03:04:05Z", {key: "2020-01-01T00:00:00Z"}), 1577836800)
        self.assertEqual(self.commits_of("2024-01-02T03:04:05Z", {key: "nonsense"}), 1704164645)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
