# SPDX-License-Identifier: Apache-2.0
"""What each kind of tar entry is stored as."""
import base64
import hashlib
import io
import json
import os
import resource
import struct
import subprocess
import sys
import tarfile
import time
import unittest

import golden
import hostile_tar
import oci_layout
import sanitizers
import tree
import worker
from oci_layout import Entry, directory, whiteout
from repository_case import STORED, RepositoryCase

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # cap_net_raw+ep
FROM_TAR = ("--numeric-owner", "--owner=0", "--group=0", "--sort=name")


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def raw(entries):
    """A PAX tar of (path, pax headers, content, changes of the ustar header): what no library writes by itself."""
    out = io.BytesIO()
    for path, pax, content, header in entries:
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(content), 0o644
        for name, value in header.items():
            setattr(info, name, value)
        info.pax_headers = pax
        out.write(info.tobuf(tarfile.PAX_FORMAT))
        out.write(content + bytes(-len(content) % 512))
    return oci_layout.compressed(out.getvalue() + bytes(1024))


class Names(RepositoryCase):
    def test_long_names_and_link_targets_in_pax_and_gnu_form(self):
        name = "/".join(["opt"] + [letter * 100 for letter in "abcd"]) + "/" + "e" * 255
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            with self.subTest(form):
                stored = self.stored(oci_layout.layer([Entry(name, content=b"x"), Entry("hard", "hardlink", target=name),
                                                       Entry("soft", "symlink", target="/" + name)], format=form))
                self.assertEqual(stored[name][5], sha256(b"x"))
                self.assertEqual(stored["hard"], stored[name])
                self.assertEqual(stored["soft"][5], "/" + name)

    def test_a_name_that_no_file_system_takes_is_refused(self):
        self.layout.image("t", [oci_layout.layer([Entry("opt/" + "e" * 256)])])
        self.assert_refused("UnsupportedImage", "longer than 255 bytes")

    def test_pax_records_win_over_the_header(self):
        stored = self.stored(raw([("short", {"path": "etc/long"}, b"content", {}),
                                  ("soft", {"linkpath": "/etc/target"}, b"", {"type": tarfile.SYMTYPE, "linkname": "wrong"}),
                                  ("hard", {"linkpath": "etc/long"}, b"", {"type": tarfile.LNKTYPE, "linkname": "wrong"})]))
        self.assertEqual(stored["usr/etc/long"][5], sha256(b"content"))
        self.assertEqual(stored["soft"][5], "/etc/target")
        self.assertEqual(stored["hard"], stored["usr/etc/long"])

    def test_a_pax_size_wins_over_the_header(self):
        data = bytearray(tarfile.TarInfo("sized").tobuf(tarfile.PAX_FORMAT))
        record = tarfile.TarInfo("sized")
        record.pax_headers = {"size": "5"}
        whole = record.tobuf(tarfile.PAX_FORMAT)
        self.assertEqual(whole[-512:], bytes(data))  # the header itself still says 0
        stored = self.stored(oci_layout.compressed(whole + b"bytes" + bytes(507) + oci_layout.tar([Entry("next", content=b"n")])))
        self.assertEqual((stored["sized"][5], stored["next"][5]), (sha256(b"bytes"), sha256(b"n")))

    def test_a_file_whose_name_ends_in_a_slash_is_a_file(self):
        """As for Go's archive/tar; only the type of the oldest tars, which had no directories, makes it one there."""
        long, gnu = b"d/" + b"n" * 120, {"magic": b"ustar  \0"}
        for content in (b"content" * 100, b""):
            forms = {"a": hostile_tar.entry(b"a/", content), "b/b": hostile_tar.entry(b"b/", content, prefix=b"b"), "c": hostile_tar.entry(b"c///", content, **gnu),
                     "e": hostile_tar.pax([(b"path", b"e/")]) + hostile_tar.entry(b"x/", content), long.decode(): hostile_tar.gnu_long(long + b"/") + hostile_tar.entry(b"x", content, **gnu),
                     "f": hostile_tar.pax([(b"path", b"f//"), (b"size", b"%d" % len(content))]) + hostile_tar.header(b"x", 0) + hostile_tar.padded(content)}
            for name, data in forms.items():
                with self.subTest(name, size=len(content)):
                    stored = self.stored(oci_layout.compressed(data + hostile_tar.entry(b"after", b"after") + hostile_tar.END))
                    self.assertEqual((stored[name][5], stored["after"][5]), (sha256(content), sha256(b"after")))
        old = hostile_tar.header(b"old/", kind=b"\0") + hostile_tar.END
        self.assertEqual(self.stored(oci_layout.compressed(old))["old"][0], "dir")

    def test_any_spelling_of_a_path_is_the_same_path(self):
        stored = self.stored([Entry("./a", content=b"1"), Entry("/b", content=b"2"), Entry("d//e/./f", content=b"3"), directory("g/"),
                              Entry("./hard", "hardlink", target="//d/e//f"), directory("./", 0o711)])
        self.assertEqual(set(stored), {"", "a", "b", "d", "d/e", "d/e/f", "g", "hard"})
        self.assertEqual(stored["hard"], stored["d/e/f"])
        self.assertEqual(stored[""][1], 0o711)

    def test_dot_dot_is_refused_in_paths_and_hardlinks_and_kept_in_symlinks(self):
        for entry in (Entry("a/../b"), Entry("../b"), Entry("hard", "hardlink", target="../etc/passwd")):
            self.layout.image("t", [oci_layout.layer([entry])])
            self.assert_refused("CorruptInput", "..")
        self.assertEqual(self.stored([Entry("soft", "symlink", target="../../b")])["soft"][5], "../../b")

    def test_the_last_entry_of_a_path_wins(self):
        stored = self.stored([Entry("file", content=b"old"), Entry("file", content=b"new", mode=0o600),
                              directory("dir"), Entry("dir/below"), Entry("dir", content=b"file now"),
                              Entry("link", "symlink", target="x"), directory("link", 0o700), Entry("link/below"),
                              directory("mode", 0o700), directory("mode", 0o750),
                              Entry("pipe", content=b"gone"), Entry("pipe", "fifo"),
                              Entry("forward", "hardlink", target="late"), Entry("forward", "hardlink", target="later"),
                              Entry("late", content=b"late"), Entry("later", content=b"later")])
        self.assertEqual(stored["file"][:6], ("file", 0o600, 0, 0, (), sha256(b"new")))
        self.assertEqual(stored["dir"][5], sha256(b"file now"))
        self.assertNotIn("dir/below", stored)
        self.assertEqual((stored["link"][:2], stored["mode"][1]), (("dir", 0o700), 0o750))
        self.assertIn("link/below", stored)
        self.assertNotIn("pipe", stored)
        self.assertEqual(stored["forward"], stored["later"])

    def test_names_that_are_not_utf8_are_dropped_and_counted(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
            for name in ("opt/caf\xe9", "opt/plain"):
                archive.addfile(tarfile.TarInfo(name))
        stored = self.stored(oci_layout.compressed(out.getvalue()))
        self.assertEqual(set(stored), {"", "opt", "opt/plain"})
        self.assertEqual(self.details["names-dropped"], 1)

    def test_symbolic_links_with_targets_that_are_not_utf8_are_dropped_counted_and_hide_what_is_below(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
            for name, target in (("short", "caf\xe9"), ("long", "caf\xe9" * 100), ("plain", "cafe")):
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, target
                archive.addfile(link)
        stored = self.stored([Entry("short", content=b"lower"), Entry("other")], oci_layout.compressed(out.getvalue()))
        self.assertEqual(set(stored), {"", "other", "plain"})
        self.assertEqual(self.details["names-dropped"], 2)

    def test_no_utf8_locale_is_needed(self):
        names = {"ünï", "日本", "e\u0301"}
        for locale in ("C", "POSIX", "de_DE.ISO-8859-1"):
            with self.subTest(locale):
                stored = self.stored([Entry(name, content=locale.encode()) for name in names], env={"LC_ALL": locale, "LANG": locale})
                self.assertEqual(set(stored), {""} | names)


class Metadata(RepositoryCase):
    def test_setuid_setgid_and_sticky_bits_stay(self):
        stored = self.stored([Entry("u", mode=0o4755, uid=33), Entry("g", mode=0o2711, gid=42), directory("t", 0o1777), directory("s", 0o2775, gid=50)])
        self.assertEqual({path: stored[path][1:4] for path in "ugts"},
                         {"u": (0o4755, 33, 0), "g": (0o2711, 0, 42), "t": (0o1777, 0, 0), "s": (0o2775, 0, 50)})

    def test_huge_owners_in_pax_and_gnu_form(self):
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            with self.subTest(form):
                stored = self.stored(oci_layout.layer([Entry("f", uid=4_000_000_000, gid=3_000_000), directory("d", uid=2_200_000)], format=form))
                self.assertEqual((stored["f"][2:4], stored["d"][2:4]), ((4_000_000_000, 3_000_000), (2_200_000, 0)))
        self.layout.image("t", [oci_layout.layer([Entry("f", uid=0xffffffff)])])
        for ref in self.refs().split():
            self.ostree("refs", "--delete", ref)
        self.assertEqual(self.pull()["error-name"], "CorruptInput")

    def test_times_of_any_kind_are_accepted_and_not_kept(self):
        for form, times in ((tarfile.PAX_FORMAT, (-1.5, 1.25, 2**40)), (tarfile.GNU_FORMAT, (-100, 0, 2**34))):
            with self.subTest(form):
                stored = self.stored(oci_layout.layer([Entry(f"f{number}", mtime=time) for number, time in enumerate(times)], format=form))
                self.assertEqual(stored["f0"], stored["f1"])
                self.assertEqual(stored["f0"], stored["f2"])

    def test_attributes_stay_but_for_the_label_of_another_policy(self):
        xattrs = {"user.note": b"text", "user.binary": bytes(range(128, 256)), "security.capability": CAPABILITY,
                  "trusted.overlay.x": b"kept"}
        label = {"security.selinux": b"system_u:object_r:bin_t:s0\0"}
        stored = self.stored([Entry("f", xattrs={**xattrs, **label}), directory("d", xattrs={**xattrs, **label}),
                              Entry("l", "symlink", target="x", xattrs={"trusted.t": b"1", **label})])
        self.assertEqual(dict(stored["f"][4]), xattrs)
        self.assertEqual(dict(stored["d"][4]), xattrs)
        self.assertEqual(dict(stored["l"][4]), {"trusted.t": b"1"})

    def test_attributes_in_libarchives_own_form(self):
        stored = self.stored(raw([("f", {"LIBARCHIVE.xattr.user.a%20b": base64.b64encode(b"\0\xff").decode()}, b"", {})]))
        self.assertEqual(stored["f"][4], (("user.a b", b"\0\xff"),))

    def test_sparse_files_in_every_form_that_gnu_tar_writes(self):
        sparse = self.directory / "sparse"
        with open(sparse, "wb") as file:
            file.seek(1_000_000)
            file.write(b"middle" * 100)
            file.truncate(3_000_000)
        for form in (["--format=gnu"], *(["--format=pax", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0"))):
            with self.subTest(form):
                made = subprocess.run(["tar", "-c", "--sparse", *form, *FROM_TAR, "-C", self.directory, "sparse"], capture_output=True, check=True)
                self.assertLess(len(made.stdout), 100_000)
                self.assertEqual(self.stored(oci_layout.compressed(made.stdout))["sparse"][5], sha256(sparse.read_bytes()))

    def test_special_files_are_dropped_counted_and_hide_what_is_below(self):
        stored = self.stored([Entry("dev-like", content=b"lower"), Entry("other")],
                             [Entry("pipe", "fifo"), Entry("char", "char"), Entry("dev-like", "block"), Entry("kept")])
        self.assertEqual(set(stored), {"", "other", "kept"})
        self.assertEqual(self.details["special-files-dropped"], 3)

    def test_an_empty_layer_and_one_of_only_whiteouts(self):
        stored = self.stored([Entry("a"), Entry("b")], [], oci_layout.compressed(b"", "plain"), [whiteout("a"), whiteout("none/c")])
        self.assertEqual(set(stored), {"", "b"})


class Hardlinks(RepositoryCase):
    def test_chains_in_any_order_and_absolute_targets(self):
        stored = self.stored([Entry("third", "hardlink", target="/second"), Entry("second", "hardlink", target="./first"),
                              Entry("first", content=b"1", mode=0o4755, uid=7, xattrs={"user.x": b"y"}), Entry("fourth", "hardlink", target="third")])
        self.assertEqual({stored[name] for name in ("first", "second", "third", "fourth")}, {stored["first"]})
        self.assertEqual(stored["first"][:4], ("file", 0o4755, 7, 0))

    def test_a_target_below_etc_moves_with_it(self):
        stored = self.stored([Entry("etc/a", content=b"1"), Entry("usr/b", "hardlink", target="etc/a"), Entry("etc/c", "hardlink", target="/etc/a")])
        self.assertEqual(stored["usr/b"], stored["usr/etc/a"])
        self.assertEqual(stored["usr/etc/c"], stored["usr/etc/a"])

    def test_the_first_link_outside_a_filtered_directory_becomes_the_file(self):
        for entries in ([Entry("run/f", content=b"1"), Entry("a", "hardlink", target="run/f"), Entry("b", "hardlink", target="run/f")],
                        [Entry("run/f", content=b"1"), Entry("run/g", "hardlink", target="run/f"), Entry("a", "hardlink", target="run/g"),
                         Entry("b", "hardlink", target="a")],
                        [Entry("a", "hardlink", target="run/f"), Entry("b", "hardlink", target="run/f"), Entry("run/f", content=b"1")]):
            stored = self.stored(entries)
            self.assertEqual(set(stored), {"", "a", "b"} | {path for path in stored if path == "run"})
            self.assertEqual((stored["a"][5], stored["b"]), (sha256(b"1"), stored["a"]))

    def test_a_target_of_a_lower_layer_is_found_at_the_merge(self):
        stored = self.stored([Entry("etc/low", content=b"1", uid=5)], [Entry("up", "hardlink", target="etc/low")],
                             [whiteout("etc/low"), Entry("top", "hardlink", target="up")])
        self.assertEqual(set(stored), {"", "usr", "usr/etc", "up", "top"})
        self.assertEqual(stored["top"], stored["up"])
        self.assertEqual(stored["up"][2], 5)

    def test_a_whiteout_leaves_the_other_names_of_a_file(self):
        stored = self.stored([Entry("a", content=b"1"), Entry("b", "hardlink", target="a")], [whiteout("a")])
        self.assertEqual(stored["b"][5], sha256(b"1"))
        self.assertNotIn("a", stored)

    def test_links_to_themselves_alone_lead_nowhere(self):
        self.layout.image("t", [oci_layout.layer([Entry("a", "hardlink", target="b"), Entry("b", "hardlink", target="a")])])
        self.assert_refused("CorruptInput", "hard link", layers_stay=True)


    def test_many_that_wait_for_their_file_take_neither_long_nor_much_memory(self):
        links = [Entry(f"usr/d{number // 1000}/f{number}", "hardlink", target="file") for number in range(30_000)]
        for stack in ([[Entry("file", content=b"1")], links], [links + [Entry("file", content=b"1")]]):
            self.layout.image("t", [oci_layout.layer(entries) for entries in stack])
            started = time.monotonic()
            run = worker.pull("ostree-unverified-image:" + self.layout.reference("t"), self.repository, target="oci:stored:t")
            self.assertEqual(run.result["outcome"], "success", run.result)
            self.assertLess(time.monotonic() - started, 30 * sanitizers.SLOWER)
            if not sanitizers.SANITIZED:
                self.assertLess(run.rss, 64 * 1024)
            self.assertEqual(self.ostree("ls", STORED, "/usr/d29/f29999").split()[0], "-00644")


class ObjectLinks(RepositoryCase):
    """Images built on an ostree image link their files to objects of the base's own repository."""

    def setUp(self):
        super().setUp()
        self.path = golden.unpack("oci.tar.gz", self.directory)
        self.assertEqual(worker.pull(f"ostree-unverified-image:oci:{self.path}:base", self.repository).result["outcome"], "success")
        self.base = tree.of_commit(self.repository, self.base_ref())
        listing = self.ostree("ls", "-R", "-C", self.base_ref(), "/usr").splitlines()
        self.checksum, self.file = next((line.split()[4], line.split()[-1].lstrip("/")) for line in listing if line.startswith("-"))

    def base_ref(self):
        return next(ref for ref in self.refs().split() if ref.startswith("ostree/container/image/"))

    def derive(self, entries):
        layer = oci_layout.layer(entries)
        index = json.loads((self.path / "index.json").read_text())
        base = next(entry for entry in index["manifests"] if entry["annotations"]["org.opencontainers.image.ref.name"] == "base")
        manifest = json.loads((self.path / "blobs" / base["digest"].replace(":", "/")).read_text())
        config = json.loads((self.path / "blobs" / manifest["config"]["digest"].replace(":", "/")).read_text())
        config["rootfs"]["diff_ids"].append(layer.diff_id)
        config.setdefault("history", []).append({"created_by": "derived"})

        def put(data):
            (self.path / "blobs" / oci_layout.digest(data).replace(":", "/")).write_bytes(data)
            return {"digest": oci_layout.digest(data), "size": len(data)}
        manifest["config"].update(put(json.dumps(config).encode()))
        manifest["layers"].append({"mediaType": layer.media_type, **put(layer.data)})
        text = json.dumps(manifest).encode()
        index["manifests"] = [entry for entry in index["manifests"] if entry["annotations"]["org.opencontainers.image.ref.name"] != "t"]
        index["manifests"].append({"mediaType": oci_layout.MANIFEST, **put(text), "annotations": {"org.opencontainers.image.ref.name": "t"}})
        (self.path / "index.json").write_text(json.dumps(index))
        self.pulled(f"ostree-unverified-image:oci:{self.path}:t")
        self.ostree("fsck", "--quiet")
        return tree.of_commit(self.repository, STORED)

    def object(self):
        return f"sysroot/ostree/repo/objects/{self.checksum[:2]}/{self.checksum[2:]}.file"

    def test_a_link_to_an_object_of_the_base_becomes_that_file(self):
        stored = self.derive([Entry("usr/copied", "hardlink", target=self.object()), Entry("usr/again", "hardlink", target="/" + self.object())])
        self.assertEqual(stored["usr/copied"], self.base[self.file])
        self.assertEqual(stored["usr/again"], self.base[self.file])

    def test_a_modified_object_becomes_a_file_of_its_own(self):
        stored = self.derive([Entry(self.object(), content=b"modified"), Entry(self.file, "hardlink", target=self.object()),
                              Entry("usr/other", "hardlink", target=self.object())])
        self.assertEqual(stored[self.file][5], sha256(b"modified"))
        self.assertEqual(stored["usr/other"], stored[self.file])
        self.assertNotIn("sysroot/ostree", stored)

    def test_thousands_of_links_need_no_more_descriptors_than_one(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        stored = self.derive([Entry(f"usr/link/{number}", "hardlink", target=self.object()) for number in range(3000)])
        self.assertEqual(stored["usr/link/2999"], self.base[self.file])


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # owners and special modes need root
    unittest.main(verbosity=2)
