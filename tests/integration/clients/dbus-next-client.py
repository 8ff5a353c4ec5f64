# SPDX-License-Identifier: Apache-2.0
"""With dbus-next or dbus-fast, which came of it: $CLIENT_MODULE is the one or the other."""
import asyncio
import importlib
import os

import flow

MODULE = os.environ["CLIENT_MODULE"]
Variant = importlib.import_module(MODULE).Variant
MessageBus = importlib.import_module(MODULE + ".aio").MessageBus
DBusError = importlib.import_module(MODULE + ".errors").DBusError


class Stack:
    def __init__(self, address):
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.bus = self.wait(self.connect(address))
        self.manager = self.wait(self.interface("/org/imaged1", "org.imaged1.Manager"))

    @staticmethod
    async def connect(address):
        return await MessageBus(bus_address=address, negotiate_unix_fd=True).connect()

    def wait(self, task):
        return self.loop.run_until_complete(task)

    async def interface(self, path, name):
        return self.bus.get_proxy_object("org.imaged1", path, await self.bus.introspect("org.imaged1", path)).get_interface(name)

    def start(self, task):
        try:
            return self.wait(task)[1]
        except DBusError as error:
            raise flow.CallFailed(error.type) from None

    def pull(self, image, authfile):
        return self.start(self.manager.call_pull(image, {"authfile": Variant("h", authfile.fileno())} if authfile else {}))

    def archive(self, file, image):
        return self.start(self.manager.call_import_archive(file.fileno(), image, {}))

    def follow(self, path):
        return self.wait(self.end_of(path))

    async def end_of(self, path):
        job, properties = await self.interface(path, "org.imaged1.Job"), await self.interface(path, "org.freedesktop.DBus.Properties")
        ended, seen = self.loop.create_future(), []
        job.on_finished(lambda result, error, message, outcome: ended.done() or ended.set_result((result, error)))
        properties.on_properties_changed(lambda _, changed, __: seen.append("Fraction" in changed and changed["Fraction"].value > 0))
        seen.append(await job.get_fraction() > 0)
        if await job.get_state() == "finished":
            return await job.get_result(), await job.get_error_name(), any(seen)
        return *await ended, any(seen)

    def images(self):
        return len(self.wait(self.manager.call_list_images({})))


flow.run(Stack)
