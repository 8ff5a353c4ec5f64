# SPDX-License-Identifier: Apache-2.0
"""With python-sdbus, and the module that its generator makes of imaged's interface."""
import asyncio

import sdbus
from generated import OrgImaged1JobInterface, OrgImaged1ManagerInterface

import flow


class Stack:
    def __init__(self, address):
        # It opens the user's bus; the test sets its address.
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.bus = sdbus.sd_bus_open_user()
        self.manager = OrgImaged1ManagerInterface.new_proxy("org.imaged1", "/org/imaged1", self.bus)

    def wait(self, task):
        return self.loop.run_until_complete(task)

    def start(self, task):
        try:
            return self.wait(task)[1]
        except sdbus.SdBusUnmappedMessageError as error:
            raise flow.CallFailed(error.args[0]) from None

    def pull(self, image, authfile):
        return self.start(self.manager.pull(image, {"authfile": ("h", authfile.fileno())} if authfile else {}))

    def archive(self, file, image):
        return self.start(self.manager.import_archive(file.fileno(), image, {}))

    def follow(self, path):
        return self.wait(self.end_of(path))

    async def end_of(self, path):
        job = OrgImaged1JobInterface.new_proxy("org.imaged1", path, self.bus)
        seen = []

        async def watch():
            async for _, changed, _ in job.properties_changed:
                seen.append("Fraction" in changed and changed["Fraction"][1] > 0)

        async def end():
            async for result, error, *_ in job.finished:
                return result, error
        tasks = [asyncio.create_task(watch()), asyncio.create_task(end())]
        await asyncio.sleep(0.1)  # until they have subscribed
        seen.append(await job.fraction > 0)
        result = (await job.result, await job.error_name) if await job.state == "finished" else await tasks[1]
        for task in tasks:
            task.cancel()
        return *result, any(seen)

    def images(self):
        return len(self.wait(self.manager.list_images({})))


flow.run(Stack)
