#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Calls on the bus: arguments, other users, floods, the daemon's leaving, and the bus policy."""
import glob
import os
import signal
import subprocess
import threading
import time
import unittest
import xml.etree.ElementTree

from gi.repository import Gio, GLib

from bus_fixture import DIGEST, ERROR, MANAGER, NAME, ROOT, Case

NOBODY = 65534


class Arguments(Case):
    def test_options_are_strict(self):
        client = self.client()
        image = self.image("succeed")
        text, flag = GLib.Variant("s", "x"), GLib.Variant("b", True)
        for method, options, key in [("Pull", {"colour": text}, "colour"), ("Pull", {"digest": flag}, "digest"),
                                     ("Pull", {"digest": text}, "digest"), ("ImportImage", {}, "digest"),
                                     ("Prepare", {"digest": text}, "digest"), ("Pull", {"authfile": text}, "authfile"),
                                     ("Pull", {"bind_to_caller": text}, "bind-to-caller")]:
            with self.subTest(method=method, key=key):
                self.assertIn(f'"{key}"', self.refused("InvalidArgument", client.start, method, image, **options))
        for method in ("ListImages", "DescribeImages"):
            self.assertIn('"x"', self.refused("InvalidArgument", client.call, MANAGER, method, GLib.Variant("(a{sv})", ({"x": text},))))
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

    def test_a_name_that_no_registry_takes_starts_no_job(self):
        client = self.client()
        for name in ("Debian", "registry.example/a:", "'registry.example/a'", "docker://registry.example/a"):
            for method in ("Prepare", "Pull", "Check"):
                with self.subTest(name, method=method):
                    self.assertIn(f'"docker://{name}"', self.refused("InvalidReference", client.start, method, "docker://" + name))
            self.refused("InvalidReference", client.call, MANAGER, "Export", GLib.Variant("(ssa{sv})", (self.image("succeed"), "docker://" + name, {})))
            self.refused("InvalidReference", client.call, MANAGER, "Verify", GLib.Variant(
                "(asa{sv})", ([], {"repair": GLib.Variant("b", True), "source": GLib.Variant("s", "docker://" + name)})))
            # It may be stored: another program knows no such rule.
            self.assertIn("not", self.refused("NotFound", client.call, MANAGER, "GetManifest", GLib.Variant("(s)", ("docker://" + name,))))
        self.assertEqual(client.call(MANAGER, "ListJobs")[0], [])

    def test_paths_are_absolute(self):
        client = self.client()
        for path in ["", "repo", "./repo", "/" + "a" * 5000]:
            with self.subTest(path[:20]):
                self.refused("InvalidArgument", client.call, MANAGER, "Copy",
                             GLib.Variant("(ssa{sv})", (self.image("succeed"), path, {})))

    def test_destinations_are_checked(self):
        client = self.client()
        for destination, error in [("nonsense", "InvalidReference"), ("oci:relative", "InvalidArgument"), ("dir:/srv/x", "InvalidArgument"),
                                   ("oci:/srv/x:", "InvalidArgument"), ("docker://a/b@" + DIGEST, "InvalidArgument"),
                                   ("ostree-unverified-image:oci:/srv/x", "InvalidArgument")]:
            with self.subTest(destination):
                self.refused(error, client.call, MANAGER, "Export", GLib.Variant("(ssa{sv})", (self.image("succeed"), destination, {})))
        self.assertIn('"compression"', self.refused(
            "InvalidArgument", client.call, MANAGER, "Export",
            GLib.Variant("(ssa{sv})", (self.image("succeed"), "oci:/srv/x", {"compression": GLib.Variant("s", "bzip2")}))))

    def import_archive(self, client, path, flags):
        descriptor = os.open(path, flags)
        try:
            fds = Gio.UnixFDList.new_from_array([os.dup(descriptor)])
            return client.call(MANAGER, "ImportArchive", GLib.Variant("(hsa{sv})", (0, self.image("wait"), {})), fds=fds)[0]
        finally:
            os.close(descriptor)

    def test_an_archive_is_a_file_open_for_reading_and_its_job_is_nobody_elses(self):
        client = self.client()
        archive = self.directory + "/archive"
        open(archive, "w").close()
        for path, flags in [(self.directory, os.O_RDONLY), (archive, os.O_WRONLY), (archive, os.O_PATH), ("/dev/null", os.O_RDONLY)]:
            with self.subTest(path=path, flags=flags):
                self.assertIn("archive", self.refused("InvalidArgument", self.import_archive, client, path, flags))
        jobs = [self.import_archive(client, archive, os.O_RDONLY) for _ in range(2)]
        self.assertNotEqual(*jobs)
        self.release()
        for job in jobs:
            self.assertEqual(client.finished(job)["Kind"], "import-archive")

    def test_equal_copies_join(self):
        client = self.client()
        ids = [client.call(MANAGER, "Copy", GLib.Variant("(ssa{sv})", (self.image("wait"), path, options)))[0]
               for path, options in [("/srv/repo", {}), ("/srv//./repo/", {}), ("/srv/repo", {"from": GLib.Variant("b", True)})]]
        self.assertEqual(ids[0], ids[1])
        self.assertNotEqual(ids[0], ids[2])
        self.release()
        for job in ids[1:]:
            self.assertEqual(client.finished(job)["Kind"], "copy")

    def test_what_is_not_there_is_not_found(self):
        client = self.client()
        self.refused("NotFound", client.cancel, 7)
        for method in ["GetImage", "GetManifest", "GetConfig"]:
            self.refused("NotFound", client.call, MANAGER, method, GLib.Variant("(s)", ("docker://a/b:c",)))
        self.assertEqual(client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},))), ([],))

    def test_a_damaged_repository_is_an_error_and_no_crash(self):
        client = self.client()
        os.makedirs(self.directory + "/repo/photographs")
        for method in ("ListImages", "DescribeImages"):
            self.refused("RepositoryDamaged", client.call, MANAGER, method, GLib.Variant("(a{sv})", ({},)))
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
        self.eventually(lambda: client.call("org.freedesktop.DBus.Properties", "GetAll", GLib.Variant("(s)", (MANAGER,)))[0]["RepositoryMode"] == "bare-user")

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
        run = self.as_nobody("Pull", "sa{sv}", "docker://x.example/wait:1", "0")
        self.assertIn("user 65534 may not pull", run.stderr)
        run = self.as_nobody("ImportImage", "sa{sv}", "docker://x.example/wait:1", "1", "digest", "s", DIGEST)
        self.assertIn("user 65534 may not pull or import", run.stderr)
        run = self.as_nobody("Copy", "ssa{sv}", self.image("wait"), "/srv/repo", "0")
        self.assertIn("user 65534 may not copy images by a path", run.stderr)
        run = self.as_nobody("Export", "ssa{sv}", self.image("wait"), "oci:/srv/out:1", "0")
        self.assertIn("user 65534 may not export images by a path", run.stderr)
        run = self.as_nobody("Export", "ssa{sv}", self.image("wait"), "docker://registry.example/out:1", "0")
        self.assertIn("user 65534 may not export images", run.stderr)
        self.assertEqual(self.as_nobody("ListImages", "a{sv}", "0").returncode, 0)
        self.assertEqual(self.as_nobody("Prepare", "sa{sv}", "docker://x.example/succeed", "0").returncode, 0)
        self.assertEqual([line for line in self.starts() if line.startswith(("pull", "import"))], [])

    def test_strangers_cancel_only_what_is_theirs(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.assertIn("may not cancel", self.as_nobody("CancelJob", "u", str(job)).stderr)
        self.assertEqual(client.job(job)["State"], "running")
        own = self.as_nobody("Prepare", "sa{sv}", "docker://x.example/wait", "0").stdout.split()[1]
        self.assertEqual(client.job(int(own))["Owner"], NOBODY)
        self.assertEqual(self.as_nobody("CancelJob", "u", own).returncode, 0)
        self.assertEqual(client.finished(int(own))["Result"], "cancelled")
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

    def test_what_the_bus_sends_before_the_name_is_released_is_answered(self):
        """The bus has a call first, and the release of the name behind it, when it goes on."""
        client = self.client()
        for _ in range(3):
            client.call(MANAGER, "ListJobs")
            time.sleep(0.6)
            self.bus.send_signal(signal.SIGSTOP)
            answers = []
            call = threading.Thread(target=lambda: answers.append(client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)), timeout=10000)))
            call.start()
            time.sleep(0.8)
            self.bus.send_signal(signal.SIGCONT)
            call.join()
            self.assertEqual(answers, [([],)])
        self.eventually(lambda: not self.has_owner(client))


class Policy(unittest.TestCase):
    """What org.imaged1.conf lets through is what the interfaces have, member by member."""

    sources = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dbus")

    def test_the_bus_policy_names_every_method_and_no_other(self):
        methods = set()
        for path in glob.glob(self.sources + "/*.xml"):
            for interface in xml.etree.ElementTree.parse(path).getroot().iter("interface"):
                methods |= {(interface.get("name"), method.get("name")) for method in interface.iter("method")}
        allowed = set()
        root = xml.etree.ElementTree.parse(os.environ["BUS_POLICY"]).getroot()
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
