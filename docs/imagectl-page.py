#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the manual page imagectl(1) of what imagectl says itself: imagectl-page.py IMAGECTL VERSION"""
import re
import subprocess
import sys

PROGRAM, VERSION = sys.argv[1:]


def help_of(*verb):
    return subprocess.run([PROGRAM, *verb, "--help"], check=True, capture_output=True, text=True).stdout


def roff(text):
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "...")
    return "\\&" + text if text.startswith((".", "'")) else text


def sections(text):
    """The usage line, the paragraphs before the first heading, and the lines under each heading."""
    usage, *lines = text.split("\n")
    found, current = {"": []}, ""
    for line in lines:
        if re.fullmatch(r"[A-Z][a-z ]+:", line):
            current = line[:-1]
            found[current] = []
        else:
            found[current].append(line)
    return usage.removeprefix("Usage: "), found


def entries(lines):
    """"  -x, --long=ARG   what": (the option, what); a line that is indented deeper goes on."""
    found = []
    for line in lines:
        parts = re.match(r" {2}(\S.*?) {2,}(\S.*)", line)
        if parts:
            found.append(list(parts.groups()))
        elif line.strip() and found:
            found[-1][1] += " " + line.strip()
    return found


def paragraphs(lines):
    for part in "\n".join(lines).strip().split("\n\n"):
        if part:
            print(".PP\n" + roff(" ".join(part.split())))


def listed(lines):
    for name, what in entries(lines):
        print(f".TP\n.B {roff(name)}\n{roff(what)}")


def examples(lines):
    text = [roff(line.strip()) for line in lines if line.strip()]
    if text:
        print(".PP\n.EX\n" + "\n".join(text) + "\n.EE")


usage, whole = sections(help_of())
common = {name for name, _ in entries(whole["Options"])}
print(f'.TH imagectl 1 "" "imaged {VERSION}" "User Commands"')
print(".SH NAME\nimagectl \\- pull and look at the container images that imaged keeps")
print(f".SH SYNOPSIS\n.B {roff(usage)}")
print(".SH DESCRIPTION")
paragraphs(whole[""])
print(".SH OPTIONS")
listed(whole["Options"])
print(".SH VERBS")
for verb, _ in entries(whole["Verbs"]):
    usage, own = sections(help_of(verb.split()[0]))
    print(f".SS {roff(usage.removeprefix('imagectl '))}")
    paragraphs(own[""])
    listed([f"  {name}  {what}" for name, what in entries(own["Options"]) if name not in common])
    examples(own.get("Examples", []))
print(".SH EXIT STATUS")
listed(whole["Exit codes"])
print(".SH ENVIRONMENT\n.TP\n.B IMAGED_BUS_ADDRESS\nThe bus to use where no option names one.")
print(".SH EXAMPLES")
examples(whole["Examples"])
print(".SH SEE ALSO\n.BR imaged (8),\n.BR org.imaged1 (5),\n.BR containers\\-transports (5)")
