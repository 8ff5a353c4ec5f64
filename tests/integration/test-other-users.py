#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a local user who is allowed nothing can see, and make imaged hold in memory: real daemon, worker and skopeo, callers with uids of their own."""
import base64
import json
import os
import pathlib
import shutil
import tempfile
import time
import unittest

import bus_fixture
import oci_layout
import sanitizers
import system_bus
from registry import Registry
from system_bus import SystemCase

USER, OTHER = system_bus.USERS[:2]
DENIAL = "unauthorized|authentication required"  # of a registry, in the words of skopeo 1.9 and 1.18
SECRET = base64.b64encode(b"root:secret").decode()


def credentials(address, login=SECRET):
    return json.dumps({"auths": {address: {"auth": login}}})


class Eyes(SystemCase):
    """Jobs do not see with root's eyes for callers who are not root."""

    def test_local_sources_are_for_root(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        layout.image("t", [oci_layout.layer([])])
        os.chmod(self.directory + "/layout", 0o700)
        user = self.caller(USER)
        self.allow("org.imaged1.pull", "org.imaged1.pull-unverified", "org.imaged1.import", "org.imaged1.check", "org.imaged1.verify")
        digest = "sha256:" + "0" * 64
        for image in (layout.reference("t"), "ostree-unverified-image:" + layout.reference("t"), "dir:/etc", "docker-daemon:x:y", "containers-storage:x",
                      "oci-archive:/etc/shadow:x", "docker-archive:/etc/shadow:x"):
            for method, options in (("Prepare", {}), ("Pull", {}), ("ImportImage", {"digest": digest}), ("Check", {})):
                with self.subTest(image=image, method=method):
                    self.assertIn("docker://", self.assert_refused("NotAuthorized", user.start, method, image, options))
        message = self.assert_refused("NotAuthorized", user.call, "Verify", "(asa{sv})", [], {"repair": True, "source": layout.reference("t")})
        self.assertIn("docker://", message)
        self.assertEqual(self.questions(), [], "nobody is asked about what no authorisation allows")
        self.assertEqual(self.root.finished(self.root.start("Prepare", layout.reference("t")))["Result"], "success")

    def test_credentials_of_the_host_are_not_for_everybody(self):
        server = system_bus.LoginServer()
        self.addCleanup(server.stop)
        for place in (".docker/config.json", ".config/containers/auth.json"):
            path = f"{self.directory}/home/{place}"
            os.makedirs(os.path.dirname(path))
            with open(path, "w", encoding="utf-8") as file:
                file.write(credentials(server.address))
        image, user = f"docker://{server.address}/x:y", self.caller(USER)
        self.assertEqual(user.finished(user.start("Prepare", image))["Result"], "failed")
        self.assertNotIn("Basic " + SECRET, server.logins)
        job = user.start("Prepare", image, authfile=json.dumps({"auths": {}}))
        user.finished(job)
        self.assertNotIn("Basic " + SECRET, server.logins, "not beside credentials of the caller's either")
        own = base64.b64encode(b"user:own").decode()
        user.finished(user.start("Prepare", image, authfile=credentials(server.address, own)))
        self.assertIn("Basic " + own, server.logins)
        self.root.finished(self.root.start("Prepare", image))
        self.assertIn("Basic " + SECRET, server.logins, "root's job has them")

    def test_what_a_job_learnt_with_own_credentials_is_for_its_caller_and_root(self):
        server = system_bus.LoginServer()
        self.addCleanup(server.stop)
        user, same, other = self.caller(USER), self.caller(USER), self.caller(OTHER)
        other.signals()
        job = user.start("Prepare", f"docker://{server.address}/private/name:y", authfile=credentials(server.address))
        seen = other.finished(job)
        self.assertEqual((seen["Result"], seen["Complete"], seen["Outcome"], seen["ErrorName"], seen["Image"]), ("failed", False, {}, "", ""))
        self.assertNotRegex(seen["ErrorMessage"], DENIAL)
        self.assertRegex(user.outcome(job)[1], "SourceDenied")
        self.assertNotRegex(json.dumps(other.signals()), "private/name|SourceDenied")
        self.assert_refused("NotAuthorized", other.outcome, job)
        for caller in (user, same, self.root):
            self.assertRegex(caller.outcome(job)[2], DENIAL)
        own = [values for _, name, values in user.signals() if name == "Finished"]
        others = [values for _, name, values in other.signals() if name == "Finished"]
        self.assertRegex(own[0][2], DENIAL, "the caller's signal comes first")
        self.assertEqual(len(others), 1)
        self.assertNotRegex(others[0][2], DENIAL)

    def test_what_prepare_and_check_learn_is_for_the_user_who_asked_and_root(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        layout.image("t", [oci_layout.layer([])])
        image = layout.reference("t")
        user, other = self.caller(USER), self.caller(OTHER)
        other.signals()
        self.assertEqual(self.root.finished(self.root.start("Pull", "ostree-unverified-image:" + image))["Result"], "success")
        self.allow("org.imaged1.check")
        jobs = {self.root.start("Prepare", image): self.root, self.root.start("Check", image): self.root,
                user.start("Prepare", "docker://127.0.0.1:1/secret/name:y"): user, user.start("Check", "docker://signed.example/secret/name:y"): user}
        for job, caller in jobs.items():
            with self.subTest(job=job):
                seen = other.finished(job)
                self.assertEqual((seen["Complete"], seen["Outcome"]), (False, {}))
                self.assertNotIn("secret", seen["ErrorMessage"])
                self.assert_refused("NotAuthorized", other.outcome, job)
                for reader in (caller, self.root):
                    result, _, message, outcome = reader.outcome(job)
                    self.assertTrue(outcome if result == "success" else message)
        self.assertNotEqual(user.start("Prepare", "docker://127.0.0.1:1/x:y"), other.start("Prepare", "docker://127.0.0.1:1/x:y"))
        told = [(path, name, values) for path, name, values in other.signals() if int(path.rpartition("/")[2] if "/job/" in path else 0) in jobs]
        self.assertEqual(sorted(name for _, name, _ in told if name == "Finished"), ["Finished"] * len(jobs))
        self.assertNotIn("LayerProgress", [name for _, name, _ in told])
        self.assertEqual([values for _, name, values in told if name == "Finished" and (values[3] or "secret" in values[2])], [])

    def test_an_update_that_own_credentials_found_is_not_listed(self):
        registry = Registry(self.directory + "/registry")
        self.addCleanup(registry.stop)
        layout, image = oci_layout.Layout(self.directory + "/layout"), f"docker://{registry.address}/x:y"
        layout.image("t", [oci_layout.layer([])])
        registry.push(layout.reference("t"), "x:y")
        self.assertEqual(self.root.finished(self.root.start("Pull", image))["Result"], "success")
        layout.image("t", [oci_layout.layer([oci_layout.Entry("usr/new")])])
        registry.push(layout.reference("t"), "x:y")
        user = self.caller(USER)
        self.allow("org.imaged1.check")
        job = user.start("Check", image, authfile=credentials(registry.address))
        user.finished(job)
        self.assertTrue(user.outcome(job)[3]["update-available"])
        self.assertNotIn("update-digest", user.call("ListImages", "(a{sv})", {})[0][0])
        user.finished(user.start("Check", image))
        self.assertIn("update-digest", user.call("ListImages", "(a{sv})", {})[0][0])

    def test_helpers_of_the_host_do_not_serve_everybody(self):
        """registries.conf names a credential helper; the caller brings an authfile, without which skopeo logs in nowhere."""
        server = system_bus.LoginServer()
        self.addCleanup(server.stop)
        with open(self.directory + "/registries.conf", "r+", encoding="utf-8") as file:
            text = file.read()
            file.seek(0)
            file.write('credential-helpers = ["containers-auth.json", "imaged-test"]\n' + text)
        image, user = f"docker://{server.address}/x:y", self.caller(USER)
        for authfile in (json.dumps({"auths": {}}), credentials("other.example")):
            user.finished(user.start("Prepare", image, authfile=authfile))
        user.finished(user.start("Prepare", image))
        self.assertEqual(self.helper_log(), "")
        self.assertNotIn("Basic " + SECRET, server.logins)
        server.logins.clear()
        own = base64.b64encode(b"user:own").decode()
        user.finished(user.start("Prepare", image, authfile=credentials(server.address, own)))
        self.assertEqual(set(server.logins), {"Basic " + own})
        self.root.finished(self.root.start("Prepare", image))
        self.assertIn("Basic " + SECRET, server.logins, "root's job asks the helper")
        self.assertIn("get", self.helper_log())

    def helper_log(self):
        with open(self.directory + "/helper.log", encoding="utf-8") as file:
            return file.read()

    def command(self):
        """A helper program stands in PATH."""
        os.makedirs(self.directory + "/bin")
        helper = self.write("bin/docker-credential-imaged-test", f"""#!/bin/sh
echo "$1" >> {self.directory}/helper.log
[ "$1" = get ] && echo '{{"ServerURL":"x","Username":"root","Secret":"secret"}}'
""")
        os.chmod(helper, 0o755)
        os.chmod(self.write("helper.log", ""), 0o666)
        return ["env", f"PATH={self.directory}/bin:" + os.environ["PATH"], *super().command()]

    def test_client_certificates_of_the_host_do_not_serve_everybody(self):
        server = system_bus.CertificateServer(self.directory)
        self.addCleanup(server.stop)
        place = pathlib.Path("/etc/containers/certs.d", server.address)
        place.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, place)
        for name in ("ca.crt", "client.cert", "client.key"):
            shutil.copy(self.directory + "/" + name, place)
            os.chmod(place / name, 0o644)
        self.write("registries.conf", "")
        image, user = f"docker://{server.address}/x:y", self.caller(USER)
        jobs = [user.start("Prepare", image), user.start("Prepare", image, authfile=credentials(server.address))]
        for job in jobs:
            user.finished(job)
        self.assertEqual((len(server.clients) > 0, set(server.clients)), (True, {None}), "the CA's certificate serves, the client's does not")
        self.root.finished(self.root.start("Prepare", image))
        self.assertIn("root-of-the-host", server.clients)

    def test_a_repair_opens_no_local_name_for_others(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        layout.image("t", [oci_layout.layer([oci_layout.Entry("usr/x", content=b"x")])])
        image = layout.reference("t")
        self.assertEqual(self.root.finished(self.root.start("Pull", "ostree-unverified-image:" + image))["Result"], "success")
        shutil.rmtree(self.directory + "/repo/extensions/imaged/layers")
        self.allow("org.imaged1.verify")
        user = self.caller(USER)
        job = user.call("Verify", "(asa{sv})", [], {"repair": True})[0]
        self.assertEqual(user.finished(job)["Result"], "success")
        outcome = user.outcome(job)[3]
        self.assertIn("only root", outcome["unverified"][0]["error"])
        file = next(pathlib.Path(self.directory, "repo/objects").glob("*/*.file"))
        file.unlink()
        job = user.call("Verify", "(asa{sv})", [image], {"repair": True})[0]
        user.finished(job)
        self.assertIn("only root", user.outcome(job)[3]["unrepaired"][0]["error"])
        job = self.root.call("Verify", "(asa{sv})", [image], {"repair": True})[0]
        self.root.finished(job)
        self.assertEqual(self.root.outcome(job)[3]["unrepaired"], [])

    def test_credentials_that_nobody_compared_are_not_shared(self):
        silent = system_bus.SilentServer()
        self.addCleanup(silent.stop)
        for uid in (USER, 0):
            image, callers = f"docker://{silent.address}/x:{uid}", [self.caller(uid) for _ in range(3)]
            jobs = [caller.start("Prepare", image, authfile=credentials(silent.address, base64.b64encode(b"user:%d" % number).decode()))
                    for number, caller in enumerate(callers)]
            jobs.append(callers[0].start("Prepare", image))
            self.assertEqual(len(set(jobs)), 4)
            self.assertEqual(callers[1].start("Prepare", image), jobs[-1], "without credentials they join")


class Answers(SystemCase):
    """Large answers do not add up, whoever asks for them at once."""
    IMAGES = int(os.environ.get("IMAGES", 6000))

    def test_three_users_who_list_thousands_of_images(self):
        layout = oci_layout.Layout(self.directory + "/layout")
        layout.image("t", [oci_layout.layer([])], config={"config": {"Labels": {"org.opencontainers.image.version": "v" * 4000}}})
        self.assertEqual(self.root.finished(self.root.start("Pull", "ostree-unverified-image:" + layout.reference("t")), 60)["Result"], "success")
        images = pathlib.Path(self.directory, "repo/refs/heads/ostree/container/image")
        ref, = (path for path in images.rglob("*") if path.is_file())
        for number in range(self.IMAGES):
            place = images / f"docker_3A__2F__2F_registry_2E_example/{'x' * 200}/{number:05}_3A_1"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(ref.read_bytes())
        before = self.peak()
        length = len(self.root.call("DescribeImages", "(a{sv})", {})[0])
        one = self.peak()
        users = [self.caller(uid) for uid in system_bus.USERS[:3]]
        for method in ("DescribeImages", "ListImages", "DescribeImages"):
            for _ in range(10):
                for user in users:
                    user.call(method, "(a{sv})", {}, wait=False)
            self.assertEqual(len(self.root.call("DescribeImages", "(a{sv})", {})[0]), length)
        print(f"    {self.IMAGES} images, {length / 2**20:.1f} MiB: peak {before:.1f} MiB, {one:.1f} after one answer, {self.peak():.1f} after three users' 90")
        self.assertLess(self.peak(), 64 * sanitizers.SLOWER)


class Messages(SystemCase):
    """One message of anybody's holds little that imaged decodes."""
    LARGE, MANY = 30_000_000, 100_000  # a bus takes messages of 32 MiB

    def messages(self):
        """Of each interface that lets everybody in: how a call of it is made, and what imaged says."""
        root, text = bus_fixture.ROOT, "x" * self.LARGE
        options = {f"option-{number}": "" for number in range(self.MANY)}
        for name, path, interface, method, kind, values in [
                ("options", root, bus_fixture.MANAGER, "Prepare", "(sa{sv})", ["docker://x.example/a:1", options]),
                ("options", root, bus_fixture.MANAGER, "ListImages", "(a{sv})", [options]),
                ("text", root, bus_fixture.MANAGER, "ImportImage", "(sa{sv})", [text, {}]),
                ("value", root, bus_fixture.MANAGER, "Pull", "(sa{sv})", ["docker://x.example/a:1", {"target": text}]),
                ("list", root, bus_fixture.MANAGER, "Remove", "(asa{sv})", [["a"] * self.MANY, {}]),
                ("property", root, "org.freedesktop.DBus.Properties", "Get", "(ss)", [bus_fixture.MANAGER, text]),
                ("interface", root, "org.freedesktop.DBus.Properties", "GetAll", "(s)", [text]),
                ("what no method has", root, "org.freedesktop.DBus.Peer", "Ping", "(s)", [text]),
                ("what no method has", root, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "(as)", [["a"] * self.MANY]),
                ("path that is not there", root + "/job/1", bus_fixture.JOB, "GetOutcome", "(s)", [text])]:
            yield f"{method}: {name}", {"path": path, "interface": interface, "method": method, "kind": kind, "values": values}

    def test_a_message_that_holds_too_much_is_refused_before_it_is_decoded(self):
        users = [self.caller(uid) for uid in system_bus.USERS[:3]]
        before = self.peak()
        for name, call in self.messages():
            with self.subTest(name):
                message = self.assert_refused("LimitsExceeded", users[0].ask, **call)
                self.assertIn("a call has at most 262144 bytes of text and 16384 values", message)
                if self.LARGE in map(len, call["values"]):
                    for user in users:
                        user.ask(**call, wait=False)
                self.assertIsInstance(self.root.call("ListJobs")[0], list)
                print(f"    {name}: {self.peak():.1f} MiB", flush=True)
        self.assertIsNone(self.daemon.poll())
        print(f"    peak {before:.1f} MiB before, {self.peak():.1f} MiB after messages of {self.LARGE} bytes and of {self.MANY} options")
        self.assertLess(self.peak(), 64 * sanitizers.SLOWER)

    def test_what_calls_need_is_below_the_limits(self):
        names = [f"docker://x.example/{'a' * 40}:{number}" for number in range(1000)]
        self.assert_refused("NotAuthorized", self.caller(system_bus.USERS[0]).call, "Remove", "(asa{sv})", names, {})


LARGE_WORKER = """#!/usr/bin/python3 -I
import json, socket
channel = socket.socket(fileno=3)
request = b""
while not request.endswith(b"\\n"):
    request += channel.recv(65536)
layer = {"digest": "sha256:" + "a" * 64, "size": 1, "kind": "derived", "present": False, "created-by": "x" * 100}
channel.sendall((json.dumps({"type": "result", "outcome": "success", "error-name": "", "message": "", "details": {"layers": [layer] * 2000}, "changed-images": []}) + "\\n").encode())
"""


def scripted(case, text):
    """The path of a program with TEXT, to be a worker, until the end of CASE."""
    with tempfile.NamedTemporaryFile("w", suffix=".py", dir="/var/tmp", delete=False) as worker:
        case.addCleanup(os.unlink, worker.name)
        worker.write(text)
    os.chmod(worker.name, 0o755)
    return worker.name


VICTIM = "docker://victim.example/os:1"
LYING_WORKER = """#!/usr/bin/python3 -I
import json, socket
channel = socket.socket(fileno=3)
request = b""
while not request.endswith(b"\\n"):
    request += channel.recv(65536)
own = json.loads(request)["arguments"].get("image", "").removeprefix("ostree-unverified-image:")
names = [own, "docker://victim.example/os:1"] * 3
channel.sendall((json.dumps({"type": "result", "outcome": "success", "error-name": "", "message": "", "details": {},
    "changed-images": [{"image": name, "old": "sha256:" + "a" * 64} for name in names],
    "found-updates": [{"image": name, "digest": "", "update-digest": "sha256:" + "b" * 64, "update-version": "9"} for name in names]}) + "\\n").encode())
"""


class News(SystemCase):
    """A worker that an image has taken over announces changes and updates of that image only. The worker stands in for it."""

    def setUp(self):
        self.worker = scripted(self, LYING_WORKER)
        super().setUp()

    def test_a_job_announces_its_own_image_only(self):
        own = "docker://x.example/a:1"
        for method, expected in (("Pull", [("ImageChanged", own)]), ("Check", [("UpdateFound", own)]), ("Prepare", []), ("Remove", [("ImageChanged", VICTIM)] * 3)):
            with self.subTest(method):
                watcher = self.caller(0)
                watcher.signals()  # it listens
                if method == "Remove":
                    job = self.root.call(method, "(asa{sv})", [VICTIM], {})[0]
                else:
                    job = self.root.start(method, own)
                self.root.finished(job)
                time.sleep(0.3)
                found = [(name, values[0]) for _, name, values in watcher.signals() if name in ("ImageChanged", "UpdateFound")]
                self.assertEqual(found, expected)


LOUD_WORKER = """#!/usr/bin/python3 -I
import json, socket
channel = socket.socket(fileno=3)
request = b""
while not request.endswith(b"\\n"):
    request += channel.recv(65536)
for turn in range(40):
    channel.sendall(b"".join((json.dumps({"type": "layer", "index": index, "digest": "sha256:" + "a" * 64, "state": "s%d" % turn, "done": 1, "total": 2}) + "\\n").encode()
                             for index in range(1000)))
channel.sendall((json.dumps({"type": "result", "outcome": "success", "error-name": "", "message": "", "details": {}, "changed-images": []}) + "\\n").encode())
"""


class Loud(SystemCase):
    """A worker that an image has taken over says much of its layers."""

    def setUp(self):
        self.worker = scripted(self, LOUD_WORKER)
        super().setUp()

    def test_a_job_makes_so_many_signals_and_no_more(self):
        watcher = self.caller(OTHER)
        watcher.signals()
        started = time.monotonic()
        self.root.finished(self.root.start("Pull", "docker://x.example/a:1"), 60)
        intervals = (time.monotonic() - started) / 0.1
        count = sum(name == "LayerProgress" for _, name, _ in watcher.signals())
        print(f"    {count} signals of 40000 messages in {intervals / 10:.1f} s")
        self.assertLessEqual(count, 100 * (intervals + 2) + 1000)
        self.assertGreaterEqual(count, 1000)


class Floods(SystemCase):
    """What a user makes imaged remember and repeat is bounded. The worker stands in for one whose image has as many layers as its limit allows."""

    def setUp(self):
        self.worker = scripted(self, LARGE_WORKER)
        super().setUp()

    def assert_serving(self):
        self.assertIsNone(self.daemon.poll(), "imaged has died")
        self.assertIsInstance(self.root.call("ListJobs")[0], list)

    def managed_objects(self, caller, **more):
        return caller.ask(path=bus_fixture.ROOT, interface="org.freedesktop.DBus.ObjectManager", method="GetManagedObjects", kind="", values=[], **more)

    def test_large_outcomes_do_not_add_up(self):
        user = self.caller(USER)
        for number in range(90):
            user.finished(user.start("Prepare", f"docker://x.example/a:{number}"))
        self.managed_objects(user)
        self.assert_serving()
        reader = self.caller(OTHER)
        for _ in range(60):
            self.managed_objects(reader, wait=False)
        self.assert_serving()
        self.assertLess(len(self.managed_objects(self.root)[0]), 70)
        print(f"    peak after 90 outcomes of 500 KiB and 60 times all objects: {self.peak():.1f} MiB")
        self.assertLess(self.peak(), 64 * sanitizers.SLOWER)

    def test_the_whole_of_a_large_outcome_is_there(self):
        user = self.caller(USER)
        job = user.start("Prepare", "docker://x.example/a:b")
        properties = user.finished(job)
        self.assertEqual((properties["Complete"], properties["Outcome"]), (False, {}))
        self.assertEqual(len(self.caller(USER).outcome(job)[3]["layers"]), 2000)

    def test_outcomes_of_one_user_do_not_push_out_those_of_another(self):
        user = self.caller(USER)
        job = self.root.start("Prepare", "docker://x.example/root:1")
        self.root.finished(job)
        for number in range(30):
            user.finished(user.start("Prepare", f"docker://x.example/a:{number}"))
        self.assertEqual(len(self.root.outcome(job)[3]["layers"]), 2000)


if __name__ == "__main__":
    unittest.main(verbosity=2)
