# SPDX-License-Identifier: Apache-2.0
"""A Debian root directory booted with its own systemd by systemd-nspawn, and commands run inside. Needs root."""
import contextlib
import os
import shutil
import signal
import subprocess
import time

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive"}


class Machine:
    def __init__(self, root):
        self.root = root
        self.console = None
        self.leader = None

    @classmethod
    def copy_of(cls, base, root):
        subprocess.run(["cp", "-a", "--reflink=auto", base, root], check=True)
        # Its first boot is still to come.
        with open(root + "/etc/machine-id", "w", encoding="utf-8"):
            pass
        return cls(root)

    def path(self, name):
        return self.root + name

    def write(self, name, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def chroot(self, *command):
        """Before it is booted."""
        shutil.copy("/etc/resolv.conf", self.path("/etc/resolv.conf"))
        done = subprocess.run(["unshare", "--mount", "sh", "-ec", 'mount -t proc proc "$0/proc"; exec chroot "$0" "$@"', self.root,
                               *command], capture_output=True, text=True, env=ENVIRONMENT)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")

    def boot(self, timeout=120):
        self.log = open(self.root + ".console", "wb")
        self.console = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--private-network", "-b", "-D",
             self.root],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"})
        self.eventually(self.find_leader, timeout, "nspawn starts no system")
        self.eventually(lambda: self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"),
                        timeout, "the system does not come up")

    def find_leader(self):
        """The system's first process, not one of those that nspawn sets up with."""
        for pid in subprocess.run(["pgrep", "-P", str(self.console.pid)], capture_output=True, text=True).stdout.split():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/status", encoding="utf-8") as file:
                    status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
                if status["Name"] == "systemd" and status["NSpid"].split()[-1] == "1":
                    self.leader = pid
        return self.leader is not None

    def halt(self):
        if self.console is None:
            return
        if self.leader is not None and self.console.poll() is None:
            os.kill(int(self.leader), signal.SIGRTMIN + 4)  # systemd: power off
        try:
            self.console.wait(60)
        except subprocess.TimeoutExpired:
            self.console.kill()
            self.console.wait()
        self.log.close()
        self.console = None

    def command(self, command, user):
        enter = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-p", "-n", "--"]
        if user:
            enter += ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "env", f"HOME=/home/{user}"]
        return enter + list(command)

    def run(self, *command, user=None, check=True, timeout=300):
        done = subprocess.run(self.command(command, user), capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout,
                              stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def shell(self, script, **keywords):
        return self.run("sh", "-ec", script, **keywords)

    def start(self, *command, user=None):
        return subprocess.Popen(self.command(command, user), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env=ENVIRONMENT, stdin=subprocess.DEVNULL)

    def eventually(self, condition, timeout=60, what="it does not happen"):
        end = time.monotonic() + timeout
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() > end:
                raise AssertionError(what)
            time.sleep(0.1)

    def active(self, unit):
        return self.run("systemctl", "is-active", unit, check=False).stdout.strip() == "active"

    def journal(self, *match):
        """Entries of imaged, oldest first, as dictionaries."""
        import json
        lines = self.run("journalctl", "--no-pager", "-o", "json", *match).stdout.splitlines()
        return [json.loads(line) for line in lines]
