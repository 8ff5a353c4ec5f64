#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imaged has logind delay sleep and shutdown while a job changes the repository, and only then. logind is that of python-dbusmock."""
import importlib.util
import os
import subprocess
import sys
import unittest

import bus_fixture

LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")


@unittest.skipUnless(os.getuid() == 0, "needs root, whom imaged on the system bus does not ask polkit about")
class Sleep(bus_fixture.SystemBusCase):
    def start_logind(self):
        self.spawn([sys.executable, "-m", "dbusmock", "--template", "logind"], stdout=subprocess.DEVNULL,
                   env=self.environment)
        self.eventually(lambda: self.delays() is not None)

    def delays(self):
        """What logind is asked to delay; None if there is no logind."""
        try:
            answer = self.watcher.connection.call_sync(*LOGIND, "ListInhibitors", None, None, 0, -1, None).unpack()[0]
        except bus_fixture.GLib.Error:
            return None
        return [(what, who, mode) for what, who, _, mode, _, _ in answer]

    @unittest.skipUnless(importlib.util.find_spec("dbusmock"), "needs python3-dbusmock")
    def test_only_while_a_job_changes_the_repository(self):
        self.start_logind()
        self.assertEqual(self.delays(), [])
        client = self.client()
        looking = client.start("Prepare", self.image("wait,looking"))[0]
        client.running(looking)
        self.assertEqual(self.delays(), [])
        pulling, waiting = client.pull(self.image("wait,pulling")), client.pull(self.image("wait,waiting"))
        self.eventually(lambda: self.delays() == [("sleep:shutdown", "imaged", "delay")])
        client.cancel(pulling)
        client.running(waiting)
        self.eventually(lambda: self.delays() == [("sleep:shutdown", "imaged", "delay")])
        client.cancel(waiting)
        client.finished(waiting)
        self.assertEqual(client.job(looking)["State"], "running")
        self.eventually(lambda: self.delays() == [])

    def test_without_logind_a_job_runs(self):
        client = self.client()
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")


if __name__ == "__main__":
    unittest.main(verbosity=2)
