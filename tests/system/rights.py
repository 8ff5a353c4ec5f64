# SPDX-License-Identifier: Apache-2.0
"""Who may do what: polkit, and what the bus lets through."""
import re

from scene import IMAGE, MANAGER, REGISTRY, SIGNED, Case

SAMPLE = "/usr/share/doc/imaged/examples/50-imaged-signed.rules"
RULES = "/etc/polkit-1/rules.d/50-images.rules"


class Rights(Case):
    def test_a_user_may_read_but_not_pull(self):
        self.imagectl("pull", IMAGE)
        self.assertIn(IMAGE, self.imagectl("list", user="alice").stdout)
        self.refused("pull", SIGNED, user="alice", why="may not pull images")

    def test_the_sample_rule_lets_a_group_pull_what_is_signed_and_nothing_else(self):
        # As in the file: a pattern, in which a dot stands for itself only behind a backslash.
        self.machine.shell(f"sed 's,registry\\\\.example\\\\.org,{REGISTRY},' {SAMPLE} >{RULES}; grep -q {REGISTRY} {RULES}; systemctl restart polkit")
        self.addCleanup(self.machine.shell, f"rm {RULES}; systemctl restart polkit")
        self.imagectl("pull", "--no-interactive", SIGNED, user="alice")
        self.refused("pull", IMAGE, user="alice", why="need no signature")
        self.refused("pull", "ostree-unverified-image:" + IMAGE, user="alice", why="need no signature")
        self.refused("remove", SIGNED, user="alice", why="may not remove")
        self.refused("pull", SIGNED, user="bob", why="may not pull images")

    def test_the_name_of_an_archive_is_asked_about_beside_its_import(self):
        self.machine.shell("rm -f /srv/right.tar; skopeo copy -q oci:/srv/images:newer oci-archive:/srv/right.tar:t; chmod a+r /srv/right.tar")
        rule = ('polkit.addRule(function(action) { if (action.id == "org.imaged1.pull-unverified" || action.id == "org.imaged1.store-as" && '
                'action.lookup("target") == "docker://example.org/mine:1") return polkit.Result.YES; });')
        self.machine.shell(f"echo '{rule}' >{RULES}; systemctl restart polkit")
        self.addCleanup(self.machine.shell, f"rm {RULES}; systemctl restart polkit")
        self.imagectl("import-archive", "--no-interactive", "/srv/right.tar", "docker://example.org/mine:1", user="alice")
        self.refused("import-archive", "/srv/right.tar", "docker://example.org/vendor:1", user="alice", why="under another name")
        self.refused("import-archive", "/srv/right.tar", SIGNED, user="alice", why="may not store an archive")

    def test_an_image_whose_signature_is_missing_is_refused_to_root_as_well(self):
        unsigned = f"docker://{REGISTRY}/signed/unsigned:latest"
        self.machine.shell(f"skopeo copy -q --dest-tls-verify=false oci:/srv/images:newer {unsigned}")
        run = self.imagectl("pull", unsigned, check=False)
        self.assertEqual(run.returncode, 5, run.stderr)
        self.assertIn("A signature was required", run.stderr)

    def test_root_does_not_need_polkit(self):
        self.machine.run("systemctl", "mask", "--runtime", "--now", "polkit")
        try:
            self.imagectl("pull", IMAGE)
            run = self.imagectl("pull", "--no-interactive", SIGNED, user="alice", check=False)
            self.assertEqual(run.returncode, 4, run.stderr)
        finally:
            self.machine.run("systemctl", "unmask", "--runtime", "polkit")

    def test_the_bus_lets_through_what_the_interfaces_have(self):
        described = self.machine.run("busctl", "introspect", "--xml-interface", "org.imaged1", "/org/imaged1").stdout
        methods = re.findall(r'<method name="(\w+)"', described.split('"org.imaged1.Manager"')[1].split("</interface>")[0])
        self.assertIn("Pull", methods)
        for method in methods:
            with self.subTest(method):
                run = self.machine.run("busctl", "call", *MANAGER, method, user="bob", check=False)
                self.assertNotIn("Access denied", run.stderr)
        for interface, method in (("org.freedesktop.DBus.Properties", "Set"), ("org.imaged1.Manager", "NoSuchMethod")):
            run = self.machine.run("busctl", "call", "org.imaged1", "/org/imaged1", interface, method, user="bob", check=False)
            self.assertIn("Access denied", run.stderr, method)
