#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a pull, of one that fails and of one on two machines, on a terminal of 80 columns. With RECORDING=FILE the whole is written there."""
import importlib.util
import os
import pathlib
import shutil
import sys
import unittest

import oci_layout
import registry
import screen
from oci_layout import Entry

SPEC = importlib.util.spec_from_file_location("test_hosts", pathlib.Path(__file__).parent / "test-hosts.py")
test_hosts = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(test_hosts)
LAYER = 1_500_000
# Slow enough to be looked at.
SETTINGS = "[Pull]\nRate=1M\nRetries=0\n[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n"


class Recording(test_hosts.Hosts):
    def setUp(self):
        directory = test_hosts.agreement.Scratch(dir="/var/tmp")
        self.addCleanup(directory.cleanup)
        self.server = registry.Registry(directory.name + "/registry")
        self.addCleanup(self.server.stop)
        self.worker = {"configuration": SETTINGS, "environment": {"CONTAINERS_REGISTRIES_CONF": str(self.server.configuration)}}
        super().setUp()
        layout = oci_layout.Layout(self.directory / "layout")
        layout.image("t", [oci_layout.layer([Entry(f"usr/share/file{number}", content=os.urandom(LAYER))]) for number in range(3)],
                     config={"config": {"Labels": {"org.opencontainers.image.version": "1.2"}}})
        self.server.push(layout.reference("t"), "example/host:stable")
        self.image = f"docker://{self.server.address}/example/host:stable"

    def show(self, *words):
        """Runs imagectl; returns its exit status and what was on the terminal in the course of it."""
        status, frames, wrapped = screen.run([test_hosts.IMAGECTL, *words], self.environment)
        # Messages are as long as what they have to say, and digests behind a host's name have no room; everything else has.
        for line in wrapped:
            self.assertRegex(line, "^(\\S+: )?(imagectl|ssh): |[0-9a-f]{40}")
        if os.environ.get("RECORDING"):
            # The first frames of a second look alike.
            chosen = [*frames[:-1][:: max(1, len(frames) // 5)], frames[-1]]
            with open(os.environ["RECORDING"], "a", encoding="utf-8") as file:
                file.write(f"$ imagectl {' '.join(words)}\n" + f"\n{'-' * 20}\n".join(chosen) + f"\n[exit status {status}]\n\n")
        return status, frames

    def on(self, machine):
        return f"--address={machine.daemon.address}"

    def test_a_pull(self):
        status, frames = self.show(self.on(self.machines[0]), "pull", self.image)
        self.assertEqual(status, 0, frames[-1])
        self.assertTrue(any("fetch" in frame and "%" in frame for frame in frames), frames)
        self.assertIn(self.image, frames[-1])
        # What told of the progress is gone.
        self.assertNotIn("%", frames[-1])

    def test_a_pull_that_fails(self):
        status, frames = self.show(self.on(self.machines[0]), "pull", self.image.replace("stable", "none"))
        self.assertEqual(status, test_hosts.NOT_FOUND, frames[-1])
        self.assertIn("imagectl: ", frames[-1])

    def test_two_machines(self):
        status, frames = self.show("--host", self.both, "pull", self.image)
        self.assertEqual(status, 0, frames[-1])
        for machine in self.machines:
            self.assertTrue(any(f"{machine.name}: pulling" in frame for frame in frames), frames)
            self.assertTrue(self.stored(machine))
        # Side by side.
        self.assertTrue(any(all(f"{machine.name}: pulling" in frame for machine in self.machines) for frame in frames), frames)
        away = f"127.0.0.1:{test_hosts.free_port()}"
        status, frames = self.show("--host", f"{away},{self.machines[0].name}", "pull", self.image)
        self.assertEqual(status, test_hosts.NO_DAEMON)

    def stored(self, machine):
        return test_hosts.golden.ostree(machine.repository, "refs").split()


if __name__ == "__main__":
    if not test_hosts.SSHD or not test_hosts.IMAGECTL or not shutil.which("systemd-stdio-bridge") or not shutil.which("docker-registry"):
        print("needs sshd (openssh-server), systemd-stdio-bridge and docker-registry")
        sys.exit(77)
    unittest.main(verbosity=2)
