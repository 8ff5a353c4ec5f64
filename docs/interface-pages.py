#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the reference of the bus interface out of dbus/*.xml: docs/dbus.md, or the manual page org.imaged1(5).

interface-pages.py markdown|man VERSION FILE.xml…
"""
import re
import sys
import xml.etree.ElementTree

COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)


class Member:
    """A method, signal or property (or the interface itself): its element and what the comment before it says."""

    def __init__(self, kind, element, text):
        self.kind, self.element, self.name = kind, element, element.get("name")
        self.arguments, self.text = split(self.name.rsplit(".", 1)[-1] if kind != "interface" else self.name, text)

    def signature(self):
        if self.kind == "property":
            return f"{self.name}  {self.element.get('type')}"
        into = [f"{arg.get('type')} {arg.get('name')}" for arg in self.element.iter("arg") if arg.get("direction") != "out"]
        out = [f"{arg.get('type')} {arg.get('name')}" for arg in self.element.iter("arg") if arg.get("direction") == "out"]
        return f"{self.name}({', '.join(into)})" + (f" → ({', '.join(out)})" if out else "")


def split(name, comment):
    """The lines about arguments, and the paragraphs, of a comment that begins with NAME:."""
    text = "\n".join(line.strip() for line in comment.strip().split("\n"))
    if text.startswith(name + ":"):
        text = text[len(name) + 1:]
    arguments, rest = [], []
    for line in text.strip().split("\n"):
        found = re.match(r"@(\w+): (.*)", line)
        if found:
            if found.group(1) != "short_description":
                arguments.append(found.groups())
        else:
            rest.append(line)
    paragraphs = [" ".join(part.split()) for part in "\n".join(rest).strip().split("\n\n")]
    return arguments, [part for part in paragraphs if part]


def interfaces(paths):
    for path in paths:
        source = open(path, encoding="utf-8").read()
        comments = [(found.end(), found.group(1)) for found in COMMENT.finditer(source)]
        for interface in xml.etree.ElementTree.fromstring(source).iter("interface"):
            members = []
            for element in [interface, *interface]:
                if element.tag not in ("interface", "method", "signal", "property"):
                    continue
                place = source.index(f'<{element.tag} name="{element.get("name")}"')
                before = [text for end, text in comments if end <= place and not source[end:place].strip()]
                if not before:
                    sys.exit(f"{path}: nothing is said of {element.tag} {element.get('name')}")
                members.append(Member(element.tag, element, before[-1]))
            yield members[0], members[1:]


def markdown(paths):
    print("# The bus interface of imaged\n")
    print("Made from the XML in `dbus/` by `docs/interface-pages.py`, which a test compares: change it there.\n")
    print("Bus name `org.imaged1`, object `/org/imaged1`; each job is an object `/org/imaged1/job/ID`.")
    for interface, members in interfaces(paths):
        print(f"\n## {interface.name}\n")
        print("\n\n".join(interface.text))
        for kind, title in (("method", "Methods"), ("signal", "Signals"), ("property", "Properties")):
            chosen = [member for member in members if member.kind == kind]
            if not chosen:
                continue
            print(f"\n### {title} of {interface.name}")
            if kind == "property":
                print("\n| name | type | what |\n| --- | --- | --- |")
                for member in chosen:
                    print(f"| `{member.name}` | `{member.element.get('type')}` | {' '.join(member.text)} |")
                continue
            for member in chosen:
                print(f"\n#### `{member.signature()}`")
                if member.arguments:
                    print()
                for name, what in member.arguments:
                    print(f"- `{name}`: {what}")
                for part in member.text:
                    print("\n" + part)


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("→", "\\(->").replace("…", "...")
    return "\\&" + text if text.startswith((".", "'")) else text


def man(paths, version):
    print(f'.TH org.imaged1 5 "" "imaged {version}" "D\\-Bus interfaces"')
    print(".SH NAME\norg.imaged1 \\- D\\-Bus interface of imaged, the container image daemon")
    print(".SH DESCRIPTION\nThe bus name is org.imaged1, its object /org/imaged1; each job is an object /org/imaged1/job/ID.")
    for interface, members in interfaces(paths):
        print(f".SH {interface.name.upper()}")
        for part in interface.text:
            print(".PP\n" + roff(part))
        for kind, title in (("method", "Methods"), ("signal", "Signals"), ("property", "Properties")):
            chosen = [member for member in members if member.kind == kind]
            if chosen:
                print(f".SS {title}")
            for member in chosen:
                print(f".TP\n.B {roff(member.signature())}")
                for name, what in member.arguments:
                    print(f".br\n\\fI{roff(name)}\\fR: {roff(what)}")
                for number, part in enumerate(member.text):
                    print((".IP\n" if number or member.arguments else "") + roff(part))
    print(".SH SEE ALSO\n.BR imaged (8),\n.BR imagectl (1),\n.BR busctl (1)")


if __name__ == "__main__":
    if sys.argv[1] == "markdown":
        markdown(sys.argv[3:])
    else:
        man(sys.argv[3:], sys.argv[2])
