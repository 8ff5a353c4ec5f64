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
    return [(name, what) for name, what in found]


def paragraphs(lines):
    for part in "\n".join(lines).strip().split("\n\n"):
        if part:
            print(".PP\n" + roff(" ".join(part.split())))


def listed(found):
    print(".PD 0")
    for name, what in found:
        print(f".TP 28\n.B {roff(name)}\n{roff(what)}")
    print(".PD")


def examples(lines):
    text = [roff(line.rstrip()) for line in lines if line.strip()]
    if text:
        print(".PP\nExamples:\n.PP\n.EX\n" + "\n".join(text) + "\n.EE\n.nh")


usage, whole = sections(help_of())
verbs = {verb.split()[0]: sections(help_of(verb.split()[0])) for verb, _ in entries(whole["Verbs"])}
common = entries(whole["Options"])
# What every verb has that starts a job is said once.
of_jobs = [option for option in entries(verbs["prune"][1]["Options"])
           if option not in common and all(option in entries(own["Options"]) for _, own in verbs.values() if "--detach" in str(own["Options"]))]
print(f'.TH imagectl 1 "" "imaged {VERSION}" "User Commands"')
# Names are typed as they stand here: none is divided.
print(".nh\n.ad l")
print(".SH NAME\nimagectl \\- pull and look at the container images that imaged keeps")
print(f".SH SYNOPSIS\n.B {roff(usage)}")
print(".SH DESCRIPTION")
paragraphs(whole[""])
print(".SH OPTIONS")
listed(common)
print(".SS Options of verbs that start a job")
listed(of_jobs)
print(".SH VERBS")
for usage, own in verbs.values():
    options = [option for option in entries(own["Options"]) if option not in common]
    print(f".SS {roff(usage.removeprefix('imagectl '))}")
    paragraphs(own[""])
    listed([option for option in options if option not in of_jobs])
    if of_jobs[0] in options:
        print(".PP\nThis verb starts a job, and also has the options of verbs that start a job.")
    examples(own.get("Examples", []))
print(".SH EXIT STATUS")
listed(entries(whole["Exit codes"]))
print(".SH ENVIRONMENT\n.TP\n.B IMAGED_BUS_ADDRESS\nThe bus to use if no option names one.")
print(".SH EXAMPLES")
examples(whole["Examples"])
print(".SH SEE ALSO\n.BR imaged (8),\n.BR org.imaged1 (5),\n.BR containers\\-transports (5)")
