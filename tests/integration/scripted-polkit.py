#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A polkit that writes each question it is asked into a file, and allows the actions that another file names.

scripted-polkit.py ADDRESS QUESTIONS ALLOWED
"""
import json
import sys
import time

from gi.repository import Gio, GLib

ADDRESS, QUESTIONS, ALLOWED = sys.argv[1:]
INTERFACE = """<node><interface name="org.freedesktop.PolicyKit1.Authority"><method name="CheckAuthorization">
<arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/><arg type="a{ss}" direction="in"/>
<arg type="u" direction="in"/><arg type="s" direction="in"/><arg type="(bba{ss})" direction="out"/></method></interface></node>"""


def called(_connection, _sender, _path, _interface, _method, parameters, invocation):
    (kind, subject), action, details, flags, _cancellation = parameters.unpack()
    with open(QUESTIONS, "a", encoding="utf-8") as file:
        file.write(json.dumps({"kind": kind, "name": subject["name"], "action": action, "details": details, "flags": flags}) + "\n")
    with open(ALLOWED, encoding="utf-8") as file:
        allowed = file.read().split()
    # A person thinks; the daemon serves others meanwhile.
    if "slowly" in allowed:
        time.sleep(2)
    invocation.return_value(GLib.Variant("((bba{ss}))", ((action in allowed, False, {}),)))


connection = Gio.DBusConnection.new_for_address_sync(
    ADDRESS, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
connection.register_object("/org/freedesktop/PolicyKit1/Authority", Gio.DBusNodeInfo.new_for_xml(INTERFACE).interfaces[0],
                           called, None, None)
Gio.bus_own_name_on_connection(connection, "org.freedesktop.PolicyKit1", Gio.BusNameOwnerFlags.NONE, None, None)
GLib.MainLoop().run()
