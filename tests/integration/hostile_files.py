#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A file system that an ordinary user serves (FUSE, the kernel's protocol without a library), and that does not answer imaged when one of its files is closed.

As a program: hostile_files.py DEVICE MOUNTPOINT CHANNEL, as that user: mounts it in namespaces of its own. Root's is one that everybody may read, as the system has it
with user_allow_other in fuse.conf; another user's can be read by that user only. Each packet on CHANNEL is a name, and is answered with the file, open:
"silent…" is not to be read by imaged either, and of "mute…" it learns nothing at all. "waiting?" is answered with the commands and process ids that wait. Its end sets free who waits for it.
"""
import contextlib
import ctypes
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import unittest

CLONE_NEWNS, CLONE_NEWUSER, MS_REC, MS_PRIVATE = 0x20000, 0x10000000, 0x4000, 0x40000
LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, RELEASEDIR, INTERRUPT, BATCH_FORGET = 1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 29, 36, 42
ENOSYS = 38
NAMES = {GETATTR: "getattr", READ: "read", STATFS: "statfs", FLUSH: "flush"}
# What imaged waits for, by how a file's name begins.
HELD = {"mute": (GETATTR, READ, STATFS, FLUSH), "silent": (READ, FLUSH), "": (FLUSH,)}
IN_HEADER = struct.Struct("=IIQQIIIHH")


class HostileFiles:
    """The file system of the user UID, for a test, and files of it."""

    def __init__(self, directory, uid):
        device = f"{directory}/fuse-{uid}"
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(10, 229))
        os.chmod(device, 0o666)
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        os.mkdir(f"{directory}/mount-{uid}")
        # As text: that user may not be allowed to enter the directory of this file.
        with open(__file__, encoding="utf-8") as file:
            program = file.read()
        self.process = subprocess.Popen(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", sys.executable, "-c", program, device, f"{directory}/mount-{uid}", str(theirs.fileno())],
                                        pass_fds=[theirs.fileno()], cwd="/")
        theirs.close()
        self.socket.settimeout(20)
        said = self.socket.recv(4096).decode()
        if said != "ready":
            self.end()
            assert said, "the program that serves the files ended"
            raise unittest.SkipTest(f"no file system of a user's own can be had here: {said}")

    def open(self, name):
        """An open file, as a number that the caller closes."""
        self.socket.send(name.encode())
        _, (file,), _, _ = socket.recv_fds(self.socket, 1, 1)
        return file

    def waiting(self):
        """[what is waited for, process id] of all that imaged waits for."""
        self.socket.send(b"waiting?")
        return [line.split() for line in self.socket.recv(65536).decode().splitlines()]

    def end(self):
        self.process.kill()
        self.process.wait(20)
        self.socket.close()


def attributes(node):
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFREG | 0o644
    return struct.pack("=6Q10I", node, len(Server.content), 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


class Server:
    content = b'{"auths": {}}'

    def __init__(self, device):
        self.device, self.names, self.held, self.lock = device, {}, [], threading.Lock()

    def answer(self, unique, payload=b"", error=0):
        with contextlib.suppress(OSError):
            os.write(self.device, struct.pack("=IiQ", 16 + len(payload), -error, unique) + payload)

    def run(self):
        while True:
            try:
                request = os.read(self.device, 1 << 20)
            except InterruptedError:
                continue
            except OSError:
                return
            _, operation, unique, node, _, _, pid, _, _ = IN_HEADER.unpack_from(request)
            self.serve(operation, unique, node, pid, request[IN_HEADER.size:])

    def serve(self, operation, unique, node, pid, body):
        if operation in (FORGET, BATCH_FORGET, INTERRUPT):
            return None
        if operation == INIT:
            return self.answer(unique, struct.pack("=IIIIHHIIHHI7I", 7, 31, 65536, 0, 16, 12, 65536, 1, 16, 0, 0, *[0] * 7))
        if operation == LOOKUP:
            name = body.rstrip(b"\0").decode()
            number = self.names.setdefault(name, len(self.names) + 2)
            return self.answer(unique, struct.pack("=QQQQII", number, 0, 3600, 0, 0, 0) + attributes(number))
        name = next((name for name, number in self.names.items() if number == node), "")
        if operation in next(held for start, held in HELD.items() if name.startswith(start)) and self.is_imaged(pid):
            with self.lock:
                return self.held.append((NAMES[operation], pid))
        if operation == GETATTR:
            return self.answer(unique, struct.pack("=QII", 0, 0, 0) + attributes(node))
        if operation in (OPEN, OPENDIR):
            return self.answer(unique, struct.pack("=QII", node, 1, 0))  # FOPEN_DIRECT_IO: each read is asked for
        if operation == READ:
            _, offset, size = struct.unpack_from("=QQI", body)
            return self.answer(unique, self.content[offset:offset + size])
        if operation in (FLUSH, RELEASE, RELEASEDIR):
            return self.answer(unique)
        return self.answer(unique, error=ENOSYS)

    @staticmethod
    def is_imaged(pid):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().startswith("imaged")
        return False


def enter_namespaces():
    uid, gid, libc = os.getuid(), os.getgid(), ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS if uid == 0 else CLONE_NEWUSER | CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "no namespaces")
    if uid == 0:
        libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        return libc
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open("/proc/self/" + name, "w", encoding="ascii") as file:
            file.write(text)
    return libc


def main(device_path, mount_point, number):
    channel = socket.socket(fileno=int(number))
    everybody = os.getuid() == 0  # before it is root in a namespace of its own
    try:
        libc = enter_namespaces()
        device = os.open(device_path, os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0" + (",allow_other" if everybody else "")
        if libc.mount(b"hostile", mount_point.encode(), b"fuse", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")
    except OSError as error:
        channel.send(str(error).encode())
        sys.exit(1)
    server = Server(device)
    asking, opening = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        # Another process opens the files, so that the server has none of its own to wait for when it ends.
        os.close(device)
        asking.close()
        channel_of_test, channel = channel, opening
        while name := channel.recv(4096):
            file = os.open(os.path.join(mount_point, name.decode()), os.O_RDONLY)
            socket.send_fds(channel_of_test, [b"\0"], [file])
            os.close(file)
        os._exit(0)
    opening.close()
    threading.Thread(target=server.run, daemon=True).start()
    channel.send(b"ready")
    while name := channel.recv(4096):
        if name == b"waiting?":
            with server.lock:
                channel.send("".join(f"{what} {pid}\n" for what, pid in server.held).encode() or b"\n")
        else:
            asking.send(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
