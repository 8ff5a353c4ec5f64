# SPDX-License-Identifier: Apache-2.0
import dbus
import dbus.bus
import dbus.mainloop.glib

import flow


class Stack:
    def __init__(self, address):
        dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
        self.bus = dbus.bus.BusConnection(address)
        self.manager = dbus.Interface(self.bus.get_object("org.imaged1", "/org/imaged1"), "org.imaged1.Manager")

    @staticmethod
    def start(method, *arguments):
        try:
            return method(*arguments)[1]
        except dbus.DBusException as error:
            raise flow.CallFailed(error.get_dbus_name()) from None

    def pull(self, image, authfile):
        return self.start(self.manager.Pull, image, {"authfile": dbus.types.UnixFd(authfile)} if authfile else dbus.Dictionary({}, signature="sv"))

    def archive(self, file, image):
        return self.start(self.manager.ImportArchive, dbus.types.UnixFd(file), image, dbus.Dictionary({}, signature="sv"))

    def follow(self, path):
        job = self.bus.get_object("org.imaged1", path)

        def connect(finished, changed):
            job.connect_to_signal("Finished", finished, dbus_interface="org.imaged1.Job")
            job.connect_to_signal("PropertiesChanged", changed, dbus_interface=dbus.PROPERTIES_IFACE)
        return flow.main_loop_follow(connect, lambda name: job.Get("org.imaged1.Job", name, dbus_interface=dbus.PROPERTIES_IFACE))

    def images(self):
        return len(self.manager.ListImages(dbus.Dictionary({}, signature="sv")))


flow.run(Stack)
