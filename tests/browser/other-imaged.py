#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Owns org.imaged1 at ADDRESS as an imaged of another version would, which says some things in a form that the page does not know: other-imaged.py ADDRESS"""
import json
import sys

from gi.repository import Gio, GLib

DIGEST = "sha256:" + "ab" * 32
IMAGE = {"image": "docker://example/a:1", "state": "ok", "digest": DIGEST, "signature-policy": "demandsNothingButAName (default)", "size": 1000}
# The phase is one long word.
RUNNING = {"Kind": "pull", "Image": "docker://example/b:1", "State": "running", "Phase": "reticulating-" * 20, "Fraction": "much"}
FINISHED = {"Kind": "verify", "Image": "", "State": "finished", "Result": "success"}


def variants(members):
    return {key: GLib.Variant("s", value) for key, value in members.items()}


def answer(path, method):
    if method == "GetAll":
        return GLib.Variant("(a{sv})", (variants({"/org/imaged1": {"Version": "99"}, "/org/imaged1/job/1": RUNNING}.get(path, FINISHED)),))
    if method == "ListJobs":
        return GLib.Variant("(a(uoss))", ([(number, f"/org/imaged1/job/{number}", "", "running") for number in (1, 2)],))
    if method == "GetOutcome":
        return GLib.Variant("(sssa{sv})", ("success", "", "", variants({"damaged": "docker://example/a:1"})))
    if method == "DescribeImages":
        return GLib.Variant("(s)", (json.dumps({"images": [IMAGE]}),))
    if method == "GetImage":
        return GLib.Variant("(a{sv})", (variants({key: value for key, value in IMAGE.items() if key != "size"}),))
    if method == "ListDeployments":
        return GLib.Variant("(aa{sv})", ([variants({"checksum": "c" * 64, "stored-as": "docker://example/a:1", "kept-of": "x"})],))
    return None


def called(connection, message, incoming):
    if not incoming or message.get_message_type() != Gio.DBusMessageType.METHOD_CALL:
        return message
    values = answer(message.get_path(), message.get_member())
    if values:
        reply = Gio.DBusMessage.new_method_reply(message)
        reply.set_body(values)
    else:
        reply = Gio.DBusMessage.new_method_error_literal(message, "org.freedesktop.DBus.Error.UnknownMethod", "this version has it no longer")
    connection.send_message(reply, Gio.DBusSendMessageFlags.NONE)
    return None


flags = Gio.DBusConnectionFlags
bus = Gio.DBusConnection.new_for_address_sync(sys.argv[1], flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None)
bus.add_filter(called)
bus.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "RequestName", GLib.Variant("(su)", ("org.imaged1", 0)), None, 0, -1, None)
GLib.MainLoop().run()
