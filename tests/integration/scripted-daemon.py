#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Owns org.imaged1 on the bus of DBUS_TEST_ADDRESS and plays jobs from a script, so that every behaviour of the client can be provoked.

The image names the scene, behind docker://: "play:success", "play:error:NoSpace", "play:endless", "play:instant", "play:vanish", "play:refuse:NAME",
"play:hostile", "play:many:COUNT"; to be verified, "play:unchecked:NAME" for one that cannot be checked. Writes one line of JSON to standard output for each call it gets, after "ready".
"""
import json
import os
import sys

import dbus
import dbus.bus
import dbus.service
import dbus.mainloop.glib
from gi.repository import GLib

MANAGER, JOB, PROPERTIES = "org.imaged1.Manager", "org.imaged1.Job", "org.freedesktop.DBus.Properties"
ERROR = "org.imaged1.Error."
DIGEST, OTHER_DIGEST = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32


def variants(values):
    return dbus.Dictionary(values, signature="sv")


class Failure(dbus.DBusException):
    def __init__(self, name, message):
        super().__init__(message)
        self._dbus_error_name = name


def tell(**what):
    print(json.dumps(what), flush=True)


class Job(dbus.service.Object):
    def __init__(self, bus, number, kind, image):
        self.path = f"/org/imaged1/job/{number}"
        super().__init__(bus, self.path)
        self.properties = {
            "Id": dbus.UInt32(number), "Kind": kind, "Image": image, "Owner": dbus.UInt32(os.getuid()), "State": "running",
            "Position": dbus.UInt32(0), "Phase": "manifest", "Fraction": 0.0,
            "Bytes": dbus.Struct((dbus.UInt64(0), dbus.UInt64(0)), signature="tt"),
            "Layers": dbus.Struct((dbus.UInt32(0), dbus.UInt32(0)), signature="uu"),
            "CreateTimestamp": dbus.UInt64(1), "StartTimestamp": dbus.UInt64(2), "FinishTimestamp": dbus.UInt64(0), "Result": "",
            "ErrorName": "", "ErrorMessage": "", "Outcome": variants({})}
        self.image, self.step = image, 0

    @dbus.service.method(PROPERTIES, in_signature="s", out_signature="a{sv}")
    def GetAll(self, interface):
        if self.image == "play:hostile":
            return variants({"State": dbus.UInt32(7), "Fraction": "much", "Bytes": "none", "Kind": "pull"})
        return variants(self.properties)

    @dbus.service.method(JOB, out_signature="b")
    def Cancel(self):
        tell(call="Cancel", job=self.path)
        if self.image in ("play:stubborn", "play:shared"):
            return self.image == "play:shared"
        if self.image == "play:mine":
            raise Failure(ERROR + "NotAuthorized", "not your job")
        self.change(State="cancelling")
        GLib.timeout_add(100, self.end, "cancelled", ERROR + "Cancelled", "cancelled by its owner")
        return False

    @dbus.service.signal(PROPERTIES, signature="sa{sv}as")
    def PropertiesChanged(self, interface, changed, invalidated):
        pass

    @dbus.service.signal(JOB, signature="usstt")
    def LayerProgress(self, index, digest, state, done, total):
        pass

    @dbus.service.signal(JOB, signature="sssa{sv}")
    def Finished(self, result, error_name, message, outcome):
        pass

    def change(self, **values):
        self.properties.update(values)
        self.PropertiesChanged(JOB, variants(values), [])

    def outcome(self):
        if self.properties["Kind"] == "prepare":
            layer = variants({"digest": DIGEST, "size": dbus.UInt64(1000), "kind": "derived", "present": False})
            return {"image": self.image, "digest": DIGEST, "up-to-date": False, "layout": "generic", "signature-policy": "insecureAcceptAnything",
                    "layers": dbus.Array([layer], signature="a{sv}"), "layers-present": dbus.UInt32(0),
                    "layers-missing": dbus.UInt32(1), "bytes-to-fetch": dbus.UInt64(1000)}
        if self.properties["Kind"] == "changes":
            package = variants({"name": "bash\x1b[2J", "format": "dpkg", "from": "1", "to": "2"})
            return {"image": self.image, "from-commit": "c" * 64, "to-digest": DIGEST, "to-version": "12", "changed-total": dbus.UInt32(7),
                    "packages-changed": dbus.Array([package], signature="a{sv}"), "etc-added": dbus.Array(["/etc/a\x1b[2J"], signature="s"), "etc-truncated": True}
        if self.properties["Kind"] == "verify":
            unchecked = [variants({"image": image, "error-name": ERROR + image.split(":")[-1], "error": "the first cause"}) for image in self.image.split()]
            return {"sound": False, "images-checked": dbus.UInt64(len(unchecked)), "unchecked": dbus.Array(unchecked, signature="a{sv}")}
        filtered = dbus.Dictionary({DIGEST: dbus.Dictionary({"dev": dbus.UInt32(2)}, signature="su")}, signature="sa{su}")
        return {"image": self.image, "digest": DIGEST, "changed": True, "commit": "c" * 64, "merge-commit": "c" * 64,
                "version": "1\x1b[2J", "layers": dbus.UInt32(2), "layers-fetched": dbus.UInt32(2), "bytes-fetched": dbus.UInt64(3000),
                "bytes-reused": dbus.UInt64(0), "objects-written": dbus.UInt64(5), "objects-reused": dbus.UInt64(0),
                "bytes-written": dbus.UInt64(6000), "filtered": filtered, "relabelled": dbus.UInt64(0), "signature-policy": "insecureAcceptAnything (default)", "special-files-dropped": dbus.UInt64(0),
                "names-dropped": dbus.UInt64(0), "attributes-dropped": dbus.UInt64(0)}

    def end(self, result, error_name="", message=""):
        if self.properties["State"] == "finished":
            return False
        outcome = variants(self.outcome() if result == "success" else {})
        self.change(State="finished", Result=result, ErrorName=error_name, ErrorMessage=message, Outcome=outcome,
                    Phase="done", Fraction=1.0)
        self.Finished(result, error_name, message, outcome)
        return False

    def play(self):
        scene = self.image.split(":")
        layers = int(scene[2]) if scene[1] == "many" else 2
        self.step += 1
        if scene[1] == "vanish" and self.step > 2:
            os._exit(0)
        if scene[1] == "error":
            return self.end("failed", ERROR + scene[2], "the first cause\x1b]0;title\x07")
        if scene[1] == "hostile":
            for index in range(5000):
                self.LayerProgress(4294967295 - index, "\x1b[2J", "odd\n", 10, 1)
            self.Finished("wonderful", "", "", variants({}))
            return False
        # Of many layers, in so many steps that a busy machine shows some, too.
        done = min(self.step * (50 if scene[1] == "many" else 250), 1000)
        if scene[1] in ("endless", "mine", "stubborn", "shared"):
            done = min(done, 500)
        self.change(Phase="fetch", Fraction=done / 1100, Bytes=dbus.Struct((dbus.UInt64(done * layers), dbus.UInt64(1000 * layers)), signature="tt"),
                    Layers=dbus.Struct((dbus.UInt32(0), dbus.UInt32(layers)), signature="uu"))
        for index in range(layers):
            self.LayerProgress(index, f"sha256:{index:012x}" + 52 * "0", "done" if done == 1000 else "fetching", done, 1000)
        if done == 1000:
            return self.end("success")
        return True


class Manager(dbus.service.Object):
    def __init__(self, bus):
        super().__init__(bus, "/org/imaged1")
        self.bus, self.jobs = bus, []

    def start(self, kind, image, options):
        given = {str(key): value.take() and "fd" if isinstance(value, dbus.types.UnixFd) else value for key, value in options.items()}
        tell(call=kind, image=image, options=given)
        image = image.removeprefix("docker://docker.io/library/").removeprefix("docker://")
        if image.startswith("play:refuse:"):
            raise Failure(ERROR + image.split(":")[2], "refused at once")
        job = Job(self.bus, len(self.jobs) + 1, kind, image)
        self.jobs.append(job)
        self.JobNew(dbus.UInt32(len(self.jobs)), job.path)
        if image == "play:instant":  # over before the answer is out
            job.end("success")
        else:
            GLib.timeout_add(60, job.play)
        return dbus.UInt32(len(self.jobs)), dbus.ObjectPath(job.path)

    @dbus.service.signal(MANAGER, signature="uo")
    def JobNew(self, number, path):
        pass

    @dbus.service.method(MANAGER, in_signature="sa{sv}", out_signature="uo")
    def Pull(self, image, options):
        return self.start("pull", image, options)

    @dbus.service.method(MANAGER, in_signature="sa{sv}", out_signature="uo")
    def ImportImage(self, image, options):
        return self.start("import", image, options)

    @dbus.service.method(MANAGER, in_signature="sa{sv}", out_signature="uo")
    def Prepare(self, image, options):
        return self.start("prepare", image, options)

    @dbus.service.method(MANAGER, in_signature="sa{sv}", out_signature="uo")
    def Changes(self, image, options):
        return self.start("changes", image, options)

    @dbus.service.method(MANAGER, in_signature="asa{sv}", out_signature="uo")
    def Verify(self, images, options):
        return self.start("verify", " ".join(images), options)

    @dbus.service.method(MANAGER, in_signature="a{sv}", out_signature="s")
    def DescribeImages(self, options):
        good = {"image": "docker://example/a:1", "state": "ok", "digest": DIGEST, "commit": "c" * 64, "merge-commit": "c" * 64,
                "version": "12", "created": 1700000000, "layers": 3, "size": 1000, "disk-size": 123456789, "unique-size": 23456789, "shared-size": 100000000}
        bad = {"image": "docker://example/b:1", "state": "damaged", "error": "no commit", "size": "much", "created": -1, "surprise": True}
        others = [{"image": f"docker://example/{name}:1", "state": "ok", "digest": OTHER_DIGEST} for name in "cd"]
        return json.dumps({"images": [good, bad, *others], "surprise": {}})

    @dbus.service.method(MANAGER, in_signature="a{sv}", out_signature="aa{sv}")
    def ListDeployments(self, options):
        states = {state: False for state in ("booted", "pending", "rollback", "staged", "pinned")}
        good = {"stateroot": "host", "checksum": "c" * 64, "serial": dbus.UInt32(1), **states, "booted": True, "pinned": True,
                "reference": "ostree-image-signed:docker://example/a:1", "image": "docker://example/a:1", "digest": DIGEST, "version": "12",
                "merge-commit": "c" * 64, "stored-as": dbus.Array([], signature="s")}
        bad = {"stateroot": "host", "checksum": "d" * 64, "serial": dbus.UInt32(0), **states, "rollback": True, "refspec": "a:b",
               "error": "it has no \x1b[31morigin file", "surprise": True}
        return [variants(good), variants(bad)]

    @dbus.service.method(MANAGER, in_signature="s", out_signature="a{sv}")
    def GetImage(self, image):
        if image != "docker://example/a:1":
            raise Failure(ERROR + "NotFound", f"there is no image {image}")
        layer = variants({"digest": DIGEST, "size": dbus.UInt64(1000), "kind": "derived", "ref": "ostree/container/blob/x", "commit": "d" * 64})
        return variants({"image": image, "state": "ok", "digest": DIGEST, "commit": "c" * 64, "merge-commit": "c" * 64, "created": dbus.UInt64(1),
                         "layers": dbus.UInt32(1), "size": dbus.UInt64(1000), "layer-list": dbus.Array([layer], signature="a{sv}"),
                         "labels": dbus.Dictionary({"a": "b\x1b[31m"}, signature="ss"), "importer": "imaged 0"})

    @dbus.service.method(MANAGER, in_signature="s", out_signature="s")
    def GetManifest(self, image):
        return "[" * 3000 if image.endswith("play:deep") else '{"schemaVersion": 2, "z":1,"a" :[]}'

    @dbus.service.method(MANAGER, in_signature="s", out_signature="u")
    def GetConfig(self, image):  # another type than the interface says
        return dbus.UInt32(1)

    @dbus.service.method(MANAGER, out_signature="a(uoss)")
    def ListJobs(self):
        return [(dbus.UInt32(job.properties["Id"]), job.path, job.properties["Kind"], job.properties["State"]) for job in self.jobs]

    @dbus.service.method(MANAGER, in_signature="u", out_signature="b")
    def CancelJob(self, number):
        if not 0 < number <= len(self.jobs):
            raise Failure(ERROR + "NotFound", f"there is no job {number}")
        return self.jobs[number - 1].Cancel()


def main():
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.bus.BusConnection(os.environ["DBUS_TEST_ADDRESS"])
    name = dbus.service.BusName("org.imaged1", bus, do_not_queue=True)
    manager = Manager(bus)
    print("ready", flush=True)
    GLib.MainLoop().run()
    return name, manager


if __name__ == "__main__":
    sys.exit(main())
