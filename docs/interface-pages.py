#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the manual page org.imaged1(5) out of dbus/*.xml: interface-pages.py VERSION FILE.xml…

In a comment a paragraph that begins with "Options:", "Outcome keys:" or "Keys:" becomes a list: its entries are "name (type): what" behind a full stop, and
"name (type) what" behind a semicolon.
"""
import re
import sys
import xml.etree.ElementTree

COMMENT = re.compile(r"<!--(.*?)-->", re.DOTALL)
NAME = r"[a-z][a-z-]*"
# "name (type", up to what else the parenthesis says.
ENTRY = rf"{NAME} \((?:[bsuthd]|aa?{{sv}}|a{{[a-z]+(?:{{[a-z]+}})?}}|as)(?=[,):;])"


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


def entries(text, end):
    """The entries of a list as (names with their types, what is said of them). One begins behind END."""
    for entry in re.split(rf"(?<={end}) (?={ENTRY})", text):
        names = re.match(rf"{ENTRY}[^()]*\)(?:(?:,| and) {ENTRY}[^()]*\))*", entry)
        if not names:
            yield "", entry
            continue
        what = entry[names.end():].lstrip(":, ").rstrip(";")
        more = re.findall(r"\(\S+?[,:;] ([^()]*)\)", names.group())
        tag = re.sub(r"(\(\S+?)[,:;] [^()]*\)", r"\1)", names.group())
        yield tag, ("" if not more else f"{'; '.join(dict.fromkeys(more))}{': ' if what else ''}") + what


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("→", "\\(->").replace("…", "...")
    return "\\&" + text if text.startswith((".", "'")) else text


def listed(title, text, end):
    print(f".IP\n{title}:\n.RS\n.PD 0")
    for tag, what in entries(text, end):
        # An empty line would be a gap.
        text = roff(what) or "\\&"
        print(f".TP 24\n.B {roff(tag)}\n{text}" if tag else f".PP\n{text}")
    print(".PD\n.RE")


def paragraph(text, first):
    for title, end in (("Options", r"\."), ("Outcome keys", ";"), ("Keys", ";")):
        if not text.startswith(title + ": "):
            continue
        body, *errors = re.split(r" (?=Errors: )", text.removeprefix(title + ": "))
        if re.match(ENTRY, body):
            listed(title, body, end)
            for part in errors:
                print(".IP\n" + roff(part))
            return
    print((".IP\n" if not first else "") + roff(text))


def man(paths, version):
    print(f'.TH org.imaged1 5 "" "imaged {version}" "D\\-Bus interfaces"')
    # Names are typed as they stand here: none is divided.
    print(".nh\n.ad l")
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
                for number, (name, what) in enumerate(member.arguments):
                    print(("" if number == 0 else ".br\n") + f"\\fI{roff(name)}\\fR: {roff(what)}")
                for number, part in enumerate(member.text):
                    paragraph(part, number == 0 and not member.arguments)
    print(".SH SEE ALSO\n.BR imaged (8),\n.BR imagectl (1),\n.BR busctl (1)")


if __name__ == "__main__":
    man(sys.argv[2:], sys.argv[1])
