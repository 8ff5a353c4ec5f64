#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A job of a caller who was not authorised ends after a minute, whatever its server does. Waits, and needs no processor."""
import unittest

import sanitizers
import system_bus


class TimeLimit(system_bus.SystemCase):
    def test_a_job_of_a_caller_who_was_not_authorised_ends(self):
        silent = system_bus.SilentServer()
        self.addCleanup(silent.stop)
        user = self.caller(system_bus.USERS[0])
        job = user.start("Prepare", f"docker://{silent.address}/x:y")
        properties = user.finished(job, 90)
        result, error, message, _ = user.outcome(job)
        self.assertEqual((result, error), ("failed", "org.imaged1.Error.SourceUnreachable"))
        self.assertIn("60 seconds", message)
        self.assertLess((properties["FinishTimestampMonotonic"] - properties["StartTimestampMonotonic"]) / 1e6, 70 * sanitizers.SLOWER)


if __name__ == "__main__":
    unittest.main(verbosity=2)
