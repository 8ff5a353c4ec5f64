# SPDX-License-Identifier: Apache-2.0
"""A terminal of 80 columns: what a program shows on it, as text. It knows the sequences that imagectl writes, and refuses any other."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

import sanitizers

COLUMNS, ROWS = 80, 24
SEQUENCE = re.compile(r"\x1b\[(\?25[lh]|[0-9]*[AJK])")


class Screen:
    """lines are what is there; wrapped has the beginnings of lines that were too long for it."""

    def __init__(self):
        self.lines, self.row, self.column = [""], 0, 0
        self.wrapped, self.continues = set(), False

    def put(self, character):
        if self.column >= COLUMNS:
            if not self.continues:
                self.wrapped.add(self.lines[self.row])
            self.new_line()
            self.column, self.continues = 0, True
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[:self.column] + character + line[self.column + 1:]
        self.column += 1

    def feed(self, text):
        place = 0
        while place < len(text):
            character = text[place]
            found = SEQUENCE.match(text, place)
            if found:
                self.control(found.group(1))
                place = found.end()
                continue
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self.new_line()
                self.continues = False
            elif character >= " ":
                self.put(character)
            else:
                raise AssertionError(f"a sequence that is not known: {text[place:place + 10]!r}")
            place += 1

    def new_line(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")

    def control(self, what):
        if what.endswith("A"):
            self.row = max(0, self.row - int(what[:-1] or 1))
        elif what.endswith("K"):
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif what.endswith("J"):
            self.lines[self.row] = self.lines[self.row][:self.column]
            del self.lines[self.row + 1:]

    def text(self):
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")


def run(command, environment, seconds=120):
    """Runs COMMAND on such a terminal. Returns its exit status, the frames that it showed, of which the last one stays, and the beginnings of lines that were wrapped."""
    terminal, other = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=other, stderr=other, env={**environment, "TERM": "xterm", "LC_ALL": "C.UTF-8"})
    os.close(other)
    screen, frames, rest = Screen(), [], b""
    end = time.monotonic() + seconds * sanitizers.SLOWER
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break  # the other side is closed
        # A character or sequence that is cut waits for the rest.
        rest += piece
        cut = max(rest.rfind(b"\n"), rest.rfind(b"h")) + 1
        screen.feed(rest[:cut].decode())
        rest = rest[cut:]
        if not frames or frames[-1] != screen.text():
            frames.append(screen.text())
    screen.feed(rest.decode())
    if not frames or frames[-1] != screen.text():
        frames.append(screen.text())
    os.close(terminal)
    return process.wait(10), frames, screen.wrapped
