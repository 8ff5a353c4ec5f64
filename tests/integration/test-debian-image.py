# SPDX-License-Identifier: Apache-2.0
"""A real image, six layers made by installing and removing Debian packages: stored, it is what umoci unpacks, and what a checkout
of its layers by ostree would give. Takes a minute or two, most of it to make the image; IMAGE names a layout that is there already."""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

import agreement
import dpkg_tree
import ostree_repository
import tree
import worker

ROOT = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2]))


def hardlinks(root):
    """Groups of two or more names of one file, as stored paths."""
    groups = {}
    for folder, _, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if status.st_nlink > 1:
                groups.setdefault(status.st_ino, set()).add(os.path.relpath(path, root))
    return [{tree.place(path) for path in group} for group in groups.values() if len(group) > 1]


class DebianImage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.image = os.environ.get("IMAGE") or cls.directory / "image"
        if not os.path.exists(cls.image):
            subprocess.run([ROOT / "tests/images/make-debian-image", cls.image], check=True)
        cls.repository = cls.directory / "repo"
        ostree_repository.init(cls.repository)
        cls.details, cls.bundles = {}, {}
        for tag in ("v1", "v2"):
            cls.bundles[tag] = cls.directory / f"bundle-{tag}"
            subprocess.run(["umoci", "unpack", "--image", f"{cls.image}:{tag}", cls.bundles[tag]], check=True, capture_output=True)
            run = worker.pull(f"ostree-unverified-image:oci:{cls.image}:{tag}", cls.repository, target=f"oci:stored:{tag}")
            assert run.result["outcome"] == "success", run.result
            cls.details[tag] = run.result["details"]

    @classmethod
    def ostree(cls, *arguments):
        return subprocess.run(["ostree", f"--repo={cls.repository}", *arguments], check=True, capture_output=True, text=True).stdout

    def commit(self, tag):
        return self.ostree("rev-parse", f"ostree/container/image/oci_3A_stored_3A_{tag}").strip()

    def layers(self, tag):
        """The layers' refs, lowest first."""
        run = worker.pull(f"ostree-unverified-image:oci:{self.image}:{tag}", self.repository, kind="prepare")
        return ["ostree/container/blob/" + layer["digest"].replace(":", "_3A_") for layer in run.result["details"]["layers"]]

    def test_the_update_fetches_one_layer(self):
        self.assertEqual((self.details["v1"]["layers-fetched"], self.details["v1"]["layers"]), (6, 6))
        self.assertEqual((self.details["v2"]["layers-fetched"], self.details["v2"]["layers"]), (1, 6))

    def test_the_tree_is_what_umoci_unpacks(self):
        for tag in ("v1", "v2"):
            with self.subTest(tag):
                bundle = self.bundles[tag]
                expected, actual = tree.mapped(tree.of_directory(bundle / "rootfs")), tree.of_commit(self.repository, self.commit(tag))
                self.assertEqual(tree.differences(expected, actual), [])
                groups = hardlinks(bundle / "rootfs")
                for group in groups:
                    self.assertEqual(len({actual[path] for path in group}), 1, group)
                kinds = {kind: sum(1 for entry in actual.values() if entry[0] == kind) for kind in ("file", "dir", "symlink")}
                special = sum(1 for entry in actual.values() if entry[1] & 0o7000)
                print(f"{tag}: {len(actual)} entries alike ({kinds['file']} files, {kinds['dir']} directories, {kinds['symlink']} symlinks; "
                      f"{special} with special modes, {sum(1 for entry in actual.values() if entry[4])} with attributes, "
                      f"{len(groups)} hardlink groups)", file=sys.stderr)
                self.assertGreater(len(groups), 0)

    def test_the_packages_that_differ_are_those_of_dpkg_query(self):
        listed = []
        for tag in ("v1", "v2"):
            listed.append(dict((entry[:2], entry[2]) for entry in dpkg_tree.installed(self.bundles[tag] / "rootfs/var/lib/dpkg")))
        before, after = listed
        run = worker.pull("oci:stored:v2", self.repository, kind="changes", arguments={"from": "oci:stored:v1"})
        details = run.result["details"]
        self.assertEqual((details["packages-from"], details["packages-to"], details["packages-unread"]), (len(before), len(after), []))

        def told(key, version):
            return {(entry["name"], entry["architecture"]): entry[version] for entry in details[key]}
        self.assertEqual(told("packages-added", "to"), {key: after[key] for key in after.keys() - before.keys()})
        self.assertEqual(told("packages-removed", "from"), {key: before[key] for key in before.keys() - after.keys()})
        self.assertEqual(told("packages-changed", "to"), {key: after[key] for key in before.keys() & after.keys() if before[key] != after[key]})
        self.assertIn("less", [entry["name"] for entry in details["packages-added"]])
        self.assertIn("/etc/motd", details["etc-changed"])
        print(f"{len(before)} and {len(after)} packages, {details['added-total']} added, {details['changed-total']} changed", file=sys.stderr)

    def test_the_merged_tree_is_the_one_that_checking_out_the_layers_and_committing_gives(self):
        for tag in ("v1", "v2"):
            with self.subTest(tag):
                checkout = self.directory / f"checkout-{tag}"
                for layer in self.layers(tag):
                    self.ostree("checkout", "--union", "--whiteouts", "--require-hardlinks", layer, str(checkout))
                self.addCleanup(shutil.rmtree, checkout)
                commit = self.ostree("commit", "--orphan", f"--tree=dir={checkout}").strip()
                self.assertEqual(self.root(commit), self.root(self.commit(tag)))

    def root(self, commit):
        """Checksums of the root's dirtree and dirmeta."""
        return self.ostree("ls", "-d", "-C", commit, "/").split()[4:6]

    def test_fsck_finds_nothing_wrong(self):
        self.ostree("fsck", "--quiet")


if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("umoci") or not shutil.which("mmdebstrap"):
        sys.exit(77)  # owners need root
    unittest.main(verbosity=2)
