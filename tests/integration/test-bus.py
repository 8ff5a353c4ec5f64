#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs on the bus: order, sharing, cancelling, and workers that misbehave."""
import json
import os
import signal
import tempfile
import time
import unittest

from gi.repository import Gio, GLib

import sanitizers
from bus_fixture import DIGEST, ERROR, JOB, MANAGER, ROOT, BusError, Case, Client


class Jobs(Case):
    options = ["--idle-timeout", "0", "--pass-environment", "PASSED"]

    def test_a_job_succeeds_and_says_so(self):
        client = self.client()
        client.listen()
        job, path = client.start("Pull", self.image("succeed"))
        self.assertEqual(path, f"{ROOT}/job/{job}")
        properties = client.finished(job)
        self.assertEqual(properties["Result"], "success")
        self.assertEqual(properties["Fraction"], 1.0)
        self.assertEqual(properties["Outcome"]["layers"], 2)
        self.assertEqual(properties["Owner"], os.getuid())
        self.assertEqual(properties["Outcome"]["filtered"], {"sha256:x": {"/tmp": 3}})
        self.assertGreaterEqual(properties["FinishTimestampMonotonic"], properties["StartTimestampMonotonic"])
        self.assertGreaterEqual(properties["StartTimestampMonotonic"], properties["CreateTimestampMonotonic"])
        self.assertEqual(client.wait_for("JobRemoved")[0][4], (job, path, "success"))
        self.assertEqual(client.heard("JobNew")[0][4], (job, path))
        self.assertEqual(client.heard("ImageChanged")[0][4], (self.image("succeed"), "", "sha256:" + "b" * 64))
        self.assertEqual(client.heard("Finished")[0][4][:3], ("success", "", ""))
        self.assertEqual(client.heard("InterfacesAdded")[0][4][0], path)
        jobs = client.call(MANAGER, "ListJobs")[0]
        self.assertEqual(jobs, [(job, path, "pull", "finished")])

    def test_the_object_manager_shows_every_job(self):
        client = self.client()
        first = client.pull(self.image("wait"))
        second = client.pull(self.image("succeed"))
        objects = client.call("org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]
        self.assertEqual(set(objects), {f"{ROOT}/job/{first}", f"{ROOT}/job/{second}"})
        self.assertEqual(objects[f"{ROOT}/job/{second}"][JOB]["Position"], 1)
        self.release()

    def test_jobs_run_in_order_one_at_a_time(self):
        client = self.client()
        jobs = [client.pull(self.image(f"wait,{number}")) for number in range(4)]
        client.running(jobs[0])
        self.assertEqual([client.job(job)["Position"] for job in jobs], [0, 1, 2, 3])
        self.assertEqual([client.job(job)["State"] for job in jobs], ["running", "queued", "queued", "queued"])
        self.release()
        for job in jobs:
            client.finished(job)
        self.assertEqual(self.starts(), [f"pull wait,{number}" for number in range(4)])

    def test_equal_requests_share_a_job_and_different_ones_do_not(self):
        one, other = self.client(), self.client()
        job = one.pull(self.image("wait"))
        self.assertEqual(other.pull(self.image("wait")), job)
        self.assertNotEqual(other.pull(self.image("wait"), digest=GLib.Variant("s", DIGEST)), job)
        self.assertNotEqual(other.start("Prepare", self.image("wait"))[0], job)
        self.release()
        one.finished(job)

    def test_a_shared_job_ends_only_when_nobody_wants_it(self):
        one, other = self.client(), self.client()
        job = one.pull(self.image("wait"))
        other.pull(self.image("wait"))
        one.running(job)
        self.assertEqual(one.cancel(job), (True,))
        time.sleep(0.2)
        self.assertEqual(one.job(job)["State"], "running")
        self.assertEqual(other.call(JOB, "Cancel", path=f"{ROOT}/job/{job}"), (False,))
        self.assertEqual(one.finished(job, 2)["Result"], "cancelled")

    def test_a_queued_job_is_cancelled_at_once(self):
        client = self.client()
        first = client.pull(self.image("wait"))
        second = client.pull(self.image("succeed"))
        client.cancel(second)
        properties = client.job(second)
        self.assertEqual((properties["Result"], properties["ErrorName"]), ("cancelled", ERROR + "Cancelled"))
        self.assertEqual(client.job(first)["State"], "running")
        self.release()

    def test_a_running_job_is_cancelled_through_its_object(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        client.call(JOB, "Cancel", path=f"{ROOT}/job/{job}")
        properties = client.finished(job, 2)
        self.assertEqual((properties["Result"], properties["ErrorName"]), ("cancelled", ERROR + "Cancelled"))
        client.call(JOB, "Cancel", path=f"{ROOT}/job/{job}")

    def test_another_connection_cancels_too(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.client().cancel(job)
        self.assertEqual(client.finished(job, 2)["Result"], "cancelled")

    def test_a_worker_that_ignores_sigterm_is_killed_with_its_children(self):
        client = self.client()
        job = client.pull(self.image("stubborn"))
        client.running(job)
        began = time.monotonic()
        client.cancel(job)
        self.assertEqual(client.job(job)["State"], "cancelling")
        self.assertEqual(client.finished(job, 3)["Result"], "cancelled")
        self.assertLess(time.monotonic() - began, 2 * sanitizers.SLOWER)
        with open(self.directory + "/child") as file:
            child = int(file.read())
        self.eventually(lambda: not self.alive(child))

    @staticmethod
    def alive(process):
        try:
            with open(f"/proc/{process}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_a_worker_that_dies_of_sigterm_was_cancelled(self):
        client = self.client()
        job = client.pull(self.image("deaf"))
        client.running(job)
        client.cancel(job)
        self.assertEqual(client.finished(job, 2)["Result"], "cancelled")

    def test_a_worker_that_fails_its_protocol_fails_its_job_alone(self):
        client = self.client()
        for verb, message in [("crash", "worker ended with signal 11"), ("leave", "worker ended with status 3"),
                              ("nonsense", "sent an invalid message"), ("endless", "longer than the limit"), ("deep", "nested too deeply"),
                              ("partial", "worker ended with status 0")]:
            with self.subTest(verb):
                properties = client.finished(client.pull(self.image(verb)))
                self.assertEqual((properties["Result"], properties["ErrorName"]), ("failed", ERROR + "Failed"))
                self.assertIn(message, properties["ErrorMessage"])
                self.assertEqual(properties["Outcome"], {})
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")

    def test_a_worker_that_does_not_end_after_its_result_is_ended(self):
        client = self.client()
        self.assertEqual(client.finished(client.pull(self.image("linger")), 4)["Result"], "success")

    def test_errors_keep_their_names(self):
        client = self.client()
        for name in ["NotFound", "SourceUnreachable", "SourceDenied", "PolicyRejected", "DigestMismatch",
                     "CorruptInput", "UnsupportedImage", "NoSpace", "RepositoryDamaged", "Cancelled", "Failed"]:
            with self.subTest(name):
                properties = client.finished(client.pull(self.image("error," + name)))
                self.assertEqual(properties["ErrorName"], ERROR + name)
                self.assertEqual(properties["ErrorMessage"], "because of " + name)

    def test_a_flood_of_progress_is_thinned_out(self):
        client = self.client()
        client.listen()
        began = time.monotonic()
        job = client.pull(self.image("flood"))
        client.wait_for("Finished", timeout=30)
        seconds = time.monotonic() - began
        changes = client.heard("PropertiesChanged")
        self.assertLessEqual(len(changes), 10 * seconds + 3)
        fractions = [change[4][1]["Fraction"] for change in changes if "Fraction" in change[4][1]]
        self.assertEqual(fractions, sorted(fractions))
        self.assertEqual(fractions[-1], 1.0)
        layers = [layer[4] for layer in client.heard("LayerProgress")]
        self.assertLessEqual(len(layers), 2 * (10 * seconds + 4))
        self.assertIn((0, "done"), [(layer[0], layer[2]) for layer in layers])
        self.assertIn((1, "reused"), [(layer[0], layer[2]) for layer in layers])
        self.assertEqual(client.job(job)["Phase"], "done")

    def test_the_worker_gets_its_request_and_nothing_else(self):
        client = self.client()
        with tempfile.TemporaryFile() as file:
            file.write(b"credentials")
            file.seek(0)
            fds = Gio.UnixFDList.new()
            index = fds.append(file.fileno())
            job = client.start("Pull", self.image("show"), fds=fds, authfile=GLib.Variant("h", index),
                               target=GLib.Variant("s", "docker://a/b:c"))[0]
        outcome = json.loads(client.finished(job)["Outcome"]["version"])
        self.assertEqual(outcome["credentials"], "credentials")
        self.assertIn("PASSED", outcome["environment"])
        self.assertNotIn("SECRET", outcome["environment"])
        self.assertNotIn("DBUS_SESSION_BUS_ADDRESS", outcome["environment"])
        self.assertLess(outcome["descriptors"][-2], 6)
        self.assertTrue(outcome["leader"])
        self.assertFalse(outcome["blocked"])
        self.assertEqual(outcome["request"]["arguments"]["target"], "docker://a/b:c")

    def test_a_caller_that_leaves_stops_its_job_only_when_bound(self):
        watcher = self.client()
        loose, bound = Client(self.address), Client(self.address)
        first = loose.pull(self.image("wait,1"))
        second = bound.pull(self.image("wait,2"), bind_to_caller=GLib.Variant("b", True))
        loose.close()
        bound.close()
        self.assertEqual(watcher.finished(second, 2)["Result"], "cancelled")
        self.assertEqual(watcher.running(first)["State"], "running")
        self.release()
        self.assertEqual(watcher.finished(first)["Result"], "success")

    def test_a_bound_caller_that_leaves_stops_its_running_job(self):
        watcher, bound = self.client(), Client(self.address)
        job = bound.pull(self.image("wait"), bind_to_caller=GLib.Variant("b", True))
        watcher.running(job)
        bound.close()
        self.assertEqual(watcher.finished(job, 2)["Result"], "cancelled")

    def test_the_queue_is_bounded_for_each_user(self):
        client = self.client()
        first = client.pull(self.image("wait"))
        for number in range(32):
            client.pull(self.image(f"wait,{number}"))
        self.assertIn("32 jobs", self.refused("QueueFull", client.pull, self.image("wait,more")))
        self.assertEqual(client.pull(self.image("wait")), first)

    def test_sigterm_ends_the_running_job_and_the_daemon(self):
        client = self.client()
        client.listen()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(5), 0)
        self.assertEqual(client.wait_for("JobRemoved")[0][4][2], "failed")
        self.assertEqual(client.heard("Finished")[0][4][:3], ("failed", ERROR + "Stopped", "imaged was stopped before the job ended"))

    def test_a_job_that_waits_is_stopped_and_one_that_was_cancelled_is_not(self):
        client = self.client()
        client.listen()
        job = client.pull(self.image("stubborn"))
        waiting = client.pull(self.image("succeed"))
        client.running(job)
        client.cancel(job)
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(5 * sanitizers.SLOWER), 0)
        ended = {path: values[1] for _, path, _, _, values in client.wait_for("Finished", 2)}
        self.assertEqual(ended, {f"{ROOT}/job/{job}": ERROR + "Cancelled", f"{ROOT}/job/{waiting}": ERROR + "Stopped"})

    def test_the_worker_ends_with_a_killed_daemon(self):
        client = self.client()
        job = client.pull(self.image("deaf"))
        client.running(job)
        with open(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children") as file:
            worker = int(file.read().split()[0])
        self.daemon.kill()
        self.daemon.wait()
        self.eventually(lambda: not self.alive(worker))


@unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
class NoMachineId(Case):
    """A host without /etc/machine-id, as images of containers and of minimal systems are: the library cannot answer who asks for it."""

    def command(self):
        script = 'if [ -e /etc/machine-id ]; then mount --bind /dev/null /etc/machine-id; fi; exec "$@"'
        return ["unshare", "--mount", "sh", "-ec", script, "sh", *super().command()]

    def test_who_asks_for_it_ends_nothing(self):
        client = self.client()
        for _ in range(3):
            with self.assertRaises(BusError):
                client.call("org.freedesktop.DBus.Peer", "GetMachineId", timeout=300)
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")
        self.assertIsNone(self.daemon.poll())


if __name__ == "__main__":
    unittest.main(verbosity=2)
