#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imagectl with a job that others asked for as well: it leaves the job at once, says so, and the job goes on."""
import os
import pathlib
import signal
import subprocess
import unittest

import sanitizers
from bus_fixture import Case

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")


class SharedJob(Case):
    def pull(self, name):
        """imagectl as it pulls, once it follows the job, and the file that it reports to."""
        path = pathlib.Path(self.directory, name)
        with path.open("w", encoding="utf-8") as file:
            process = self.spawn([IMAGECTL, "--address", self.address, "pull", self.image("wait")], stdout=subprocess.DEVNULL, stderr=file)
        self.eventually(lambda: "fetch" in path.read_text(encoding="utf-8"))
        return process, path

    def test_ctrl_c_leaves_the_job_to_the_other_caller(self):
        staying, _ = self.pull("staying")
        leaving, text = self.pull("leaving")
        leaving.send_signal(signal.SIGINT)
        self.assertEqual(leaving.wait(5 * sanitizers.SLOWER), 130)
        client = self.client()
        job = client.pull(self.image("wait"))
        self.assertIn(f"left job {job}, which goes on for other callers (org.imaged1.Error.Cancelled)", text.read_text(encoding="utf-8"))
        self.assertEqual(client.job(job)["State"], "running")
        self.release()
        self.assertEqual(staying.wait(5 * sanitizers.SLOWER), 0)
        self.assertEqual(len(self.starts()), 1)


if __name__ == "__main__":
    unittest.main()
