#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The bus policy that is installed, on a real bus that denies by default as the system's does: every member of the XML, called
by root, by a user whom polkit allows everything, and by one whom it allows nothing."""
import json
import os
import shutil
import subprocess
import sys
import unittest

from gi.repository import Gio, GLib

import bus_fixture
import interface_xml
from bus_fixture import DIGEST, JOB, MANAGER, NAME, ROOT, Case, Client

HERE = os.path.dirname(os.path.abspath(__file__))
STRANGER = 65534
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
NOT_AUTHORIZED = "org.imaged1.Error.NotAuthorized"
NOT_FOUND = "org.imaged1.Error.NotFound"
# As in the system bus's own configuration: nothing goes to anybody but the bus itself.
BUS_CONFIG = """<busconfig><type>system</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
<allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/></policy>
<policy user="root"><allow own="org.freedesktop.PolicyKit1"/><allow send_destination="org.freedesktop.PolicyKit1"/></policy>
<include>{1}</include></busconfig>"""
# What a client library calls besides.
STANDARD = [("org.freedesktop.DBus.Introspectable", "Introspect", None), ("org.freedesktop.DBus.Peer", "Ping", None),
            ("org.freedesktop.DBus.Peer", "GetMachineId", None), ("org.freedesktop.DBus.ObjectManager", "GetManagedObjects", None),
            ("org.freedesktop.DBus.Properties", "GetAll", "('org.imaged1.Manager',)"),
            ("org.freedesktop.DBus.Properties", "Get", "('org.imaged1.Manager', 'Version')")]
# What nobody may send, root neither.
UNKNOWN = [(MANAGER, "Reboot", None), (JOB, "Start", None), ("org.example.Other", "ListImages", "(@a{sv} {},)"),
           ("org.freedesktop.DBus.Properties", "Set", "('org.imaged1.Manager', 'Version', <'9'>)")]
ARGUMENTS = {"image": "'docker://signed.example/succeed:1'", "images": "['docker://signed.example/succeed:1']", "options": "@a{sv} {}", "id": "uint32 4711",
             "old_image": "'docker://signed.example/a'", "new_image": "'docker://signed.example/b'", "archive": "handle 0",
             "repository": "'/srv/repo'", "destination": "'docker://registry.example/out:1'"}
OPTIONS = {"ImportImage": f"{{'digest': <'{DIGEST}'>}}"}
# Those that read, and are answered to everybody.
READING = {"Prepare", "Changes", "DiskUsage", "ListImages", "DescribeImages", "ListDeployments", "GetImage", "GetManifest", "GetConfig", "Diff", "ListJobs"}
# What imaged would open with its own rights is root's alone, whatever polkit says.
ROOTS_ALONE = {"Copy"}
MISSING = {"GetImage", "GetManifest", "GetConfig", "Diff", "CancelJob"}


def manager_calls():
    for name, method in interface_xml.methods_of(MANAGER).items():
        arguments = {**ARGUMENTS, "options": OPTIONS.get(name, ARGUMENTS["options"])}
        if name == "ImportArchive":  # under a name that demands no signature, since an archive has none
            arguments["image"] = "'docker://open.example/succeed:1'"
        words = [arguments[argument] for argument, _ in method.arguments]
        yield MANAGER, name, f"({', '.join(words)}{',' if len(words) == 1 else ''})" if words else None


def call_all(address):
    """Run as whatever user: makes the calls of standard input, and prints the name of each one's error."""
    client = Client(address)
    names = []
    for path, interface, member, text in json.load(sys.stdin):
        fds = None
        if text and "handle" in text:
            file = os.open("/dev/null" if not os.path.exists(sys.argv[3]) else sys.argv[3], os.O_RDONLY)
            fds = Gio.UnixFDList.new_from_array([file])
        try:
            client.call(interface, member, GLib.Variant.parse(None, text, None, None) if text else None, path=path, fds=fds)
            names.append("")
        except bus_fixture.BusError as error:
            names.append(error.name)
    try:
        client.connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RequestName", GLib.Variant("(su)", (NAME, 4)), None, 0, -1, None)
        names.append("")
    except GLib.Error as error:
        names.append(Gio.DBusError.get_remote_error(error))
    print(json.dumps(names))


@unittest.skipUnless(os.getuid() == 0, "needs root to become another user")
class BusPolicy(Case):
    def setUp(self):
        self.environment = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(self.environment)))
        self.addCleanup(setattr, bus_fixture, "BUS_CONFIG", bus_fixture.BUS_CONFIG)
        bus_fixture.BUS_CONFIG = BUS_CONFIG.replace("{1}", os.environ["BUS_POLICY"])
        super().setUp()

    def command(self):
        policy = self.directory + "/.config/containers/policy.json"
        os.makedirs(os.path.dirname(policy))
        with open(policy, "w", encoding="utf-8") as file:
            json.dump({"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere"}],
                       "transports": {"docker": {"open.example": [{"type": "insecureAcceptAnything"}]}}}, file)
        os.environ.update({"DBUS_SYSTEM_BUS_ADDRESS": self.address, "HOME": self.directory})
        with open(self.directory + "/imaged.conf", "w", encoding="utf-8") as file:
            file.write("")
        self.archive = self.directory + "/archive"
        open(self.archive, "w").close()
        return [bus_fixture.IMAGED, "--config", self.directory + "/imaged.conf", "--repository", self.directory + "/repo",
                "--worker", bus_fixture.WORKER, "--log-level", "off", "--idle-timeout", "0"]

    def start_daemon(self):
        super().start_daemon()
        self.spawn([sys.executable, HERE + "/scripted-polkit.py", self.address, self.directory + "/questions", self.directory + "/allowed"])
        watcher = self.client()
        self.eventually(lambda: watcher.connection.call_sync(
            "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", GLib.Variant("(s)", ("org.freedesktop.PolicyKit1",)),
            None, 0, -1, None).unpack()[0])

    def allow(self, everything):
        with open(interface_xml.DBUS + "/org.imaged1.policy", encoding="utf-8") as file:
            actions = [line.split('"')[1] for line in file if "<action id=" in line]
        self.assertGreater(len(actions), 8)
        with open(self.directory + "/allowed", "w", encoding="utf-8") as file:
            file.write(" ".join(actions) if everything else "")

    def answers(self, calls, user=0):
        """The name of each call's error, empty without one; and that of owning the name."""
        # A copy that everybody can read: a checkout may lie in a home directory.
        scripts = self.directory + "/scripts"
        os.makedirs(scripts, exist_ok=True)
        for script in (os.path.basename(__file__), "agreement.py", "bus_fixture.py", "interface_xml.py", "ostree_repository.py", "sanitizers.py", "worker.py"):
            shutil.copy(os.path.join(HERE, script), scripts)
        command = [sys.executable, os.path.join(scripts, os.path.basename(__file__)), "--calls", self.address, self.archive]
        if user:
            command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
        calls = [(call if len(call) == 4 else (ROOT, *call)) for call in calls]
        run = subprocess.run(command, input=json.dumps(calls), capture_output=True, text=True, timeout=60)
        self.assertEqual(run.returncode, 0, run.stderr)
        *names, owning = json.loads(run.stdout)
        return dict(zip([member for _, _, member, _ in calls], names)), owning

    def expected(self, who):
        expected = {}
        for name in interface_xml.methods_of(MANAGER):
            expected[name] = NOT_FOUND if name in MISSING else ""
            if name in READING or name == "CancelJob" or who == "root":
                continue
            if who == "unauthorised" or name in ROOTS_ALONE:
                expected[name] = NOT_AUTHORIZED
        return expected

    def test_every_member_by_root_by_an_authorised_and_by_an_unauthorised_user(self):
        rows = []
        for who, user, allowed in (("root", 0, False), ("authorised", STRANGER, True), ("unauthorised", STRANGER, False)):
            with self.subTest(who):
                self.allow(allowed)
                answers, _ = self.answers(manager_calls(), user)
                self.assertEqual(answers, self.expected(who))
                rows.append((who, answers))
        print()
        for name in rows[0][1]:
            print(f"{name:16}" + "".join(f"{who} {(answers[name].rsplit('.', 1)[-1] or 'answered'):16}" for who, answers in rows))

    def test_a_job_is_cancelled_by_whom_polkit_allows(self):
        client = self.client()
        for allowed, error in ((False, NOT_AUTHORIZED), (True, "")):
            job = client.pull(self.image("wait"))
            client.running(job)
            self.allow(allowed)
            self.assertEqual(self.answers([(f"{ROOT}/job/{job}", JOB, "Cancel", None)], STRANGER)[0], {"Cancel": error})
            self.assertEqual(self.answers([(ROOT, MANAGER, "CancelJob", f"(uint32 {job},)")], STRANGER)[0], {"CancelJob": error})
            client.cancel(job)
            client.finished(job)

    def test_what_every_client_needs_is_let_through_and_nothing_else(self):
        self.allow(True)
        for user in (0, STRANGER):
            with self.subTest(user=user):
                answers, owning = self.answers(STANDARD, user)
                self.assertEqual(set(answers.values()), {""})
                if user:
                    self.assertEqual(owning, DENIED)
                self.assertEqual(set(self.answers(UNKNOWN, user)[0].values()), {DENIED})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--calls"]:
        call_all(sys.argv[2])
    else:
        unittest.main(verbosity=2)
