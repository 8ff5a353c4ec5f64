#!/usr/bin/python3 -I
# SPDX-License-Identifier: Apache-2.0
"""Stands in for imaged-worker: speaks its protocol on descriptor 3 and acts as the last part of the image's name says.

oci:DIRECTORY/VERB[,ARGUMENT]: see the functions. DIRECTORY is the test's, for docker://HOST/VERB where the repository is; "log" in it gets a line a start, and a job
that waits goes on once "release" is there.
"""
import json
import os
import resource
import signal
import socket
import time

channel = socket.socket(fileno=3)


def send(**message):
    channel.sendall((json.dumps(message) + "\n").encode())


def result(outcome="success", error="", text="", details=None, changed=None):
    send(**{"type": "result", "outcome": outcome, "error-name": error, "message": text,
            "details": details or {}, "changed-images": changed or []})


def progress(fraction, phase="fetch", done=0):
    send(**{"type": "progress", "phase": phase, "fraction": fraction, "bytes-done": done, "bytes-total": 1000,
            "layers-done": 0, "layers-total": 2})


def layer(index, state, done):
    send(type="layer", index=index, digest="sha256:" + "a" * 64, state=state, done=done, total=1000)


class Terminated(Exception):
    pass


def on_term(*_):
    raise Terminated


def succeed(request, directory, _):
    result(details={"image": request["arguments"].get("image", ""), "digest": "sha256:" + "b" * 64, "layers": 2, "layers-fetched": 1,
                    "bytes-fetched": 12, "changed": True, "filtered": {"sha256:x": {"/tmp": 3}}},
           changed=[{"image": request["arguments"].get("image", ""), "new": "sha256:" + "b" * 64}])


def wait(request, directory, argument):
    progress(0.1)
    while not os.path.exists(directory + "/release"):
        time.sleep(0.02)
    succeed(request, directory, argument)


def stubborn(request, directory, _):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with open(directory + "/child", "w") as file:
        file.write(str(child))
    progress(0.1)
    time.sleep(600)


def deaf(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    progress(0.1)
    time.sleep(600)


def crash(*_):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), signal.SIGSEGV)


def leave(*_):
    os._exit(3)


def error(request, directory, name):
    result("failed", name, "because of " + name)


def nonsense(*_):
    channel.sendall(b"this is no message\n")
    time.sleep(600)


def deep(*_):
    channel.sendall(b'{"type":"result","outcome":"success","details":' + b"[" * 100000 + b"]" * 100000 + b"}\n")
    time.sleep(600)


def eat(*_):
    progress(0.1)
    eaten = []
    while True:
        eaten.append(b"x" * (1 << 22))


def endless(*_):
    while True:
        channel.sendall(b"x" * 65536)


def linger(request, directory, _):
    succeed(request, directory, _)
    time.sleep(600)


def partial(*_):
    channel.sendall(b'{"type":"result","outcome":"succ')
    os._exit(0)


def flood(request, directory, _):
    for step in range(20000):
        progress(0.9 if step == 5 else step / 20000, done=step % 1000)
        layer(step % 2, "fetching", step % 1000)
    layer(0, "done", 1000)
    layer(1, "reused", 0)
    result()


def chatter(request, directory, _):
    for file in (1, 2):
        for number in range(500):
            os.write(file, b"garbage \x1b[2J %d " % number + b"x" * 1000 + b"\n")
    succeed(request, directory, _)


def babble(request, directory, number):
    """What no worker of imaged's says: names of phases and errors of its own."""
    for phase in (number, 'x"} 1\nimaged_up 7\n', "p" * 60):
        progress(0.1, phase + number)
    result("failed", 'Made"Up\n' + number, "because")


def read_kept_file(number):
    """The content of the file that a caller handed over, as the process that keeps it gives it."""
    keeper = socket.socket(fileno=os.dup(number))
    keeper.recv(4096)
    _, (file,), _, _ = socket.recv_fds(keeper, 1, 1)
    with open(file, encoding="utf-8") as content:
        return content.read()


def show(request, directory, _):
    credentials = read_kept_file(4) if request.get("auth-file") == 4 else ""
    descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    seen = {"request": request, "environment": sorted(os.environ), "credentials": credentials, "descriptors": descriptors,
            "leader": os.getpgid(0) == os.getpid(), "blocked": bool(signal.pthread_sigmask(signal.SIG_BLOCK, []))}
    result(details={"version": json.dumps(seen)})  # a text that the interface does not look into


def main():
    signal.signal(signal.SIGTERM, on_term)
    line = b""
    while not line.endswith(b"\n"):
        line += channel.recv(65536)
    request = json.loads(line)
    image = request["arguments"].get("image") or (request["arguments"].get("images") or [None])[0]
    if image:
        directory, name = image.split(":", 1)[1].rsplit("/", 1)
        if "docker://" in image:
            directory = os.path.dirname(request["repository"])
    else:  # a verb without one: the test has written down what to do
        directory = os.path.dirname(request["repository"])
        with open(directory + "/do") as file:
            name = file.read()
    verb, _, argument = name.split(":")[0].partition(",")
    with open(directory + "/log", "a") as file:
        file.write(request["kind"] + " " + name + "\n")
    try:
        actions[verb](request, directory, argument)
    except ConnectionError:
        pass  # imaged has heard enough
    except Terminated:
        result("cancelled", "Cancelled", "the job was cancelled")


actions = {"succeed": succeed, "wait": wait, "stubborn": stubborn, "deaf": deaf, "crash": crash, "leave": leave,
           "error": error, "nonsense": nonsense, "deep": deep, "eat": eat, "endless": endless, "linger": linger,
           "partial": partial, "flood": flood, "show": show, "chatter": chatter, "babble": babble}

if __name__ == "__main__":
    main()
