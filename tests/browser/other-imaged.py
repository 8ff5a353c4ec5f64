#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Owns org.imaged1 at ADDRESS as an imaged of another version would, which says some things in a form that the page does not know: other-imaged.py ADDRESS
With a NUMBER it says things in the form that the page knows, and each text has that many characters: other-imaged.py ADDRESS NUMBER"""
import json
import sys

from gi.repository import Gio, GLib

LENGTH = int(sys.argv[2]) if len(sys.argv) > 2 else 0
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


def long(text):
    """One word, with a character in it that the page has to show in another way, which makes it longer."""
    return (text + ":" + ("x" * 99 + "\u202e") * (LENGTH // 100 + 1))[:LENGTH]


def long_answer(path, method, values):
    """What an imaged that nothing limits could say: ten images, a job that runs, one that has failed, and deployments."""
    texts = {key: long(key) for key in ("source", "version", "signature-policy", "image-id", "architecture", "os", "base-commit", "update-digest", "importer", "error")}
    names = [f"{number}-{long('image')}"[:LENGTH] for number in range(10)]
    images = [{"image": name, "state": "damaged", "digest": DIGEST, "commit": "c" * 64, "size": 1000, "layers": 20, "created": 1, **texts} for name in names]
    if method == "GetAll":
        running = path.endswith("/1")
        job = {**variants({"Kind": "pull", "State": "running" if running else "finished", "Phase": long("phase"), "Unit": long("unit"), "Result": "" if running else "failed", "ErrorMessage": long("error")}),
               "Images": GLib.Variant("as", names[:1]), "Fraction": GLib.Variant("d", 0.5), "Bytes": GLib.Variant("(tt)", (5, 10)), "Steps": GLib.Variant("(tt)", (5, 10)), "Layers": GLib.Variant("(uu)", (1, 2))}
        about = {**variants({"Version": long("version"), "RepositoryPath": long("/path"), "RepositoryMode": long("mode"), "ConfigurationError": long("configuration")})}
        return GLib.Variant("(a{sv})", (about if path == "/org/imaged1" else job,))
    if method == "ListJobs":
        return GLib.Variant("(a(uoss))", ([(number, f"/org/imaged1/job/{number}", "pull", state) for number, state in ((1, "running"), (2, "finished"))],))
    if method == "GetOutcome":
        return GLib.Variant("(sssa{sv})", ("failed", long("name"), long("message"), {}))
    if method == "DescribeImages":
        return GLib.Variant("(s)", (json.dumps({"images": images}),))
    if method == "GetImage":
        layer = {**variants({"digest": long("digest"), "kind": long("kind"), "ref": long("ref"), "created-by": long("created-by")}), "size": GLib.Variant("t", 1000)}
        described = {**variants({key: value for key, value in images[0].items() if isinstance(value, str)}), "layer-list": GLib.Variant("aa{sv}", [layer] * 20),
                     "labels": GLib.Variant("a{ss}", {f"{number}-{long('label')}": long("value") for number in range(5)}), "kept": GLib.Variant("aa{sv}", [variants({"digest": DIGEST, "version": long("version"), "commit": "c" * 64})])}
        described["image"] = GLib.Variant("s", values[0])
        return GLib.Variant("(a{sv})", (described,))
    if method == "GetConfig":
        return GLib.Variant("(s)", (json.dumps({"history": [{"created_by": long("created-by"), "comment": long("comment"), "created": long("created")}] * 20}),))
    if method == "ListDeployments":
        return GLib.Variant("(aa{sv})", ([{**variants({key: long(key) for key in ("stateroot", "image", "reference", "digest", "version", "error")}), "checksum": GLib.Variant("s", "c" * 64),
                                           "serial": GLib.Variant("u", number), "stored-as": GLib.Variant("as", names[:1]), "kept-of": GLib.Variant("as", names[:2])} for number in range(3)],))
    return None


def called(connection, message, incoming):
    if not incoming or message.get_message_type() != Gio.DBusMessageType.METHOD_CALL:
        return message
    body = message.get_body()
    values = long_answer(message.get_path(), message.get_member(), body.unpack() if body else ()) if LENGTH else answer(message.get_path(), message.get_member())
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
