# SPDX-License-Identifier: Apache-2.0
"""imaged as a system runs it: the installed bus policy, a scripted polkit, callers who are other users, the real worker."""
import http.server
import json
import os
import pathlib
import ssl
import subprocess
import sys
import threading
import time
import unittest

import agreement
import bus_fixture
import ostree_repository
import registry
import sanitizers
from bus_fixture import NAME, Case

WORKER = os.environ.get("IMAGED_WORKER", "imaged-worker")
# Users that every Debian system has: a bus refuses uids that belong to nobody.
USERS = [1, 2, 3, 5, 7, 8, 9, 10, 13, 33]
HERE = os.path.dirname(os.path.abspath(__file__))
BUS = """<busconfig><type>system</type><listen>unix:path={directory}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/><allow receive_type="method_call"/>
<allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/><allow send_destination="org.freedesktop.DBus"/></policy>
<policy user="root"><allow own="org.freedesktop.PolicyKit1"/><allow send_destination="org.freedesktop.PolicyKit1"/></policy>
<include>{policy}</include></busconfig>"""

# What a caller runs: it does what each line of JSON says, and answers with one.
CALLER = r"""
import json, os, sys, tempfile
from gi.repository import Gio, GLib
connection = Gio.DBusConnection.new_for_address_sync(sys.argv[1], Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
connection.set_exit_on_close(False)
signals, pending = [], []
connection.signal_subscribe("org.imaged1", None, None, None, None, 0, lambda c, s, path, i, name, values: signals.append([path, name, values.unpack()]))
def variant(value):
    if isinstance(value, bool): return GLib.Variant("b", value)
    if isinstance(value, int): return GLib.Variant("u", value)
    return GLib.Variant("s", value)
def call(path, interface, method, kind, values, authfile=None, archive=None, wait=True, timeout=60000):
    fds = Gio.UnixFDList.new()
    if archive is not None:
        with open(archive, "rb") as file: values[0] = fds.append(file.fileno())
    values = [({key: variant(v) for key, v in value.items()} if isinstance(value, dict) else value) for value in values]
    if authfile is not None:
        file = tempfile.TemporaryFile()
        file.write(authfile.encode()); file.flush(); file.seek(0)
        values[-1]["authfile"] = GLib.Variant("h", fds.append(file.fileno()))
    arguments = GLib.Variant(kind, tuple(values)) if kind else None
    if not wait:
        connection.call_with_unix_fd_list("org.imaged1", path, interface, method, arguments, None, 0, timeout, fds, None, lambda c, r: pending.append(r))
        connection.flush_sync(None)
        return {"answer": None}
    try:
        return {"answer": connection.call_with_unix_fd_list_sync("org.imaged1", path, interface, method, arguments, None, 0, timeout, fds, None)[0].unpack()}
    except GLib.Error as error:
        name = Gio.DBusError.get_remote_error(error) or "local"
        Gio.DBusError.strip_remote_error(error)
        return {"error": name, "message": error.message}
for line in sys.stdin:
    request = json.loads(line)
    if request.get("do") == "signals":
        while GLib.MainContext.default().iteration(False): pass
        answer = {"answer": signals}
    else:
        answer = call(**request)
    print(json.dumps(answer, default=str), flush=True)
"""


class Refused(Exception):
    def __init__(self, name, message):
        super().__init__(name + ": " + message)
        self.name, self.message = name.rpartition(".")[2], message


class Caller:
    """A connection to the bus of the user UID."""

    def __init__(self, address, uid):
        self.process = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-c", CALLER, address],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise Refused(answer["error"], answer["message"])
        return answer["answer"]

    def call(self, method, kind="", *values, **more):
        return self.ask(path=bus_fixture.ROOT, interface=bus_fixture.MANAGER, method=method, kind=kind, values=values, **more)

    def start(self, method, image, options=None, **more):
        """The number of the job; None without WAIT."""
        answer = self.call(method, "(sa{sv})", image, options or {}, **more)
        return answer and answer[0]

    def properties(self, job):
        return self.ask(path=f"{bus_fixture.ROOT}/job/{job}", interface="org.freedesktop.DBus.Properties", method="GetAll", kind="(s)", values=[bus_fixture.JOB])[0]

    def outcome(self, job):
        return self.ask(path=f"{bus_fixture.ROOT}/job/{job}", interface=bus_fixture.JOB, method="GetOutcome", kind="", values=[])

    def finished(self, job, timeout=30):
        end, pause = time.monotonic() + timeout * sanitizers.SLOWER, 0.02
        while (properties := self.properties(job))["State"] != "finished":
            assert time.monotonic() < end, f"job {job} stays {properties}"
            time.sleep(pause)
            pause = min(1.3 * pause, 0.1)
        return properties

    def signals(self):
        return self.ask(do="signals")

    def leave(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@unittest.skipUnless(os.geteuid() == 0, "needs root to become other users")
class AskedCase(Case):
    """One with scripted-polkit.py."""

    def questions(self):
        try:
            with open(self.directory + "/questions", encoding="utf-8") as file:
                return [json.loads(line) for line in file]
        except FileNotFoundError:
            return []


class SystemCase(AskedCase):
    worker = WORKER
    configuration = ""

    def setUp(self):
        scratch = agreement.Scratch(prefix="imaged-system-", dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        os.chmod(self.directory, 0o755)
        self.address = f"unix:path={self.directory}/bus"
        self.processes, self.callers = [], []
        self.addCleanup(self.end)
        self.write("bus.conf", BUS.format(directory=self.directory, policy=os.environ["BUS_POLICY"]))
        self.write("registries.conf", '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n'
                                      '[[registry]]\nprefix = "*.example"\nlocation = "127.0.0.1:1"\ninsecure = true\n')
        self.write("policy.json", json.dumps({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {
            "signed.example": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere"}]}}}))
        self.write("imaged.conf", "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF CONTAINERS_POLICY\n" + self.configuration)
        os.mkdir(self.directory + "/home")
        ostree_repository.init(f"{self.directory}/repo")
        self.bus = self.spawn(["dbus-daemon", "--nofork", f"--config-file={self.directory}/bus.conf"], stderr=subprocess.DEVNULL)
        self.eventually(lambda: bus_fixture.listens(self.directory + "/bus"))
        os.chmod(self.directory + "/bus", 0o777)
        self.allow()
        self.spawn([sys.executable, HERE + "/scripted-polkit.py", self.address, self.directory + "/questions", self.directory + "/allowed"])
        self.daemon = self.spawn(self.command(), env={
            **os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "HOME": self.directory + "/home", "XDG_RUNTIME_DIR": "/nonexistent",
            "CONTAINERS_REGISTRIES_CONF": self.directory + "/registries.conf", "CONTAINERS_POLICY": self.directory + "/policy.json"})
        self.root = self.caller(0)
        watcher = self.client()
        for name in (NAME, "org.freedesktop.PolicyKit1"):
            self.eventually(lambda name=name: self.is_owned(watcher, name))

    def tearDown(self):
        pass  # end()

    def end(self):
        for caller in self.callers:
            caller.process.kill()
            caller.process.wait(10)
            caller.process.stdin.close()
            caller.process.stdout.close()
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
            process.wait(20 * sanitizers.SLOWER)

    def command(self):
        return [bus_fixture.IMAGED, "--config", self.directory + "/imaged.conf", "--repository", self.directory + "/repo", "--worker", self.worker,
                "--log-level", "off", "--idle-timeout", "0"]

    @staticmethod
    def is_owned(client, name):
        from gi.repository import GLib
        return client.connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner", GLib.Variant("(s)", (name,)), None, 0, -1, None).unpack()[0]

    def write(self, name, text):
        path = pathlib.Path(self.directory) / name
        path.write_text(text)
        path.chmod(0o644)
        return str(path)

    def caller(self, uid):
        caller = Caller(self.address, uid)
        self.callers.append(caller)
        return caller

    def allow(self, *actions):
        self.write("allowed", " ".join(actions))

    def assert_refused(self, name, function, *arguments, **keywords):
        with self.assertRaises(Refused) as caught:
            function(*arguments, **keywords)
        self.assertEqual(caught.exception.name, name, caught.exception.message)
        return caught.exception.message

    def peak(self):
        """MiB that imaged has had resident at most."""
        with open(f"/proc/{self.daemon.pid}/status", encoding="ascii") as file:
            return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024


class SilentServer:
    """Takes connections and never answers."""

    def __init__(self):
        import socket
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def stop(self):
        self.socket.close()


class HttpServer:
    """Serves with HANDLER in a thread, by TLS if there is a CONTEXT."""

    def __init__(self, handler, context=None):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.address = "127.0.0.1:%d" % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class CertificateServer(HttpServer):
    """A registry by TLS that asks for a client's certificate, remembers whose it was given (None: nobody's), and lets nobody in.
    ca.crt, client.cert and client.key in DIRECTORY are what a host has for it."""

    def __init__(self, directory):
        registry.make_certificates(directory)
        self.clients = clients = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                names = dict(field[0] for field in (self.connection.getpeercert() or {}).get("subject", ()))
                clients.append(names.get("commonName"))
                self.send_response(404)
                self.end_headers()
            do_HEAD = do_GET

            def log_message(self, *_):
                pass
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory + "/server.cert", directory + "/server.key")
        context.load_verify_locations(directory + "/ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        super().__init__(Handler, context)


class LoginServer(HttpServer):
    """A registry that wants a login, and remembers what it was given."""

    def __init__(self):
        self.logins = logins = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.headers.get("Authorization"):
                    logins.append(self.headers["Authorization"])
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="all"')
                self.end_headers()
            do_HEAD = do_GET

            def log_message(self, *_):
                pass
        super().__init__(Handler)
