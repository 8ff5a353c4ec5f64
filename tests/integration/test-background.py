#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Background jobs: they wait for no better times, give way to other jobs and have the lowest priority. NetworkManager and UPower are those of python-dbusmock."""
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from gi.repository import GLib

import bus_fixture
import oci_layout
import ostree_repository
import real_daemon
import registry
import sanitizers
from repository_case import ScratchCase

UPOWER = ("org.freedesktop.UPower", "/org/freedesktop/UPower", "org.freedesktop.UPower")
NETWORK = ("org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "org.freedesktop.NetworkManager")
IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
ANSWER_TIME = 5  # of each service
IOPRIO_GET, IOPRIO_WHO_PROCESS, IOPRIO_CLASS_IDLE = {"x86_64": 252, "aarch64": 31}.get(os.uname().machine), 1, 3


def io_class(pid):
    return ctypes.CDLL(None, use_errno=True).syscall(IOPRIO_GET, IOPRIO_WHO_PROCESS, pid) >> 13


def priority(pid):
    return os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(number) for number in file.read().split()]


def program_of(pid):
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
        return file.read()


class SystemBus(bus_fixture.SystemBusCase):
    """With what the test starts there."""

    def service(self, service, **properties):
        """A mock of SERVICE with these properties alone."""
        name, path, interface = service
        process = self.spawn([sys.executable, "-m", "dbusmock", "--system", name, path, interface], stdout=subprocess.DEVNULL, env=self.environment)
        self.eventually(lambda: self.call("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", GLib.Variant("(s)", (name,)))[0])
        for key, value in properties.items():
            self.call(name, path, "org.freedesktop.DBus.Mock", "AddProperty", GLib.Variant("(ssv)", (interface, key, value)))
        return process

    def set(self, service, key, value):
        name, path, interface = service
        self.call(name, path, "org.freedesktop.DBus.Mock", "UpdateProperties", GLib.Variant("(sa{sv})", (interface, {key: value})))

    def call(self, *arguments):
        return self.watcher.connection.call_sync(*arguments, None, 0, -1, None).unpack()

    def ended(self, job, timeout=10):
        properties = self.watcher.finished(job, timeout)
        return properties["Result"], properties["ErrorName"].removeprefix(bus_fixture.ERROR), properties["ErrorMessage"]

    def background(self, image, method="Pull"):
        return self.watcher.start(method, image, background=GLib.Variant("b", True))[0]


@unittest.skipUnless(os.getuid() == 0, "needs root, whom imaged on the system bus does not ask polkit about")
@unittest.skipUnless(importlib.util.find_spec("dbusmock"), "needs python3-dbusmock")
class Conditions(SystemBus):
    REMOTE = "docker://registry.example/succeed:1"

    def test_not_on_a_metered_connection(self):
        self.service(NETWORK, Metered=GLib.Variant("u", 0))
        # Unknown, yes, no, guessed yes, guessed no, and what no NetworkManager says.
        for metered, starts in ((0, True), (1, False), (2, True), (3, False), (4, True), (5, True)):
            with self.subTest(metered=metered):
                self.set(NETWORK, "Metered", GLib.Variant("u", metered))
                expected = ("success", "", "") if starts else ("failed", "Deferred", "postponed: the network connection is metered")
                self.assertEqual(self.ended(self.background(self.REMOTE)), expected)
        self.set(NETWORK, "Metered", GLib.Variant("u", 1))
        # What uses no network, and what somebody waits for.
        self.assertEqual(self.ended(self.background(self.image("succeed")))[0], "success")
        self.assertEqual(self.ended(self.watcher.pull(self.REMOTE))[0], "success")
        # No failure that somebody should look at.
        self.assertRegex(self.messages(), r"info: job 2 failed after .*Deferred: postponed: the network connection is metered")
        self.assertNotRegex(self.messages(), "warning: .*Deferred")

    def test_not_on_battery(self):
        self.service(UPOWER, OnBattery=GLib.Variant("b", True))
        put_off = ("failed", "Deferred", "postponed: the host runs on battery")
        self.assertEqual(self.ended(self.background(self.REMOTE)), put_off)
        self.assertEqual(self.ended(self.background(self.image("succeed"))), put_off)
        with open(self.directory + "/do", "w", encoding="utf-8") as file:
            file.write("succeed")
        prune = self.watcher.call(bus_fixture.MANAGER, "Prune", GLib.Variant("(a{sv})", ({"background": GLib.Variant("b", True)},)))[0]
        self.assertEqual(self.ended(prune), put_off)
        self.assertEqual(self.starts(), [], "a worker was started")
        run = subprocess.run([IMAGECTL, "pull", "--background", self.REMOTE], env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((run.returncode, run.stdout, run.stderr), (12, "", "imagectl: postponed: the host runs on battery (org.imaged1.Error.Deferred)\n"))
        run = subprocess.run([IMAGECTL, "--json", "check", "--background"], env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((run.returncode, json.loads(run.stdout)["error"]["name"]), (12, bus_fixture.ERROR + "Deferred"))
        self.set(UPOWER, "OnBattery", GLib.Variant("b", False))
        self.assertEqual(self.ended(self.background(self.REMOTE))[0], "success")

    def test_services_that_are_not_there_have_no_objection(self):
        began = time.monotonic()
        self.assertEqual(self.ended(self.background(self.REMOTE))[0], "success")
        self.assertLess(time.monotonic() - began, ANSWER_TIME / 2 * sanitizers.SLOWER)

    def test_services_that_hang_keep_nobody_waiting(self):
        services = [self.service(UPOWER, OnBattery=GLib.Variant("b", True)), self.service(NETWORK, Metered=GLib.Variant("u", 1))]
        for service in services:
            service.send_signal(signal.SIGSTOP)
        try:
            self.check_that_nobody_waits()
        finally:
            for service in services:
                service.send_signal(signal.SIGCONT)

    def check_that_nobody_waits(self):
        began = time.monotonic()
        job, cancelled = self.background(self.REMOTE), self.background(self.image("succeed"), "Check")
        self.assertEqual(self.watcher.job(job)["State"], "running")
        self.watcher.cancel(cancelled)
        self.assertEqual(self.ended(cancelled)[:2], ("cancelled", "Cancelled"))
        # Another job does not wait for the answer.
        self.assertEqual(self.ended(self.watcher.pull(self.image("succeed")))[0], "success")
        self.assertEqual(self.ended(job)[:2], ("failed", "Deferred"))
        self.assertLess(time.monotonic() - began, ANSWER_TIME * sanitizers.SLOWER)
        began = time.monotonic()
        self.assertEqual(self.ended(self.background(self.REMOTE), 3 * ANSWER_TIME)[0], "success")
        self.assertGreater(time.monotonic() - began, 1.5 * ANSWER_TIME)
        # Nor a caller that leaves, or imaged when it is stopped.
        caller = self.client()
        bound = caller.start("Pull", self.REMOTE, background=GLib.Variant("b", True), bind_to_caller=GLib.Variant("b", True))[0]
        caller.close()
        self.assertEqual(self.ended(bound)[:2], ("cancelled", "Cancelled"))
        self.watcher.listen()
        self.background(self.REMOTE)
        self.daemon.terminate()
        self.assertEqual(self.daemon.wait(ANSWER_TIME / 2 * sanitizers.SLOWER), 0)
        self.assertEqual([signal[4][1] for signal in self.watcher.wait_for("Finished")], [bus_fixture.ERROR + "Stopped"])

    def test_nonsense_is_no_objection(self):
        nonsense = [GLib.Variant("s", "yes"), GLib.Variant("au", (1, 1)), GLib.Variant("t", 1), GLib.Variant("d", 1.0)]
        self.service(NETWORK, Metered=nonsense[0])
        self.service(UPOWER, OnBattery=nonsense[0])
        for value in nonsense:
            with self.subTest(value=value):
                self.set(NETWORK, "Metered", value)
                self.set(UPOWER, "OnBattery", value)
                self.assertEqual(self.ended(self.background(self.REMOTE))[0], "success")

    def test_an_answer_that_is_no_property_is_no_objection(self):
        """The method Get itself answers with what it should not: nothing, and a text."""
        self.answer_get(UPOWER, "", None)
        self.answer_get(NETWORK, '<arg type="s" direction="out"/>', GLib.Variant("(s)", ("metered",)))
        job = self.background(self.REMOTE)

        def finished():
            while GLib.MainContext.default().iteration(False):
                pass
            return self.watcher.job(job)["State"] == "finished"
        self.eventually(finished, 3)
        self.assertEqual(self.ended(job)[0], "success")
        self.assertEqual(self.asked, ["OnBattery", "Metered"])

    asked = ()

    def answer_get(self, service, arguments, answer):
        name, path, _ = service
        self.asked = []

        def called(_connection, _sender, _path, _interface, _method, parameters, invocation):
            self.asked.append(parameters.unpack()[1])
            invocation.return_value(answer)
        node = bus_fixture.Gio.DBusNodeInfo.new_for_xml(
            '<node><interface name="org.freedesktop.DBus.Properties"><method name="Get"><arg type="s" direction="in"/><arg type="s" direction="in"/>'
            f"{arguments}</method></interface></node>")
        connection = self.client().connection
        connection.register_object(path, node.interfaces[0], called, None, None)
        connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RequestName", GLib.Variant("(su)", (name, 0)), None, 0, -1, None)


@unittest.skipUnless(os.getuid() == 0, "needs root, whom imaged on the system bus does not ask polkit about")
class GivingWay(SystemBus):
    def test_a_background_job_ends_for_another_one(self):
        background = self.background(self.image("wait,behind"))
        self.watcher.running(background)
        later = self.background(self.image("succeed,later"))
        other = self.watcher.pull(self.image("wait,other"))
        self.assertEqual(self.ended(background), ("failed", "Deferred", "postponed: a job that is not a background job came"))
        self.watcher.running(other)
        self.assertEqual(self.watcher.job(later)["State"], "queued")
        another = self.watcher.pull(self.image("succeed,another"))
        self.assertEqual([self.watcher.job(job)["Position"] for job in (another, later)], [1, 2])
        self.release()
        self.assertEqual([self.ended(job)[0] for job in (other, another, later)], ["success"] * 3)
        self.assertEqual(self.starts()[1:], ["pull wait,other", "pull succeed,another", "pull succeed,later"])

    def test_a_check_of_all_images_gives_way_too(self):
        checking = self.watcher.call(bus_fixture.MANAGER, "CheckImages", GLib.Variant("(asa{sv})", ([self.image("wait")], {"background": GLib.Variant("b", True)})))[0]
        self.eventually(lambda: self.watcher.job(checking)["State"] == "running")
        other = self.watcher.start("Check", self.image("succeed"))[0]
        self.assertEqual(self.ended(checking)[:2], ("failed", "Deferred"))
        self.ended(other)

    def test_other_work_of_its_sort_does_not_end_it(self):
        background = self.background(self.image("wait"))
        self.watcher.running(background)
        self.assertEqual(self.background(self.image("wait")), background)
        looking = self.watcher.start("Prepare", self.image("show"))[0]
        self.assertEqual(self.ended(looking)[0], "success")
        self.assertEqual(self.watcher.job(background)["State"], "running")
        self.release()
        self.assertEqual(self.ended(background)[0], "success")

    def test_the_same_work_that_somebody_waits_for_is_another_job(self):
        background = self.background(self.image("wait"))
        self.watcher.running(background)
        wanted = self.watcher.pull(self.image("wait"))
        self.assertNotEqual(wanted, background)
        self.assertEqual(self.ended(background)[1], "Deferred")
        self.release()
        self.assertEqual(self.ended(wanted)[0], "success")

    @unittest.skipUnless(IOPRIO_GET, "the number of ioprio_get(2) is not known here")
    def test_its_worker_has_the_lowest_priority(self):
        for start, expected in ((self.background, (19, os.SCHED_IDLE)), (self.watcher.pull, (5, os.SCHED_OTHER))):
            job = start(self.image("wait"))
            self.watcher.running(job)
            worker, = [pid for pid in children(self.daemon.pid) if "scripted-worker" in program_of(pid)]
            with self.subTest(expected=expected):
                self.assertEqual(priority(worker), (os.getpriority(os.PRIO_PROCESS, self.daemon.pid) + 5 if expected[0] == 5 else 19, expected[1]))
                self.assertEqual(io_class(worker) == IOPRIO_CLASS_IDLE, expected[0] == 19)
            self.watcher.cancel(job)
            self.watcher.finished(job)


@unittest.skipUnless(shutil.which("docker-registry"), "needs docker-registry")
class Rate(ScratchCase):
    """Images of two layers, from a registry."""
    LAYER = 1_500_000

    def setUp(self):
        super().setUp()
        self.server = registry.Registry(self.directory / "registry")
        self.addCleanup(self.server.stop)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.images = 0

    def serve(self, configuration):
        ostree_repository.init(f"{self.directory}/repo")
        own = tempfile.TemporaryDirectory(prefix="imaged-rate-")
        self.addCleanup(own.cleanup)
        daemon = real_daemon.Daemon(own.name, self.directory / "repo", configuration + "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n",
                                    {"CONTAINERS_REGISTRIES_CONF": str(self.server.configuration)})
        self.addCleanup(daemon.stop)
        self.client = daemon.client()
        self.addCleanup(self.client.close)

    def new_image(self, remote=True):
        self.images += 1
        layers = [oci_layout.layer([oci_layout.Entry(f"usr/{self.images}-{number}", content=os.urandom(self.LAYER))]) for number in range(2)]
        self.layout.image("t", layers)
        if not remote:
            return self.layout.reference("t")
        self.server.push(self.layout.reference("t"), f"image:{self.images}")
        return f"docker://{self.server.address}/image:{self.images}"

    def pull(self, image, **options):
        """(moment, bytes) over time, from the job's start to its end."""
        job = self.client.pull(image, **options)
        seen = []

        def ended(properties):
            seen.append((time.monotonic(), properties["Bytes"][0]))
            return properties["State"] == "finished"
        properties = self.client.until(job, ended, 120)
        self.assertEqual(properties["Result"], "success", properties)
        self.assertGreater(properties["Outcome"]["bytes-fetched"], 2 * self.LAYER)
        return seen

    def check_rate(self, seen, rate):
        """At no moment more came than RATE allows, with half a second for what is on its way, nor is it all too slow."""
        begin = max(moment for moment, done in seen if done == 0)
        for moment, done in seen:
            self.assertLessEqual(done, rate * max(0, moment - begin + 0.5), f"after {moment - begin:.1f} s")
        self.assertLess(seen[-1][0] - begin, 2 * 2 * self.LAYER / rate + 10 * sanitizers.SLOWER)

    def test_all_layers_together_keep_the_rate(self):
        self.serve("[Pull]\nRate=500K\nLayersAtOnce=2\n")
        self.check_rate(self.pull(self.new_image()), 500 << 10)
        # A source that is no network does not.
        began = time.monotonic()
        self.pull(self.new_image(remote=False))
        self.assertLess(time.monotonic() - began, 2 * self.LAYER / (500 << 10))

    def test_background_jobs_have_a_rate_of_their_own(self):
        self.serve("[Pull]\nRate=100M\n[Background]\nRate=600K\n")
        self.check_rate(self.pull(self.new_image(), background=GLib.Variant("b", True)), 600 << 10)
        began = time.monotonic()
        self.pull(self.new_image())
        self.assertLess(time.monotonic() - began, 2 * self.LAYER / (600 << 10))

    def test_a_job_that_waits_for_its_rate_is_cancelled_at_once(self):
        self.serve("[Pull]\nRate=1K\n")
        job = self.client.pull(self.new_image())
        self.client.until(job, lambda properties: properties["Bytes"][0] > 0, 60)
        began = time.monotonic()
        self.client.cancel(job)
        ended = self.client.finished(job)
        self.assertLess(time.monotonic() - began, 1.5 * sanitizers.SLOWER)
        # What it had fetched stays to be read.
        self.assertEqual((ended["Result"], ended["Outcome"]), ("cancelled", {}))
        self.assertTrue(0 < ended["Bytes"][0] < ended["Bytes"][1], ended["Bytes"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
