#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A system whose repository has not been made yet: what only reads finds nothing and makes nothing, and what pulls makes
it, also where an earlier attempt got only half-way."""
import errno
import os
import signal
import subprocess
import unittest

import agreement
import sanitizers
import worker
from bus_fixture import IMAGED, MANAGER, NAME, ROOT, Case
from oci_layout import Entry, Layout, layer

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
FAULT_LAYER = os.environ.get("FAULT_LAYER", "")
IMAGE = "docker://registry.example/a:b"
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


def small_image(directory):
    layout = Layout(directory + "/layout")
    layout.image("v1", [layer([Entry("usr", "dir", mode=0o755), Entry("usr/hello", content=b"hello\n")])])
    return layout.reference("v1")


class Fresh(Case):
    """As on the system bus, with the real worker; the directory that the repository would lie in is not there either."""

    def setUp(self):
        self.environment = dict(os.environ)
        self.addCleanup(lambda: (os.environ.clear(), os.environ.update(self.environment)))
        super().setUp()
        os.environ["IMAGED_BUS_ADDRESS"] = self.address

    def command(self):
        os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = self.address
        self.repository = self.directory + "/ostree/repo"
        with open(self.directory + "/imaged.conf", "w", encoding="utf-8") as file:
            file.write(f"[Repository]\nPath={self.repository}\n")
        return [IMAGED, "--config", self.directory + "/imaged.conf", "--worker", worker.PROGRAM, "--log-level", "off"]

    def imagectl(self, *words):
        return subprocess.run([IMAGECTL, *words], capture_output=True, text=True, timeout=30 * sanitizers.SLOWER)

    def busctl(self, method, *words):
        return subprocess.run(["busctl", "--address=" + self.address, "call", NAME, ROOT, MANAGER, method, *words],
                              capture_output=True, text=True, timeout=30 * sanitizers.SLOWER)

    def assert_untouched(self):
        self.assertFalse(os.path.exists(self.directory + "/ostree"))

    def test_reading_finds_nothing_and_makes_nothing(self):
        self.assertEqual(self.busctl("ListImages", "a{sv}", "0").stdout, "aa{sv} 0\n")
        self.assertEqual(self.busctl("ListJobs").stdout, "a(uoss) 0\n")
        self.assertIn("is not in the repository", self.busctl("GetImage", "s", IMAGE).stderr)
        self.assertEqual(self.imagectl("list", "--json").stdout.strip(), '{"schema":1,"images":[]}')
        for verb in ("list", "jobs"):
            self.assertEqual(self.imagectl(verb).returncode, 0, verb)
        for verb in ("show", "manifest", "config", "diff"):
            run = self.imagectl(verb, IMAGE, *(["docker://registry.example/a:c"] if verb == "diff" else []))
            self.assertEqual(run.returncode, 3, verb + run.stderr)
        self.assert_untouched()

    def test_jobs_that_need_an_image_find_none_and_the_others_have_nothing_to_do(self):
        for words, code in [(("prune",), 0), (("prune", "--dry-run"), 0), (("verify",), 0), (("verify", IMAGE), 3),
                            (("verify", "--repair"), 0), (("remove", IMAGE), 3), (("check", IMAGE), 3),
                            (("export", IMAGE, "oci:" + self.directory + "/out:1"), 3)]:
            with self.subTest(words):
                run = self.imagectl(*words)
                self.assertEqual(run.returncode, code, run.stderr + run.stdout)
        self.assert_untouched()
        self.assertFalse(os.path.exists(self.directory + "/out"))

    def test_preparing_tells_what_a_pull_would_do_and_makes_nothing(self):
        run = self.imagectl("prepare", small_image(self.directory))
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assert_untouched()

    def test_what_is_no_repository_is_damaged_and_stays_as_it_is(self):
        os.makedirs(self.repository)
        with open(self.repository + "/letter", "w", encoding="utf-8") as file:
            file.write("somebody's\n")
        for words in (("list",), ("prune",), ("verify",), ("remove", IMAGE), ("pull", small_image(self.directory))):
            with self.subTest(words):
                run = self.imagectl(*words)
                self.assertEqual(run.returncode, 1, run.stdout)
                self.assertIn(self.repository, run.stderr)
        self.assertEqual(os.listdir(self.repository), ["letter"])


class FirstPull(unittest.TestCase):
    def setUp(self):
        scratch = agreement.Scratch()
        self.addCleanup(scratch.cleanup)
        self.directory = scratch.name
        self.repository = self.directory + "/srv/repo"
        self.image = "ostree-unverified-image:" + small_image(self.directory)

    def pull(self, **environment):
        return worker.pull(self.image, self.repository, env=environment).result

    def verify(self):
        return worker.pull("", self.repository, kind="verify").result

    def assert_usable(self):
        self.assertEqual(self.pull()["outcome"], "success")
        subprocess.run(["ostree", "--repo=" + self.repository, "fsck", "--quiet"], check=True, capture_output=True)

    def test_where_making_the_repository_fails_there_is_none_and_the_next_pull_makes_it(self):
        """Each directory of the repository, in turn, is one that the disk has no room for."""
        for succeed in range(20):
            failed = self.pull(LD_PRELOAD=FAULT_LAYER, FAULT_CALL="mkdirat", FAULT_PATH=self.repository,
                               FAULT_AFTER=str(succeed), FAULT_ERRNO=str(errno.ENOSPC))
            if os.path.isdir(self.repository + "/objects"):
                break
            with self.subTest(succeed):
                self.assertEqual(failed["error-name"], "NoSpace", failed)
                found = self.verify()
                self.assertEqual((found["outcome"], found["details"]["images-checked"]), ("success", 0), found)
                self.assert_usable()
                subprocess.run(["rm", "-r", self.directory + "/srv"], check=True)
        self.assertGreater(succeed, 4)
        self.assert_usable()

    def test_an_empty_directory_is_a_place_for_a_repository(self):
        os.makedirs(self.repository)
        self.assertEqual(self.verify()["outcome"], "success")
        self.assertEqual(os.listdir(self.repository), [])
        self.assert_usable()

    def test_a_repository_that_lost_its_objects_is_not_made_anew(self):
        self.assert_usable()
        subprocess.run(["rm", "-r", self.repository + "/objects"], check=True)
        self.assertEqual(self.pull()["error-name"], "RepositoryDamaged")
        self.assertEqual(self.verify()["error-name"], "RepositoryDamaged")
        self.assertFalse(os.path.exists(self.repository + "/objects"))



class Session(Case):
    """A user's own, started by the session bus as it is installed, but for where the programs lie."""
    activation = True

    def command(self):
        program = self.directory + "/libexec/imaged/imaged"
        os.makedirs(os.path.dirname(program))
        with open(program, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec "{IMAGED}" --worker "{worker.PROGRAM}" --log-level off "$@"\n')
        os.chmod(program, 0o755)
        with open(SOURCES + "/dbus/org.imaged1.session.service.in", encoding="utf-8") as file:
            lines = dict(line.split("=", 1) for line in file.read().replace("@libexecdir@", self.directory + "/libexec").splitlines() if "=" in line)
        self.assertEqual((lines["Name"], lines["SystemdService"]), (NAME, "imaged.service"))
        with open(SOURCES + "/systemd/imaged-session.service.in", encoding="utf-8") as file:
            self.assertIn("ExecStart=" + lines["Exec"] + "\n", file.read().replace("@libexecdir@", self.directory + "/libexec"))
        return lines["Exec"].split()

    def spawn(self, command, **keywords):
        # What the bus starts has the environment of the session.
        return super().spawn(command, env={**os.environ, "XDG_DATA_HOME": self.directory + "/data", "DBUS_SESSION_BUS_ADDRESS": self.address}, **keywords)

    def test_a_user_keeps_images_of_their_own(self):
        image = small_image(self.directory)
        environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": self.address}
        for words in (("pull", image), ("list",), ("show", image)):
            run = subprocess.run([IMAGECTL, "--session", *words], capture_output=True, text=True, env=environment, timeout=60 * sanitizers.SLOWER)
            self.assertEqual(run.returncode, 0, run.stderr)
            self.assertIn(image, run.stdout)
        self.assertTrue(os.path.isdir(self.directory + "/data/imaged/repo/objects"))
        # It ends before its directory goes.
        self.client().call("org.freedesktop.DBus.Peer", "Ping")
        pid = subprocess.run(["busctl", "--address=" + self.address, "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "GetConnectionUnixProcessID", "s", NAME],
                             capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout.split()[1]
        os.kill(int(pid), signal.SIGTERM)
        self.eventually(lambda: not self.has_owner(self.client()))


if __name__ == "__main__":
    unittest.main(verbosity=2)
