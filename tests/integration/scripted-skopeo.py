#!/usr/bin/python3 -I
# SPDX-License-Identifier: Apache-2.0
"""Stands in for skopeo: speaks the image proxy's protocol, serves an OCI layout, and goes wrong at one point of it.

SCRIPTED_LAYOUT is the layout with its image t; SCRIPTED_FAULT names a file with STEP:FAULT, where STEP names an answer (the first argument of `reply`) and FAULT what
is wrong with it; the faults are the functions at the end.
"""
import array
import hashlib
import json
import os
import pathlib
import resource
import socket
import sys
import threading
import time

LAYOUT = pathlib.Path(os.environ["SCRIPTED_LAYOUT"])
STEP, _, FAULT = pathlib.Path(os.environ["SCRIPTED_FAULT"]).read_text().partition(":") if "SCRIPTED_FAULT" in os.environ else ("", "", "")
HANG = 600


class Proxy:
    def __init__(self, number):
        self.socket = socket.socket(fileno=number)
        self.pipes, self.blobs = {}, 0
        self.manifest = self.blob(json.loads((LAYOUT / "index.json").read_text())["manifests"][0]["digest"])
        self.config = json.loads(self.manifest)["config"]["digest"]

    @staticmethod
    def blob(digest):
        return (LAYOUT / "blobs" / digest.replace(":", "/")).read_bytes()

    def serve(self):
        while True:
            packet = self.socket.recv(65536)
            if not packet:
                return
            request = json.loads(packet)
            getattr(self, request["method"])(*request["args"])

    def reply(self, step, value=None, data=None, what=None):
        """Answers with VALUE, and a pipe that gives DATA."""
        answer = {"success": True, "value": value, "pipeid": 0, "error": ""}
        faulty = FAULTS[FAULT] if step == STEP else None
        descriptors = []
        if data is not None:
            read, write = os.pipe()
            descriptors.append(read)
            answer["pipeid"] = write + 100
            thread = threading.Thread(target=feed, args=(write, data, faulty), daemon=True)
            self.pipes[write + 100] = (thread, what)
            thread.start()
        if faulty and not faulty.of_data:
            faulty(self, answer, descriptors)
        else:
            self.send(json.dumps(answer).encode(), descriptors)

    def send(self, packet, descriptors):
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self.socket.sendmsg([packet], control)
        except BrokenPipeError:
            sys.exit(0)
        for descriptor in descriptors:
            os.close(descriptor)

    def Initialize(self):
        self.reply("Initialize", "0.2.3")

    def OpenImage(self, name):
        self.reply("OpenImage", 1)

    def GetManifest(self, image):
        self.reply("GetManifest", "sha256:" + hashlib.sha256(self.manifest).hexdigest(), self.manifest, "manifest")

    def GetBlob(self, image, digest, size):
        what = "config" if digest == self.config else "layer"
        self.reply("GetBlob-" + what, size, self.blob(digest), what)

    def FinishPipe(self, number):
        thread, what = self.pipes.pop(number)
        thread.join()
        self.reply("FinishPipe-" + what)

    def CloseImage(self, image):
        self.reply("CloseImage")

    def Shutdown(self):
        sys.exit(0)


def feed(pipe, data, faulty):
    try:
        if faulty and faulty.of_data:
            faulty(pipe, data)
        else:
            write_all(pipe, data)
    except BrokenPipeError:
        pass
    os.close(pipe)


def write_all(pipe, data):
    while data:
        data = data[os.write(pipe, data):]


# Faults of an answer: what is sent instead of it.

def not_json(proxy, answer, descriptors):
    proxy.send(b"{nonsense", descriptors)


def not_an_object(proxy, answer, descriptors):
    proxy.send(b"[1, 2]", descriptors)


def nothing(proxy, answer, descriptors):
    proxy.send(b"", descriptors)


def without_success(proxy, answer, descriptors):
    del answer["success"]
    proxy.send(json.dumps(answer).encode(), descriptors)


def success_of_text(proxy, answer, descriptors):
    proxy.send(json.dumps({**answer, "success": "true"}).encode(), descriptors)


def value_of_another_type(proxy, answer, descriptors):
    proxy.send(json.dumps({**answer, "value": {"x": [1]}}).encode(), descriptors)


def deep(proxy, answer, descriptors):
    proxy.send(b'{"success":true,"value":' + b"[" * 15000 + b"]" * 15000 + b"}", descriptors)


def too_long(proxy, answer, descriptors):
    proxy.send(json.dumps(answer).encode() + b" " * 33 * 1024, descriptors)


def refused(proxy, answer, descriptors):
    proxy.send(json.dumps({"success": False, "error": "scripted refusal", "value": None, "pipeid": 0}).encode(), [])


def without_descriptor(proxy, answer, descriptors):
    proxy.send(json.dumps({**answer, "pipeid": answer["pipeid"] or 7}).encode(), [])


def with_one_descriptor_more(proxy, answer, descriptors):
    proxy.send(json.dumps(answer).encode(), descriptors + [os.open("/dev/null", os.O_RDONLY)])


def with_many_descriptors(proxy, answer, descriptors):
    proxy.send(json.dumps(answer).encode(), descriptors + [os.open("/dev/null", os.O_RDONLY) for _ in range(200)])


def early_exit(proxy, answer, descriptors):
    os._exit(3)


def crash(proxy, answer, descriptors):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), 11)
    time.sleep(HANG)


def no_answer(proxy, answer, descriptors):
    time.sleep(HANG)


def half_closed(proxy, answer, descriptors):
    proxy.socket.shutdown(socket.SHUT_RDWR)
    time.sleep(HANG)


# Faults of what a pipe gives.

def empty(pipe, data):
    pass


def truncated(pipe, data):
    write_all(pipe, data[:len(data) // 2])


def longer(pipe, data):
    write_all(pipe, data + b"more " * 100)


def endless(pipe, data):
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        write_all(pipe, data)


def other(pipe, data):
    write_all(pipe, bytes(byte ^ 1 for byte in data))


def stalled(pipe, data):
    write_all(pipe, data[:len(data) // 2])
    time.sleep(HANG)


def dripping(pipe, data):
    for number in range(len(data)):
        write_all(pipe, data[number:number + 1])
        time.sleep(0.3)


def died_on_the_way(pipe, data):
    write_all(pipe, data[:len(data) // 2])
    os._exit(3)


ANSWERS = [not_json, not_an_object, nothing, without_success, success_of_text, value_of_another_type, deep, too_long, refused, without_descriptor,
           with_one_descriptor_more, with_many_descriptors, early_exit, crash, no_answer, half_closed]
DATA = [empty, truncated, longer, endless, other, stalled, dripping, died_on_the_way]
for function in ANSWERS + DATA:
    function.of_data = function in DATA
FAULTS = {function.__name__: function for function in ANSWERS + DATA}

if __name__ == "__main__":
    if len(sys.argv) == 2 and sys.argv[1] == "list":
        print(json.dumps({"answers": [function.__name__ for function in ANSWERS], "data": [function.__name__ for function in DATA]}))
    elif "--sockfd" not in sys.argv:
        sys.exit("scripted-skopeo is an image proxy only")
    else:
        Proxy(int(sys.argv[sys.argv.index("--sockfd") + 1])).serve()
