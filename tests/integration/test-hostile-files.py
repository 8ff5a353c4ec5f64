#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Callers who hand over files of a file system that they serve themselves, and that answers nobody of imaged's who closes one (FUSE). Real daemon, worker and bus
policy; the file system belongs to an ordinary user."""
import collections
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

from gi.repository import GLib

import bus_fixture
import sanitizers
import system_bus
from bus_fixture import MANAGER, ROOT
from hostile_files import HostileFiles
from system_bus import SystemCase

USER, OTHER, THIRD = system_bus.USERS[:3]
PROMPTLY = 1 * sanitizers.SLOWER  # within which others are served
PROPERTIES, PEER, MANAGED = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.Peer", "org.freedesktop.DBus.ObjectManager"
# Its own messages, descriptors and all: what a library would refuse to send, too.
SENDER = r"""
import json, os, socket, sys
from gi.repository import Gio, GLib
connection = Gio.DBusConnection.new_for_address_sync(sys.argv[1], Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
connection.set_exit_on_close(False)
channel = socket.socket(fileno=int(sys.argv[2]))
while True:
    text, files, _, _ = socket.recv_fds(channel, 1 << 20, 16)
    if not text:
        break
    request = json.loads(text)
    message = Gio.DBusMessage.new_method_call("org.imaged1", request["path"], request["interface"], request["method"])
    if request["type"] == "signal":
        message = Gio.DBusMessage.new_signal(request["path"], request["interface"], request["method"])
        message.set_destination(request["destination"])
    if request["body"]:
        message.set_body(GLib.Variant.parse(None, request["body"].replace("LONG", "x" * 300_000), None, None))
    fds = Gio.UnixFDList.new()
    for file in files:
        for _ in range(request["copies"]):
            fds.append(file)
        os.close(file)
    message.set_unix_fd_list(fds)
    answer = {}
    if request["wait"]:
        reply, _ = connection.send_message_with_reply_sync(message, 0, request["wait"] * 1000, None)
        answer = {"error": reply.get_error_name() or "", "body": reply.get_body().unpack() if reply.get_body() else []}
    else:
        connection.send_message(message, 0)
        connection.flush_sync(None)
    channel.send(json.dumps(answer).encode())
"""


class Sender:
    """A connection of the user UID that sends messages with descriptors."""

    def __init__(self, address, uid):
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-c", SENDER, address, str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()], cwd="/")
        theirs.close()

    def send(self, file, method="Prepare", body="('docker://127.0.0.1:1/x:y', {'authfile': <handle 0>})", *, path=ROOT, interface=MANAGER, kind="call", copies=1, wait=0,
             destination=bus_fixture.NAME):
        """WAIT is the number of seconds for the answer; without it nothing is waited for."""
        request = {"path": path, "interface": interface, "method": method, "body": body, "type": kind, "copies": copies, "wait": wait, "destination": destination}
        socket.send_fds(self.channel, [json.dumps(request).encode()], [file])
        answer = self.channel.recv(1 << 20)
        assert answer, "the sender has ended"
        return json.loads(answer)

    def end(self):
        self.channel.close()
        self.process.kill()
        self.process.wait(10)


# What Sender.send() is given. imaged gets none of DENIED: the bus's policy does not let them through.
DENIED = ("in a property", "in a method that there is not", "in an interface that there is not")
MESSAGES = {
    "as authfile": {},
    "as an option that is unknown": {"body": "('docker://127.0.0.1:1/x:y', {'authfiles': <handle 0>})"},
    "as an option of another type": {"body": "('docker://127.0.0.1:1/x:y', {'bind-to-caller': <handle 0>})"},
    "as a list": {"body": "('docker://127.0.0.1:1/x:y', {'authfile': <[handle 0]>})"},
    "as a place": {"body": "('docker://127.0.0.1:1/x:y', {'place': <handle 0>})"},
    "as archive": {"method": "ImportArchive", "body": "(handle 0, 'docker://a.example/x:y', @a{sv} {})"},
    "in place of a text": {"method": "ImportImage", "body": "(handle 0, @a{sv} {})"},
    "in a method without options": {"method": "ListJobs", "body": "(handle 0,)"},
    "in a method that reads": {"method": "ListImages", "body": "({'x': <handle 0>},)"},
    "in no value": {"method": "ListJobs", "body": ""},
    "sixteen times": {"copies": 16},
    "in a property": {"interface": PROPERTIES, "method": "Set", "body": "('org.imaged1.Manager', 'Version', <handle 0>)"},
    "in Get": {"interface": PROPERTIES, "method": "Get", "body": "(handle 0, 'Version')"},
    "in Ping": {"interface": PEER, "method": "Ping", "body": "(handle 0,)"},
    "in GetManagedObjects": {"interface": MANAGED, "method": "GetManagedObjects", "body": "(handle 0,)"},
    "in a method that there is not": {"method": "Nothing", "body": "(handle 0,)"},
    "in an interface that there is not": {"interface": "org.imaged1.Nothing", "body": "(handle 0,)"},
    "in an object that there is not": {"path": "/org/imaged1/job/4711", "interface": bus_fixture.JOB, "method": "Cancel", "body": "(handle 0,)"},
    "in a signal": {"kind": "signal", "body": "(handle 0,)"},
    "in a message that is too long": {"method": "ListImages", "body": "({'x': <handle 0>, 'y': <'LONG'>},)"},
    "in a message whose header is too long": {"path": "/org/imaged1" + "/x" * 20_000, "body": "(handle 0,)"},
}


class HostileFilesOfCallers(SystemCase):
    def setUp(self):
        super().setUp()
        self.serve_files(USER)
        self.other = self.caller(OTHER)

    def command(self):
        return [*super().command(), "--confine"]

    def serve_files(self, uid):
        self.files = HostileFiles(self.directory, uid)
        self.addCleanup(self.files.end)  # before the daemon ends

    def sender(self, uid=USER):
        sender = Sender(self.address, uid)
        self.addCleanup(sender.end)
        return sender

    def file(self, name="file"):
        file = self.files.open(name)
        self.addCleanup(self.close, file)
        return file

    def no_file(self):
        file = os.open("/dev/null", os.O_RDONLY)
        self.addCleanup(os.close, file)
        return file

    @staticmethod
    def close(file):
        with contextlib.suppress(OSError):
            os.close(file)  # its server may be gone

    def assert_served(self):
        for caller in (self.other, self.root):
            started = time.monotonic()
            caller.call("ListJobs", timeout=5000)
            self.assertLess(time.monotonic() - started, PROMPTLY)

    def stuck(self):
        """Processes of imaged that wait for a file to be closed."""
        return {int(line[1]) for line in self.files.waiting() if line and line[0] == "flush"}

    def waits(self, operation):
        return sum(line[0] == operation for line in self.files.waiting() if line)

    def test_a_file_that_cannot_be_closed_delays_nobody(self):
        sender, file = self.sender(), self.file()
        self.allow("org.imaged1.import-archive", "org.imaged1.store-as", "org.imaged1.pull-unverified", "org.imaged1.import", "org.imaged1.pull")
        for name, message in MESSAGES.items():
            with self.subTest(name):
                before = len(self.stuck())
                time.sleep(0.08) # 16 of a second are kept
                sender.send(file, **message)
                self.assert_served()
                if name not in DENIED and "header" not in name:  # that one is dropped, and its descriptors by the kernel
                    self.eventually(lambda before=before: len(self.stuck()) > before, 15)
        self.assertNotIn(self.daemon.pid, self.stuck())
        # They are gone with the file system's server, not before, whatever kills them.
        process = next(iter(self.stuck()))
        os.kill(process, signal.SIGKILL)
        time.sleep(0.2)
        self.assertTrue(os.path.exists(f"/proc/{process}"))
        self.files.end()
        self.eventually(lambda: not os.path.exists(f"/proc/{process}"), 10)
        self.assert_served()

    def test_each_connection_of_imaged_takes_signals_with_files(self):
        sender, file = self.sender(), self.file()
        bus, ask = ("org.freedesktop.DBus", "/", "org.freedesktop.DBus"), self.client().connection.call_sync
        names = [name for name in ask(*bus, "ListNames", None, None, 0, -1, None).unpack()[0] if name.startswith(":")]
        own = [name for name in names if ask(*bus, "GetConnectionUnixProcessID", GLib.Variant("(s)", (name,)), None, 0, -1, None).unpack()[0] == self.daemon.pid]
        self.assertEqual(len(own), 2, "that which serves, and that which finds users")
        for name in own * 3:
            sender.send(file, "Nothing", "(handle 0,)", kind="signal", destination=name)
            self.assert_served()
        self.sender(OTHER).send(file)  # a user to be found
        self.assert_served()
        self.assertNotIn(self.daemon.pid, self.stuck())

    def test_each_call_with_a_file_is_answered(self):
        """Whenever it comes: also between two looks at the bus."""
        sender, none = self.sender(), self.no_file()
        for _ in range(500):
            self.assertEqual(sender.send(none, method="ListJobs", body="", wait=20), {"error": "", "body": [[]]})
        time.sleep(1.2)  # so many count for a while
        self.assertIn("regular file", str(sender.send(none, wait=20)), "it was looked at")

    def test_files_come_with_their_message_among_others(self):
        sender, file, none = self.sender(), self.file(), self.no_file()
        os.kill(self.daemon.pid, signal.SIGSTOP)  # what comes now waits together
        for number in range(6):
            sender.send(none, method="ListImages", body=f"({{'x': <'{'y' * number * 10_000}'>}},)", copies=0)
            sender.send(file, method="ListJobs", body="")
        os.kill(self.daemon.pid, signal.SIGCONT)
        self.assertIn("regular file", str(sender.send(none, wait=20)))
        self.eventually(lambda: self.waits("flush") >= 6, 15)
        self.assertEqual(self.waits("flush"), 6)

    def test_a_bus_that_does_not_say_who_sends_files_keeps_imaged_no_longer_than_once(self):
        senders, none = [self.sender() for _ in range(15)], self.no_file()
        os.kill(self.daemon.pid, signal.SIGSTOP)
        for sender in senders:
            sender.send(none, method="ListJobs", body="")
        time.sleep(0.5)  # the bus passes them on
        os.kill(self.bus.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, self.bus.pid, signal.SIGCONT)
        os.kill(self.daemon.pid, signal.SIGCONT)
        time.sleep(0.2)
        self.daemon.terminate()
        started = time.monotonic()
        self.assertEqual(self.daemon.wait(60), 0)
        self.assertLess(time.monotonic() - started, 5 * sanitizers.SLOWER)

    def test_one_user_shuts_out_no_other(self):
        sender, file = self.sender(), self.file()
        for _ in range(60):
            sender.send(file, method="ListJobs", body="")
            time.sleep(0.08) # 16 of a second are kept
        self.assert_served()
        answer = sender.send(file, wait=10)
        self.assertEqual(answer["error"], "org.imaged1.Error.QueueFull", answer)
        self.eventually(lambda: len(self.stuck()) >= 40, 20)
        self.assertLessEqual(len(self.stuck()), 48)
        for caller in (self.other, self.root):
            job = caller.start("Prepare", "docker://127.0.0.1:1/x:y", authfile='{"auths": {}}')
            self.assertEqual(caller.finished(job)["Result"], "failed", "nobody listens there")
        self.files.end()
        none = self.no_file()
        self.eventually(lambda: sender.send(none, wait=10)["error"] == "org.imaged1.Error.InvalidArgument", 20)

    def test_files_of_so_many_messages_are_kept_in_a_second(self):
        """Each costs a fork; what comes beside them is refused at once."""
        none, senders, answers = self.no_file(), [self.sender(uid) for uid in system_bus.USERS[1:7]], collections.Counter()
        started = time.monotonic()
        for _ in range(30):
            for sender in senders:
                answers[sender.send(none, wait=20)["error"]] += 1
        seconds = time.monotonic() - started
        kept = answers.pop("org.imaged1.Error.InvalidArgument") # it is no regular file
        self.assertEqual(list(answers), ["org.imaged1.Error.QueueFull"] if answers else [], answers)
        self.assertLessEqual(kept, 48 * (seconds + 1))
        self.assertGreaterEqual(kept, 48)
        self.eventually(lambda: senders[0].send(none, wait=20)["error"] == "org.imaged1.Error.InvalidArgument", 5)

    def test_users_together_leave_root_room(self):
        file, senders = self.file(), [self.sender(uid) for uid in system_bus.USERS[1:7]]
        for _ in range(50):
            for sender in senders:
                sender.send(file, method="ListJobs", body="")
            time.sleep(0.15) # 48 of a second are kept
        self.assert_served()
        self.assertEqual(self.sender(system_bus.USERS[8]).send(file, wait=10)["error"], "org.imaged1.Error.QueueFull")
        self.assertLessEqual(len(self.stuck()), 192)
        job = self.root.start("Prepare", "docker://127.0.0.1:1/x:y", authfile='{"auths": {}}')
        self.root.finished(job)
        self.assertLess(self.peak(), 64)

    def test_a_job_that_reads_such_a_file_can_be_cancelled(self):
        self.allow("org.imaged1.import-archive", "org.imaged1.store-as", "org.imaged1.pull-unverified", "org.imaged1.import")
        self.serve_files(0)
        sender, known = self.sender(), 0
        archive = {"method": "ImportArchive", "body": "(handle 0, 'docker://a.example/x:y', @a{sv} {})"}
        for name, operation in (("silent", "read"), ("mute", "statfs")):
            for message in ({}, archive):
                with self.subTest(name, **message):
                    answer = sender.send(self.file(name), **message, wait=10)
                    self.assertEqual(answer["error"], "", answer)
                    job = answer["body"][0]
                    self.eventually(lambda operation=operation, known=known: self.waits(operation) > known, 20)
                    known = self.waits(operation)
                    started = time.monotonic()
                    self.root.call("CancelJob", "(u)", job)
                    self.assertEqual(self.root.finished(job)["Result"], "cancelled")
                    self.assertLess(time.monotonic() - started, 4 * sanitizers.SLOWER)
                    self.assert_served()
            known = 0
        self.assertEqual(self.waits("getattr"), 0)
        # Its worker ended, or was left behind: the next one of the same lane works.
        job = self.root.start("Pull", "ostree-unverified-registry:127.0.0.1:1/x:y")
        self.assertEqual(self.root.finished(job)["Result"], "failed")

    def test_a_job_ends_though_its_file_cannot_be_closed(self):
        self.allow("org.imaged1.import-archive", "org.imaged1.store-as", "org.imaged1.pull-unverified", "org.imaged1.import")
        self.serve_files(0)
        answer = self.sender().send(self.file(), method="ImportArchive", body="(handle 0, 'docker://a.example/x:y', @a{sv} {})", wait=10)
        self.assertEqual(answer["error"], "", answer)
        self.assertEqual(self.root.finished(answer["body"][0])["Result"], "failed", "it is no archive")
        self.assert_served()

    def test_imaged_ends_in_time_with_files_that_cannot_be_closed(self):
        sender, file = self.sender(), self.file()
        sender.send(file, copies=16)
        sender.send(self.file("silent"))
        sender.send(self.file("mute"), method="ImportArchive", body="(handle 0, 'docker://a.example/x:y', @a{sv} {})")
        self.eventually(self.stuck, 15)
        self.daemon.terminate()
        started = time.monotonic()
        self.assertEqual(self.daemon.wait(20), 0)
        self.assertLess(time.monotonic() - started, 5 * sanitizers.SLOWER)
        self.assertFalse(self.is_owned(self.client(), bus_fixture.NAME))
        for process in self.stuck():
            # Nothing of imaged's is kept from the next one: no connection, no lock.
            self.assertEqual([link for link in self.links(process) if "socket" in link or self.directory in link], [])

    @staticmethod
    def links(process):
        folder = f"/proc/{process}/fd"
        try:
            return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]
        except OSError:
            return []  # it has given up its table, but for what it closes


if __name__ == "__main__":
    unittest.main(verbosity=2)
