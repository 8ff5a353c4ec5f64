#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each kind of job that lib/job/requests.hpp defines has all that a verb consists of (docs/adding-a-verb.md), under the same names and types."""
import json
import os
import pathlib
import re
import subprocess
import unittest
import xml.etree.ElementTree
import interface_xml

ROOT = pathlib.Path(os.environ["SOURCE_ROOT"])
KINDS = {kind["name"]: kind for kind in json.loads(subprocess.run([os.environ["DESCRIBE_JOBS"]], check=True, capture_output=True, text=True).stdout)}
METHODS = {method.name: method for method in interface_xml.methods_of("org.imaged1.Manager").values() if method.starts_job}
COMMON = {"bind-to-caller": "b", "interactive": "b"}
# The daemon decides it, no caller.
DECIDED = {"verify": {"signed"}}
# Actions that are asked about beside that of the kind.
OTHERS = {"pull-unverified", "store-as", "cancel"}
# A verb of imagectl for each but this, which check does for several images.
VERBS = {"check-images": "check"}


def method_of(name):
    """Its method on the bus. "import" is a word of many languages."""
    return "ImportImage" if name == "import" else "".join(word.capitalize() for word in name.split("-"))


def comment_of(method):
    return re.search(rf"<!--\n\s+{method}:\n(.*?)-->", interface_xml.text_of("org.imaged1.Manager"), re.S).group(1)


class Contract(unittest.TestCase):
    def test_each_kind_is_a_method_and_the_other_way_round(self):
        self.assertEqual({method_of(name) for name in KINDS}, set(METHODS), "dbus/org.imaged1.Manager.xml and lib/job/requests.hpp")

    def test_the_options_are_those_that_the_interface_documents(self):
        for name, kind in KINDS.items():
            with self.subTest(name):
                self.assertEqual(METHODS[method_of(name)].options, kind["options"] | COMMON, "Options: in dbus/org.imaged1.Manager.xml, option() in lib/job/requests.hpp")

    def test_the_arguments_are_those_of_the_method(self):
        types = {"s": "s", "as": "as"}
        for name, kind in KINDS.items():
            with self.subTest(name):
                method = {argument: kind for argument, kind in METHODS[method_of(name)].arguments if argument not in ("options", "archive")}
                self.assertEqual(method, {key: types[value] for key, value in kind["arguments"].items() if key not in DECIDED.get(name, ())})

    def test_the_outcome_is_what_the_interface_documents(self):
        for name, kind in KINDS.items():
            comment = comment_of(method_of(name))
            if "Outcome keys: those of Pull" in comment:
                comment = comment_of("Pull")
            told = comment.split("Outcome keys:")[1]
            for key, value in kind["outcome"].items():
                with self.subTest(name, key=key):
                    # A list of keys may share a note: "architecture (s), os (s) as of Prepare".
                    self.assertRegex(told, rf"(?<![\w-]){key} \({re.escape(value)}[,)]", "Outcome keys: in dbus/org.imaged1.Manager.xml")

    def test_the_policy_has_each_action_with_its_texts(self):
        root = xml.etree.ElementTree.parse(ROOT / "dbus/org.imaged1.policy").getroot()
        declared = {action.get("id") for action in root.iter("action")}
        asked = {kind["action"] for kind in KINDS.values()} - {""} | OTHERS
        self.assertEqual(declared, {"org.imaged1." + action for action in asked}, "dbus/org.imaged1.policy")
        for action in root.iter("action"):
            for tag in ("description", "message"):
                self.assertTrue(action.find(tag).text)
            self.assertEqual({action.find("defaults/" + tag).text.split("_keep")[0]
                              for tag in ("allow_any", "allow_inactive", "allow_active")}, {"auth_admin"})

    def test_imagectl_has_a_verb_for_each_and_its_json_is_documented(self):
        page = (ROOT / "docs/imagectl-json.md").read_text()
        table = page.split("|---|---|\n", 1)[1].split("\n\n")[0]
        verbs = set(re.findall(r"^  ([a-z-]+) ", subprocess.run([os.environ["IMAGECTL"], "--help"], check=True, capture_output=True, text=True).stdout, re.M))
        for name, kind in KINDS.items():
            with self.subTest(name):
                self.assertIn(VERBS.get(name, name), verbs, "client/commands")
                self.assertIn(f"`{VERBS.get(name, name)}`", table, "docs/imagectl-json.md")
                for key in kind["outcome"]:
                    self.assertRegex(page, rf"\n\| (`[a-z-]+`, )*`{key}`", f"docs/imagectl-json.md says nothing of {key}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
