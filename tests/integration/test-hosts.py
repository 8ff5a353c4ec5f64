#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imagectl --host: imaged on other machines, which are two sshd(8) on 127.0.0.1, each with a bus and a daemon of its own behind it."""
import getpass
import json
import os
import pathlib
import pty
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import agreement
import bus_fixture
import golden
import oci_layout
import ostree_repository
import real_daemon
import sanitizers
from oci_layout import Entry
from registry import free_port

IMAGECTL = os.environ.get("IMAGECTL")
NOT_FOUND, NO_DAEMON, CANCELLED = 3, 9, 130  # exit codes
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")


class Machine:
    """Its sshd, bus and imaged, in DIRECTORY. The sshd listens at ADDRESS and PORT, by default a free one."""

    def __init__(self, directory, key, address="127.0.0.1", port=None, **options):
        self.directory, self.address, self.port = directory, address, port or free_port()
        directory.mkdir(exist_ok=True)
        self.repository = ostree_repository.init(directory / "repo", "bare" if os.getuid() == 0 else "bare-user")
        self.daemon = real_daemon.Daemon(directory, self.repository, **options)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / "host"], check=True)
        # What a client asks for is what systemctl would ask for; the bus is this machine's own.
        bridge = directory / "bridge"
        bridge.write_text(f'#!/bin/sh\n[ "$SSH_ORIGINAL_COMMAND" = systemd-stdio-bridge ] && exec systemd-stdio-bridge --bus-path={self.daemon.address}\n')
        bridge.chmod(0o755)
        (directory / "sshd.conf").write_text(f"""ListenAddress {address}:{self.port}
HostKey {directory}/host
AuthorizedKeysFile {key}.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
ForceCommand {bridge}
""")
        if os.getuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.log = open(directory / "sshd.log", "wb")
        self.sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", directory / "sshd.conf"], stderr=self.log)
        real_daemon.until(self.listens)
        self.name = f"{getpass.getuser()}@{address}:{self.port}"

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex((self.address, self.port)) == 0

    def stop(self):
        self.sshd.terminate()
        self.sshd.wait(10)
        self.log.close()
        self.daemon.stop()


class Hosts(unittest.TestCase):
    worker = {}

    def setUp(self):
        scratch = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        self.directory = pathlib.Path(scratch.name)
        self.directory.chmod(0o755)
        key = self.directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self.machines = []
        for name in ("one", "two"):
            self.machines.append(Machine(self.directory / name, key, **self.worker))
            self.addCleanup(self.machines[-1].stop)
        known = "".join(f"[127.0.0.1]:{machine.port} {(machine.directory / 'host.pub').read_text()}" for machine in self.machines)
        (self.directory / "known").write_text(known)
        ssh = self.directory / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec ssh -F none -i {key} -o UserKnownHostsFile={self.directory}/known "$@"\n')
        ssh.chmod(0o755)
        self.environment = {**os.environ, "SYSTEMD_SSH": str(ssh), "TERM": "xterm"}
        self.environment.pop("IMAGED_BUS_ADDRESS", None)
        self.both = ",".join(machine.name for machine in self.machines)

    def imagectl(self, *words, **options):
        return subprocess.run([IMAGECTL, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * sanitizers.SLOWER, env=self.environment, **options)


class Real(Hosts):
    def setUp(self):
        super().setUp()
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.layout.image("app", [oci_layout.layer([Entry("usr/tool", content=b"tool")])])
        self.image = self.layout.reference("app")

    def stored(self, machine):
        return golden.ostree(machine.repository, "refs").split()

    def test_a_pull_on_one_host_is_a_pull_there(self):
        one, two = self.machines
        done = self.imagectl("--host", one.name, "pull", self.image)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("layer ", done.stderr)
        self.assertTrue(self.stored(one))
        self.assertEqual(self.stored(two), [])
        # Behind the verb, and in short.
        listed = self.imagectl("list", "--json", "-H", one.name)
        self.assertEqual([image["image"] for image in json.loads(listed.stdout)["images"]], [self.image])
        self.assertEqual(json.loads(self.imagectl("list", "--json", "-H", two.name).stdout)["images"], [])

    def test_several_hosts_are_told_apart(self):
        one, two = self.machines
        self.assertEqual(self.imagectl("-H", one.name, "pull", self.image).returncode, 0)
        done = self.imagectl("-H", self.both, "show", self.image)
        self.assertEqual(done.returncode, NOT_FOUND, "the worst")
        self.assertTrue(all(line.startswith(one.name + ": ") for line in done.stdout.splitlines()), done.stdout)
        self.assertRegex(done.stderr, f"^{two.name}: imagectl: .*NotFound")
        done = self.imagectl("-H", self.both, "pull", self.image)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({line.split(": ")[0] for line in done.stdout.splitlines()}, {one.name, two.name}, done)
        self.assertTrue(self.stored(two))

    def test_json_is_a_line_a_host(self):
        one, two = self.machines
        self.imagectl("-H", one.name, "pull", self.image)
        done = self.imagectl("-H", self.both, "--json", "show", self.image)
        self.assertEqual(len(done.stdout.splitlines()), 2)
        lines = {line["host"]: line for line in map(json.loads, done.stdout.splitlines())}
        self.assertEqual({name: line["exit-code"] for name, line in lines.items()}, {one.name: 0, two.name: NOT_FOUND})
        self.assertEqual(lines[one.name]["result"]["image"], self.image)
        self.assertEqual(lines[two.name]["result"]["error"]["name"], "org.imaged1.Error.NotFound")

    def test_a_host_that_is_not_there_does_not_keep_the_others(self):
        one = self.machines[0]
        away = f"127.0.0.1:{free_port()}"
        done = self.imagectl("-H", f"{away},{one.name}", "list")
        self.assertEqual(done.returncode, NO_DAEMON)
        self.assertRegex(done.stdout, f"^{one.name}: IMAGE ")
        self.assertRegex(done.stderr, f"(?m)^{away}: ssh: connect to host 127.0.0.1 port [0-9]+: Connection refused$")
        self.assertRegex(done.stderr, f"{away}: imagectl: cannot connect to the system bus of {away}: ")

    def test_what_cannot_go_over_ssh_is_refused(self):
        one = self.machines[0]
        authfile = self.directory / "auth.json"
        authfile.write_text("{}")
        done = self.imagectl("-H", one.name, "pull", "--authfile", authfile, self.image)
        self.assertEqual(done.returncode, 1)
        self.assertIn("a file of this machine cannot be handed to another one", done.stderr)
        done = self.imagectl("-H", one.name, "pull", "oci:layout:app", cwd=self.directory)
        self.assertEqual(done.returncode, 2)
        self.assertIn(f"'oci:layout:app' is a path on {one.name}, which has to be absolute", done.stderr)
        for host in ("", "-oProxyCommand=touch x", "a b", "user@", "@a", "host:port", "host:0", "host:99999", "[::1", "::1]:5", "a[b]c:22", "a\u202eb", "a,,b"):
            with self.subTest(host=host):
                self.assertEqual(self.imagectl("--host", host, "list").returncode, 2)
        self.assertEqual(self.imagectl("-H", self.both, "pull", "--progress", "json", self.image).returncode, 2)

    def with_ssh(self, script):
        """Instead of ssh."""
        path = self.directory / "other-ssh"
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        self.environment["SYSTEMD_SSH"] = str(path)

    def test_what_answers_and_is_no_bus(self):
        for script, text in (("echo Welcome to $2; exec sleep 100", "it answers 'Welcome to --\\\\x0d', which no bus does|it answers 'Welcome to --'"),
                             ("exit 5", "other-ssh ended with status 5"), ("exec no-such-program", "status 127: systemd-stdio-bridge"),
                             ("kill -9 $$", "was ended by signal 9"), ("exec yes | tr -d '\\n'", "it answers 'yyyy"),
                             ("printf 'OK x\\r\\n'; exec head -c 3000000 /dev/urandom", "imagectl: ")):
            for hosts in ("one", "one,two"):
                with self.subTest(script=script, hosts=hosts):
                    self.with_ssh(script)
                    done = self.imagectl("-H", hosts, "list")
                    self.assertEqual(done.returncode, NO_DAEMON, done)
                    self.assertRegex(done.stderr, text)

    def test_a_machine_without_ssh_says_so(self):
        self.environment["SYSTEMD_SSH"] = str(self.directory / "not-there")
        done = self.imagectl("-H", "one", "list")
        self.assertEqual(done.returncode, NO_DAEMON, done)
        self.assertIn("not-there is not installed on this machine", done.stderr)

    def test_what_ssh_prints_is_made_safe(self):
        self.with_ssh("printf 'ba\\033[31md\\n' >&2; exit 1")
        for hosts in ("one", "one,two"):
            done = self.imagectl("-H", hosts, "list")
            self.assertIn("ba\\x1b[31md", done.stderr)
            self.assertNotIn("\x1b", done.stderr)

    def test_what_ssh_leaves_behind_keeps_nobody(self):
        self.with_ssh("sleep 1000 & echo $! >>" + str(self.directory) + "/left; exit 1")
        started = time.monotonic()
        self.assertEqual(self.imagectl("-H", "one,two", "list").returncode, NO_DAEMON)
        self.assertLess(time.monotonic() - started, 10 * sanitizers.SLOWER)
        for number in (self.directory / "left").read_text().split():
            real_daemon.until(lambda number=number: not os.path.exists(f"/proc/{number}") or "(sleep) Z" in pathlib.Path(f"/proc/{number}/stat").read_text())

    def test_closed_standard_streams(self):
        one = self.machines[0]
        for closed in ("<&-", ">&-", "<&- >&-", "<&- >&- 2>&-"):
            done = subprocess.run(["sh", "-c", f'"$0" -H "$1" list {closed}', IMAGECTL, one.name], env=self.environment, capture_output=True, timeout=30 * sanitizers.SLOWER)
            self.assertEqual(done.returncode, 1 if ">" in closed.replace("2>", "") else 0, closed)

    def test_a_container_of_this_machine(self):
        """.host is this machine itself, whose bus may be missing; the bridge says so."""
        done = self.imagectl("-M", ".host", "list")
        self.assertEqual(done.returncode, NO_DAEMON, done.stderr)
        self.assertRegex(done.stderr, "imagectl: (cannot connect to the system bus of .host|imaged is not on the bus)")


class Interrupted(Hosts):
    worker = {"worker": bus_fixture.WORKER}

    def jobs(self, machine):
        client = machine.daemon.client()
        self.addCleanup(client.close)
        return client, client.call(bus_fixture.MANAGER, "ListJobs")[0]

    def started(self, machine):
        client, jobs = self.jobs(machine)
        return bool(jobs) and client.job(jobs[0][0])["Fraction"] > 0

    def assert_ends(self, pid, terminal):
        """As one that is cancelled."""
        text = b""
        while select.select([terminal], [], [], 20)[0]:
            try:
                text += os.read(terminal, 65536)
            except OSError:
                break
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), CANCELLED, text)

    def assert_cancelled(self, machine):
        client, jobs = self.jobs(machine)
        self.assertEqual(client.finished(jobs[0][0])["Result"], "cancelled")

    def test_ctrl_c_cancels_the_job_there(self):
        one = self.machines[0]
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(IMAGECTL, [IMAGECTL, "-H", one.name, "pull", "docker://registry.example/wait"], self.environment)
        real_daemon.until(lambda: self.started(one))
        os.write(terminal, b"\x03")
        self.assert_ends(pid, terminal)
        self.assert_cancelled(one)

    def test_sigint_reaches_the_jobs_of_all_hosts(self):
        process = subprocess.Popen([IMAGECTL, "-H", self.both, "pull", "docker://registry.example/wait"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)
        real_daemon.until(lambda: all(self.started(machine) for machine in self.machines))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20 * sanitizers.SLOWER)
        self.assertEqual((process.returncode, out), (CANCELLED, ""), err)
        for machine in self.machines:
            self.assert_cancelled(machine)

    def test_output_that_cannot_be_written_cancels_no_job(self):
        with open("/dev/full", "w", encoding="ascii") as full:
            process = subprocess.Popen([IMAGECTL, "-q", "-H", self.both, "pull", "docker://registry.example/wait"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, text=True, env=self.environment)
        real_daemon.until(lambda: all(self.started(machine) for machine in self.machines))
        for machine in self.machines:
            (machine.directory / "release").touch()
        _, err = process.communicate(timeout=30 * sanitizers.SLOWER)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("cannot write the result: No space left on device", err)
        for machine in self.machines:
            client, jobs = self.jobs(machine)
            self.assertEqual(client.finished(jobs[0][0])["Result"], "success")

    def test_sigterm_ends_it_beside_a_host_that_hangs(self):
        one = self.machines[0]
        process = subprocess.Popen([IMAGECTL, "-H", one.name, "pull", "docker://registry.example/wait"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)
        real_daemon.until(lambda: self.started(one))
        one.daemon.process.send_signal(signal.SIGSTOP)
        self.addCleanup(one.daemon.process.send_signal, signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(12 * sanitizers.SLOWER), CANCELLED)

    def test_on_a_terminal_each_host_has_a_line(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(IMAGECTL, [IMAGECTL, "-H", self.both, "pull", "docker://registry.example/wait"], self.environment)
        text, end = b"", time.monotonic() + 20 * sanitizers.SLOWER
        names = [machine.name.encode() for machine in self.machines]
        while time.monotonic() < end and not all(name + b": pulling" in text for name in names):
            if select.select([terminal], [], [], 0.1)[0]:
                text += os.read(terminal, 65536)
        self.assertTrue(all(name + b": pulling" in text for name in names), text)
        os.write(terminal, b"\x03")
        self.assert_ends(pid, terminal)


if __name__ == "__main__":
    if not SSHD or not IMAGECTL or not shutil.which("systemd-stdio-bridge"):
        # openssh-server is none of the packages that the tests install: it would start with the machine.
        print("needs sshd (openssh-server) and systemd-stdio-bridge")
        sys.exit(77)
    unittest.main(verbosity=2)
