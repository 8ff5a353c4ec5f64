# SPDX-License-Identifier: Apache-2.0
"""The page in a real browser: cockpit-ws with a session of its own on 127.0.0.1, whose system bus is the test's, with imaged, its installed bus
policy, a scripted polkit, a real registry. COCKPIT_ROOT names the root directory of a system whose Cockpit runs in place of this one's."""
import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import threading
import time

import agreement
import faulty_registry
import oci_layout
import registry
import sanitizers
import system_bus
import webdriver
from oci_layout import Entry

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.join(HERE, "../..")
PAGE = "/cockpit/@localhost/imaged/index.html"
PLAIN_USER = 33
ROOT = os.environ.get("COCKPIT_ROOT", "")


def missing():
    """What this machine lacks for these tests; empty if nothing."""
    wanted = ["chromium", "chromedriver", "docker-registry", "skopeo", ROOT + "/usr/bin/cockpit-bridge", ROOT + cockpit_ws()]
    names = [name for name in wanted if not shutil.which(name)]
    return [*names, *(["root"] if os.geteuid() != 0 else [])]


def cockpit_ws():
    return next((path for path in ("/usr/lib/cockpit/cockpit-ws", "/usr/libexec/cockpit-ws") if os.path.exists(ROOT + path)), "/usr/lib/cockpit/cockpit-ws")


def dripping(seconds):
    """A fault of faulty_registry that sends an answer in that time, evenly."""
    def fault(handler):
        _, headers, data = handler.answer
        faulty_registry.head(handler, 200, headers, len(data))
        pieces = 50
        step = -(-len(data) // pieces)
        for at in range(0, len(data), step):
            handler.wfile.write(data[at:at + step])
            handler.wfile.flush()
            faulty_registry.wait(handler, seconds / pieces)
    return fault


class Journal:
    """Takes what imaged sends to the journal, and writes it to DIRECTORY/entries as journalctl's JSON; programs/journalctl gives it out."""

    def __init__(self, directory):
        os.mkdir(directory + "/journal")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(directory + "/journal/socket")
        self.file = open(directory + "/entries", "w", encoding="utf-8")
        os.chmod(directory + "/entries", 0o644)
        self.thread = threading.Thread(target=self.take)
        self.thread.start()

    def take(self):
        while data := self.socket.recv(1 << 20):
            entry = {"__REALTIME_TIMESTAMP": str(time.time_ns() // 1000)}
            while data:
                line, _, data = data.partition(b"\n")
                name, is_text, value = line.partition(b"=")
                if not is_text:
                    size = int.from_bytes(data[:8], "little")
                    value, data = data[8:8 + size], data[9 + size:]
                entry[name.decode()] = value.decode()
            self.file.write(json.dumps(entry) + "\n")
            self.file.flush()

    def stop(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.socket.getsockname())
        self.thread.join()
        self.socket.close()
        self.file.close()


class PageCase(system_bus.SystemCase):
    browser = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.browser = webdriver.Browser()
        cls.addClassCleanup(cls.browser.close)
        cls.images = agreement.Scratch(prefix="imaged-page-", dir="/var/tmp")
        cls.addClassCleanup(cls.images.cleanup)
        os.chmod(cls.images.name, 0o755)
        cls.layout = oci_layout.Layout(cls.images.name + "/layout")
        cls.registry = registry.Registry(cls.images.name + "/registry")
        cls.addClassCleanup(cls.registry.stop)
        cls.slow = faulty_registry.FaultyRegistry(cls.registry.address)
        cls.addClassCleanup(cls.slow.stop)

    def setUp(self):
        super().setUp()
        self.slow.fault = None
        self.servers = []
        self.uid = None
        self.url = self.start_cockpit()
        self.browser.messages()

    def step(self, text):
        print("  step: " + text, flush=True)

    # ---- images

    @staticmethod
    def layer(name, kilobytes=1, seed=0):
        content = random.Random(f"{name}{seed}").randbytes(kilobytes << 10)
        return oci_layout.layer([oci_layout.directory("usr"), Entry("usr/" + name, content=content)])

    def push(self, name, layers, version=None, **config):
        labels = {**({"org.opencontainers.image.version": version} if version else {}), **config.pop("labels", {})}
        self.layout.image("it", layers, config={"config": {"Labels": labels}, **config})
        return self.registry.push(self.layout.reference("it"), name)

    def reference(self, name, slow=False):
        return f"docker://{(self.slow if slow else self.registry).address}/{name}"

    def pulled(self, name, slow=False, caller=None, **options):
        job = (caller or self.root).finished(self.root.start("Pull", self.reference(name, slow), options), 60)
        self.assertEqual(job["Result"], "success", job)
        return self.reference(name, slow)

    def drip(self, digest, seconds):
        """The slow registry sends the largest layer of the manifest DIGEST in that time; returns the layer's digest."""
        layers = json.loads(self.layout.blob_path(digest).read_text())["layers"]
        large = max(layers, key=lambda one: one["size"])["digest"]
        self.slow.fault = ("/blobs/" + large, dripping(seconds), None)
        return large

    # ---- Cockpit

    def start_cockpit(self, uid=None):
        """cockpit-ws of root, or of the user UID: the address of the page."""
        data = self.directory + "/share"
        if not os.path.exists(data):
            shutil.copytree(SOURCE + "/client/cockpit", data + "/cockpit/imaged")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        home = f"{self.directory}/cockpit-{uid or 0}"
        os.makedirs(home, exist_ok=True)
        os.chown(home, uid or 0, uid or 0)
        # Without these two the bridge starts a bus and an agent, and crashes where /tmp is root's alone.
        session = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent", "SSH_AUTH_SOCK": "/nonexistent"}
        environment = {**os.environ, **session, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "HOME": home, "TMPDIR": home, "XDG_RUNTIME_DIR": home, "XDG_CONFIG_HOME": home + "/config",
                       "XDG_DATA_HOME": home + "/data", "XDG_DATA_DIRS": f"{data}:/usr/share", "XDG_CONFIG_DIRS": home,
                       "PATH": f"{HERE}/programs:{os.environ['PATH']}", "IMAGED_TEST_JOURNAL": self.directory + "/entries"}
        # In a mount namespace of its own, where the plain user may become root by sudo, without a password.
        sudoers = self.write("sudoers", f"Defaults env_keep += \"DBUS_SYSTEM_BUS_ADDRESS XDG_DATA_DIRS PATH IMAGED_TEST_JOURNAL\"\n#{PLAIN_USER} ALL = NOPASSWD: ALL\n")
        os.chmod(sudoers, 0o440)
        enter = ["unshare", "--mount", "sh", "-ec", """
            if [ "$0" ]; then for path in /proc /dev "$1" "$2"; do mkdir -p "$0$path"; mount --rbind "$path" "$0$path"; done; fi
            if [ -e "$0/etc/sudoers" ]; then mount --bind "$1/sudoers" "$0/etc/sudoers"; fi
            root=$0; shift 2; exec chroot "${root:-/}" "$@" """, ROOT, self.directory, os.path.abspath(HERE)]
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        with open(self.directory + f"/cockpit-{uid or 0}.log", "w", encoding="utf-8") as log:
            self.spawn(["nice", *enter, *become, cockpit_ws(), "--no-tls", "-a", "127.0.0.1", "-p", str(port), "--local-session=cockpit-bridge"],
                       env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def answers():
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                try:
                    connection.request("GET", PAGE)
                    return connection.getresponse().status == 200
                except OSError:
                    return False
        self.eventually(answers, 30)
        return f"http://127.0.0.1:{port}{PAGE}"

    def command(self):
        # With a /run of its own, where the socket of the journal is.
        enter = 'mount -t tmpfs none /run && mkdir -p /run/systemd/journal && mount --bind "$0" /run/systemd/journal && exec "$@"'
        command = [part if part != "off" else "info" for part in super().command()]
        return ["unshare", "--mount", "sh", "-ec", enter, self.directory + "/journal", *command]

    def spawn(self, command, **keywords):
        if command[0] != "unshare":
            return super().spawn(command, **keywords)
        if not os.path.exists(self.directory + "/journal"):
            journal = Journal(self.directory)
            self.addCleanup(journal.stop)
        with open(self.directory + "/log", "a", encoding="utf-8") as log:
            status = os.fstat(log.fileno())
            environment = {**keywords.pop("env", os.environ), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
            return super().spawn(command, stderr=log, env=environment, **keywords)

    def start_imaged(self):
        """Again, after it was ended."""
        self.daemon = self.spawn(self.command(), env={
            **os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address, "HOME": self.directory + "/home", "XDG_RUNTIME_DIR": "/nonexistent",
            "CONTAINERS_REGISTRIES_CONF": self.directory + "/registries.conf", "CONTAINERS_POLICY": self.directory + "/policy.json"})

    def end_imaged(self):
        self.daemon.terminate()
        self.daemon.wait(20 * sanitizers.SLOWER)

    def open(self, url=None, text="System images"):
        self.browser.open(url or self.url)
        self.browser.wait_text("main", text)
        self.browser.eventually(lambda: not self.browser.find("main[aria-busy]"), "the page is ready")

    def console_is_quiet(self):
        self.assertEqual([message for message in self.browser.messages() if "favicon" not in message], [])
