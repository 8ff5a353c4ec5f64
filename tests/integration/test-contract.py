#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each kind of job that lib/job/kinds.hpp defines has all that a verb consists of (docs/adding-a-verb.md), under the same names and types."""
import os
import pathlib
import re
import subprocess
import unittest
import xml.etree.ElementTree
import interface_xml
from interface_xml import method_of

ROOT = pathlib.Path(os.environ["SOURCE_ROOT"])
DESCRIBED = interface_xml.described_jobs()
KINDS = {kind["name"]: kind for kind in DESCRIBED}
METHODS = {method.name: method for method in interface_xml.methods_of("org.imaged1.Manager").values() if method.starts_job}
COMMON = {"background": "b", "bind-to-caller": "b", "interactive": "b"}
# The daemon decides it, no caller.
DECIDED = {"verify": {"signed"}}
# Kinds that only remove updates or damage, or bring sound images.
FINDS_NOTHING = {"import", "pull", "import-archive", "export", "remove", "prune"}
# Actions that are asked about beside that of the kind.
OTHERS = {"pull-unverified", "store-as", "cancel"}
# A verb of imagectl for each but this, which check does for several images.
VERBS = {"disk-usage": "df", "check-images": "check"}
# The heading of docs/imagectl-json.md for each kind but this, which has that of its verb.
HEADINGS = {"check-images": "Outcome of check without an image, or with several"}
# What a D-Bus value is in JSON: by the beginning of its type.
JSON_TYPES = {"s": "string", "b": "boolean", "u": "number", "t": "number", "as": "array", "aa": "array", "a{": "object"}
# How Qt's code generator calls the types that it does not know.
QT_TYPES = {"a{sv}": "QVariantMap", "aa{sv}": "QList<QVariantMap>"}
# Options of methods that imagectl has no option for: it sets the first by itself, others are words of the command line or options of another verb.
WITHOUT_OPTION = {"place"}
SAID_OTHERWISE = {"changes": {"commit", "digest"}, "rollback": {"digest"}, "export": {"compatible", "delta-from"}}


def comment_of(method):
    found = re.search(rf"<!--\n\s+{method}:\n(.*?)-->", interface_xml.text_of("org.imaged1.Manager"), re.S)
    assert found, f"dbus/org.imaged1.Manager.xml has no comment for the method {method}"
    return found.group(1)


def imagectl(*words):
    return subprocess.run([os.environ["IMAGECTL"], *words], check=True, capture_output=True, text=True).stdout


def rows_of(section):
    """(keys, types) of each row of the tables in SECTION of docs/imagectl-json.md."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in section.splitlines() if line.startswith("| `")]
    return [(re.findall("`([^`]+)`", row[0]), row[1]) for row in rows]


def kinds():
    """Those that have a method; one that has none is reported once."""
    return {name: kind for name, kind in KINDS.items() if method_of(name) in METHODS}


class Contract(unittest.TestCase):
    def test_each_kind_is_a_method_and_the_other_way_round(self):
        for name in KINDS:
            self.assertEqual([kind["name"] for kind in DESCRIBED].count(name), 1, f"two kinds of lib/job/kinds.hpp are called {name}")
            self.assertTrue(method_of(name) in METHODS, f"dbus/org.imaged1.Manager.xml has no method {method_of(name)} for the kind {name}")
        for method in interface_xml.methods_of("org.imaged1.Manager"):
            comment_of(method)
        self.assertEqual(set(METHODS), {method_of(name) for name in KINDS}, "a method that starts a job has no kind in lib/job/kinds.hpp")

    def test_the_options_are_those_that_the_interface_documents(self):
        for name, kind in kinds().items():
            with self.subTest(name):
                self.assertEqual(METHODS[method_of(name)].options, kind["options"] | COMMON, "Options: in dbus/org.imaged1.Manager.xml, option() in lib/job/kinds.hpp")

    def test_the_arguments_are_those_of_the_method(self):
        types = {"s": "s", "as": "as"}
        for name, kind in kinds().items():
            with self.subTest(name):
                method = {argument: kind for argument, kind in METHODS[method_of(name)].arguments if argument not in ("options", "archive")}
                asked = {key: value for key, value in kind["arguments"].items() if key not in DECIDED.get(name, ())}
                self.assertTrue(set(asked.values()) <= set(types), f"{asked}: what is no argument of the method is an option() in lib/job/kinds.hpp")
                self.assertEqual(method, {key: types[value] for key, value in asked.items()})

    def test_the_outcome_is_what_the_interface_documents(self):
        for name, kind in kinds().items():
            comment = comment_of(method_of(name))
            if "Outcome keys: those of Pull" in comment:
                comment = comment_of("Pull")
            told = comment.split("Outcome keys:")[1]
            for key, value in kind["outcome"].items():
                with self.subTest(name, key=key):
                    self.assertTrue(re.search(rf"(?<![\w-]){key} \({re.escape(value)}[,)]", told),
                                    f"dbus/org.imaged1.Manager.xml, {method_of(name)}, has no outcome key {key} ({value})")
            # An entry begins behind each semicolon; what else has a type in it is a member of its values.
            for entry in told.split("\n\n")[0].split(";"):
                first = re.match(r"\s*([a-z][a-z-]*) \(([a-z{}]+)[,)]", entry)
                if first:
                    self.assertEqual(kind["outcome"].get(first[1]), first[2], f"the outcome of {name} in lib/job/kinds.hpp has no field {first[1]}: fields() of its struct")

    def test_code_generators_find_their_annotations(self):
        for interface in ("org.imaged1.Manager", "org.imaged1.Job"):
            methods = interface_xml.methods_of(interface)
            for name, element in interface_xml.elements_of(interface, "method").items():
                wanted = {"org.freedesktop.DBus.Method.Async": "server"} if name != "ListJobs" else {}  # which imaged answers at once
                for way in ("in", "out"):
                    for number, argument in enumerate(arg for arg in element.findall("arg") if arg.get("direction") == way):
                        if argument.get("type") in QT_TYPES:
                            wanted[f"org.qtproject.QtDBus.QtTypeName.{way.capitalize()}{number}"] = QT_TYPES[argument.get("type")]
                if "h" in methods[name].signature or "h" in methods[name].options.values():
                    wanted["org.gtk.GDBus.C.UnixFD"] = "true"
                found = {annotation.get("name"): annotation.get("value") for annotation in element.findall("annotation")}
                with self.subTest(interface, method=name):
                    self.assertEqual({key: value for key, value in found.items() if not value.startswith("Imaged")}, wanted,
                                     f"<annotation> of the method {name} in dbus/{interface}.xml")

    def test_the_policy_has_each_action_with_its_texts(self):
        root = xml.etree.ElementTree.parse(ROOT / "dbus/org.imaged1.policy").getroot()
        declared = {action.get("id") for action in root.iter("action")}
        asked = {kind["action"] for kind in KINDS.values()} - {""} | OTHERS
        self.assertEqual(asked - {action.removeprefix("org.imaged1.") for action in declared}, set(), "actions that dbus/org.imaged1.policy lacks")
        self.assertEqual({action.removeprefix("org.imaged1.") for action in declared} - asked, set(), "actions of dbus/org.imaged1.policy that nobody asks about")
        for action in root.iter("action"):
            for tag in ("description", "message"):
                self.assertTrue(action.find(tag).text)
            self.assertEqual({action.find("defaults/" + tag).text.split("_keep")[0]
                              for tag in ("allow_any", "allow_inactive", "allow_active")}, {"auth_admin"})

    def test_imagectl_has_a_verb_for_each_and_its_json_is_documented(self):
        page = (ROOT / "docs/imagectl-json.md").read_text()
        table = page.split("|---|---|\n", 1)[1].split("\n\n")[0]
        sections = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", page, re.M))
        verbs = set(re.findall(r"^  ([a-z-]+) ", imagectl("--help"), re.M))
        for name, kind in KINDS.items():
            with self.subTest(name):
                self.assertTrue(VERBS.get(name, name) in verbs, f"imagectl has no verb {name}: client/commands, client/meson.build")
                self.assertTrue(f"`{VERBS.get(name, name)}`" in table, f"the first table of docs/imagectl-json.md has no verb {name}")
                verb = VERBS.get(name, name)
                section = "\n".join(text for title, text in sections.items() if title == HEADINGS.get(name) or name not in HEADINGS
                                    and title.startswith("Outcome of ") and verb in re.split(", | and ", title.removeprefix("Outcome of ")))
                self.assertTrue(section, f'docs/imagectl-json.md has no section "Outcome of {verb}"')
                prose = "\n".join(line for line in section.splitlines() if not line.startswith("|"))
                for key, kind_of_value in kind["outcome"].items():
                    here = [types for keys, types in rows_of(section) if key in keys]
                    if not here and f"`{key}`" in prose:
                        here = [" or ".join(types for keys, types in rows_of(page) if key in keys)]
                    self.assertTrue(here, f"docs/imagectl-json.md has neither a row nor a word about {key} under the heading of {verb}")
                    wanted = JSON_TYPES.get(kind_of_value) or JSON_TYPES[kind_of_value[:2]]
                    for types in here:
                        self.assertTrue(any(word.startswith(wanted) for word in re.split(", | or ", types)),
                                        f"docs/imagectl-json.md, {verb}: {key} is a {wanted}, not a {types}")

    def test_the_phases_are_those_that_the_interface_documents(self):
        for path, begin in (("dbus/org.imaged1.Job.xml", "<!-- Phase: "), ("docs/dbus.md", "| `Phase` | "), ("docs/imagectl-json.md", "| `phase` | ")):
            told = (ROOT / path).read_text().split(begin)[1].split("\n")[0]
            self.assertEqual(set(re.findall('"([a-z]+)"', told)), set(interface_xml.phases()), f"{path}, lib/job/job.hpp")

    def test_updates_and_damage_are_counted_again_after_all_kinds_that_may_find_any(self):
        for name, kind in KINDS.items():
            self.assertEqual(kind["recounts"], name not in FINDS_NOTHING, f".recounts of {name} in lib/job/kinds.hpp")

    def test_imagectl_has_each_option(self):
        for name, kind in KINDS.items():
            with self.subTest(name):
                lacking = {option for option in kind["options"] if not re.search(rf"--{option}\b", imagectl(VERBS.get(name, name), "--help"))}
                self.assertEqual(lacking - WITHOUT_OPTION, SAID_OTHERWISE.get(name, set()), f"options of {method_of(name)} that imagectl {name} lacks: client/commands")

    def test_each_option_that_a_verb_declares_is_read(self):
        """One that is not read would be taken and ignored."""
        shared = "".join(path.read_text() for path in (ROOT / "client").glob("*.cpp"))
        for path in sorted((ROOT / "client/commands").glob("*.cpp")):
            text = path.read_text()
            declared = re.search(r"VerbOption options\[\] = \{(.*?)\};", text, re.S)
            # A loop passes on all of them.
            if not declared or "option.name" in text:
                continue
            own = text.replace(declared.group(), "").split("const Verb ")[0]
            for option in re.findall(r'\{\s*"([a-z-]+)",', declared.group(1)):
                self.assertTrue(f'"{option}"' in own or re.search(rf'\b(flag|text)\("{option}"\)', shared),
                                f"client/commands/{path.name} declares --{option} and does not read it: pass_flag(), pass_text()")


if __name__ == "__main__":
    unittest.main(verbosity=2)
