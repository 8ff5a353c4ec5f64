#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every method, option, error and property that the interface's XML documents, called with busctl. The calls are made from
the XML: what is added there and cannot be exercised fails here. busctl cannot send descriptors; where a method takes
one, the same call goes out by GDBus."""
import os
import re
import subprocess
import unittest

from gi.repository import Gio, GLib

import interface_xml
from bus_fixture import DIGEST, ERROR, JOB, MANAGER, NAME, ROOT, Case

NOBODY = 65534
# A value for each option that takes a text; for the others the type is enough.
TEXTS = {"digest": DIGEST, "target": "oci:/srv/other:1", "source": "oci:/srv/source:1", "compression": "zstd", "name": "latest",
         "from": "oci:/srv/other:1", "commit": "a" * 64, "delta": "never", "delta-from": "oci:/srv/other:1"}
# What else must be said with an option.
NEEDS = {"source": [("repair", "b", ["true"])], "compatible": [("delta-from", "s", ["oci:/srv/other:1"])]}
WRONG = {"b": ["s", "yes"], "s": ["b", "true"], "h": ["s", "/etc/passwd"]}


METHODS = interface_xml.methods_of(MANAGER)
JOBS = [method for method in METHODS.values() if method.starts_job]
# Jobs that only read: others do not see how they ended.
PRIVATE = {interface_xml.method_of(kind["name"]) for kind in interface_xml.described_jobs() if kind["only-reads"]}


def values(method, image, directory):
    """busctl's words for the arguments of METHOD before the options."""
    words = []
    for name, kind in method.arguments:
        if kind == "as":
            words += ["1", image]
        elif kind == "s":
            words.append({"repository": directory + "/copy", "destination": f"oci:{directory}/out:1", "to": image}.get(name, image))
        elif kind == "u":
            words.append("4711")
    return words


class Interface(Case):
    def command(self):
        return [*super().command(), "--sysroot", self.directory + "/root"]

    def busctl(self, verb, *words, nobody=False):
        """(standard output, error name)"""
        command = ["busctl", "--address=" + self.address, verb, NAME, *words]
        if nobody:
            command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        run = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug"}, timeout=30)
        name = re.findall(r"type=error .*error-name=(\S+)", run.stderr)
        return run.stdout.strip(), name[-1] if name else None

    def call(self, method, image, options=(), nobody=False):
        """OPTIONS: (key, type, words). The same as busctl(), for methods with a descriptor too."""
        options = list(options)
        given = {key for key, _, _ in options}
        options += [(key, "s", [TEXTS[key]]) for key in method.required - given]
        if "h" in method.signature:
            return self.call_with_file(method, image, options, nobody)
        words = values(method, image, self.directory)
        if method.signature.endswith("a{sv}"):
            words.append(str(len(options)))
            for key, kind, value in options:
                words += [key, kind, *value]
        return self.busctl("call", ROOT, MANAGER, method.name, method.signature, *words, nobody=nobody)

    def call_with_file(self, method, image, options, nobody):
        if nobody:
            raise ValueError("a descriptor of another user's")
        archive = self.directory + "/archive"
        open(archive, "a").close()
        fds = Gio.UnixFDList.new()
        fd = os.open(archive, os.O_RDONLY)
        fds.append(fd)
        os.close(fd)
        table = {key: GLib.Variant(kind, value[0] == "true" if kind == "b" else value[0]) for key, kind, value in options}
        try:
            reply = self.client().call(MANAGER, method.name, GLib.Variant("(hsa{sv})", (0, image, table)), fds=fds)
            return f'uo {reply[0]} "{reply[1]}"', None
        except Exception as error:  # the fixture's BusError
            return "", error.name

    def started(self, method, image, options=()):
        output, error = self.call(method, image, options)
        self.assertIsNone(error, f"{method.name} {options}")
        return output.split('"')[1]

    def job_property(self, path, name):
        output, error = self.busctl("get-property", path, JOB, name)
        self.assertIsNone(error)
        return output

    def script(self, verb):
        """What a job without an image of its own is to do."""
        with open(self.directory + "/do", "w", encoding="utf-8") as file:
            file.write(verb)
        return self.image(verb)

    def test_every_option_is_taken_with_its_type_and_refused_with_another(self):
        count = 0
        self.release()
        for method in METHODS.values():
            for key, kind in method.options.items():
                with self.subTest(method=method.name, option=key):
                    image = self.script("succeed")
                    _, error = self.call(method, image, [(key, WRONG[kind][0], [WRONG[kind][1]])])
                    self.assertEqual(error, ERROR + "InvalidArgument")
                    if kind != "h":
                        self.assertTrue(kind != "s" or key in TEXTS, f"TEXTS of test-interface.py has no value for the option {key}")
                        value = ["true"] if kind == "b" else [TEXTS[key]]
                        _, error = self.call(method, image, [(key, kind, value), *NEEDS.get(key, [])])
                        self.assertIn(error, (None,) if method.starts_job else (None, ERROR + "NotFound"))
                    count += 1
        print(f"\n{count} options of {len(METHODS)} methods")
        self.assertGreaterEqual(count, 40)  # none was overlooked when this was written

    def test_what_is_unknown_or_missing_is_refused(self):
        for method in METHODS.values():
            with self.subTest(method=method.name):
                if method.signature.endswith("a{sv}"):
                    self.assertEqual(self.call(method, self.script("succeed"), [("colour", "s", ["blue"])])[1], ERROR + "InvalidArgument")
                if "InvalidReference" in method.direct:
                    self.assertEqual(self.call(method, "nonsense")[1], ERROR + "InvalidReference")

    def test_every_error_of_a_job_reaches_the_caller(self):
        count = 0
        for method in JOBS:
            self.assertTrue(method.through_job, method.name)
            if method.name == "CheckImages":
                continue  # the errors of its workers are those of images (test-check-images)
            for name in sorted(method.through_job):
                with self.subTest(method=method.name, error=name):
                    path = self.started(method, self.script("error," + name))
                    self.eventually(lambda: self.job_property(path, "State") == 's "finished"')
                    self.assertEqual(self.job_property(path, "ErrorName"), f's "{"" if method.name in PRIVATE else ERROR + name}"')
                    outcome, error = self.busctl("call", path, JOB, "GetOutcome")
                    self.assertIsNone(error)
                    self.assertEqual(outcome, f'sssa{{sv}} "failed" "{ERROR}{name}" "because of {name}" 0')
                    self.assertEqual(self.job_property(path, "Result"), 's "failed"')
                    count += 1
        print(f"\n{count} errors of {len(JOBS)} methods")

    def test_what_is_not_there_is_not_found(self):
        for method in METHODS.values():
            if not method.starts_job and "NotFound" in method.direct:
                with self.subTest(method=method.name):
                    self.assertEqual(self.call(method, "docker://a/b:c")[1], ERROR + "NotFound")

    def test_a_repository_that_is_none_is_damaged(self):
        os.makedirs(self.directory + "/repo/photographs")
        os.makedirs(f"{self.directory}/root/ostree/deploy/host/deploy/{'a' * 64}.0")
        for method in METHODS.values():
            if not method.starts_job and "RepositoryDamaged" in method.direct:
                with self.subTest(method=method.name):
                    self.assertEqual(self.call(method, "docker://a/b:c")[1], ERROR + "RepositoryDamaged")

    def test_a_full_queue_is_told(self):
        client = self.client()
        client.running(client.pull(self.image("wait")))
        for count in range(32):
            client.pull(self.image(f"wait,{count}"))
        for method in JOBS:
            with self.subTest(method=method.name):
                self.assertIn("QueueFull", method.direct)
                self.assertEqual(self.call(method, self.script("succeed"))[1], ERROR + "QueueFull")

    @unittest.skipUnless(os.getuid() == 0, "needs root to become another user")
    def test_strangers_may_not(self):
        client = self.client()
        client.running(client.pull(self.image("wait")))
        for method in METHODS.values():
            if "NotAuthorized" not in method.direct or "h" in method.signature:
                continue
            with self.subTest(method=method.name):
                if method.name == "CancelJob":
                    self.assertEqual(self.busctl("call", ROOT, MANAGER, "CancelJob", "u", "1", nobody=True)[1], ERROR + "NotAuthorized")
                else:
                    self.assertEqual(self.call(method, self.script("succeed"), nobody=True)[1], ERROR + "NotAuthorized")
        self.assertEqual(self.busctl("call", ROOT + "/job/1", JOB, "Cancel", nobody=True)[1], ERROR + "NotAuthorized")

    def test_every_property_has_its_type_and_every_reading_method_answers(self):
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        for interface, path in [(MANAGER, ROOT), (JOB, f"{ROOT}/job/{job}")]:
            for name, kind in interface_xml.properties_of(interface).items():
                output, error = self.busctl("get-property", path, interface, name)
                self.assertIsNone(error, name)
                self.assertEqual(output.split(" ")[0], kind, name)
        self.assertEqual(self.call(METHODS["ListImages"], "")[0], "aa{sv} 0")
        self.assertEqual(self.call(METHODS["DescribeImages"], "")[0], r's "{\"images\":[]}"')
        self.assertTrue(self.call(METHODS["ListJobs"], "")[0].startswith("a(uoss) 1"))
        self.assertIsNone(self.busctl("call", f"{ROOT}/job/{job}", JOB, "Cancel")[1])
        self.eventually(lambda: self.job_property(f"{ROOT}/job/{job}", "Result") == 's "cancelled"')


if __name__ == "__main__":
    unittest.main(verbosity=2)
