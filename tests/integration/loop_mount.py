# SPDX-License-Identifier: Apache-2.0
"""A small file system in a file, and which blocks of it a file has."""
import contextlib
import fcntl
import struct
import subprocess
import time
import unittest

FIEMAP, SYNC, UNWRITTEN, SHARED = 0xC020660B, 1, 0x800, 0x2000  # FS_IOC_FIEMAP, FIEMAP_FLAG_SYNC, FIEMAP_EXTENT_UNWRITTEN and _SHARED


@contextlib.contextmanager
def loop_mount(directory, *options):
    """An XFS file system of 400 MiB at DIRECTORY/disk.d, made with OPTIONS. Skips the test where none can be mounted."""
    image, mount = directory / "disk", directory / "disk.d"
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    try:
        subprocess.run(["mkfs.xfs", "-q", *options, image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise unittest.SkipTest(f"no loop-mounted XFS here: {error}") from None
    try:
        yield mount
    finally:
        unmount(mount)


def unmount(mount):
    """For some seconds: while a worker of another test copies all mounts, this one is busy."""
    for _ in range(50):
        if subprocess.run(["umount", mount], capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    subprocess.run(["umount", mount], check=True)


def extents(path, most=1000):
    """(offset in the file, place on the disk, bytes, whether other files have it too) of each extent that has content."""
    with open(path, "rb") as file:
        request = bytearray(struct.pack("=QQIIII", 0, 2 ** 64 - 1, SYNC, 0, most, 0) + bytes(56 * most))
        fcntl.ioctl(file, FIEMAP, request)
    count, = struct.unpack_from("=20xI", request)
    assert count < most
    found = [struct.unpack_from("=QQQ16xI", request, 32 + 56 * number) for number in range(count)]
    return [(offset, place, size, bool(flags & SHARED)) for offset, place, size, flags in found if not flags & UNWRITTEN]
