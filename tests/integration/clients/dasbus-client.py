# SPDX-License-Identifier: Apache-2.0
import os

from dasbus.connection import AddressedMessageBus
from dasbus.error import DBusError
from dasbus.typing import UnixFD, get_variant
from dasbus.unix import GLibClientUnix

import flow


class Stack:
    def __init__(self, address):
        self.bus = AddressedMessageBus(address)
        self.manager = self.proxy("/org/imaged1")

    def proxy(self, path):
        return self.bus.get_proxy("org.imaged1", path, client=GLibClientUnix)

    @staticmethod
    def start(method, *arguments):
        try:
            return method(*arguments)[1]
        except DBusError as error:
            raise flow.CallFailed(error.dbus_name) from None

    @staticmethod
    def own(file):
        """dasbus closes what it sends."""
        return os.dup(file.fileno())

    def pull(self, image, authfile):
        return self.start(self.manager.Pull, image, {"authfile": get_variant(UnixFD, self.own(authfile))} if authfile else {})

    def archive(self, file, image):
        return self.start(self.manager.ImportArchive, self.own(file), image, {})

    def follow(self, path):
        job = self.proxy(path)

        def connect(finished, changed):
            job.Finished.connect(finished)
            job.PropertiesChanged.connect(lambda interface, values, invalidated: changed(interface, {key: value.unpack() for key, value in values.items()}, invalidated))
        return flow.main_loop_follow(connect, lambda name: getattr(job, name))

    def images(self):
        return len(self.manager.ListImages({}))


flow.run(Stack)
