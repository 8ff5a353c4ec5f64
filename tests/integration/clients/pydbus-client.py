# SPDX-License-Identifier: Apache-2.0
import pydbus
from gi.repository import Gio, GLib

import flow


class Stack:
    def __init__(self, address):
        self.bus = pydbus.connect(address)
        self.manager = self.bus.get("org.imaged1", "/org/imaged1")["org.imaged1.Manager"]

    def pull(self, image, _authfile):
        try:
            return self.manager.Pull(image, {})[1]
        except GLib.Error as error:
            raise flow.CallFailed(Gio.DBusError.get_remote_error(error)) from None

    def follow(self, path):
        job = self.bus.get("org.imaged1", path)

        def connect(finished, changed):
            job["org.imaged1.Job"].Finished.connect(finished)
            job["org.freedesktop.DBus.Properties"].PropertiesChanged.connect(changed)
        return flow.main_loop_follow(connect, lambda name: getattr(job["org.imaged1.Job"], name))

    def images(self):
        return len(self.manager.ListImages({}))


flow.run(Stack, passes_files=False)
