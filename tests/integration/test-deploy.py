#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What imaged pulls can be deployed by ostree: a bootable image becomes a deployment of a scratch sysroot."""
import os
import shutil
import subprocess
import tempfile
import unittest

import worker
from oci_layout import Entry, Layout, layer

MODULES = "usr/lib/modules/6.1.0"


@unittest.skipUnless(os.getuid() == 0, "needs root for a bare repository and ostree admin")
class Deploy(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    def ostree(self, *arguments):
        run = subprocess.run(["ostree", *arguments], capture_output=True, text=True,
                             env={**os.environ, "OSTREE_SYSROOT_DEBUG": "mutable-deployments"})
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout

    def test_a_bootable_image_is_deployed(self):
        layout = Layout(self.directory + "/layout")
        folders = ["usr", "usr/bin", "usr/etc", "usr/lib", "usr/lib/modules", MODULES, "boot", "ostree", "sysroot", "var"]
        system = [*(Entry(name, "dir", mode=0o755) for name in folders),
                  Entry(MODULES + "/vmlinuz", content=b"kernel"), Entry(MODULES + "/initramfs.img", content=b"initramfs"),
                  Entry("usr/lib/os-release", content=b"NAME=Test\nID=test\nVERSION=1\n"),
                  Entry("usr/etc/issue", content=b"before\n")]
        change = [Entry("usr/etc/issue", content=b"after\n")]
        layout.image("v1", [layer(system), layer(change)])
        sysroot = self.directory + "/sysroot"
        os.mkdir(sysroot)
        self.ostree("admin", "init-fs", "--modern", sysroot)
        self.ostree("admin", "os-init", "--sysroot=" + sysroot, "test")
        pulled = worker.pull(layout.reference("v1"), sysroot + "/ostree/repo")
        self.assertEqual(pulled.result["outcome"], "success", pulled.result)
        commit = pulled.result["details"]["commit"]
        self.ostree("admin", "deploy", "--sysroot=" + sysroot, "--os=test", commit)
        self.assertIn(commit, self.ostree("admin", "status", "--sysroot=" + sysroot))
        deployment = f"{sysroot}/ostree/deploy/test/deploy/{commit}.0"
        with open(deployment + "/etc/issue", encoding="utf-8") as file:
            self.assertEqual(file.read(), "after\n")
        entries = [name for _, _, names in os.walk(sysroot + "/boot/loader") for name in names]
        self.assertEqual(entries, ["ostree-1-test.conf"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
