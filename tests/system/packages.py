# SPDX-License-Identifier: Apache-2.0
"""The life of the packages on a running system. Leaves them installed."""
import re

from scene import IMAGE, LARGE, PACKAGES, Case

BINARIES = "imaged imagectl imaged-dev cockpit-imaged"
# What apt, dpkg and the users' database keep for themselves: copies of before, caches, logs.
OTHERS = re.compile("/etc/(passwd|group|shadow|gshadow)-|/var/(cache|log)/|/var/lib/(apt|dpkg|systemd/(random-seed|catalog))|"
                    "/(root|srv|tmp|ostree|proc|sys|dev)[ /]|/run/(systemd|udev|user|lock|log|dbus)/|/var/tmp|/etc/ld.so.cache ")
NOW = "[Timer]\nOnCalendar=\nOnActiveSec=1s\nRandomizedDelaySec=0\nAccuracySec=100ms\n"


class Packages(Case):
    def everything(self):
        """Every path, with type, mode and owner."""
        lines = self.machine.shell("find / /run -xdev -printf '%p %y %m %u %g\\n'").stdout.splitlines()
        return {line for line in lines if not OTHERS.match(line)}

    def users(self):
        return self.machine.shell("getent passwd; getent group").stdout

    def enabled(self, unit):
        return self.machine.run("systemctl", "is-enabled", unit, check=False).stdout.strip()

    def install(self, pattern):
        self.machine.shell(f"apt-get install -y -qq --no-install-recommends {PACKAGES}/{pattern} 2>&1")

    def raise_versions(self):
        """The same packages, as newer ones."""
        self.machine.shell(f"""
            cd {PACKAGES}
            mkdir newer
            for deb in *.deb; do
                rm -rf /tmp/deb
                dpkg-deb -R "$deb" /tmp/deb
                sed -i 's/^\\(Version: .*\\)/\\1+1/; s/(= \\([^)]*\\))/(= \\1+1)/' /tmp/deb/DEBIAN/control
                dpkg-deb -b /tmp/deb "newer/$deb" >/dev/null
            done""")

    def test_from_install_to_purge(self):
        before, users = self.everything(), self.users()
        self.install("*.deb")
        for unit in ("imaged.service", "imaged-update-check.timer", "imaged-prune.timer"):
            self.assertFalse(self.machine.active(unit), unit)
        for socket in ("imaged-metrics.socket", "imaged-proxy.socket"):
            self.assertTrue(self.machine.active(socket), socket)
        self.imagectl("pull", IMAGE)
        for timer in ("imaged-update-check.timer", "imaged-prune.timer"):
            self.machine.write(f"/etc/systemd/system/{timer}.d/now.conf", NOW)
            self.machine.shell(f"systemctl daemon-reload; systemctl enable --now {timer}")
            stamp = f"/var/lib/systemd/timers/stamp-{timer}"
            self.machine.eventually(lambda: self.machine.run("test", "-e", stamp, check=False).returncode == 0, 60, "it never fires")
            self.machine.shell(f"rm -r /etc/systemd/system/{timer}.d; systemctl daemon-reload; systemctl restart {timer}")
        self.machine.eventually(lambda: not self.machine.active("imaged-prune.service"))
        self.machine.eventually(lambda: not self.machine.active("imaged-update-check.service"))
        repository = self.tree_of("/ostree")

        self.assertNotIn("dbgsym", self.machine.run("dpkg-query", "-W", "-f", "${Package}\\n").stdout)

        with self.subTest("upgrade"):
            self.imagectl("list")
            old = self.main_pid()
            self.raise_versions()
            self.install("newer/*.deb")
            self.assertIn("+1", self.machine.run("dpkg-query", "-W", "-f", "${Version}", "imaged").stdout)
            # Not the old program with the new worker.
            self.assertNotEqual(self.main_pid(), old)
            self.assertIn(IMAGE, self.imagectl("list").stdout)
            self.assertEqual(self.enabled("imaged-prune.timer"), "enabled")
            self.assertTrue(self.machine.active("imaged-prune.timer"))
            self.assertEqual(self.tree_of("/ostree"), repository)
        with self.subTest("remove"):
            self.machine.shell("systemctl disable --now imaged-update-check.timer imaged-prune.timer 2>&1")
            self.machine.shell(f"apt-get remove -y -qq {BINARIES} 2>&1")
            run = self.busctl("ListJobs", check=False)
            self.assertNotEqual(run.returncode, 0)
            for socket in ("imaged-metrics.socket", "imaged-proxy.socket"):
                self.assertFalse(self.machine.active(socket), socket)
            self.assertEqual(self.tree_of("/ostree"), repository)
        with self.subTest("purge"):
            self.machine.shell("apt-get purge -y -qq imaged imagectl 2>&1")
            self.assertEqual(self.tree_of("/ostree"), repository)
            self.assertEqual(sorted(self.everything() ^ before), [])
            self.assertEqual(self.users(), users)
        with self.subTest("install again"):
            self.install("*.deb")
            self.assertIn(IMAGE, self.imagectl("list").stdout)
            self.forget_everything()

    def test_they_have_what_belongs_to_them(self):
        for package, paths in {
            "imaged": ["/usr/libexec/imaged/imaged-worker", "/usr/share/polkit-1/actions/org.imaged1.policy",
                       "/usr/share/dbus-1/system.d/org.imaged1.conf", "/usr/share/dbus-1/services/org.imaged1.service", "/usr/bin/imaged",
                       "/usr/lib/systemd/user/imaged.service", "/usr/share/man/man8/imaged.8.gz",
                       "/usr/lib/sysusers.d/imaged.conf", "/usr/lib/tmpfiles.d/imaged.conf", "/etc/imaged/imaged.conf",
                       "/usr/share/doc/imaged/examples/50-imaged-signed.rules", "/usr/share/doc/imaged/examples/pull.py",
                       "/usr/share/doc/imaged/administration.md.gz", "/usr/share/doc/imaged/dbus.md.gz", "/usr/share/doc/imaged/imagectl-json.md.gz"],
            "imagectl": ["/usr/bin/imagectl", "/usr/share/bash-completion/completions/imagectl",
                         "/usr/share/zsh/vendor-completions/_imagectl", "/usr/share/fish/vendor_completions.d/imagectl.fish"],
            "cockpit-imaged": ["/usr/share/cockpit/imaged/manifest.json", "/usr/share/metainfo/org.imaged.cockpit.metainfo.xml"],
            "imaged-dev": ["/usr/share/dbus-1/interfaces/org.imaged1.Manager.xml",
                           "/usr/share/dbus-1/interfaces/org.imaged1.Job.xml", "/usr/share/pkgconfig/imaged.pc"],
        }.items():
            have = self.machine.run("dpkg", "-L", package).stdout.splitlines()
            for path in paths:
                self.assertIn(path, have)
        units = self.machine.run("systemctl", "list-unit-files", "imaged*", "--no-legend").stdout
        self.assertEqual({line.split()[0] for line in units.splitlines()},
                         {"imaged.service", "imaged-metrics.socket", "imaged-metrics@.service", "imaged-proxy.socket", "imaged-proxy@.service",
                          *(f"imaged-{what}.{kind}" for what in ("prune", "update", "update-check") for kind in ("service", "timer"))})

    def test_the_completions_complete_verbs_images_and_jobs(self):
        self.imagectl("pull", IMAGE)
        job = self.outcome("pull", "--detach", LARGE)["job"]
        self.imagectl("watch", str(job))

        def complete(line):
            return self.machine.run("bash", "-c", f"""
                . /usr/share/bash-completion/completions/imagectl
                COMP_LINE='{line}' COMP_POINT={len(line)} COMP_WORDS=({line} '') COMP_CWORD={len(line.split())}
                COMP_WORDBREAKS=${{COMP_WORDBREAKS//:/}}
                _imagectl imagectl '' '{line.split()[-1]}'
                printf '%s\\n' "${{COMPREPLY[@]}}" """).stdout
        self.assertIn("import-archive", complete("imagectl "))
        self.assertIn(IMAGE, complete("imagectl show "))
        self.assertIn(str(job), complete("imagectl watch ").split())

    def test_the_manual_pages_are_there(self):
        for section, page in ((1, "imagectl"), (5, "imaged.conf"), (5, "org.imaged1"), (8, "imaged")):
            run = self.machine.run("man", "--warnings", "-E", "UTF-8", str(section), page, check=False)
            self.assertEqual((run.returncode, run.stderr), (0, ""))
            self.assertGreater(len(run.stdout.splitlines()), 30)
