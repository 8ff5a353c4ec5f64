#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A repository that hangs, a worker that cannot be killed, a log that nobody reads: the others are served, and the daemon ends in time."""
import fcntl
import os
import re
import signal
import subprocess
import threading
import time
import unittest
import unittest.mock

from gi.repository import GLib

import hanging_disk
import hanging_file
import sanitizers
from bus_fixture import JOB, MANAGER, ROOT, Case

PROPERTIES = "org.freedesktop.DBus.Properties"


class HangsCase(Case):
    def assert_ends(self):
        """Within the 5 s that docs/reliability.md promises."""
        self.daemon.send_signal(signal.SIGTERM)
        started = time.monotonic()
        self.assertEqual(self.daemon.wait(8 * sanitizers.SLOWER), 0)
        took = time.monotonic() - started
        print(f"    ended {took:.2f} s after SIGTERM")
        self.assertLess(took, 5 * sanitizers.SLOWER)


@unittest.skipUnless(hanging_file.FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
class Hanging(HangsCase):
    """Whatever reads the repository's configuration waits."""

    def command(self):
        os.mkdir(self.directory + "/repo")
        with open(self.directory + "/repo/config", "w", encoding="ascii") as file:
            file.write("[core]\nmode=bare\n")
        self.file = hanging_file.HangingFile(self.directory, self.directory + "/repo/config")
        return self.file.before(super().command())

    def test_nobody_but_its_readers_waits_for_the_repository(self):
        client, reader = self.client(), self.client()
        reader.connection.call("org.imaged1", ROOT, MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), None, 0, -1, None, None)
        self.eventually(self.file.has_readers)
        job = client.pull(self.image("wait"))
        for _ in range(3):
            started = time.monotonic()
            client.call(PROPERTIES, "GetAll", GLib.Variant("(s)", (MANAGER,)), timeout=3000)
            self.assertLess(time.monotonic() - started, 1 * sanitizers.SLOWER)
        client.running(job)
        client.cancel(job)
        self.assertEqual(client.finished(job, 3)["Result"], "cancelled")
        self.assert_ends()


class ReaderCase(HangsCase):
    def readers(self):
        """Number and state of each process that reads for the daemon."""
        found = {}
        for process in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{process}/stat", encoding="utf-8") as file:
                    name, _, rest = file.read().partition("(")[2].rpartition(")")
                with open(f"/proc/{process}/cmdline", "rb") as file:
                    ours = self.directory.encode() in file.read()
            except OSError:
                continue
            if name == "imaged-reader" and ours:
                found[int(process)] = rest.split()[0]
        return found


class Reader(ReaderCase):
    """The process that reads ends or stops."""

    def test_it_is_replaced_and_goes_with_the_daemon(self):
        client = self.client()
        ask = lambda: client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), timeout=10000)
        seen = set()
        for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM):
            self.assertEqual(ask(), ([],))
            reader, = self.readers()
            self.assertNotIn(reader, seen)
            seen.add(reader)
            os.kill(reader, number)
            self.eventually(lambda: self.readers().get(reader, "Z") == "Z")
        self.assertEqual(ask(), ([],))
        reader, = set(self.readers()) - seen
        os.kill(reader, signal.SIGSTOP)
        self.client().connection.call("org.imaged1", ROOT, MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), None, 0, -1, None, None)
        client.call(MANAGER, "ListJobs", timeout=3000)
        self.daemon.kill()
        self.daemon.wait()
        self.eventually(lambda: not self.readers())

    def test_a_stopped_one_with_callers_waiting_does_not_keep_the_daemon(self):
        client = self.client()
        client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), timeout=10000)
        reader, = self.readers()
        os.kill(reader, signal.SIGSTOP)
        for _ in range(20):
            client.connection.call("org.imaged1", ROOT, MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), None, 0, -1, None, None)
        client.call(MANAGER, "ListJobs", timeout=3000)
        self.assert_ends()
        self.eventually(lambda: not self.readers())


@unittest.skipUnless(hanging_disk.is_possible(), "needs root and /dev/fuse")
class HangingInTheKernel(ReaderCase):
    """The repository's file system never answers: who asks it for anything cannot be killed."""

    def setUp(self):
        super().setUp()
        self.disk = hanging_disk.HangingDisk(self.directory + "/disk")
        self.addCleanup(self.disk.end)

    def command(self):
        return [self.directory + "/disk/repo" if word == self.directory + "/repo" else word for word in super().command()]

    def tearDown(self):
        self.disk.end()
        super().tearDown()

    def start_daemon(self):
        # Its repository is there when it starts to look.
        self.real_start = super().start_daemon

    def test_the_daemon_serves_and_ends_beside_it(self):
        self.real_start()
        client = self.client()
        client.connection.call("org.imaged1", ROOT, MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), None, 0, -1, None, None)
        self.eventually(lambda: self.disk.waiting)
        self.assertEqual(len(self.readers()), 1)
        started = time.monotonic()
        client.call(PROPERTIES, "GetAll", GLib.Variant("(s)", (MANAGER,)), timeout=3000)
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")
        self.assertLess(time.monotonic() - started, 3 * sanitizers.SLOWER)
        self.assert_ends()
        # It is gone as soon as the kernel lets it go; another daemon need not wait for that.
        self.assertEqual(list(self.readers().values()), ["D"], "the kernel waits, whoever kills it")
        self.real_start()
        self.client().call(MANAGER, "ListJobs", timeout=3000)
        self.disk.end()
        self.eventually(lambda: "D" not in self.readers().values())


@unittest.skipUnless(hanging_file.FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
class HangingConfiguration(HangsCase):
    """The configuration hangs when it is read a second time."""

    def command(self):
        path = self.directory + "/imaged.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write("")
        self.file = hanging_file.HangingFile(self.directory, path, after=1)
        return self.file.before([*super().command(), "--config", path])

    def test_a_reload_keeps_nobody_waiting(self):
        client = self.client()
        self.daemon.send_signal(signal.SIGHUP)
        self.eventually(self.file.has_readers)
        started = time.monotonic()
        client.call(MANAGER, "ListJobs", timeout=3000)
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")
        self.assertLess(time.monotonic() - started, 3 * sanitizers.SLOWER)
        self.assert_ends()


class Unkillable(HangsCase):
    """Signals do not reach the worker, as when it waits in the kernel: imaged's own kill(2) does nothing."""

    def start_daemon(self):
        source = self.directory + "/no-kill.c"
        with open(source, "w", encoding="ascii") as file:
            file.write("int kill(int process, int number) { return 0; }\n")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.directory + "/no-kill.so", source], check=True)
        preload = ":".join(filter(None, [os.environ.get("LD_PRELOAD"), self.directory + "/no-kill.so"]))
        with unittest.mock.patch.dict(os.environ, LD_PRELOAD=preload):
            super().start_daemon()

    def tearDown(self):
        self.release()
        super().tearDown()

    def test_it_is_reported_and_abandoned(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        started = time.monotonic()
        client.cancel(job)
        properties = client.finished(job, 6)
        self.assertEqual(properties["Result"], "cancelled")
        self.assertIn("cannot be killed", properties["ErrorMessage"])
        print(f"    reported {time.monotonic() - started:.1f} s after the cancel")
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success", "the next job has its turn")

    def test_the_daemon_ends_in_time(self):
        client = self.client()
        client.running(client.pull(self.image("wait")))
        self.assert_ends()


class Unread(HangsCase):
    """Standard error is a pipe that is full."""

    def command(self):
        return [word if word != "off" else "info" for word in super().command()]

    def spawn(self, command, **keywords):
        if command[0] == self.command()[0]:
            self.read_end, write_end = os.pipe()
            fcntl.fcntl(self.read_end, fcntl.F_SETPIPE_SZ, 4096)
            process = super().spawn(command, stderr=write_end, **keywords)
            os.close(write_end)
            return process
        return super().spawn(command, **keywords)

    def test_the_daemon_serves_on_and_counts_what_it_dropped(self):
        client = self.client()
        for number in range(130):
            job = client.pull(self.image(f"chatter,{number}"))
            self.assertEqual(client.finished(job)["Result"], "success")
        read = []

        def reader():
            while text := os.read(self.read_end, 65536):
                read.append(text)
        thread = threading.Thread(target=reader)
        thread.start()
        self.eventually(lambda: b"dropped" in b"".join(read))
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")
        self.assert_ends()
        thread.join(10)
        text = b"".join(read)
        dropped = re.findall(rb"dropped (\d+) log messages", text)
        self.assertTrue(dropped)
        self.assertNotIn(b"\x1b", text)
        self.assertIn(b"bytes more, which were dropped", text)
        print(f"    {len(text)} bytes written, {dropped[0].decode()} messages dropped")

    def test_sigterm_ends_it(self):
        client = self.client()
        for number in range(20):
            client.finished(client.pull(self.image(f"chatter,{number}")))
        self.assert_ends()

    def tearDown(self):
        os.close(self.read_end)
        super().tearDown()


if __name__ == "__main__":
    unittest.main(verbosity=2)
