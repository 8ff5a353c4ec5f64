#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Questions to polkit: how many may be open, when they are withdrawn, what an image under another name asks, and the sample rule."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import system_bus
from system_bus import SystemCase

USER, OTHER = system_bus.USERS[:2]
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ALL = ("org.imaged1.pull", "org.imaged1.pull-unverified", "org.imaged1.import", "org.imaged1.check")


class Questions(SystemCase):
    def asked(self):
        return [question for question in self.questions() if "action" in question]

    def withdrawn(self):
        return {question["withdrawn"] for question in self.questions() if "withdrawn" in question}

    def test_open_questions_are_limited_for_each_user(self):
        self.allow("never")
        callers = [self.caller(USER) for _ in range(2)]
        for number in range(40):
            callers[number % 2].start("Pull", f"docker://signed.example/a:{number}", wait=False)
        self.eventually(lambda: len(self.asked()) >= 16)
        self.assert_refused("QueueFull", callers[0].start, "Pull", "docker://signed.example/a:more")
        self.assertEqual(len(self.asked()), 16)
        print(f"    peak beside 40 calls: {self.peak():.1f} MiB")
        self.caller(OTHER).start("Pull", "docker://signed.example/a:other", wait=False)
        self.eventually(lambda: len(self.asked()) == 17)

    def test_a_question_is_withdrawn_when_its_caller_leaves_and_no_job_starts(self):
        self.allow("never")
        user = self.caller(USER)
        user.start("Pull", "docker://signed.example/a:b", {"interactive": True}, wait=False)
        self.eventually(self.asked)
        user.leave()
        self.eventually(lambda: self.withdrawn() == {self.asked()[0]["cancellation"]})
        self.assertEqual(self.root.call("ListJobs"), [[]])

    def test_another_name_is_an_authorisation_of_its_own(self):
        user = self.caller(USER)
        self.allow(*ALL)
        for method, options in (("Pull", {}), ("ImportImage", {"digest": "sha256:" + "0" * 64}), ("Check", {})):
            with self.subTest(method):
                options = {**options, "target": "docker://open.example/vendor:1"}
                self.assertIn("under another name", self.assert_refused("NotAuthorized", user.start, method, "docker://open.example/a:b", options))
                first, second = self.asked()[-2:]
                self.assertEqual(second["action"], "org.imaged1.store-as")
                for question in (first, second):
                    self.assertIn("docker://open.example/a:b", question["details"]["image"])
                    self.assertEqual(question["details"]["target"], "docker://open.example/vendor:1")
        self.allow(*ALL, "org.imaged1.store-as")
        self.assertTrue(user.start("Pull", "docker://open.example/a:b", {"target": "docker://open.example/vendor:1"}))

    def test_the_policy_holds_for_the_other_name_too(self):
        user = self.caller(USER)
        self.allow(*ALL, "org.imaged1.store-as")
        for target in ("docker://signed.example/vendor:1", "oci:/srv/vendor:1"):
            for method in ("Pull", "Check"):
                with self.subTest(target=target, method=method):
                    self.assertIn("may not store", self.assert_refused("NotAuthorized", user.start, method, "docker://open.example/a:b", {"target": target}))
        self.assertEqual(self.asked(), [])
        self.assertTrue(user.start("Pull", "docker://signed.example/a:b", {"target": "docker://signed.example/vendor:1"}))

    def test_a_name_without_a_tag_shuts_out_no_others(self):
        self.allow(*ALL, "org.imaged1.store-as")
        user = self.caller(USER)
        for image, options in (("docker://open.example/os", {}), ("docker://open.example:5000/os", {}), ("docker://os", {}),
                               ("docker://open.example/a:b", {"target": "docker://open.example/os"})):
            with self.subTest(image=image, options=options):
                self.assertIn("neither tag nor digest", self.assert_refused("InvalidReference", user.start, "Pull", image, options))
        self.assertEqual(self.asked(), [])
        for image in ("docker://open.example/os:1", "docker://os:1", "docker://open.example/os@sha256:" + "0" * 64):
            self.assertTrue(user.start("Pull", image))
        self.assertTrue(self.root.start("Pull", "docker://open.example/os"))

    def test_the_name_of_an_archive_is_an_authorisation_of_its_own(self):
        path = self.write("archive.tar", "not an archive")

        def start(caller, name):
            return caller.call("ImportArchive", "(hsa{sv})", 0, name, {}, archive=path)[0]
        user = self.caller(USER)
        self.allow(*ALL)
        self.assertIn("under another name", self.assert_refused("NotAuthorized", start, user, "docker://open.example/vendor:1"))
        self.assertEqual([question["action"] for question in self.asked()], ["org.imaged1.pull-unverified", "org.imaged1.store-as"])
        for question in self.asked():
            self.assertEqual([question["details"][key] for key in ("image", "target")], ["docker://open.example/vendor:1"] * 2)
        self.allow(*ALL, "org.imaged1.store-as")
        count = len(self.asked())
        for name in ("docker://signed.example/vendor:1", "ostree-unverified-registry:signed.example/vendor:1", "ostree-image-signed:docker://signed.example/vendor:1",
                     "oci:/srv/vendor:1", "dir:/srv/vendor", "docker-daemon:vendor:1"):
            with self.subTest(name):
                self.assertIn("may not store an archive", self.assert_refused("NotAuthorized", start, user, name))
        self.assertEqual(len(self.asked()), count, "nobody is asked about what the policy refuses")
        for caller, name in ((user, "docker://open.example/vendor:1"), (self.root, "docker://signed.example/vendor:1"), (self.root, "oci:/srv/vendor:1")):
            self.assertEqual(caller.finished(start(caller, name))["Result"], "failed")

    def test_a_reference_holds_no_password(self):
        names = ("user:geheim@registry.example/a:b", "user:geheim@registry.example", "user:geheim@registry.example:5000", "https://user:geheim@registry.example/a",
                 "user:geheim/1@registry.example/a")
        for caller in (self.root, self.caller(USER)):
            for method in ("Prepare", "Pull"):
                for image in [prefix + name for prefix in ("docker://", "registry:", "ostree-unverified-registry:", "ostree-remote-registry:r:", "docker:") for name in names]:
                    with self.subTest(method=method, image=image):
                        self.assertNotIn("geheim", self.assert_refused("InvalidReference", caller.start, method, image))
            self.assertNotIn("geheim", self.assert_refused("InvalidReference", caller.start, "Pull", "docker://a/b:1", {"target": "docker://" + names[1]}))
            self.assertNotIn("geheim", self.assert_refused("InvalidReference", caller.start, "Prepare", "https://user:geheim@" + "x" * 5000))

    def test_an_authfile_names_no_programs(self):
        user = self.caller(USER)
        for extra in ({"credHelpers": {"x.example": "evil"}}, {"credsStore": "evil"}):
            job = user.start("Prepare", "docker://127.0.0.1:1/x:y", authfile=json.dumps({"auths": {}, **extra}))
            user.finished(job)
            _, name, message, _ = user.outcome(job)
            self.assertEqual(name, "org.imaged1.Error.InvalidArgument", message)
            self.assertIn(next(iter(extra)), message)


RULE = """
var rules = [], polkit = {Result: {YES: "yes"}, addRule: function(rule) { rules.push(rule); }};
%s
var out = [];
%s.forEach(function(trial) {
    var action = {id: trial[0], lookup: function(key) { return trial[1][key]; }};
    out.push(rules[0](action, {isInGroup: function(group) { return group === trial[2]; }}) === "yes" ? "1" : "0");
});
%s(out.join(""));
"""


class SampleRule(unittest.TestCase):
    """The rule as polkit reads it, in the interpreter that polkit uses (duktape) or another one."""

    def answers(self, *trials):
        program = shutil.which("duk") or shutil.which("node")
        self.assertTrue(program, "needs duktape or nodejs")
        with open(SOURCES + "/dbus/50-imaged-signed.rules", encoding="utf-8") as file:
            text = RULE % (file.read(), json.dumps(trials), "print" if program.endswith("duk") else "console.log")
        with tempfile.NamedTemporaryFile("w", suffix=".js", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            run = subprocess.run([program, file.name], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout.strip()

    def test_images_of_the_registry_are_allowed_and_hostile_names_are_not(self):
        good = "ostree-image-signed:docker://registry.example.org/"
        allowed = [good + name for name in ("x", "x:1", "a/b/c:v1.2_3-4", "a__b/c-d.e:T", "x@sha256:" + "a" * 64, "x:1@sha256:" + "0" * 64)]
        hostile = ["ostree-image-signed:docker://evil.example/registry.example.org/x", "ostree-image-signed:docker://registry.example.org.evil.example/x",
                   "ostree-image-signed:docker://registry.example.org:5000/x", "ostree-image-signed:docker://evil@registry.example.org/x",
                   "ostree-image-signed:docker://registryXexampleXorg/x", "docker://registry.example.org/x", "ostree-unverified-registry:registry.example.org/x",
                   "ostree-remote-registry:registry.example.org/:docker://evil/x", "ostree-image-signed:oci:/registry.example.org/x", good, good + "../x", good + "a/../x",
                   good + "x\nevil", good + "x\u2028", good + "x y", good + "x:1…", good + "x@sha256:" + "a" * 63, "x " + good + "x", good + "/x", ""]
        trials = [("org.imaged1.pull", {"image": image}, "images") for image in allowed + hostile]
        self.assertEqual(self.answers(*trials), "1" * len(allowed) + "0" * len(hostile))

    def test_nothing_else_is_allowed(self):
        image = {"image": "ostree-image-signed:docker://registry.example.org/x"}
        self.assertEqual(self.answers(("org.imaged1.pull", {**image, "target": "docker://registry.example.org/y"}, "images"), ("org.imaged1.pull", image, "users"),
                                      ("org.imaged1.pull-unverified", image, "images"), ("org.imaged1.store-as", image, "images"),
                                      ("org.imaged1.check", image, "images"), ("org.imaged1.pull", {}, "images")), "000000")


if __name__ == "__main__":
    unittest.main(verbosity=2)
