#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A fleet on one machine: hosts that pull through one docker-registry, imagectl over all of them, Prometheus, and a rollout in waves.

./dev soak fleet [--hosts N]. Each host is a network namespace with its own bus, imaged, repository (on a tmpfs, which is its disk) and sshd. A pull-through
docker-registry is all that they reach; between it and the registry that has the images, bytes are counted. The lines of docs/fleet.md are run as they are there.
Everything runs in network, mount and process namespaces of its own: whatever happens, the kernel ends and removes it. Needs root, openssh-server and prometheus.
"""
import argparse
import contextlib
import ctypes
import http.server
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import urllib.parse
import urllib.request

import rig
import oci_layout
import real_daemon
import registry
from oci_layout import Entry

SPEC = importlib.util.spec_from_file_location("test_hosts", rig.HERE.parent / "integration/test-hosts.py")
test_hosts = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(test_hosts)
SOURCES = rig.HERE.parents[1]
GUIDE = (SOURCES / "docs/fleet.md").read_text(encoding="utf-8")
NEEDED = ("docker-registry", "skopeo", "prometheus", "promtool", "ip", "systemd-stdio-bridge", "ssh", "setpriv", "systemd-analyze")
IMAGE, MIRROR, HUB, PROMETHEUS = "docker://registry.example/host:stable", "mirror.lan:5000", "10.22.0.200", "127.0.0.1:9090"
NO_SPACE, NO_DAEMON = 8, 9  # exit codes
LAYER, DISK, RATE = 16 << 20, "300m", 25_000_000
LIBC = ctypes.CDLL(None, use_errno=True)


def check(held, text):
    print(("held      " if held else "NOT HELD  ") + text, flush=True)
    if not held:
        raise SystemExit(1)


def lines(title):
    """The indented blocks of a section of docs/fleet.md."""
    section, = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", GUIDE, re.S | re.M)
    return [textwrap.dedent(block).lstrip("\n") for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.M)]


@contextlib.contextmanager
def inside(name):
    """What starts within, starts in the network namespace NAME."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"/run/netns/{name}", "rb") as there:
        assert LIBC.setns(there.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert LIBC.setns(home.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


class Counter:
    """Forwards TCP connections to PORT of 127.0.0.1, and counts the bytes that come back: RATE a second at most, as over one line to a distant registry."""

    def __init__(self, port):
        self.port, self.bytes, self.lock = port, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            server = socket.create_connection(("127.0.0.1", self.port))
            for source, target, counts in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.forward, args=(source, target, counts), daemon=True).start()

    def forward(self, source, target, counts):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if counts:
                    with self.lock:
                        self.bytes += len(data)
                        time.sleep(len(data) / RATE)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def taken(self):
        """How many bytes came since the last call; waits until no more do."""
        before = -1
        while before != self.bytes:
            before = self.bytes
            time.sleep(1)
        with self.lock:
            taken, self.bytes = self.bytes, 0
        return taken


class Node:
    """A host. Port 9100 gives its numbers, as its node exporter would."""

    def __init__(self, number, directory, key):
        self.name, self.disk, self.address = f"node{number}", directory / f"node{number}", f"10.22.0.{number}"
        self.runtime = pathlib.Path("/run") / self.name
        for path in (self.disk, self.runtime):
            path.mkdir()
        rig.run("mount", "-t", "tmpfs", "-o", f"size={DISK}", self.name, self.disk)
        rig.run("ip", "netns", "add", self.name)
        rig.run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        rig.run("ip", "link", "set", self.name, "master", "fleet", "up")
        rig.run("ip", "-n", self.name, "-batch", "-", input=f"link set lo up\naddr add {self.address}/24 dev eth0\nlink set eth0 up\n")
        with inside(self.name):
            self.machine = test_hosts.Machine(self.disk, key, self.address, 22, environment={"RUNTIME_DIRECTORY": str(self.runtime)})
            self.exporter = http.server.ThreadingHTTPServer((self.address, 9100), self.handler())
        self.repository = rig.Repository(self.machine.repository)
        threading.Thread(target=self.exporter.serve_forever, daemon=True).start()

    def handler(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                text = subprocess.run([os.environ["IMAGED"], "--metrics", self.runtime / "metrics"], capture_output=True, check=True).stdout
                handler.send_response(200)
                handler.send_header("Content-Type", "text/plain; version=0.0.4")
                handler.end_headers()
                handler.wfile.write(text)

            def log_message(handler, *_):
                pass
        return Handler

    def commit(self):
        commit, = self.repository.images().values()
        return commit

    def fill(self):
        """Leaves less free room than OSTree insists on."""
        room = os.statvfs(self.disk)
        with open(self.disk / "filler", "wb") as file:
            os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (6 << 20))

    def stop(self):
        self.exporter.shutdown()
        self.machine.stop()


class Image:
    """The image upstream, three layers of which each version replaces one."""

    def __init__(self, directory, upstream):
        self.layout, self.upstream = oci_layout.Layout(directory), upstream
        self.layers, self.version, self.known = [self.layer(number) for number in range(3)], 0, set()

    @staticmethod
    def layer(number):
        return oci_layout.layer([Entry(f"usr/part{number}/file{file}", content=os.urandom(LAYER // 64)) for file in range(64)])

    def publish(self):
        """Returns the bytes that a host fetches which has the version before: what of manifest, config and layers is new."""
        self.version += 1
        if self.version > 1:
            self.layers[self.version % 3] = self.layer(self.version % 3)
        self.layout.image("stable", self.layers, config={"config": {"Labels": {"org.opencontainers.image.version": str(self.version)}}})
        self.upstream.push(self.layout.reference("stable"), "host:stable")
        blobs = {path.name: path.stat().st_size for path in (self.layout.path / "blobs/sha256").iterdir()}
        new, self.known = set(blobs) - self.known, set(blobs)
        return sum(blobs[name] for name in new)


class Fleet:
    def __init__(self, count, directory, cleanup):
        self.count, self.directory, self.cleanup = count, directory, cleanup
        self.prepare()
        self.upstream = registry.Registry(directory / "upstream")
        cleanup.callback(self.upstream.stop)
        self.counter = Counter(int(self.upstream.address.split(":")[1]))
        self.image = Image(directory / "layout", self.upstream)
        proxy, = [block for block in lines("One mirror for all hosts") if "remoteurl" in block]
        self.mirror = self.registry("mirror", proxy.replace("https://registry.example", "http://" + self.counter.address))
        cleanup.callback(lambda: self.mirror.stop())
        key = directory / "key"
        rig.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        self.nodes = []
        for number in range(1, count + 1):
            self.nodes.append(Node(number, directory, key))
            cleanup.callback(self.nodes[-1].stop)
        (directory / "known").write_text("".join(f"{node.name} {(node.disk / 'host.pub').read_text()}" for node in self.nodes))
        ssh = directory / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec ssh -F none -o ConnectTimeout=5 -i {key} -o UserKnownHostsFile={directory}/known "$@"\n')
        ssh.chmod(0o755)
        self.environment = {**os.environ, "SYSTEMD_SSH": str(ssh), "PATH": os.path.dirname(os.environ["IMAGECTL"]) + ":" + os.environ["PATH"]}
        self.all = self.named(1, count)

    def prepare(self):
        """The network, and what the hosts have in /etc: names, a mirror, a policy that accepts everything."""
        rig.run("ip", "-batch", "-", input=f"link set lo up\nlink add fleet type bridge\naddr add {HUB}/24 dev fleet\nlink set fleet up\n")
        (self.directory / "hosts").write_text("127.0.0.1 localhost\n" + f"{HUB} mirror.lan\n" + "".join(f"10.22.0.{n} node{n}\n" for n in range(1, self.count + 1)))
        rig.run("mount", "--bind", self.directory / "hosts", "/etc/hosts")
        for path in ("/run", "/etc/containers"):
            rig.run("mount", "-t", "tmpfs", "fleet", path)
        for path in ("/run/sshd", "/run/netns", "/etc/containers/registries.conf.d"):
            os.makedirs(path)
        pathlib.Path("/etc/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        pathlib.Path("/etc/containers/registries.conf").touch()
        mirror, = [block for block in lines("One mirror for all hosts") if "[[registry]]" in block]
        pathlib.Path("/etc/containers/registries.conf.d/50-mirror.conf").write_text(mirror)

    def registry(self, name, more=""):
        return registry.Registry(self.directory / name, more=more, address=MIRROR, storage=self.directory / "mirror-storage")

    @staticmethod
    def named(first, last):
        return ",".join(f"root@node{number}" for number in range(first, last + 1))

    def shell(self, script, status=0):
        """Runs it as an administrator would; returns what it wrote to its outputs."""
        started = time.monotonic()
        run = subprocess.run(["sh", "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=self.environment)
        shown = re.sub(r"(?:root@node\d+,){3,}", "root@node…,", script.strip())
        print(f"\n$ {shown}\n[status {run.returncode}, {time.monotonic() - started:.1f} s, {len(run.stdout.splitlines())} lines]", flush=True)
        if run.returncode != status:
            check(False, f"exit status {status}: " + run.stdout + run.stderr)
        return run.stdout, run.stderr

    def upstream_bytes(self, need, limits, text):
        taken = self.counter.taken()
        low, high = limits
        check(low * need <= taken <= high * need + 64 * 1024, f"{text}: {taken:,} bytes came from upstream, {taken / need:.3f} × the {need:,} that one host needs")

    def same_commit(self, nodes):
        commits = {node.commit() for node in nodes}
        check(len(commits) == 1, f"{len(nodes)} hosts have the commit {' '.join(sorted(commits))}")
        return commits.pop()

    # ---- Prometheus

    def start_prometheus(self):
        directory = self.directory / "prometheus"
        directory.mkdir()
        configuration = {"global": {"scrape_interval": "2s", "evaluation_interval": "2s"}, "rule_files": [str(SOURCES / "docs/examples/imaged-alerts.yml")],
                         "scrape_configs": [{"job_name": "imaged", "static_configs": [{"targets": [f"{node.name}:9100" for node in self.nodes]}]}]}
        (directory / "prometheus.yml").write_text(json.dumps(configuration))
        rig.run("promtool", "check", "config", directory / "prometheus.yml")
        with open(directory / "log", "wb") as log:
            process = subprocess.Popen(["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data",
                                        f"--web.listen-address={PROMETHEUS}"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.cleanup.callback(process.wait)
        self.cleanup.callback(process.terminate)

    @staticmethod
    def api(path, **query):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{PROMETHEUS}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as reply:
            return json.load(reply)["data"]
        return {}

    def numbers(self, query):
        return {result["metric"].get("instance", ""): float(result["value"][1]) for result in self.api("query", query=query).get("result", [])}

    def alerts(self, name):
        return [alert["labels"]["instance"] for alert in self.api("alerts").get("alerts", []) if alert["labels"]["alertname"] == name]

    @staticmethod
    def eventually(ask, wanted, text):
        with contextlib.suppress(AssertionError):
            real_daemon.until(lambda: sorted(ask()) == sorted(wanted))
        found = sorted(ask())
        check(found == sorted(wanted), f"Prometheus: {text} " + (" ".join(f"{value:g}" if isinstance(value, float) else value for value in found) if len(found) < 4 else f"{len(found)} hosts"))

    def prometheus_says(self, **wanted):
        """Each query of the guide, by the name that it has here, gives that number before long."""
        queries = dict(zip(("images", "waiting", "down"), lines("Prometheus over all hosts")[-1].splitlines()))
        for name, value in wanted.items():
            query = queries[name].split("  ")[0]
            self.eventually(lambda query=query: self.numbers(query).values(), [float(value)], f"{query} is")

    # ---- what is shown

    def first_pull(self):
        need = self.image.publish()
        self.shell(f"imagectl --no-progress --host {self.named(1, 1)} pull {IMAGE}")
        # docker-registry 2.8 fetches a blob that it has not got twice: for the one who asks, and to store it.
        self.upstream_bytes(need, (1, 2.01), "the first host")
        out, _ = self.shell(f"imagectl --no-progress --host {self.all} pull {IMAGE}")
        check({line.split(": ")[0] for line in out.splitlines()} == set(self.all.split(",")), "each host answers by its name")
        self.upstream_bytes(need, (0, 0.001), f"{self.count - 1} hosts at once, after the first")
        self.same_commit(self.nodes)

    def all_hosts(self):
        for block in lines("Ask all hosts"):
            out, _ = self.shell(block.replace("20", str(self.count)))
            print(textwrap.indent("\n".join(out.splitlines()[:3]), "    "), flush=True)
            check({line.split(": ")[0] for line in out.splitlines()} == set(self.all.split(",")), f"all {self.count} hosts answer")
        documents, _ = self.shell(f"imagectl --json --host {self.all} list")
        found = {line["host"]: line["result"]["images"][0]["image"] for line in map(json.loads, documents.splitlines())}
        check(found == dict.fromkeys(self.all.split(","), IMAGE), f"--json: {len(found)} lines, each with {IMAGE}")

    def one_host_down(self):
        last = self.nodes[-1]
        rig.run("ip", "-n", last.name, "link", "set", "eth0", "down")
        out, err = self.shell(f"imagectl --no-progress --host {self.all} list", NO_DAEMON)
        failed = [line for line in err.splitlines() if line.startswith(f"root@{last.name}: ")]
        print(textwrap.indent("\n".join(failed), "    "), flush=True)
        check(failed and failed == err.splitlines(), f"all errors are those of {last.name}")
        check(len({line.split(": ")[0] for line in out.splitlines()}) == self.count - 1, f"the other {self.count - 1} hosts are listed")
        self.prometheus_says(images=self.count - 1, down=1)
        self.eventually(lambda: self.numbers("up == 0"), [f"{last.name}:9100"], "the host that is down is")
        rig.run("ip", "-n", last.name, "link", "set", "eth0", "up")
        self.prometheus_says(images=self.count, waiting=0)

    def rollout(self):
        old, need = self.same_commit(self.nodes), self.image.publish()
        self.shell(f"imagectl --no-progress --host {self.all} check {IMAGE}")
        self.prometheus_says(waiting=self.count)
        self.eventually(lambda: self.alerts("ImagedUpdateWaits"), [f"{node.name}:9100" for node in self.nodes], "the example rule ImagedUpdateWaits is pending for")
        self.counter.taken()
        broken, script = self.nodes[3], lines("Roll out in waves")[0].replace("20", str(self.count))
        broken.fill()
        _, err = self.shell(script, NO_SPACE)
        print(textwrap.indent(err, "    "), flush=True)
        check("NoSpace" in err and all(line.startswith(f"root@{broken.name}: ") for line in err.splitlines()), f"{broken.name}, of the second wave, says that its disk is full")
        new = self.same_commit([node for node in self.nodes[:6] if node is not broken])
        check(new != old and {node.commit() for node in [broken, *self.nodes[6:]]} == {old}, f"{broken.name} and the {self.count - 6} hosts of the third wave keep {old}")
        self.prometheus_says(waiting=self.count - 5, images=self.count)
        (broken.disk / "filler").unlink()
        self.shell(script)
        check(self.same_commit(self.nodes) == new, "once the disk has room, the same lines bring all hosts to the new version")
        self.upstream_bytes(need, (1, 2.01), "the whole rollout")
        self.prometheus_says(waiting=0)

    def all_at_once(self):
        """What the mirror costs whose first host is not let go first, and one that is filled before."""
        need = self.image.publish()
        self.shell(f"imagectl --no-progress --host {self.all} pull {IMAGE}")
        self.upstream_bytes(need, (1, self.count + 1.01), f"{self.count} hosts at once, nothing in the mirror")
        self.same_commit(self.nodes)
        self.mirror.stop()
        self.mirror = self.registry("plain")
        need = self.image.publish()
        fill = lines("A mirror that is filled")[0]
        self.shell(fill.replace("skopeo copy", "skopeo --insecure-policy copy --src-tls-verify=false --dest-tls-verify=false").replace("registry.example", self.counter.address))
        self.upstream_bytes(need, (1, 1.01), "a mirror that skopeo fills")
        self.shell(f"imagectl --no-progress --host {self.all} pull {IMAGE}")
        self.upstream_bytes(need, (0, 0), f"{self.count} hosts at once from it")
        self.same_commit(self.nodes)

    def timers(self):
        """The drop-in is one that systemd takes."""
        units = self.directory / "units"
        drop_in = units / "imaged-update.timer.d/wave.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(lines("Waves by timers")[0])
        shutil.copy(SOURCES / "systemd/imaged-update.timer", units)
        service = (SOURCES / "systemd/imaged-update.service.in").read_text(encoding="utf-8")
        (units / "imaged-update.service").write_text(service.replace("@bindir@/imagectl", os.environ["IMAGECTL"]))
        run = subprocess.run(["systemd-analyze", "verify", "--man=no", units / "imaged-update.timer"], capture_output=True, text=True, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"})
        said = [line for line in run.stderr.splitlines() if "imaged" in line or str(units) in line]
        check(run.returncode == 0 and not said, "systemd-analyze verify finds nothing in the timer with its drop-in" + "".join(f"\n    {line}" for line in said))

    def run(self):
        rules = [rule for group in self.started_rules() for rule in group["rules"]]
        check(len(rules) == 5 and all(rule["health"] in ("ok", "unknown") for rule in rules), f"Prometheus has the {len(rules)} example rules")
        self.first_pull()
        self.prometheus_says(images=self.count, waiting=0)
        self.all_hosts()
        self.one_host_down()
        self.rollout()
        self.all_at_once()
        self.timers()
        self.shell(f"imagectl --no-progress --host {self.all} verify")
        check(all(rule["health"] == "ok" for group in self.api("rules")["groups"] for rule in group["rules"]), "each rule was evaluated")

    def started_rules(self):
        self.start_prometheus()
        real_daemon.until(lambda: self.api("rules").get("groups"))
        return self.api("rules")["groups"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=20, choices=range(8, 100), metavar="N", help="8 to 99, by default 20")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    missing = [name for name in NEEDED if not shutil.which(name)] + ([] if test_hosts.SSHD else ["sshd"])
    if os.geteuid() != 0 or missing:
        print("needs root" if os.geteuid() != 0 else "needs " + ", ".join(missing))
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    if arguments.inside:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[name]
        rig.run("mount", "-t", "tmpfs", "-o", "mode=755", "fleet", arguments.inside)
        with contextlib.ExitStack() as cleanup:
            Fleet(arguments.hosts, pathlib.Path(arguments.inside), cleanup).run()
        print(f"\nfleet: {arguments.hosts} hosts, all of it held, {time.monotonic() - started:.0f} s", flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="imaged-fleet-", dir="/var/tmp") as directory:
        os.chmod(directory, 0o755)
        return subprocess.run(["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                               sys.executable, "-B", __file__, "--hosts", str(arguments.hosts), "--inside", directory], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
