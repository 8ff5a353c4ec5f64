#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imaged on a private bus, with a scripted worker in place of the real one. IMAGED names the daemon."""
import glob
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
import xml.etree.ElementTree

from gi.repository import Gio, GLib

IMAGED = os.environ.get("IMAGED", "imaged")
WORKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scripted-worker.py")
NAME, ROOT, MANAGER, JOB = "org.imaged1", "/org/imaged1", "org.imaged1.Manager", "org.imaged1.Job"
ERROR = "org.imaged1.Error."
DIGEST = "sha256:" + "c" * 64
NOBODY = 65534
BUS_CONFIG = """<busconfig><type>session</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>{1}
<limit name="max_connections_per_user">5000</limit><limit name="max_completed_connections">5000</limit>
<limit name="max_replies_per_connection">50000</limit><limit name="max_match_rules_per_connection">5000</limit>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/></policy></busconfig>"""


class BusError(Exception):
    def __init__(self, name, message):
        super().__init__(name + ": " + message)
        self.name, self.message = name, message


class Client:
    """One connection to the bus; collects signals when asked to."""

    def __init__(self, address):
        self.connection = Gio.DBusConnection.new_for_address_sync(
            address, Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION,
            None, None)
        self.connection.set_exit_on_close(False)
        self.signals = []

    def call(self, interface, method, parameters=None, path=ROOT, fds=None, timeout=20000):
        try:
            reply, _ = self.connection.call_with_unix_fd_list_sync(
                NAME, path, interface, method, parameters, None, Gio.DBusCallFlags.NONE, timeout, fds, None)
            return reply.unpack()
        except GLib.Error as error:
            name = Gio.DBusError.get_remote_error(error)
            Gio.DBusError.strip_remote_error(error)
            raise BusError(name or "local", error.message) from None

    def start(self, method, image, fds=None, **options):
        options = {key.replace("_", "-"): value for key, value in options.items()}
        return self.call(MANAGER, method, GLib.Variant("(sa{sv})", (image, options)), fds=fds)

    def pull(self, image, **options):
        return self.start("Pull", image, **options)[0]

    def cancel(self, job):
        self.call(MANAGER, "CancelJob", GLib.Variant("(u)", (job,)))

    def job(self, job):
        return self.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (JOB,)),
                         path=f"{ROOT}/job/{job}")[0]

    def until(self, job, condition, timeout=10):
        end = time.monotonic() + timeout
        while True:
            properties = self.job(job)
            if condition(properties):
                return properties
            if time.monotonic() > end:
                raise AssertionError(f"job {job} stays {properties}")
            time.sleep(0.01)

    def finished(self, job, timeout=10):
        return self.until(job, lambda properties: properties["State"] == "finished", timeout)

    def running(self, job):
        return self.until(job, lambda properties: properties["Fraction"] > 0)

    def listen(self):
        def heard(_connection, _sender, path, interface, member, parameters):
            self.signals.append((time.monotonic(), path, interface, member, parameters.unpack()))
        self.connection.signal_subscribe(NAME, None, None, None, None, Gio.DBusSignalFlags.NONE, heard)

    def heard(self, member):
        while GLib.MainContext.default().iteration(False):
            pass
        return [signal for signal in self.signals if signal[3] == member]

    def wait_for(self, member, count=1, timeout=10):
        end = time.monotonic() + timeout
        while len(self.heard(member)) < count:
            if time.monotonic() > end:
                raise AssertionError(f"no {member} among {[signal[3] for signal in self.signals]}")
            time.sleep(0.01)
        return self.heard(member)

    def close(self):
        self.connection.close_sync(None)


class Case(unittest.TestCase):
    options = ["--idle-timeout", "0"]
    activation = False

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="imaged-bus-")
        os.chmod(self.directory, 0o755)
        self.address = f"unix:path={self.directory}/bus"
        services = ""
        if self.activation:
            services = f"<servicedir>{self.directory}</servicedir>"
            with open(f"{self.directory}/{NAME}.service", "w") as file:
                file.write(f"[D-BUS Service]\nName={NAME}\nExec={' '.join(self.command())}\n")
        with open(self.directory + "/bus.conf", "w") as file:
            file.write(BUS_CONFIG.format(self.directory, services))
        self.processes = []
        self.bus = self.spawn(["dbus-daemon", "--nofork", f"--config-file={self.directory}/bus.conf"],
                              stderr=subprocess.DEVNULL)
        self.eventually(lambda: os.path.exists(self.directory + "/bus"))
        if not self.activation:
            self.start_daemon()

    def tearDown(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
            process.wait(10)
        shutil.rmtree(self.directory)

    def command(self):
        return [IMAGED, "--bus-address", self.address, "--repository", self.directory + "/repo", "--worker", WORKER,
                "--log-level", "off", *self.options]

    def spawn(self, command, **keywords):
        process = subprocess.Popen(command, **keywords)
        self.processes.append(process)
        return process

    def start_daemon(self):
        self.daemon = self.spawn(self.command(), env={**os.environ, "SECRET": "1", "PASSED": "2"})
        watcher = Client(self.address)
        self.eventually(lambda: self.has_owner(watcher))
        watcher.close()

    @staticmethod
    def has_owner(client):
        return client.connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner",
                                           GLib.Variant("(s)", (NAME,)), None, 0, -1, None).unpack()[0]

    def eventually(self, condition, timeout=10):
        end = time.monotonic() + timeout
        while not condition():
            self.assertLess(time.monotonic(), end, "it does not happen")
            time.sleep(0.01)

    def client(self):
        client = Client(self.address)
        self.addCleanup(lambda: client.connection.is_closed() or client.close())
        return client

    def image(self, verb):
        return f"oci:{self.directory}/{verb}"

    def release(self):
        open(self.directory + "/release", "w").close()

    def starts(self):
        try:
            with open(self.directory + "/log") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    def refused(self, name, function, *arguments, **keywords):
        with self.assertRaises(BusError) as caught:
            function(*arguments, **keywords)
        self.assertEqual(caught.exception.name, ERROR + name, caught.exception.message)
        return caught.exception.message


class Jobs(Case):
    options = ["--idle-timeout", "0", "--pass-environment", "PASSED"]

    def test_a_job_succeeds_and_says_so(self):
        client = self.client()
        client.listen()
        job, path = client.start("Pull", self.image("succeed"))
        self.assertEqual(path, f"{ROOT}/job/{job}")
        properties = client.finished(job)
        self.assertEqual(properties["Result"], "success")
        self.assertEqual(properties["Fraction"], 1.0)
        self.assertEqual(properties["Outcome"]["layers"], 2)
        self.assertEqual(properties["Owner"], os.getuid())
        self.assertEqual(properties["Outcome"]["filtered"], {"sha256:x": {"/tmp": 3}})
        self.assertGreaterEqual(properties["Finished"], properties["Started"])
        self.assertGreaterEqual(properties["Started"], properties["Created"])
        self.assertEqual(client.wait_for("JobRemoved")[0][4], (job, path, "success"))
        self.assertEqual(client.heard("JobNew")[0][4], (job, path))
        self.assertEqual(client.heard("ImageChanged")[0][4], (self.image("succeed"), "", "sha256:" + "b" * 64))
        self.assertEqual(client.heard("Finished")[0][4][:3], ("success", "", ""))
        self.assertEqual(client.heard("InterfacesAdded")[0][4][0], path)
        jobs = client.call(MANAGER, "ListJobs")[0]
        self.assertEqual(jobs, [(job, path, "pull", "finished")])

    def test_the_object_manager_shows_every_job(self):
        client = self.client()
        first = client.pull(self.image("wait"))
        second = client.pull(self.image("succeed"))
        objects = client.call("org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]
        self.assertEqual(set(objects), {f"{ROOT}/job/{first}", f"{ROOT}/job/{second}"})
        self.assertEqual(objects[f"{ROOT}/job/{second}"][JOB]["Position"], 1)
        self.release()

    def test_jobs_run_in_order_one_at_a_time(self):
        client = self.client()
        jobs = [client.pull(self.image(f"wait,{number}")) for number in range(4)]
        client.running(jobs[0])
        self.assertEqual([client.job(job)["Position"] for job in jobs], [0, 1, 2, 3])
        self.assertEqual([client.job(job)["State"] for job in jobs], ["running", "queued", "queued", "queued"])
        self.release()
        for job in jobs:
            client.finished(job)
        self.assertEqual(self.starts(), [f"pull wait,{number}" for number in range(4)])

    def test_equal_requests_share_a_job_and_different_ones_do_not(self):
        one, other = self.client(), self.client()
        job = one.pull(self.image("wait"))
        self.assertEqual(other.pull(self.image("wait")), job)
        self.assertNotEqual(other.pull(self.image("wait"), digest=GLib.Variant("s", DIGEST)), job)
        self.assertNotEqual(other.start("Prepare", self.image("wait"))[0], job)
        self.release()
        one.finished(job)

    def test_a_shared_job_ends_only_when_nobody_wants_it(self):
        one, other = self.client(), self.client()
        job = one.pull(self.image("wait"))
        other.pull(self.image("wait"))
        one.running(job)
        one.cancel(job)
        time.sleep(0.2)
        self.assertEqual(one.job(job)["State"], "running")
        other.cancel(job)
        self.assertEqual(one.finished(job, 2)["Result"], "cancelled")

    def test_a_queued_job_is_cancelled_at_once(self):
        client = self.client()
        first = client.pull(self.image("wait"))
        second = client.pull(self.image("succeed"))
        client.cancel(second)
        properties = client.job(second)
        self.assertEqual((properties["Result"], properties["ErrorName"]), ("cancelled", ERROR + "Cancelled"))
        self.assertEqual(client.job(first)["State"], "running")
        self.release()

    def test_a_running_job_is_cancelled_through_its_object(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        client.call(JOB, "Cancel", path=f"{ROOT}/job/{job}")
        properties = client.finished(job, 2)
        self.assertEqual((properties["Result"], properties["ErrorName"]), ("cancelled", ERROR + "Cancelled"))
        client.call(JOB, "Cancel", path=f"{ROOT}/job/{job}")

    def test_another_connection_cancels_too(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.client().cancel(job)
        self.assertEqual(client.finished(job, 2)["Result"], "cancelled")

    def test_a_worker_that_ignores_sigterm_is_killed_with_its_children(self):
        client = self.client()
        job = client.pull(self.image("stubborn"))
        client.running(job)
        began = time.monotonic()
        client.cancel(job)
        self.assertEqual(client.job(job)["State"], "cancelling")
        self.assertEqual(client.finished(job, 3)["Result"], "cancelled")
        self.assertLess(time.monotonic() - began, 2)
        with open(self.directory + "/child") as file:
            child = int(file.read())
        self.eventually(lambda: not self.alive(child))

    @staticmethod
    def alive(process):
        try:
            with open(f"/proc/{process}/stat") as file:
                return file.read().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def test_a_worker_that_dies_of_sigterm_was_cancelled(self):
        client = self.client()
        job = client.pull(self.image("deaf"))
        client.running(job)
        client.cancel(job)
        self.assertEqual(client.finished(job, 2)["Result"], "cancelled")

    def test_a_worker_that_fails_its_protocol_fails_its_job_alone(self):
        client = self.client()
        for verb, message in [("crash", "worker ended with signal 11"), ("leave", "worker ended with status 3"),
                              ("nonsense", "sent what is no message"), ("endless", "longer than the limit"),
                              ("partial", "worker ended with status 0")]:
            with self.subTest(verb):
                properties = client.finished(client.pull(self.image(verb)))
                self.assertEqual((properties["Result"], properties["ErrorName"]), ("failed", ERROR + "Failed"))
                self.assertIn(message, properties["ErrorMessage"])
                self.assertEqual(properties["Outcome"], {})
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")

    def test_a_worker_that_does_not_end_after_its_result_is_ended(self):
        client = self.client()
        self.assertEqual(client.finished(client.pull(self.image("linger")), 4)["Result"], "success")

    def test_errors_keep_their_names(self):
        client = self.client()
        for name in ["NotFound", "SourceUnreachable", "SourceDenied", "PolicyRejected", "DigestMismatch",
                     "CorruptInput", "UnsupportedImage", "NoSpace", "RepositoryDamaged", "Cancelled", "Failed"]:
            with self.subTest(name):
                properties = client.finished(client.pull(self.image("error," + name)))
                self.assertEqual(properties["ErrorName"], ERROR + name)
                self.assertEqual(properties["ErrorMessage"], "because of " + name)

    def test_a_flood_of_progress_is_thinned_out(self):
        client = self.client()
        client.listen()
        began = time.monotonic()
        job = client.pull(self.image("flood"))
        client.wait_for("Finished", timeout=30)
        seconds = time.monotonic() - began
        changes = client.heard("PropertiesChanged")
        self.assertLessEqual(len(changes), 10 * seconds + 3)
        fractions = [change[4][1]["Fraction"] for change in changes if "Fraction" in change[4][1]]
        self.assertEqual(fractions, sorted(fractions))
        self.assertEqual(fractions[-1], 1.0)
        layers = [layer[4] for layer in client.heard("LayerProgress")]
        self.assertLessEqual(len(layers), 2 * (10 * seconds + 4))
        self.assertIn((0, "done"), [(layer[0], layer[2]) for layer in layers])
        self.assertIn((1, "reused"), [(layer[0], layer[2]) for layer in layers])
        self.assertEqual(client.job(job)["Phase"], "done")

    def test_the_worker_gets_its_request_and_nothing_else(self):
        client = self.client()
        with tempfile.TemporaryFile() as file:
            file.write(b"credentials")
            file.seek(0)
            fds = Gio.UnixFDList.new()
            index = fds.append(file.fileno())
            job = client.start("Pull", self.image("show"), fds=fds, authfile=GLib.Variant("h", index),
                               target=GLib.Variant("s", "docker://a/b:c"))[0]
        outcome = client.finished(job)["Outcome"]
        self.assertEqual(outcome["credentials"], "credentials")
        self.assertIn("PASSED", outcome["environment"])
        self.assertNotIn("SECRET", outcome["environment"])
        self.assertNotIn("DBUS_SESSION_BUS_ADDRESS", outcome["environment"])
        self.assertLess(int(outcome["descriptors"][-2]), 6)
        self.assertTrue(outcome["leader"])
        self.assertFalse(outcome["blocked"])
        self.assertIn('"target": "docker://a/b:c"', outcome["request"])

    def test_a_caller_that_leaves_stops_its_job_only_when_bound(self):
        watcher = self.client()
        loose, bound = Client(self.address), Client(self.address)
        first = loose.pull(self.image("wait,1"))
        second = bound.pull(self.image("wait,2"), bind_to_caller=GLib.Variant("b", True))
        loose.close()
        bound.close()
        self.assertEqual(watcher.finished(second, 2)["Result"], "cancelled")
        self.assertEqual(watcher.running(first)["State"], "running")
        self.release()
        self.assertEqual(watcher.finished(first)["Result"], "success")

    def test_a_bound_caller_that_leaves_stops_its_running_job(self):
        watcher, bound = self.client(), Client(self.address)
        job = bound.pull(self.image("wait"), bind_to_caller=GLib.Variant("b", True))
        watcher.running(job)
        bound.close()
        self.assertEqual(watcher.finished(job, 2)["Result"], "cancelled")

    def test_the_queue_is_bounded_for_each_user(self):
        client = self.client()
        first = client.pull(self.image("wait"))
        for number in range(32):
            client.pull(self.image(f"wait,{number}"))
        self.assertIn("32 jobs", self.refused("QueueFull", client.pull, self.image("wait,more")))
        self.assertEqual(client.pull(self.image("wait")), first)

    def test_sigterm_ends_the_running_job_and_the_daemon(self):
        client = self.client()
        client.listen()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(5), 0)
        self.assertEqual(client.wait_for("JobRemoved")[0][4][2], "cancelled")

    def test_the_worker_ends_with_a_killed_daemon(self):
        client = self.client()
        job = client.pull(self.image("deaf"))
        client.running(job)
        with open(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children") as file:
            worker = int(file.read().split()[0])
        self.daemon.kill()
        self.daemon.wait()
        self.eventually(lambda: not self.alive(worker))


class Arguments(Case):
    def test_options_are_strict(self):
        client = self.client()
        image = self.image("succeed")
        text, flag = GLib.Variant("s", "x"), GLib.Variant("b", True)
        for method, options, key in [("Pull", {"colour": text}, "colour"), ("Pull", {"digest": flag}, "digest"),
                                     ("Pull", {"digest": text}, "digest"), ("Import", {}, "digest"),
                                     ("Prepare", {"target": text}, "target"), ("Pull", {"authfile": text}, "authfile"),
                                     ("Pull", {"bind_to_caller": text}, "bind-to-caller")]:
            with self.subTest(method=method, key=key):
                self.assertIn(f'"{key}"', self.refused("InvalidArgument", client.start, method, image, **options))
        self.assertIn('"x"', self.refused("InvalidArgument", client.call, MANAGER, "ListImages",
                                          GLib.Variant("(a{sv})", ({"x": text},))))
        many = {f"k{number}": text for number in range(65)}
        self.assertIn("64", self.refused("InvalidArgument", client.start, "Pull", image, **many))
        self.assertEqual(client.call(MANAGER, "ListJobs")[0], [])

    def test_references_are_checked(self):
        client = self.client()
        for image in ["", "nonsense", "docker://" + "a" * 5000, "ftp://x", "ostree-image-signed:"]:
            with self.subTest(image[:20]):
                self.refused("InvalidReference", client.pull, image)
                self.refused("InvalidReference", client.call, MANAGER, "GetManifest", GLib.Variant("(s)", (image,)))
        self.refused("InvalidReference", client.pull, self.image("succeed"), target=GLib.Variant("s", "nonsense"))

    def test_what_is_not_there_is_not_found(self):
        client = self.client()
        self.refused("NotFound", client.cancel, 7)
        for method in ["GetImage", "GetManifest", "GetConfig"]:
            self.refused("NotFound", client.call, MANAGER, method, GLib.Variant("(s)", ("docker://a/b:c",)))
        self.assertEqual(client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},))), ([],))

    def test_a_damaged_repository_is_an_error_and_no_crash(self):
        client = self.client()
        os.mkdir(self.directory + "/repo")
        self.refused("RepositoryDamaged", client.call, MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")

    def test_busctl_shows_error_names(self):
        run = subprocess.run(["busctl", "--address=" + self.address, "call", NAME, ROOT, MANAGER, "Pull", "sa{sv}",
                              "nonsense", "0"], capture_output=True, text=True)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("nonsense", run.stderr)
        run = subprocess.run(["dbus-send", "--bus=" + self.address, "--print-reply", "--dest=" + NAME, ROOT,
                              MANAGER + ".CancelJob", "uint32:9"], capture_output=True, text=True)
        self.assertIn(ERROR + "NotFound", run.stderr)

    def test_properties_can_be_read(self):
        client = self.client()
        values = client.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (MANAGER,)))[0]
        self.assertEqual(values["RepositoryPath"], self.directory + "/repo")
        self.assertEqual(values["RepositoryMode"], "")
        self.assertTrue(values["Version"])
        os.mkdir(self.directory + "/repo")
        with open(self.directory + "/repo/config", "w") as file:
            file.write("[core]\nrepo_version=1\nmode=bare-user\n")
        values = client.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (MANAGER,)))[0]
        self.assertEqual(values["RepositoryMode"], "bare-user")

    def test_a_flood_of_calls_is_answered(self):
        clients = [self.client() for _ in range(100)]
        answers = []
        for client in clients:
            for method, parameters in [("ListImages", GLib.Variant("(a{sv})", ({},))), ("ListJobs", None),
                                       ("Pull", GLib.Variant("(sa{sv})", ("nonsense", {}))),
                                       ("GetConfig", GLib.Variant("(s)", ("docker://a/b:c",)))] * 25:
                client.connection.call(NAME, ROOT, MANAGER, method, parameters, None, 0, 60000, None,
                                       lambda *_: answers.append(1))
        end = time.monotonic() + 60
        while len(answers) < 10000 and time.monotonic() < end:
            GLib.MainContext.default().iteration(True)
        self.assertEqual(len(answers), 10000)
        self.assertIsNone(self.daemon.poll())


@unittest.skipUnless(os.getuid() == 0, "needs root to become another user")
class OtherUsers(Case):
    def as_nobody(self, method, signature, *arguments):
        return subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "busctl",
                               "--address=" + self.address, "call", NAME, ROOT, MANAGER, method, signature,
                               *arguments], capture_output=True, text=True)

    def test_strangers_read_and_prepare_but_change_nothing(self):
        run = self.as_nobody("Pull", "sa{sv}", self.image("wait"), "0")
        self.assertIn("user 65534 may not pull images", run.stderr)
        run = self.as_nobody("Import", "sa{sv}", self.image("wait"), "1", "digest", "s", DIGEST)
        self.assertIn("user 65534 may not import images", run.stderr)
        self.assertEqual(self.as_nobody("ListImages", "a{sv}", "0").returncode, 0)
        self.assertEqual(self.as_nobody("Prepare", "sa{sv}", self.image("succeed"), "0").returncode, 0)
        self.assertNotIn("pull wait", self.starts())

    def test_strangers_cancel_only_what_is_theirs(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.assertIn("may not cancel", self.as_nobody("CancelJob", "u", str(job)).stderr)
        self.assertEqual(client.job(job)["State"], "running")
        own = self.as_nobody("Prepare", "sa{sv}", self.image("succeed"), "0").stdout.split()[1]
        self.assertEqual(client.job(int(own))["Owner"], NOBODY)
        self.assertEqual(self.as_nobody("CancelJob", "u", own).returncode, 0)
        self.assertEqual(client.job(int(own))["Result"], "cancelled")
        self.release()
        client.finished(job)
        self.assertEqual(self.as_nobody("CancelJob", "u", str(job)).returncode, 0)


class Leaving(Case):
    options = ["--idle-timeout", "1"]

    def test_an_idle_daemon_leaves(self):
        self.assertEqual(self.daemon.wait(4), 0)

    def test_calls_and_jobs_keep_it(self):
        client = self.client()
        for _ in range(8):
            time.sleep(0.3)
            client.call(MANAGER, "ListJobs")
        client.pull(self.image("wait"))
        time.sleep(2.5)
        self.assertIsNone(self.daemon.poll())


class Activated(Case):
    options = ["--idle-timeout", "1"]
    activation = True

    def test_no_call_is_lost_to_an_exit(self):
        """Calls come at the moment at which the daemon leaves; each is answered, by it or by the next."""
        client = self.client()
        owners = set()
        client.call(MANAGER, "ListJobs")
        for step in range(12):
            time.sleep(0.985 + step * 0.003)
            for _ in range(20):
                client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), timeout=5000)
            owners.add(client.connection.call_sync(
                "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetNameOwner", GLib.Variant("(s)", (NAME,)),
                None, 0, -1, None).unpack()[0])
        self.assertGreater(len(owners), 1, "the daemon never left")
        self.eventually(lambda: not self.has_owner(client))


class Policy(unittest.TestCase):
    """What dbus/org.imaged1.conf lets through is what the interfaces have, member by member."""

    sources = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dbus")

    def test_the_bus_policy_names_every_method_and_no_other(self):
        methods = set()
        for path in glob.glob(self.sources + "/*.xml"):
            for interface in xml.etree.ElementTree.parse(path).getroot().iter("interface"):
                methods |= {(interface.get("name"), method.get("name")) for method in interface.iter("method")}
        allowed = set()
        root = xml.etree.ElementTree.parse(self.sources + "/org.imaged1.conf").getroot()
        for policy in root.iter("policy"):
            for rule in policy.iter("allow"):
                if rule.get("own"):
                    self.assertEqual(policy.get("user"), "root")
                    continue
                self.assertEqual(rule.get("send_destination"), NAME)
                allowed.add((rule.get("send_interface"), rule.get("send_member")))
        self.assertNotIn((None, None), allowed)
        own = {rule for rule in allowed if rule[0].startswith(NAME)}
        self.assertEqual(own, methods)
        self.assertNotIn(("org.freedesktop.DBus.Properties", "Set"), allowed)
        self.assertEqual(root.find("policy[@context='default']/deny").attrib, {"send_destination": NAME})


if __name__ == "__main__":
    unittest.main(verbosity=2)
