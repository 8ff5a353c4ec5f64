# SPDX-License-Identifier: Apache-2.0
"""imaged on a private bus, with a scripted worker in place of the real one: what its tests share. IMAGED names the daemon."""
import os
import socket
import subprocess
import time
import unittest
import unittest.mock

from gi.repository import Gio, GLib

import agreement
import sanitizers

IMAGED = os.environ.get("IMAGED", "imaged")
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripted-worker.py")
NAME, ROOT, MANAGER, JOB = "org.imaged1", "/org/imaged1", "org.imaged1.Manager", "org.imaged1.Job"
ERROR = "org.imaged1.Error."
DIGEST = "sha256:" + "c" * 64
BUS_CONFIG = """<busconfig><type>session</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>{1}
<limit name="max_connections_per_user">5000</limit><limit name="max_completed_connections">5000</limit>
<limit name="max_replies_per_connection">50000</limit><limit name="max_match_rules_per_connection">5000</limit>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>"""


def listens(path):
    """Whether somebody does at the socket PATH, which is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


class BusError(Exception):
    def __init__(self, name, message):
        super().__init__(name + ": " + message)
        self.name, self.message = name, message


class Client:
    """One connection to the bus; collects signals when asked to."""

    def __init__(self, address):
        self.connection = Gio.DBusConnection.new_for_address_sync(
            address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
            None, None)
        self.connection.set_exit_on_close(False)
        self.signals = []

    def call(self, interface, method, parameters=None, path=ROOT, fds=None, timeout=20000):
        try:
            reply, _ = self.connection.call_with_unix_fd_list_sync(
                NAME, path, interface, method, parameters, None, Gio.DBusCallFlags.NONE, timeout * sanitizers.SLOWER, fds,
                None)
            return reply.unpack()
        except GLib.Error as error:
            name = Gio.DBusError.get_remote_error(error)
            Gio.DBusError.strip_remote_error(error)
            raise BusError(name or "local", error.message) from None

    def start(self, method, image, fds=None, **options):
        options = {key.replace("_", "-"): value for key, value in options.items()}
        return self.call(MANAGER, method, GLib.Variant("(sa{sv})", (image, options)), fds=fds)

    def pull(self, image, **options):
        return self.start("Pull", image, **options)[0]

    def cancel(self, job):
        """What CancelJob answers: whether the job goes on for others."""
        return self.call(MANAGER, "CancelJob", GLib.Variant("(u)", (job,)))

    def job(self, job):
        properties = self.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (JOB,)), path=f"{ROOT}/job/{job}")[0]
        if not properties.get("Complete", True):
            _, properties["ErrorName"], properties["ErrorMessage"], properties["Outcome"] = self.call(JOB, "GetOutcome", path=f"{ROOT}/job/{job}")
        return properties

    def until(self, job, condition, timeout=10, longest_pause=0.01):
        end, pause = time.monotonic() + timeout * sanitizers.SLOWER, 0.01
        while True:
            properties = self.job(job)
            if condition(properties):
                return properties
            if time.monotonic() > end:
                raise AssertionError(f"job {job} stays {properties}")
            time.sleep(pause)
            pause = min(1.3 * pause, longest_pause)

    def finished(self, job, timeout=10):
        # Asking takes a tenth of the shortest pause from the job.
        return self.until(job, lambda properties: properties["State"] == "finished", timeout, 0.05)

    def running(self, job):
        return self.until(job, lambda properties: properties["Fraction"] > 0)

    def listen(self):
        def heard(_connection, _sender, path, interface, member, parameters):
            self.signals.append((time.monotonic(), path, interface, member, parameters.unpack()))
        self.connection.signal_subscribe(NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, heard)

    def heard(self, member):
        while GLib.MainContext.default().iteration(False):
            pass
        return [signal for signal in self.signals if signal[3] == member]

    def wait_for(self, member, count=1, timeout=10):
        end = time.monotonic() + timeout * sanitizers.SLOWER
        while len(self.heard(member)) < count:
            if time.monotonic() > end:
                raise AssertionError(f"no {member} among {[signal[3] for signal in self.signals]}")
            time.sleep(0.01)
        return self.heard(member)

    def close(self):
        try:
            self.connection.close_sync(None)
        except GLib.Error as error:
            # The bus may have gone first, and the connection noticed at any moment.
            if not error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CLOSED):
                raise


class Case(unittest.TestCase):
    options = ["--idle-timeout", "0"]
    activation = False

    def setUp(self):
        self.own_directory = agreement.Scratch(prefix="imaged-bus-")
        self.directory = self.own_directory.name
        os.chmod(self.directory, 0o755)
        self.address = f"unix:path={self.directory}/bus"
        services = ""
        if self.activation:
            services = f"<servicedir>{self.directory}</servicedir>"
            with open(f"{self.directory}/{NAME}.service", "w") as file:
                file.write(f"[D-BUS Service]\nName={NAME}\nExec={' '.join(self.command())}\n")
        with open(self.directory + "/bus.conf", "w") as file:
            file.write(BUS_CONFIG.format(self.directory, services))
        self.processes = []
        self.bus = self.spawn(["dbus-daemon", "--nofork", f"--config-file={self.directory}/bus.conf"],
                              stderr=subprocess.DEVNULL)
        self.eventually(lambda: listens(self.directory + "/bus"))
        if not self.activation:
            self.start_daemon()

    def tearDown(self):
        self.addCleanup(self.end_processes)
        if not self.activation and self.daemon.poll() is None:
            self.eventually(lambda: "Z" not in self.states_of_children())

    def end_processes(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
            process.wait(10 * sanitizers.SLOWER)
        self.own_directory.cleanup()

    def states_of_children(self):
        """Of the daemon's, each by its letter (ps(1))."""
        states = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    state, parent = file.read().rpartition(") ")[2].split()[:2]
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended
            if int(parent) == self.daemon.pid:
                states.append(state)
        return states

    def command(self):
        return [IMAGED, "--bus-address", self.address, "--repository", self.directory + "/repo", "--worker", WORKER,
                "--log-level", "off", *self.options]

    def spawn(self, command, **keywords):
        process = subprocess.Popen(command, **keywords)
        self.processes.append(process)
        return process

    def start_daemon(self):
        self.daemon = self.spawn(self.command(), env={**os.environ, "SECRET": "1", "PASSED": "2"})
        watcher = Client(self.address)
        self.eventually(lambda: self.has_owner(watcher))
        watcher.close()

    @staticmethod
    def has_owner(client):
        return client.connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner",
                                           GLib.Variant("(s)", (NAME,)), None, 0, -1, None).unpack()[0]

    def eventually(self, condition, timeout=10):
        end = time.monotonic() + timeout * sanitizers.SLOWER
        while not condition():
            self.assertLess(time.monotonic(), end, "it does not happen")
            time.sleep(0.01)

    def client(self):
        client = Client(self.address)
        self.addCleanup(client.close)
        return client

    def image(self, verb):
        return f"oci:{self.directory}/{verb}"

    def release(self):
        open(self.directory + "/release", "w").close()

    def starts(self):
        try:
            with open(self.directory + "/log") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def refused(self, name, function, *arguments, **keywords):
        with self.assertRaises(BusError) as caught:
            function(*arguments, **keywords)
        self.assertEqual(caught.exception.name, ERROR + name, caught.exception.message)
        return caught.exception.message


class SystemBusCase(Case):
    """imaged on its system bus, where it asks services of the host; the test's processes have the same bus in self.environment."""

    def command(self):
        with open(self.directory + "/imaged.conf", "w", encoding="utf-8"):
            pass
        return [IMAGED, "--config", self.directory + "/imaged.conf", "--repository", self.directory + "/repo", "--worker", WORKER, "--log-level", "info", *self.options]

    def start_daemon(self):
        self.environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        with unittest.mock.patch.dict(os.environ, self.environment):
            super().start_daemon()
        self.watcher = self.client()

    def spawn(self, command, **keywords):
        if command[0] != IMAGED:
            return super().spawn(command, **keywords)
        with open(self.directory + "/messages", "w", encoding="utf-8") as messages:
            return super().spawn(command, stderr=messages, **keywords)

    def messages(self):
        with open(self.directory + "/messages", encoding="utf-8") as file:
            return file.read()
