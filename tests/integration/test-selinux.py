# SPDX-License-Identifier: Apache-2.0
"""With an SELinux policy in the image (Debian's selinux-policy-default), the merged tree carries the policy's labels; the layers do not
change, and the disk holds the layers and what changed its label, never more."""
import ctypes
import os
import pathlib
import stat
import subprocess
import sys
import unittest

import agreement
import debian_policy
import encapsulation
import oci_layout
import ostree_repository
import sanitizers
import tree
import worker
from loop_mount import extents, loop_mount, unmount
from oci_layout import Entry, directory

LABEL = "security.selinux"
LARGE = 48 * 1024 * 1024
KINDS = {"dir": stat.S_IFDIR, "symlink": stat.S_IFLNK, "file": stat.S_IFREG}


class Labels:
    """The labels of a file_contexts file, by libselinux."""

    class Option(ctypes.Structure):
        _fields_ = [("type", ctypes.c_int), ("value", ctypes.c_char_p)]

    def __init__(self, path):
        self.library = ctypes.CDLL("libselinux.so.1", use_errno=True)
        self.library.selabel_open.restype = ctypes.c_void_p
        option = self.Option(3, os.fsencode(path))  # SELABEL_OPT_PATH
        self.handle = self.library.selabel_open(0, ctypes.byref(option), 1)
        assert self.handle, path

    def of(self, path, kind):
        """The label of PATH in a commit, where it is at run time; nothing where the policy gives none."""
        path = "/" + (path[4:] if path == "usr/etc" or path.startswith("usr/etc/") else path)
        context = ctypes.c_char_p()
        if self.library.selabel_lookup_raw(ctypes.c_void_p(self.handle), ctypes.byref(context), path.encode(), KINDS[kind]) != 0:
            return None
        return context.value + b"\0"


def label(entry):
    return dict(entry[4]).get(LABEL)


@unittest.skipUnless(os.geteuid() == 0, "labels and a bare repository need root")
class Selinux(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        unpacked = debian_policy.fetch(cls.directory / "package")
        if unpacked is None:
            raise unittest.SkipTest("apt cannot fetch selinux-policy-default")
        cls.policy = debian_policy.files(unpacked)
        contexts = cls.directory / "contexts"
        contexts.mkdir()
        for path, content in cls.policy.items():
            (contexts / path.rpartition("/")[2]).write_bytes(content)
        cls.labels = Labels(contexts / "file_contexts")
        cls.layout = oci_layout.Layout(cls.directory / "layout")
        cls.files = oci_layout.layer([
            directory("usr"), directory("usr/bin"), Entry("usr/bin/passwd", content=b"passwd", mode=0o4755), Entry("usr/bin/bash", content=b"bash", mode=0o755),
            Entry("bin", "symlink", target="usr/bin"), Entry("usr/bin/sh", "symlink", target="bash"), directory("usr/lib/systemd"),
            Entry("usr/lib/systemd/systemd", content=b"init", mode=0o755), directory("etc"), Entry("etc/passwd", content=b"root:x:0:0::/:/bin/sh\n"),
            Entry("etc/shadow", content=b"root:*:\n", mode=0o640, gid=42), directory("var/log", mode=0o775), Entry("var/log/wtmp", content=b"log"),
            Entry("usr/bin/tool", content=b"tool"), Entry("usr/bin/twin", "hardlink", target="usr/bin/tool"), directory("root", mode=0o700), directory("home"), directory("tmp", mode=0o1777),
            Entry("usr/lib/large.so", content=bytes(LARGE)), Entry("usr/bin/ping", content=b"ping", mode=0o755, xattrs={"user.note": b"kept"})])
        cls.policy_layer = oci_layout.layer([Entry(path, content=content) for path, content in cls.policy.items()])
        cls.layout.image("plain", [cls.files])
        cls.layout.image("labelled", [cls.files, cls.policy_layer])
        disabled = {**cls.policy, "etc/selinux/config": b"SELINUX=disabled\nSELINUXTYPE=default\n"}
        cls.layout.image("disabled", [cls.files, oci_layout.layer([Entry(path, content=content) for path, content in disabled.items()])])
        broken = {**cls.policy, "etc/selinux/default/contexts/files/file_contexts": b"/usr(/.* system_u:object_r:usr_t:s0\n"}
        cls.layout.image("broken", [cls.files, oci_layout.layer([Entry(path, content=content) for path, content in broken.items()])])
        cls.repository = cls.make(cls.directory / "repo")
        cls.plain = worker.pull(cls.layout.reference("plain"), cls.repository)
        cls.before = tree.of_commit(cls.repository, cls.plain.result["details"]["merge-commit"])
        cls.objects_before = cls.object_bytes(cls.repository)
        cls.run_, cls.peak = worker.Run(cls.layout.reference("labelled"), cls.repository), 0
        while cls.run_.next_message() is not None:
            cls.peak = max(cls.peak, cls.peak_memory(cls.run_.process.pid))
        cls.run_.finish()
        cls.layers = encapsulation.ostree(cls.repository, "refs", "--list", "ostree/container/blob").split()
        cls.objects_after = cls.object_bytes(cls.repository)
        cls.details = cls.run_.result["details"]
        cls.merged = tree.of_commit(cls.repository, cls.details["merge-commit"])

    @staticmethod
    def make(path, mode="bare"):
        ostree_repository.init(path, mode)
        return path

    @staticmethod
    def peak_memory(process):
        try:
            status = pathlib.Path(f"/proc/{process}/status").read_text()
        except ProcessLookupError:
            return 0
        return int(next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), 0))

    @staticmethod
    def object_bytes(repository):
        return sum(path.lstat().st_size for path in (repository / "objects").rglob("*.file") if not path.is_symlink())

    def wrong_labels(self, merged):
        return [f"/{path}: {label(entry)}, not {expected}" for path, entry in merged.items()
                if (expected := self.labels.of(path, entry[0])) is not None and label(entry) != expected]

    def test_every_file_and_directory_has_the_label_of_the_policy(self):
        self.assertEqual(self.wrong_labels(self.merged), [])
        distinct = {label(entry) for entry in self.merged.values()}
        print(f"\n{len(self.merged)} entries, {len(distinct)} distinct labels, for instance:")
        for path in ("", "usr/bin/passwd", "usr/bin/sh", "usr/etc/shadow", "usr/lib/systemd/systemd"):
            print(f"  /{path}: {label(self.merged[path])}")
        self.assertGreater(len(distinct), 8)
        self.assertEqual(label(self.merged["usr/etc/shadow"]), b"system_u:object_r:shadow_t:s0\0")

    def test_nothing_but_the_label_changes(self):
        stripped = {path: (*entry[:4], tuple(xattr for xattr in entry[4] if xattr[0] != LABEL), entry[5]) for path, entry in self.merged.items()}
        difference = [line for line in tree.differences(self.before, stripped) if "/selinux" not in line]
        self.assertEqual([line for line in difference if not line.startswith("usr/etc/selinux")], [])

    def test_the_layers_stay_as_they_are(self):
        self.assertEqual(len(self.layers), 2)
        for name in self.layers:
            labelled = [path for path, entry in tree.of_commit(self.repository, name).items() if label(entry)]
            self.assertEqual(labelled, [], name)
        plain = encapsulation.ostree(self.repository, "rev-parse", "ostree/container/image/" + self.ref("plain"))
        self.assertEqual(tree.of_commit(self.repository, plain), self.before)

    def ref(self, tag):
        return next(name for name in encapsulation.ostree(self.repository, "refs", "--list", "ostree/container/image").split()
                    if name.endswith(f"_3A_{tag}")).removeprefix("ostree/container/image/")

    def test_the_disk_holds_what_changed_its_label_once(self):
        policy = sum(len(content) for content in self.policy.values())
        # usr/bin/twin is usr/bin/tool, and takes no room of its own.
        changed = sum(len(content) for content in (b"passwd", b"bash", b"tool", b"init", b"root:x:0:0::/:/bin/sh\n", b"root:*:\n", b"log", b"ping")) + LARGE + policy
        added = self.objects_after - self.objects_before
        print(f"\nobjects grew by {added} bytes: {policy} of the new layer and {changed} of relabelled files; "
              f"{self.details['relabelled']} files and directories relabelled")
        self.assertEqual(added, policy + changed)
        self.assertEqual(self.details["relabelled"], len([entry for entry in self.merged.values() if label(entry)]))

    def test_a_file_system_with_room_for_the_result_is_large_enough(self):
        mount = self.directory / "small"
        mount.mkdir()
        # Layers and relabelled copies, and room for directories and commits; a third copy of the large file would not fit.
        size = 2 * LARGE + 16 * 1024 * 1024
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount], capture_output=True).returncode != 0:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(unmount, mount)
        layered = oci_layout.layer([Entry(entry.path, entry.kind, entry.content, entry.mode) for entry in (Entry("usr/lib/large.so", content=bytes(LARGE)),)])
        self.layout.image("small", [layered, self.policy_layer])
        result = worker.pull(self.layout.reference("small"), self.make(mount / "repo")).result
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(list((mount / "repo/tmp").glob("imaged-*")), [])

    def test_large_files_share_their_blocks_where_the_file_system_can(self):
        size = (1 << 20) + 1
        self.layout.image("shared", [oci_layout.layer([Entry("usr/lib/large.so", content=os.urandom(size))]), self.policy_layer])
        place = self.directory / "shared"
        place.mkdir()
        with loop_mount(place, "-m", "reflink=1") as mount:
            for mode in ("bare", "bare-user"):
                with self.subTest(mode):
                    repository = self.make(mount / mode, mode)
                    details = worker.pull(self.layout.reference("shared"), repository).result["details"]
                    self.assertGreater(details["objects-reflinked"], 0)
                    one, other = [extents(path) for path in repository.glob("objects/*/*.file") if path.stat().st_size == size]
                    self.assertEqual(one, other)
                    encapsulation.ostree(repository, "fsck", "--quiet")

    def test_fsck_finds_nothing_wrong(self):
        encapsulation.ostree(self.repository, "fsck")

    def test_the_job_tells_the_phase(self):
        phases = [message["phase"] for message in self.run_.messages if message["type"] == "progress"]
        self.assertEqual([phase for number, phase in enumerate(phases) if phase not in phases[:number]],
                         ["manifest", "fetch", "merge", "relabel", "commit"])

    @sanitizers.measures_the_program
    def test_memory_stays_within_64_mebibytes(self):
        print(f"\npeak resident size of the worker: {self.peak} KiB")
        self.assertGreater(self.peak, 0)
        self.assertLess(self.peak, 64 * 1024)

    def test_without_a_policy_or_with_a_disabled_one_nothing_is_labelled(self):
        result = worker.pull(self.layout.reference("disabled"), self.repository).result
        merged = tree.of_commit(self.repository, result["details"]["merge-commit"])
        self.assertEqual([path for path, entry in merged.items() if label(entry)], [])
        self.assertEqual([path for path, entry in self.before.items() if label(entry)], [])

    def test_a_policy_that_cannot_be_read_is_refused(self):
        result = worker.pull(self.layout.reference("broken"), self.repository).result
        self.assertEqual(result.get("error-name"), "UnsupportedImage", result)
        self.assertIn("SELinux policy", result["message"])

    def test_every_repository_mode_gives_the_same_tree(self):
        roots = {}
        for mode in ("bare-user", "archive"):
            repository = self.make(self.directory / mode, mode)
            commit = worker.pull(self.layout.reference("labelled"), repository).result["details"]["merge-commit"]
            roots[mode] = encapsulation.ostree(repository, "ls", "-d", "-C", commit, "/")
        self.assertEqual(set(roots.values()), {encapsulation.ostree(self.repository, "ls", "-d", "-C", self.details["merge-commit"], "/")})

    def test_a_labelled_base_with_the_same_policy_is_kept_as_it_is(self):
        root, source = self.directory / "base", self.make(self.directory / "source")
        for path, content in {**self.policy, "etc/hosts": b"hosts", "usr/bin/bash": b"bash", "usr/bin/own": b"own"}.items():
            file = root / ("usr/" + path if path.startswith("etc/") else path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        own = b"system_u:object_r:own_t:s0\0"  # what an administrator wanted, not what the policy says
        for path in [root, *root.rglob("*")]:
            name = "" if path == root else str(path.relative_to(root))
            expected = self.labels.of(name, "dir" if path.is_dir() else "file")
            os.setxattr(path, LABEL, own if name == "usr/bin/own" else expected, follow_symlinks=False)
        commit = encapsulation.ostree(source, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", root)
        derived = oci_layout.layer([Entry("usr/bin/new", content=b"new", mode=0o755), Entry("etc/hosts", content=b"changed")])
        encapsulation.encapsulate(self.layout, "derived", source, commit, [derived])
        result = worker.pull(self.layout.reference("derived"), self.repository).result
        self.assertEqual(result["outcome"], "success", result)
        base = tree.of_commit(self.repository, result["details"]["base-commit"])
        merged = tree.of_commit(self.repository, result["details"]["merge-commit"])
        self.assertEqual(result["details"]["base-commit"], commit)
        self.assertEqual([path for path in base if merged[path] != base[path]], ["usr/etc/hosts"])
        self.assertEqual(label(merged["usr/bin/own"]), own)
        self.assertEqual(label(merged["usr/bin/new"]), self.labels.of("usr/bin/new", "file"))
        self.assertEqual(label(merged["usr/etc/hosts"]), self.labels.of("usr/etc/hosts", "file"))
        self.assertEqual(result["details"]["relabelled"], 2)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
