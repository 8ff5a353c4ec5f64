# SPDX-License-Identifier: Apache-2.0
"""What the interface's XML says, comments included: methods with their options and errors, properties, signals. And what lib/job/kinds.hpp says of each kind of job."""
import json
import os
import re
import subprocess
import xml.etree.ElementTree

DBUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "dbus")
KNOWN = {"InvalidReference", "InvalidArgument", "NotFound", "NotAuthorized", "Cancelled", "Stopped", "Deferred", "SourceUnreachable", "SourceDenied",
         "PolicyRejected", "DigestMismatch", "CorruptInput", "UnsupportedImage", "NoSpace", "RepositoryDamaged", "QueueFull", "Failed"}


class Method:
    def __init__(self, element, comment, methods):
        self.name = element.get("name")
        ins = [arg for arg in element.findall("arg") if arg.get("direction") == "in"]
        self.arguments = [(arg.get("name"), arg.get("type")) for arg in ins]
        self.signature = "".join(kind for _, kind in self.arguments)
        self.starts_job = [arg.get("type") for arg in element.findall("arg") if arg.get("direction") == "out"] == ["u", "o"]
        text = re.sub(r"\([^()]*\)", lambda found: found.group() if re.fullmatch(r"\((?:[bshtu])(?:,[^()]*)?\)", found.group()) else "", comment)
        options = re.search(r"Options: (.*?)(?:\n\s*\n|$)", text, re.S)
        self.options = dict(re.findall(r"([a-z][a-z-]*) \(([bsh])[,)]", options.group(1))) if options else {}
        self.required = set(re.findall(r"([a-z][a-z-]*) \([bsh], required", options.group(1))) if options else set()
        errors = re.search(r"Errors: (.*?)(?:\n\s*\n|$)", text, re.S)
        told = errors.group(1) if errors else ""
        here, _, there = told.partition("through the job")
        self.direct, self.through_job = set(re.findall(r"\b[A-Z]\w+", here)) - {"Pull"}, set(re.findall(r"\b[A-Z]\w+", there))
        if "those of Pull" in told:
            self.direct |= methods["Pull"].direct
            self.through_job |= methods["Pull"].through_job
        self.direct, self.through_job = self.direct & KNOWN, self.through_job & KNOWN


def described_jobs():
    """What describe-jobs prints of each kind of job."""
    return json.loads(subprocess.run([os.environ["DESCRIBE_JOBS"]], check=True, capture_output=True, text=True).stdout)


def phases():
    """The names of lib/job's phases."""
    return json.loads(subprocess.run([os.environ["DESCRIBE_JOBS"], "phases"], check=True, capture_output=True, text=True).stdout)


def method_of(kind):
    """The method on the bus of the kind of job. "import" is a word of many languages."""
    return "ImportImage" if kind == "import" else "".join(word.capitalize() for word in kind.split("-"))


def text_of(interface):
    with open(os.path.join(DBUS, interface + ".xml"), encoding="utf-8") as file:
        return file.read()


def elements_of(interface, kind):
    return {element.get("name"): element for element in xml.etree.ElementTree.fromstring(text_of(interface)).iter(kind)}


def methods_of(interface):
    """By name, in the order of the XML but for Pull, which others refer to. A method without a comment has no options and no errors (test-contract names it)."""
    comments = dict(re.findall(r"<!--\n\s+(\w+):\n(.*?)-->\s*<method name=\"\1\"", text_of(interface), re.S))
    elements = elements_of(interface, "method")
    methods = {}
    for name in ["Pull"] * ("Pull" in elements) + list(elements):
        methods[name] = Method(elements[name], comments.get(name, ""), methods)
    return methods


def properties_of(interface):
    """Type by name."""
    return {name: element.get("type") for name, element in elements_of(interface, "property").items()}
