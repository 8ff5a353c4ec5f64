# SPDX-License-Identifier: Apache-2.0
"""The page for Cockpit on the booted system: apt installs it, and people log in with their passwords. The browser is this machine's, in the network of that system."""
import os
import subprocess
import sys

from scene import IMAGE, PACKAGES, Case

LOGIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../browser/login.py")
USERS = {"alice": "administrator", "bob": "plain"}
PASSWORD = "a long enough secret"


def prepare(machine):
    """Before it is booted: Cockpit, without the page; alice may become root by sudo, bob may not."""
    machine.chroot("sh", "-ec", "apt-get install -y -qq --no-install-recommends cockpit-ws cockpit-system sudo && systemctl disable cockpit.socket && usermod -aG sudo alice")
    for user in USERS:
        machine.chroot("sh", "-ec", f"echo '{user}:{PASSWORD}' | chpasswd")


class Cockpit(Case):
    def log_in(self, user):
        run = subprocess.run(["nsenter", "-t", self.machine.leader, "-n", "--", sys.executable, "-B", LOGIN, "https://127.0.0.1:9090", user, PASSWORD, USERS[user], IMAGE],
                             capture_output=True, text=True, timeout=300, check=False)
        if run.returncode == 77:
            self.skipTest(run.stdout.strip())
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)

    def test_the_page_is_installed_and_people_log_in(self):
        self.machine.shell(f"apt-get install -y -qq --no-install-recommends {PACKAGES}/cockpit-imaged_*.deb {PACKAGES}/imaged_*.deb {PACKAGES}/imagectl_*.deb 2>&1")
        self.assertRegex(self.machine.run("cockpit-bridge", "--packages").stdout, r"(?m)^imaged\b")
        self.forget_everything()
        self.machine.shell("systemctl start cockpit.socket")
        self.addCleanup(self.machine.shell, "systemctl stop cockpit.socket cockpit.service")
        for user, kind in USERS.items():
            with self.subTest(kind):
                self.log_in(user)
