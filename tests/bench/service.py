# SPDX-License-Identifier: Apache-2.0
"""imaged on a private bus, and imagectl to call it; and skopeo's image proxy, spoken to directly."""
import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time

from gi.repository import Gio, GLib

from machine import descendants, run, status_of

NAME = "org.imaged1"
CONFIG = """<busconfig><type>session</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>"""


class Service:
    """For the length of a with block. START gives how long imaged took from its start until it owned its name. ENTER is called in each
    process before it becomes the bus or imaged."""

    def __init__(self, build, repository, options=(), enter=None):
        self.build, self.repository, self.options, self.enter = build, repository, options, enter
        self.imagectl = os.path.join(build, "client/imagectl")

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="imaged-bench-")
        where = self.directory.name
        with open(where + "/bus.conf", "w") as file:
            file.write(CONFIG.format(where))
        self.bus = subprocess.Popen(["dbus-daemon", "--nofork", "--nopidfile", f"--config-file={where}/bus.conf"],
                                    stderr=subprocess.DEVNULL, preexec_fn=self.enter)
        # The socket is there a moment before anybody listens on it.
        with socket.socket(socket.AF_UNIX) as probe:
            while probe.connect_ex(where + "/bus") != 0:
                time.sleep(0.005)
        self.address = f"unix:path={where}/bus"
        self.environment = {**os.environ, "IMAGED_BUS_ADDRESS": self.address}
        self.start = self.start_imaged()
        return self

    def start_imaged(self):
        connection = Gio.DBusConnection.new_for_address_sync(
            self.address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
        loop, owned = GLib.MainLoop(), []
        def changed(_connection, _sender, _path, _interface, _signal, parameters):
            if parameters.unpack()[2]:
                owned.append(time.monotonic())
                loop.quit()
        connection.signal_subscribe("org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged", None, NAME,
                                    Gio.DBusSignalFlags.NONE, changed)
        connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetId", None, None, Gio.DBusCallFlags.NONE, -1, None)
        started = time.monotonic()
        self.imaged = subprocess.Popen(
            [self.build + "/daemon/imaged", "--bus-address", self.address, "--repository", self.repository,
             "--worker", self.build + "/daemon/worker/imaged-worker", "--idle-timeout", "0", "--log-level", "error", *self.options],
            preexec_fn=self.enter)
        GLib.timeout_add_seconds(20, loop.quit)
        loop.run()
        connection.close_sync(None)
        if not owned:
            raise RuntimeError("imaged did not get its name")
        return owned[0] - started

    def command(self, *words):
        return [self.imagectl, *words]

    def resident(self):
        """Of imaged, in MiB."""
        return status_of(self.imaged.pid, "VmRSS") / 1024

    def resident_with_children(self):
        """Of imaged and the processes that it keeps, in MiB."""
        return sum(status_of(process, "VmRSS") for process in (self.imaged.pid, *descendants(self.imaged.pid))) / 1024

    def __exit__(self, *_):
        for process in (self.imaged, self.bus):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        self.directory.cleanup()


def proxy_manifest_fetch(image):
    """Seconds that skopeo's proxy takes from its start until it has handed over the manifest of IMAGE."""
    start = time.monotonic()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with subprocess.Popen(["skopeo", "experimental-image-proxy", "--sockfd", str(theirs.fileno())], pass_fds=[theirs.fileno()]) as skopeo:
        theirs.close()

        def call(method, *arguments):
            ours.send(json.dumps({"method": method, "args": arguments}).encode())
            text, descriptors, _, _ = socket.recv_fds(ours, 1 << 16, 1)
            reply = json.loads(text)
            if not reply["success"]:
                raise RuntimeError(f"{method}: {reply['error']}")
            return reply, descriptors

        call("Initialize")
        number = call("OpenImage", image)[0]["value"]
        reply, (pipe,) = call("GetManifest", number)
        ours.send(json.dumps({"method": "FinishPipe", "args": [reply["pipeid"]]}).encode())
        while os.read(pipe, 1 << 16):
            pass
        os.close(pipe)
        socket.recv_fds(ours, 1 << 16, 1)
        taken = time.monotonic() - start
        ours.close()
        skopeo.kill()
    return taken


def make_repository(path):
    run("ostree", "init", f"--repo={path}", "--mode=bare")
    return path
