#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pulls an image and follows the job to its end, with GDBus: pull.py IMAGE"""
import sys

from gi.repository import Gio, GLib

image = sys.argv[1]
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
loop = GLib.MainLoop()
result = {}


def changed(_bus, _sender, path, _interface, _signal, parameters):
    properties = parameters.unpack()[1]
    if path == result.get("job") and "Fraction" in properties:
        print(f"{properties['Fraction']:.0%}")


def finished(_bus, _sender, path, _interface, _signal, parameters):
    ended[path] = parameters.unpack()
    if path == result.get("job"):
        loop.quit()


def left(_bus, _sender, _path, _interface, _signal, parameters):
    """imaged has left the bus, and its jobs with it: the next imaged does not know them."""
    if parameters.unpack()[1] and "job" in result:
        ended.setdefault(result["job"], ("failed", "org.freedesktop.DBus.Error.Disconnected", "imaged left the bus before the job ended", {}))
        loop.quit()


# Subscribe first, call then: nothing that the job says is missed.
ended = {}
bus.signal_subscribe("org.imaged1", "org.freedesktop.DBus.Properties", "PropertiesChanged", None, "org.imaged1.Job",
                     Gio.DBusSignalFlags.NONE, changed)
bus.signal_subscribe("org.imaged1", "org.imaged1.Job", "Finished", None, None, Gio.DBusSignalFlags.NONE, finished)
bus.signal_subscribe("org.freedesktop.DBus", "org.freedesktop.DBus", "NameOwnerChanged", None, "org.imaged1", Gio.DBusSignalFlags.NONE, left)
answer = bus.call_sync("org.imaged1", "/org/imaged1", "org.imaged1.Manager", "Pull", GLib.Variant("(sa{sv})", (image, {})),
                       GLib.VariantType("(uo)"), Gio.DBusCallFlags.NONE, -1, None)
result["job"] = answer.unpack()[1]
if result["job"] not in ended:
    loop.run()
outcome, error_name, message, details = ended[result["job"]]
print(outcome, details.get("digest", f"{error_name}: {message}"))
sys.exit(0 if outcome == "success" else 1)
