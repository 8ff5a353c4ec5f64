#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A polkit that writes each question it is asked into a file, and allows the actions that another file names. Where that
file says "never" a question stays open until it is withdrawn; the withdrawal is written down too. "challenge" there: somebody would have to
authenticate; "dismissed": somebody did not want to. Agents that announce themselves are written down.

scripted-polkit.py ADDRESS QUESTIONS ALLOWED
"""
import json
import sys
import time

from gi.repository import Gio, GLib

ADDRESS, QUESTIONS, ALLOWED = sys.argv[1:]
INTERFACE = """<node><interface name="org.freedesktop.PolicyKit1.Authority"><method name="CheckAuthorization">
<arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/><arg type="a{ss}" direction="in"/>
<arg type="u" direction="in"/><arg type="s" direction="in"/><arg type="(bba{ss})" direction="out"/></method>
<method name="CancelCheckAuthorization"><arg type="s" direction="in"/></method>
<method name="RegisterAuthenticationAgent"><arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/>
<arg type="s" direction="in"/></method><method name="RegisterAuthenticationAgentWithOptions"><arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/>
<arg type="s" direction="in"/><arg type="a{sv}" direction="in"/></method>
<method name="UnregisterAuthenticationAgent"><arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/></method></interface></node>"""
waiting = {}


def write(**entry):
    with open(QUESTIONS, "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def called(_connection, _sender, _path, _interface, method, parameters, invocation):
    if method == "CancelCheckAuthorization":
        identity, = parameters.unpack()
        write(withdrawn=identity)
        if identity in waiting:
            waiting.pop(identity).return_dbus_error("org.freedesktop.PolicyKit1.Error.Cancelled", "withdrawn")
        invocation.return_value(None)
        return
    if method != "CheckAuthorization":
        write(agent=method, subject=parameters.unpack()[0])
        invocation.return_value(None)
        return
    (kind, subject), action, details, flags, cancellation = parameters.unpack()
    write(kind=kind, name=subject["name"], action=action, details=details, flags=flags, cancellation=cancellation)
    with open(ALLOWED, encoding="utf-8") as file:
        allowed = file.read().split()
    if "never" in allowed:
        waiting[cancellation] = invocation
        return
    # A person thinks; the daemon serves others meanwhile.
    if "slowly" in allowed:
        time.sleep(2)
    invocation.return_value(GLib.Variant("((bba{ss}))", ((action in allowed, "challenge" in allowed, {"polkit.dismissed": "true"} if "dismissed" in allowed else {}),)))


connection = Gio.DBusConnection.new_for_address_sync(
    ADDRESS, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION, None, None)
connection.register_object("/org/freedesktop/PolicyKit1/Authority", Gio.DBusNodeInfo.new_for_xml(INTERFACE).interfaces[0],
                           called, None, None)
Gio.bus_own_name_on_connection(connection, "org.freedesktop.PolicyKit1", Gio.BusNameOwnerFlags.NONE, None, None)
GLib.MainLoop().run()
