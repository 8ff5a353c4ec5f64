# SPDX-License-Identifier: Apache-2.0
"""What a measurement stands on: fresh file systems, and what a command cost in time, CPU and memory."""
import contextlib
import ctypes
import os
import platform
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time

PR_SET_CHILD_SUBREAPER = 36


def run(*command, **options):
    """Runs COMMAND and returns its output; raises with what it said when it fails."""
    done = subprocess.run(command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stderr.decode(errors='replace')[:2000]}")
    return done.stdout.decode()


def adopt_orphans():
    """From here on every process that a measured command leaves behind becomes a child of ours, and its cost is seen."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(process):
    try:
        tasks = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for task in tasks:
        try:
            with open(f"/proc/{process}/task/{task}/children") as file:
                children = file.read().split()
        except OSError:
            continue
        for child in children:
            yield child
            yield from descendants(child)


def status_of(process, field):
    """A number of /proc/PROCESS/status, in KiB."""
    with open(f"/proc/{process}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


class Meter:
    """CPU seconds of all processes that start and end inside the with block, and the peak resident memory of the one
    called PROGRAM (VmHWM, looked at every 50 ms: it never falls, so only a peak of the last 50 ms can be missed)."""

    def __init__(self, program):
        self.program = program[:15]  # as the kernel keeps it
        self.cpu = self.peak = 0

    def __enter__(self):
        self.before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.ended = threading.Event()
        self.sampler = threading.Thread(target=self.sample)
        self.sampler.start()
        return self

    def sample(self):
        while not self.ended.wait(0.05):
            for process in list(descendants(os.getpid())):
                with contextlib.suppress(OSError, IndexError):
                    with open(f"/proc/{process}/comm") as file:
                        name = file.read().strip()
                    if name == self.program:
                        self.peak = max(self.peak, status_of(process, "VmHWM"))

    def __exit__(self, *_):
        self.ended.set()
        self.sampler.join()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu = after.ru_utime + after.ru_stime - self.before.ru_utime - self.before.ru_stime


class Sample:
    """One run of one side. Seconds and MiB; what does not apply is None."""

    def __init__(self, wall, cpu=None, peak=None):
        self.wall, self.cpu, self.peak = wall, cpu, peak


def timed(command, program, **options):
    """Runs COMMAND as a whole and returns its Sample; PROGRAM is the process whose memory counts."""
    with Meter(program) as meter:
        start = time.monotonic()
        run(*command, **options)
        wall = time.monotonic() - start
    return Sample(wall, meter.cpu, meter.peak / 1024)


class FileSystem:
    """A loop-mounted file system: fresh, or a copy of one that was kept."""

    def __init__(self, kind, backing, scratch, gigabytes=12, template=None):
        self.kind, self.backing = kind, backing
        directory = "/dev/shm" if backing == "tmpfs" else scratch
        handle, self.file = tempfile.mkstemp(prefix="imaged-bench-", suffix=".img", dir=directory)
        os.close(handle)
        self.mount = tempfile.mkdtemp(prefix="imaged-bench-", dir=scratch)
        self.mounted = False
        try:
            if template:
                run("cp", "--sparse=always", template, self.file)
            else:
                os.truncate(self.file, gigabytes << 30)
                if kind == "xfs":
                    run("mkfs.xfs", "-q", "-f", self.file)
                else:
                    # All of it now, so that no background thread does it during the measurement.
                    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.file)
            run("mount", "-o", "loop", self.file, self.mount)
            self.mounted = True
            os.sync()
        except BaseException:
            self.close()
            raise

    def path(self, name):
        return os.path.join(self.mount, name)

    def keep(self, template):
        """Ends the file system and leaves its image as TEMPLATE."""
        run("umount", self.mount)
        self.mounted = False
        run("cp", "--sparse=always", self.file, template + ".new")
        os.rename(template + ".new", template)

    def close(self):
        if self.mounted:
            for _ in range(50):
                if subprocess.run(["umount", self.mount], stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.1)
            self.mounted = False
        with contextlib.suppress(OSError):
            os.rmdir(self.mount)
        with contextlib.suppress(OSError):
            os.unlink(self.file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def warm(directory):
    """Reads every file below DIRECTORY once, so that both sides find it in memory."""
    for where, _, files in os.walk(directory):
        for name in files:
            with open(os.path.join(where, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def version_of(*command):
    if not shutil.which(command[0]):
        return "absent"
    done = subprocess.run(command, capture_output=True, text=True)
    # "umoci version 0.4.7", and ostree's "libostree:\n Version: '2022.7'" on more than one line
    return re.sub(r"[^\w.+: ]|\(.*", "", " ".join((done.stdout or done.stderr).split("\n")[:2]).split(" Git:")[0]).strip()


def conditions():
    """What somebody who repeats the measurement has to know."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/etc/os-release") as file:
        system = next((line.split("=")[1].strip().strip('"') for line in file if line.startswith("PRETTY_NAME")), "unknown")
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) >> 20
    return [f"{os.cpu_count()} cores ({model}), {memory} GiB, Linux {platform.release()}, {system}",
            f"load average when the run began: {os.getloadavg()[0]:.1f}",
            f"{version_of('ostree', '--version')}; {version_of('skopeo', '--version')}; "
            f"{version_of('umoci', '--version')}; {version_of('buildah', '--version')}; cfsctl: {version_of('cfsctl', '--version')}"]
