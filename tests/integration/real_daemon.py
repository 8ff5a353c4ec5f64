# SPDX-License-Identifier: Apache-2.0
"""imaged with the real worker, on a bus of its own; for what is tried on the whole of it."""
import os
import pathlib
import subprocess
import time

from gi.repository import GLib

import bus_fixture
import sanitizers

WORKER = os.environ.get("IMAGED_WORKER", "imaged-worker")


def until(condition, seconds=30):
    end = time.monotonic() + seconds * sanitizers.SLOWER
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


class Daemon:
    def __init__(self, directory, repository, configuration="", environment=None, worker=WORKER, options=()):
        """Serves REPOSITORY, which must be there; all else that is made is in DIRECTORY. CONFIGURATION goes over the defaults, OPTIONS are imaged's; stop() ends it."""
        self.directory, self.repository, self.worker, self.options = pathlib.Path(directory), repository, worker, options
        self.address = f"unix:path={self.directory}/bus"
        self.environment = {**os.environ, **(environment or {})}
        (self.directory / "bus.conf").write_text(bus_fixture.BUS_CONFIG.format(self.directory, ""))
        (self.directory / "imaged.conf").write_text(configuration)
        self.bus = subprocess.Popen(["dbus-daemon", "--nofork", f"--config-file={self.directory}/bus.conf"], stderr=subprocess.DEVNULL)
        until(lambda: bus_fixture.listens(str(self.directory / "bus")))
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([bus_fixture.IMAGED, "--bus-address", self.address, "--config", self.directory / "imaged.conf", "--repository", str(self.repository),
                                         "--worker", self.worker, "--log-level", "off", "--idle-timeout", "0", *self.options], stderr=subprocess.DEVNULL, env=self.environment)
        client = self.client()
        until(lambda: bus_fixture.Case.has_owner(client))
        client.close()

    def client(self):
        return bus_fixture.Client(self.address)

    def serves(self, client, seconds=5):
        """Whether it is alive and answers in time; the one thing that no fault may change."""
        try:
            client.call(bus_fixture.MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), timeout=seconds * 1000)
        except bus_fixture.BusError as error:
            # A repository that cannot be read is an answer as well.
            if not error.name.startswith(bus_fixture.ERROR):
                return False
        return self.process.poll() is None

    def stop(self):
        for process in (self.process, self.bus):
            if process.poll() is None:
                process.terminate()
            process.wait(20 * sanitizers.SLOWER)
