# SPDX-License-Identifier: Apache-2.0
"""What of a derived layer is kept beside /usr and /etc: all of it where the root of the base is transient or there is no base, /var where the
running libostree fills it from the commit (2024.3), else below usr/share/factory."""
import os
import pathlib
import sys
import unittest

import agreement
import encapsulation
import oci_layout
import ostree_repository
import tree
import worker
from oci_layout import Entry, directory

VAR = tree.place("var")
DERIVED = [Entry("usr/bin/tool", content=b"tool"), Entry("etc/tool.conf", content=b"conf"), directory("var/lib/tool", mode=0o750),
           Entry("var/lib/tool/state", content=b"state"), directory("opt/vendor"), Entry("opt/vendor/app", content=b"app"),
           Entry("srv/data", content=b"data"), Entry("run/lock", content=b"lock"), directory("run/service")]
KEPT = {"usr/bin/tool", "usr/etc/tool.conf", f"{VAR}/lib/tool/state"}
TOP_LEVEL = {"opt/vendor/app", "srv/data"}
# (path of the base's configuration, its text) → whether anything may be at the top
BASES = {
    "plain": (None, "", False),
    "transient": ("usr/lib/ostree/prepare-root.conf", "[root]\ntransient = true\n", True),
    "not-transient": ("usr/lib/ostree/prepare-root.conf", "[root]\ntransient = false\n", False),
    "composefs": ("usr/lib/ostree/prepare-root.conf", "[composefs]\nenabled = maybe\n", True),
    "no-composefs": ("usr/lib/ostree/prepare-root.conf", "[composefs]\nenabled = no\n", False),
    "nonsense": ("usr/lib/ostree/prepare-root.conf", "not a key file", False),
}


class RootPolicy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.layout = oci_layout.Layout(cls.directory / "layout")
        source = cls.directory / "source"
        ostree_repository.init(source)
        cls.layer = oci_layout.layer(DERIVED)
        for name, (path, text, _) in BASES.items():
            root = cls.directory / name
            for file, content in {"usr/lib/base": "base", **({path: text} if path else {})}.items():
                (root / file).parent.mkdir(parents=True, exist_ok=True)
                (root / file).write_text(content)
            commit = encapsulation.ostree(source, "commit", f"--branch={name}", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", root)
            encapsulation.encapsulate(cls.layout, name, source, commit, [cls.layer])
        cls.layout.image("generic", [cls.layer])
        cls.repository = cls.directory / "repo"
        ostree_repository.init(cls.repository)

    def pull(self, tag):
        details = worker.pull(self.layout.reference(tag), self.repository).result["details"]
        merged = tree.of_commit(self.repository, details["merge-commit"])
        return details, {path for path, entry in merged.items() if entry[0] == "file"}

    def test_what_is_kept_depends_on_the_root_of_the_base(self):
        # All share one layer: whatever came first, each image gets its own view of it.
        for name, (_, _, everything) in [*BASES.items(), *reversed(BASES.items())]:
            details, files = self.pull(name)
            with self.subTest(name):
                self.assertEqual(files & (KEPT | TOP_LEVEL), KEPT | (TOP_LEVEL if everything else set()))
                dropped = set(next(iter(details["filtered"].values()), {}))
                self.assertEqual(dropped, {"run"} if everything else {"run", "opt", "srv"}, details["filtered"])

    def test_a_generic_image_keeps_everything_but_what_is_mounted_over(self):
        details, files = self.pull("generic")
        self.assertEqual(files, KEPT | TOP_LEVEL)
        self.assertEqual(details["filtered"], {self.layer.digest: {"run": 2}})

    def test_var_is_where_the_running_libostree_wants_it(self):
        merged = tree.of_commit(self.repository, self.pull("generic")[0]["merge-commit"])
        print(f"\nlibostree {tree.VERSION[0]}.{tree.VERSION[1]}: /var/lib/tool is {VAR}/lib/tool")
        self.assertEqual(merged[f"{VAR}/lib/tool"][:2], ("dir", 0o750))
        self.assertNotIn(tree.FACTORY_VAR + "/lib/tool" if VAR == "var" else "var/lib/tool", merged)

    def test_fsck_finds_nothing_wrong(self):
        encapsulation.ostree(self.repository, "fsck")


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
