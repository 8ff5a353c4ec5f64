# SPDX-License-Identifier: Apache-2.0
"""Runs imaged-worker as imaged does: one request on descriptor 3, then messages until the result. IMAGED_WORKER names the program; CONFINED_WORKER, if set, has every job confined."""
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time

SKOPEO_VERSION = tuple(int(part) for part in subprocess.run(["skopeo", "--version"], check=True, capture_output=True, text=True).stdout.split()[2].split(".")[:2])
PROGRAM = os.environ.get("IMAGED_WORKER", "imaged-worker")


class Process:
    """PROGRAM in a process group of its own, with FILES, descriptors by the numbers that they are to have: what a Popen with a preexec_fn is, without copying the
    page tables of this process."""

    def __init__(self, files, cwd, env):
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), *((os.POSIX_SPAWN_DUP2, file, number) for number, file in files.items())]
        with contextlib.chdir(cwd or "."):
            # Python ignores the two signals; imaged's children do not.
            self.pid = os.posix_spawn(shutil.which(PROGRAM) or PROGRAM, [PROGRAM], env, file_actions=actions, setpgroup=0, setsigdef=(signal.SIGPIPE, signal.SIGXFSZ))
        self.returncode = None

    def poll(self):
        return self._reap(os.WNOHANG)

    def wait(self, timeout=None):
        end = timeout and time.monotonic() + timeout
        while self._reap(os.WNOHANG if timeout else 0) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(PROGRAM, timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _reap(self, options):
        if self.returncode is None and (ended := os.waitpid(self.pid, options))[0]:
            self.returncode = os.waitstatus_to_exitcode(ended[1])
        return self.returncode


def keeper_of(file):
    """A socket that stands for FILE, as imaged gives it to a worker."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.send(b"facts")
        socket.send_fds(ours, [b"\0"], [file if isinstance(file, int) else file.fileno()])
    return theirs


class Run:
    """One job in a worker of its own. finish() waits for its end and leaves messages, result, status and rss (KiB, as last seen with a message) behind."""

    def __init__(self, image, repository, kind="pull", digest="", target="", arguments=None, settings=None, input=None, cwd=None, env=None, authfile=None):
        ours, theirs = socket.socketpair()
        # To the numbers that the worker expects, by way of some that are in nobody's way.
        high = {3: fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, 10)}
        if authfile:
            with keeper_of(authfile) as keeper:
                high[4] = fcntl.fcntl(keeper, fcntl.F_DUPFD_CLOEXEC, 10)
        if input:
            with keeper_of(input) as keeper:
                high[5] = fcntl.fcntl(keeper, fcntl.F_DUPFD_CLOEXEC, 10)
        self.process = Process(high, cwd, {**os.environ, **(env or {})})
        for file in high.values():
            os.close(file)
        theirs.close()
        self.channel = ours
        self.lines = ours.makefile("r", encoding="utf-8")
        self.messages = []
        self.rss = 0
        if os.environ.get("CONFINED_WORKER"):
            settings = {"confined": True, **(settings or {})}
        image = {} if kind in ("verify", "prune", "remove", "disk-usage") else {"image": image}
        options = {key: value for key, value in {**image, "digest": digest, "target": target, **(arguments or {})}.items() if value != ""}
        request = {"kind": kind, "repository": str(repository), "arguments": options, **({"settings": settings} if settings else {})}
        if authfile:
            request["auth-file"] = 4
        if input:
            request["input-file"] = 5
        ours.sendall((json.dumps(request) + "\n").encode())

    def next_message(self):
        """The next message, or None at the end."""
        line = self.lines.readline()
        if not line:
            return None
        self.messages.append(json.loads(line))
        self._look_at_memory()
        return self.messages[-1]

    def _look_at_memory(self):
        # Not from wait4(2): that counts what this process had resident before the exec as well.
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
                self.rss = max([self.rss] + [int(line.split()[1]) for line in status if line.startswith("VmHWM:")])
        except OSError:
            pass  # it has ended

    def cancel(self):
        self.process.send_signal(signal.SIGTERM)

    def finish(self):
        started = time.monotonic()
        while self.next_message() is not None:
            pass
        self.status = self.process.wait()
        self.waited = time.monotonic() - started
        self.lines.close()
        self.channel.close()
        results = [message for message in self.messages if "outcome" in message]
        assert len(results) == 1, f"{len(results)} results; the worker ended with {self.status}"
        self.result = results[0]
        return self


def pull(image, repository, **options):
    return Run(image, repository, **options).finish()
