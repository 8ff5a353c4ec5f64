# SPDX-License-Identifier: Apache-2.0
"""The system that imaged is tested on: registries, users, keys, images; and what the tests have in common."""
import contextlib
import glob
import json
import os
import random
import re
import shutil
import unittest

from oci_layout import Entry, Layout, layer

REGISTRY = "127.0.0.1:15000"     # plain HTTP, as registries.conf allows
PRIVATE = "127.0.0.1:15001"      # TLS with a certificate of our own, and passwords
CACHE = "127.0.0.1:15002"        # pulls through from the first
IMAGE, SIGNED = f"docker://{REGISTRY}/open/image:latest", f"docker://{REGISTRY}/signed/image:latest"
SECRET = f"docker://{PRIVATE}/secret/image:latest"
LARGE = f"docker://{REGISTRY}/open/large:latest"
LARGE_LAYERS = 8
MANAGER = ["org.imaged1", "/org/imaged1", "org.imaged1.Manager"]
POLICY = {"default": [{"type": "insecureAcceptAnything"}],
          "transports": {"docker": {REGISTRY + "/signed": [{"type": "signedBy", "keyType": "GPGKeys",
                                                            "keyPath": "/etc/pki/images.gpg"}]}}}


def mirrored(name, mirror):
    """The entry of registries.conf for what is at NAME, and to be had at MIRROR too."""
    return f"""
[[registry]]
prefix = "{name}"
location = "{name}"

[[registry.mirror]]
location = "{mirror}"
insecure = true
"""


REGISTRIES = f"""[[registry]]
location = "{REGISTRY}"
insecure = true
""" + mirrored("mirrored.example/open", REGISTRY + "/open") + mirrored("cached.example/open", CACHE + "/open")
SIGNATURES = f"""docker:
  {REGISTRY}/signed:
    lookaside: file:///srv/signatures
    lookaside-staging: file:///srv/signatures
    sigstore: file:///srv/signatures
    sigstore-staging: file:///srv/signatures
"""
PACKAGES = "/srv/packages"


def registry_unit(name):
    # One that pulls through ends where the other does not listen yet.
    return ("[Unit]\nStartLimitIntervalSec=0\n"
            f"[Service]\nExecStart=/usr/bin/docker-registry serve /etc/registry/{name}.yml\nRestart=on-failure\nRestartSec=200ms\n"
            "[Install]\nWantedBy=multi-user.target\n")


def registry_config(name, address, more=""):
    return (f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
            f"storage: {{filesystem: {{rootdirectory: /srv/registry-{name}}}}}\nhttp:\n  addr: {address}\n{more}")


def prepare_packages(machine, packages):
    """Lays the packages out in the system, and installs what they depend on."""
    os.makedirs(machine.path(PACKAGES))
    for deb in glob.glob(packages + "/*.deb"):
        shutil.copy(deb, machine.path(PACKAGES))
    machine.chroot("apt-get", "update", "-qq")
    machine.chroot("sh", "-ec", f"""
        for deb in {PACKAGES}/*.deb; do
            needs=$(dpkg-deb -f "$deb" Depends | sed 's/image\(d\|ctl\) ([^)]*),* *//g')
            test -z "$needs" || apt-get satisfy -y -qq --no-install-recommends "$needs"
        done""")


def prepare(machine):
    """Before it is booted."""
    machine.chroot("sh", "-ec", "groupadd images; useradd -m -G images alice; useradd -m bob")
    for name, address in (("open", REGISTRY), ("private", PRIVATE), ("cache", CACHE)):
        more = ""
        if name == "private":
            more = ("  tls: {certificate: /etc/registry/tls.crt, key: /etc/registry/tls.key}\n"
                    "auth: {htpasswd: {realm: images, path: /etc/registry/htpasswd}}\n")
        if name == "cache":
            more = f"proxy: {{remoteurl: http://{REGISTRY}}}\n"
        machine.write(f"/etc/registry/{name}.yml", registry_config(name, address, more))
        machine.write(f"/etc/systemd/system/registry-{name}.service", registry_unit(name))
    machine.chroot("sh", "-ec", """
        openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 \\
            -keyout /etc/registry/tls.key -out /etc/registry/tls.crt
        htpasswd -Bbn carol secret-word >/etc/registry/htpasswd
        systemctl enable registry-open registry-private registry-cache""")
    machine.write("/etc/containers/registries.conf", REGISTRIES)
    machine.write("/etc/containers/policy.json", json.dumps(POLICY))
    machine.write("/etc/containers/registries.d/signed.yaml", SIGNATURES)
    layout = Layout(machine.path("/srv/images"))
    files = [Entry("usr", "dir", mode=0o755), Entry("usr/hello", content=b"hello\n"), Entry("usr/su", content=b"x", mode=0o4755)]
    layout.image("small", [layer(files)])
    layout.image("newer", [layer(files), layer([Entry("usr/news", content=b"news\n")])])
    chance = random.Random(1)
    layout.image("large", [layer([Entry(f"blob{number}-{part}", content=chance.randbytes(2 << 20)) for part in range(5)])
                           for number in range(LARGE_LAYERS)])


def fill_registries(machine):
    """Once it is booted."""
    for port in (15000, 15001, 15002):
        machine.eventually(lambda: machine.run("bash", "-c", f": </dev/tcp/127.0.0.1/{port}", check=False).returncode == 0)
    machine.shell(f"""
        mkdir -p /etc/pki /srv/signatures /root/.gnupg
        chmod 700 /root/.gnupg
        gpg --batch --quiet --passphrase '' --quick-generate-key images@example.org rsa2048 sign never
        gpg --batch --armor --export images@example.org >/etc/pki/images.gpg
        skopeo copy -q --dest-tls-verify=false oci:/srv/images:small {IMAGE}
        skopeo copy -q --dest-tls-verify=false oci:/srv/images:large {LARGE}
        skopeo copy -q --dest-tls-verify=false --sign-by images@example.org oci:/srv/images:small {SIGNED}
        skopeo copy -q --dest-tls-verify=false --dest-creds carol:secret-word oci:/srv/images:small {SECRET}""")


class Case(unittest.TestCase):
    machine = None

    def imagectl(self, *arguments, **keywords):
        return self.machine.run("imagectl", *arguments, **keywords)

    def outcome(self, *arguments, **keywords):
        return json.loads(self.imagectl("--json", *arguments, **keywords).stdout.splitlines()[-1])

    def busctl(self, *arguments, **keywords):
        return self.machine.run("busctl", "call", *MANAGER, *arguments, **keywords)

    def refused(self, *arguments, user, why):
        run = self.imagectl(*arguments, "--no-interactive", user=user, check=False)
        self.assertEqual(run.returncode, 4, run.stdout + run.stderr)
        self.assertIn(why, run.stderr)

    def stop_daemon(self):
        self.machine.run("systemctl", "stop", "imaged")

    def forget_everything(self):
        self.stop_daemon()
        self.machine.shell("rm -rf /ostree/repo")

    def configure(self, text):
        """For the next start of the daemon."""
        self.stop_daemon()
        self.machine.write("/etc/imaged/imaged.conf.d/50-test.conf", text)

    def main_pid(self):
        return self.machine.run("systemctl", "show", "-P", "MainPID", "imaged").stdout.strip()

    def status(self, pid):
        lines = self.machine.run("cat", f"/proc/{pid}/status").stdout.splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def mounts(self, pid):
        """Mount point → options of the mount on top there."""
        lines = self.machine.run("cat", f"/proc/{pid}/mountinfo").stdout.splitlines()
        return {line.split()[4]: line.split()[5].split(",") for line in lines}

    def namespace(self, pid, kind):
        return self.machine.run("readlink", f"/proc/{pid}/ns/{kind}").stdout.strip()

    @contextlib.contextmanager
    def held_pull(self, image, *options):
        """A pull whose registry stands still, whoever asks it; gives the client, the worker and skopeo."""
        self.machine.run("systemctl", "kill", "--signal=STOP", "registry-open")
        try:
            pull = self.machine.start("imagectl", "pull", image, *options)
            skopeo = self.machine.eventually(self.skopeo, 60, "no skopeo comes")
            worker = self.machine.eventually(self.confined_worker, 60, "no worker is confined")
            yield pull, worker, skopeo
            self.machine.run("systemctl", "kill", "--signal=CONT", "registry-open")
            text = pull.communicate(timeout=300)[0]
            self.assertEqual(pull.returncode, 0, text)
        finally:
            self.machine.run("systemctl", "kill", "--signal=CONT", "registry-open")
            pull.kill()
            pull.communicate()

    def confined_worker(self):
        """Of a job's processes the one that does it: it alone has a PID namespace of its own."""
        for pid in self.machine.run("pgrep", "-x", "imaged-worker", check=False).stdout.split():
            if self.namespace(pid, "pid") != self.namespace("1", "pid"):
                return pid
        return None

    def skopeo(self):
        return next(iter(self.machine.run("pgrep", "-x", "skopeo", check=False).stdout.split()), None)

    def security_score(self, unit):
        run = self.machine.run("systemd-analyze", "security", "--offline=true", "--no-pager", f"/usr/lib/systemd/system/{unit}",
                               check=False)
        score = re.search(r"Overall exposure level for (\S+): ([0-9.]+)", run.stdout)
        self.assertIsNotNone(score, run.stdout + run.stderr)
        print(f"{score.group(0)}; ", end="", flush=True)
        return float(score.group(2))

    def tree_of(self, where):
        return self.machine.shell(f"find {where} -printf '%p %y %s %m %U %G %i %T@\\n' | sort").stdout
