#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Registries reached through the skopeo service: the containers policy holds there as it does without, and a skopeo that
nobody waits for any more ends, wherever it is."""
import array
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import agreement
import encapsulation
import oci_layout
import ostree_repository
import registry
import sanitizers
import signing
import skopeo_service
import worker

ANYTHING = [{"type": "insecureAcceptAnything"}]
# Nobody who reads a log should wait longer than this for what takes a second.
SOON = 10 * sanitizers.SLOWER


def eventually(condition, timeout=SOON):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it does not happen")
        time.sleep(0.02)


class Scratch(unittest.TestCase):
    def scratch(self):
        directory = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(directory.cleanup)
        os.chmod(directory.name, 0o755)
        return pathlib.Path(directory.name)

    def service(self, **environment):
        service = skopeo_service.SkopeoService(environment)
        self.addCleanup(service.stop)
        return service


class Policy(unittest.TestCase):
    """A policy that only the worker knows, signatures in a directory that only it names."""

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.directory.chmod(0o755)
        keys = signing.KeyRing(cls.directory / "gnupg", ["vendor", "stranger"])
        cls.addClassCleanup(keys.close)
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        layout = oci_layout.Layout(cls.directory / "layout")
        layout.image("it", [oci_layout.layer([oci_layout.Entry("usr/file", content=b"signed?")])])
        states = ("unsigned", "signed", "wrong-key")
        digests = {state: cls.registry.push(layout.reference("it"), f"shop/{state}:1") for state in states}
        for state, key in (("signed", "vendor"), ("wrong-key", "stranger")):
            keys.sign_image(layout.blob_path(digests[state]), f"{cls.registry.address}/shop/{state}:1", key,
                            cls.directory / f"lookaside/shop/{state}@{digests[state].replace(':', '=')}/signature-1")
        key = cls.directory / "vendor.gpg"
        key.write_bytes(keys.files["vendor"].read_bytes())
        (cls.directory / "registries.d").mkdir()
        (cls.directory / "registries.d/shop.yaml").write_text(
            f"docker:\n  {cls.registry.address}:\n    lookaside: file://{cls.directory}/lookaside\n    sigstore: file://{cls.directory}/lookaside\n")
        # Of this class alone: other tests' jobs have theirs in /var/tmp.
        cls.temporary = cls.directory / "tmp"
        cls.temporary.mkdir()
        cls.temporary.chmod(0o1777)
        cls.service = skopeo_service.SkopeoService({"TMPDIR": str(cls.temporary)})
        cls.addClassCleanup(cls.service.stop)
        cls.policies = {"accept": {"default": ANYTHING}, "reject": {"default": [{"type": "reject"}]},
                        "signed": {"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(key)}]}}
        for name, policy in cls.policies.items():
            (cls.directory / f"{name}.json").write_text(json.dumps(policy))

    def setUp(self):
        self.repository = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(self.repository.cleanup)
        ostree_repository.init(self.repository.name, "bare-user")

    def pull(self, state, policy, prefix="", **options):
        environment = {"CONTAINERS_POLICY": str(self.directory / f"{policy}.json"), "CONTAINERS_REGISTRIES_D": str(self.directory / "registries.d"),
                       "CONTAINERS_REGISTRIES_CONF": str(self.registry.configuration), "TMPDIR": str(self.temporary)}
        settings = {"skopeo-service": self.service.path, **options.pop("settings", {})}
        return worker.pull(f"{prefix}docker://{self.registry.address}/shop/{state}:1", self.repository.name, settings=settings, env=environment, **options).result

    def verdict(self, *arguments, **options):
        result = self.pull(*arguments, **options)
        return "accepted" if result["outcome"] == "success" else result["error-name"]

    def test_a_signed_image_is_accepted_and_any_other_refused(self):
        before = len(self.service.processes)
        self.assertEqual({state: self.verdict(state, "signed") for state in ("unsigned", "wrong-key", "signed")},
                         {"unsigned": "PolicyRejected", "wrong-key": "PolicyRejected", "signed": "accepted"})
        self.assertEqual(self.verdict("signed", "signed", "ostree-image-signed:"), "accepted")
        # The service has not failed because an image was refused.
        eventually(lambda: not self.service.running())
        self.assertEqual({process.wait() for process in self.service.processes[before:]}, {0})
        self.assertGreater(len(self.service.processes), before + 3)

    def test_a_policy_that_rejects_or_accepts_everything_holds(self):
        self.assertEqual(self.verdict("signed", "reject"), "PolicyRejected")
        self.assertEqual(self.verdict("unsigned", "accept"), "accepted")
        self.assertEqual(self.verdict("unsigned", "accept", "ostree-image-signed:"), "PolicyRejected")

    def test_a_refusal_says_why_and_keeps_nothing(self):
        result = self.pull("unsigned", "signed")
        self.assertIn("signature", result["message"])
        self.assertEqual(encapsulation.ostree(self.repository.name, "refs"), "")

    def test_preparing_is_held_to_the_policy_too(self):
        self.assertEqual(self.verdict("unsigned", "signed", kind="prepare"), "PolicyRejected")
        self.assertEqual(self.verdict("signed", "signed", kind="prepare"), "accepted")

    def test_nothing_stays_of_the_checks(self):
        self.pull("signed", "signed")
        self.pull("unsigned", "signed")
        eventually(lambda: not self.service.running())
        self.assertEqual(os.listdir(self.temporary), [])

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_a_worker_without_a_network_is_enough(self):
        result = self.pull("signed", "signed", settings={"confined": True})
        if "mount" in result.get("message", ""):
            self.skipTest(result["message"])
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(self.verdict("unsigned", "signed", settings={"confined": True}), "PolicyRejected")


class SilentRegistry:
    """Takes connections, and says nothing."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"

    def close(self):
        self.server.close()


class Ending(Scratch):
    def setUp(self):
        self.directory = self.scratch()
        self.repository = self.directory / "repo"
        layout = oci_layout.Layout(self.directory / "layout")
        layout.image("it", [oci_layout.layer([oci_layout.Entry("usr/file", content=b"content")])])
        self.image = "ostree-unverified-image:" + layout.reference("it")
        self.stored = layout.reference("it")
        self.silent = SilentRegistry()
        self.addCleanup(self.silent.close)
        configuration = self.directory / "registries.conf"
        configuration.write_text(f'[[registry]]\nlocation = "{self.silent.address}"\ninsecure = true\n')
        (self.directory / "policy.json").write_text(json.dumps({"default": ANYTHING}))
        self.environment = {"CONTAINERS_REGISTRIES_CONF": str(configuration), "CONTAINERS_POLICY": str(self.directory / "policy.json")}
        self.skopeo = self.service()

    def job(self, kind, stall=1000, service=True):
        """A pull from, or an export to, the registry that says nothing."""
        settings = {"skopeo-service": self.skopeo.path if service else None, "stall-milliseconds": stall}
        target = f"docker://{self.silent.address}/a:b"
        if kind == "pull":
            return worker.Run(target, self.repository, settings=settings, env=self.environment)
        self.assertEqual(worker.pull(self.image, self.repository, env=self.environment).result["outcome"], "success")
        return worker.Run(self.stored, self.repository, kind="export", arguments={"destination": target}, settings=settings, env=self.environment)

    def waiting_job(self, kind):
        """A job whose skopeo waits for the registry, and goes on doing so."""
        before = len(self.skopeo.processes)
        run = self.job(kind, stall=60000)
        eventually(lambda: len(self.skopeo.processes) > before)
        time.sleep(0.5)
        return run

    def test_a_stall_is_noticed_and_ends_the_skopeo(self):
        for kind in ("pull", "export"):
            with self.subTest(kind):
                run = self.job(kind)
                started = time.monotonic()
                run.finish()
                self.assertLess(time.monotonic() - started, 4 * sanitizers.SLOWER)
                self.assertEqual(run.result["error-name"], "SourceUnreachable", run.result)
                self.assertIn("stalled", run.result["message"])
                self.assertTrue(self.skopeo.processes)
                eventually(lambda: not self.skopeo.running())

    def test_a_stall_is_noticed_without_the_service_too(self):
        for kind in ("pull", "export"):
            with self.subTest(kind):
                run = self.job(kind, service=False)
                started = time.monotonic()
                run.finish()
                self.assertLess(time.monotonic() - started, 4 * sanitizers.SLOWER)
                self.assertIn("stalled", run.result["message"])

    def test_a_cancelled_job_takes_the_skopeo_with_it(self):
        for kind in ("pull", "export"):
            with self.subTest(kind):
                run = self.waiting_job(kind)
                self.assertEqual(len(self.skopeo.running()), 1)
                run.cancel()
                started = time.monotonic()
                run.finish()
                self.assertEqual(run.result["outcome"], "cancelled")
                eventually(lambda: not self.skopeo.running())
                self.assertLess(time.monotonic() - started, 2 * sanitizers.SLOWER)

    def test_a_worker_that_is_killed_takes_the_skopeo_with_it(self):
        for kind in ("pull", "export"):
            with self.subTest(kind):
                run = self.waiting_job(kind)
                run.process.kill()
                run.process.wait(SOON)
                run.lines.close()
                run.channel.close()
                eventually(lambda: not self.skopeo.running(), 2)

    def test_an_export_that_works_and_one_that_is_refused(self):
        store = registry.Registry(self.directory / "registry")
        self.addCleanup(store.stop)
        self.environment["CONTAINERS_REGISTRIES_CONF"] = str(store.configuration)
        settings = {"skopeo-service": self.skopeo.path}
        self.assertEqual(worker.pull(self.image, self.repository, env=self.environment).result["outcome"], "success")

        def export(name, **more):
            return worker.pull(self.stored, self.repository, kind="export", arguments={"destination": f"docker://{store.address}/{name}"},
                               settings={**settings, **more}, env=self.environment).result
        self.assertEqual(export("a:b")["outcome"], "success")
        if os.getuid() == 0:
            confined = export("a:confined", confined=True)
            self.assertEqual(confined["outcome"], "success", confined)
        again = worker.pull(f"docker://{store.address}/a:b", self.directory / "other", settings=settings, env=self.environment).result
        self.assertEqual(again["outcome"], "success", again)
        failed = export("a/" + "b" * 300 + ":c")
        self.assertEqual(failed["outcome"], "failed")
        self.assertNotIn("without a message", failed["message"])


# A skopeo that shows what it was given, and does as its image says.
SCRIPT = """#!/bin/sh
echo $$ >"$STATE/pid"
for word; do
    case "$word" in
        --authfile=*) cat "${word#*=}" >"$STATE/auth" ;;
        --policy=*) cat "${word#*=}" >"$STATE/policy" ;;
    esac
    last=$word
done
printf '%s\\n' "$*" >"$STATE/words"
case "$last" in
    3) exec sleep 60 ;;
    *:print) echo printed; exit 0 ;;
    *:fail) exit 3 ;;
    *:move) for i in 1 2 3 4; do cat /etc/os-release >/dev/null; sleep 0.6; done ;;
    *) exec sleep 60 ;;
esac
"""


# One that was taken over by what a registry said.
HOSTILE = """#!/usr/bin/python3
import ctypes, fcntl, json, os, resource, signal, threading
victim, parent, harmless = {0}, os.getppid(), "HARMLESS" in os.environ
libc = ctypes.CDLL(None, use_errno=True)
found = {{}}
def attempt(name, tried):
    try:
        tried()
        found[name] = "done"
    except OSError as error:
        found[name] = type(error).__name__
def call(*arguments):
    if libc.syscall(*map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "call")
def own(descriptor, number):
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, number)
# The number 0 is asked about as any other, and harms nobody.
attempt("kill", lambda: os.kill(victim, 0))
attempt("kill by a pidfd", lambda: signal.pidfd_send_signal(os.pidfd_open(victim), 0))
attempt("limits", lambda: resource.prlimit(victim, resource.RLIMIT_NOFILE, resource.prlimit(victim, resource.RLIMIT_NOFILE) if harmless else (1, 1)))
reading, writing = os.pipe()
attempt("signal by readiness", lambda: own(reading, victim))
tkill, tgkill, queue = (200, 234, 129) if os.uname().machine == "x86_64" else (130, 131, 138)
attempt("thread", lambda: call(tkill, victim, 0))
attempt("thread of a group", lambda: call(tgkill, victim, victim, 0))
if not harmless:
    attempt("everybody", lambda: os.kill(-1, 0))
    attempt("group", lambda: os.kill(0, 0))
    attempt("memory of the service", lambda: open("/proc/%d/mem" % parent, "r+b").close())
    attempt("environment of the service", lambda: open("/proc/%d/environ" % parent, "rb").close())
    attempt("own signal", lambda: os.kill(os.getpid(), 0))
    attempt("own limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)))
    attempt("own thread", lambda: signal.pthread_kill(threading.get_ident(), 0))
with open(os.environ["STATE"] + "/found", "w") as file:
    json.dump(found, file)
"""


class Protocol(Scratch):
    """What goes over the socket, with a skopeo that is a script."""

    def setUp(self):
        self.directory = self.scratch()
        self.state = self.directory / "state"
        self.state.mkdir()
        self.state.chmod(0o777)
        program = self.directory / "skopeo"
        program.write_text(SCRIPT)
        program.chmod(0o755)
        self.environment = {**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}", "STATE": str(self.state)}
        self.output, self.output_end = os.pipe()
        self.addCleanup(os.close, self.output)
        self.addCleanup(os.close, self.output_end)

    def request(self, descriptors=(), output=True, **more):
        """(our end of the channel, the imaged-proxy)"""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.addCleanup(ours.close)
        process = skopeo_service.start(theirs.fileno(), self.environment)
        self.addCleanup(process.wait, SOON)
        self.addCleanup(process.kill)
        theirs.close()
        document = {"kind": "inspect-raw", "image": "docker://a/b:print", "tag": "", "blobs": {},
                    "auth-file": False, "host-credentials": True, "background": False, "policy": False, **{key.replace("_", "-"): value for key, value in more.items()}}
        fds = array.array("i", ([self.output_end] if output else []) + list(descriptors))
        ours.sendmsg([json.dumps(document).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if fds else [])
        ours.settimeout(SOON)
        return ours, process

    def reports(self, channel):
        """Everything the service says, to its end."""
        found = []
        while packet := channel.recv(4096):
            found.append(json.loads(packet))
        return found

    def read(self, name):
        return (self.state / name).read_text()

    def skopeo(self):
        """The process id of the script, once it is there."""
        eventually(lambda: (self.state / "words").exists() and self.read("words"))
        return int(self.read("pid"))

    def is_gone(self, process):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rsplit(") ", 1)[1].startswith("Z")

    def test_output_and_status_come_back(self):
        channel, process = self.request()
        self.assertEqual(self.reports(channel)[-1], {"status": 0})
        self.assertEqual(os.read(self.output, 100), b"printed\n")
        self.assertEqual(process.wait(SOON), 0)
        channel, process = self.request(image="docker://a/b:fail")
        self.assertEqual(os.waitstatus_to_exitcode(self.reports(channel)[-1]["status"]), 3)
        # The service did what it should: systemd calls no unit failed because a registry refused.
        self.assertEqual(process.wait(SOON), 0)

    def test_credentials_and_policy_are_read_whole_each_time_and_stay_out_of_the_words(self):
        auth, policy = tempfile.TemporaryFile(dir=self.directory), tempfile.TemporaryFile(dir=self.directory)
        self.addCleanup(auth.close)
        self.addCleanup(policy.close)
        for file, text in ((auth, b'{"auths": "secret"}'), (policy, b'{"default": []}')):
            file.write(text)
            file.flush()
        for _ in range(2):
            channel, _ = self.request([auth.fileno(), policy.fileno()], auth_file=True, policy=True, registries_conf="/etc/r.conf", registries_d="/etc/r.d")
            self.reports(channel)
            self.assertEqual((self.read("auth"), self.read("policy")), ('{"auths": "secret"}', '{"default": []}'))
            words = self.read("words")
            self.assertNotIn("secret", words)
            self.assertIn("--registries-conf=/etc/r.conf --registries.d=/etc/r.d", words)

    def test_a_check_copies_into_a_layout_that_seems_complete_and_goes_with_it(self):
        digest = "sha256:" + "a" * 64
        channel, process = self.request(kind="check-policy", image="docker://a/b:c", blobs={digest: 1 << 40})
        self.skopeo()
        layout = self.read("words").split("oci:")[1].split(":")[0]
        self.assertEqual(os.stat(f"{layout}/blobs/{digest.replace(':', '/')}").st_size, 1 << 40)
        channel.close()
        process.wait(SOON)
        self.assertFalse(os.path.exists(layout))

    def test_a_push_reads_a_copy_of_a_layout_that_its_user_could_not_get_at(self):
        layout = oci_layout.Layout(self.directory / "private/layout")
        layout.image("it", [oci_layout.layer([oci_layout.Entry("file", content=b"x")])])
        (self.directory / "private").chmod(0o700)
        directory = os.open(layout.path, os.O_RDONLY | os.O_DIRECTORY)
        self.addCleanup(os.close, directory)
        channel, process = self.request([directory], kind="push", image="docker://a/b:wait", tag="it")
        self.skopeo()
        copy = pathlib.Path(self.read("words").split("oci:")[1].split(":")[0])

        def files(root):
            return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        self.assertEqual(files(copy), files(layout.path))
        channel.close()
        process.wait(SOON)
        self.assertFalse(copy.exists())

    def test_one_of_the_background_has_the_lowest_priority(self):
        for background, expected in ((True, (19, os.SCHED_IDLE)), (False, (os.getpriority(os.PRIO_PROCESS, 0), os.SCHED_OTHER))):
            channel, process = self.request(image="docker://a/b:wait", background=background)
            skopeo = self.skopeo()
            self.assertEqual((os.getpriority(os.PRIO_PROCESS, skopeo), os.sched_getscheduler(skopeo)), expected)
            told = subprocess.run(["ionice", "-p", str(skopeo)], capture_output=True, text=True, check=True).stdout
            self.assertEqual(told.startswith("idle"), background, told)
            channel.close()
            process.wait(SOON)
            (self.state / "words").unlink()

    def test_work_is_told(self):
        channel, _ = self.request(image="docker://a/b:move")
        reports = self.reports(channel)
        self.assertGreaterEqual(reports.count({"traffic": True}), 3)
        self.assertEqual(reports[-1], {"status": 0})

    def test_who_closes_the_socket_ends_the_skopeo(self):
        for kind, image in (("inspect-raw", "docker://a/b:wait"), ("image-proxy", "")):
            with self.subTest(kind):
                (self.state / "words").unlink(missing_ok=True)
                channel, process = self.request(kind=kind, image=image)
                skopeo = self.skopeo()
                time.sleep(0.2)
                self.assertIsNone(process.poll())
                channel.close()
                self.assertEqual(process.wait(2), 0)
                eventually(lambda: self.is_gone(skopeo), 2)

    def test_a_service_that_is_killed_leaves_no_skopeo(self):
        _, process = self.request(image="docker://a/b:wait")
        skopeo = self.skopeo()
        process.send_signal(signal.SIGKILL)
        process.wait(SOON)
        eventually(lambda: self.is_gone(skopeo), 2)

    @unittest.skipUnless(os.getuid() == 0, "needs root to have a process of the same user elsewhere")
    def test_one_skopeo_leaves_those_of_other_callers_alone(self):
        """They have one user, and credentials of different callers."""
        user = ["setpriv", f"--reuid={skopeo_service.NOBODY}", f"--regid={skopeo_service.NOBODY}", "--clear-groups"]
        victim = subprocess.Popen([*user, "sleep", "1000"])
        self.addCleanup(victim.wait)
        self.addCleanup(victim.kill)
        eventually(lambda: b"sleep" in pathlib.Path(f"/proc/{victim.pid}/cmdline").read_bytes().split(b"\0")[0])
        limits = pathlib.Path(f"/proc/{victim.pid}/limits").read_text()
        (self.directory / "skopeo").write_text(HOSTILE.format(victim.pid))
        # By itself it may do all of this.
        subprocess.run([*user, self.directory / "skopeo"], env={**self.environment, "HARMLESS": "1"}, check=True)
        self.assertEqual(set(json.loads(self.read("found")).values()), {"done"})
        (self.state / "found").unlink()
        channel, process = self.request()
        self.assertEqual(self.reports(channel)[-1], {"status": 0})
        found = json.loads(self.read("found"))
        self.assertEqual({name: outcome for name, outcome in found.items() if name.startswith("own ") and outcome != "done"}, {})
        self.assertEqual({name: outcome for name, outcome in found.items() if not name.startswith("own ") and outcome != "PermissionError"}, {})
        self.assertIsNone(victim.poll())
        self.assertEqual(pathlib.Path(f"/proc/{victim.pid}/limits").read_text(), limits)
        self.assertEqual(process.wait(SOON), 0)

    def test_what_is_no_request_is_refused(self):
        for descriptors, output, more in (([], False, {}), ([self.output_end], True, {}), ([], True, {"auth_file": True}), ([], True, {"kind": "shell"}),
                                          ([], True, {"kind": "push"}), ([], True, {"policy": "yes"}), ([], True, {"image": 5}), ([], True, {"blobs": []}),
                                          ([], True, {"kind": "check-policy", "blobs": {"../x": 1}})):
            with self.subTest(descriptors=len(descriptors), output=output, **more):
                channel, process = self.request(descriptors, output, **more)
                self.assertEqual([report["success"] for report in self.reports(channel)], [False])
                self.assertEqual(process.wait(SOON), 1)
                self.assertFalse((self.state / "words").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
