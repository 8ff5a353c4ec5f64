# SPDX-License-Identifier: Apache-2.0
"""A file system that does not answer: FUSE, served by nobody. Who asks it for anything waits in the kernel, where no signal reaches, until end()."""
import ctypes
import os
import select
import struct
import subprocess
import threading

INIT, GETATTR, FORGET = 26, 3, 2
DIRECTORY = 0o40755
libc = ctypes.CDLL(None, use_errno=True)


def is_possible():
    return os.geteuid() == 0 and os.access("/dev/fuse", os.W_OK)


class HangingDisk:
    def __init__(self, mountpoint):
        """Is mounted at MOUNTPOINT, which is made; nothing below it can be asked for."""
        self.mountpoint = str(mountpoint)
        os.mkdir(self.mountpoint)
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"hanging", self.mountpoint.encode(), b"fuse.hanging", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")
        self.waiting, self.stopped = 0, threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def reply(self, unique, body):
        os.write(self.device, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)

    def serve(self):
        while not self.stopped.is_set():
            if not select.select([self.device], [], [], 0.1)[0]:
                continue
            request = os.read(self.device, 1 << 20)
            _, opcode, unique, node = struct.unpack_from("=IIQQ", request)
            if opcode == INIT:
                self.reply(unique, struct.pack("=IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0))
            elif opcode == GETATTR and node == 1:
                self.reply(unique, struct.pack("=QII6Q10I", 3600, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, DIRECTORY, 2, 0, 0, 0, 4096, 0))
            elif opcode != FORGET:
                self.waiting += 1

    def end(self):
        """Whoever waits gets an error."""
        if self.stopped.is_set():
            return
        self.stopped.set()
        self.thread.join()
        os.close(self.device)
        subprocess.run(["umount", "--lazy", self.mountpoint], check=True)
