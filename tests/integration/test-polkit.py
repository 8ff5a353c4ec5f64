#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imaged as it is on the system bus: what it asks polkit, and what it does with the answer. The policy file too."""
import contextlib
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

from gi.repository import GLib

import bus_fixture
import hanging_file
import sanitizers
from bus_fixture import DIGEST, JOB, MANAGER, NAME, ROOT, Case
from system_bus import AskedCase

NOBODY, OTHER = 65534, 1
POLKITD = "/usr/lib/polkit-1/polkitd"
IMAGECTL = os.environ.get("IMAGECTL", "imagectl")


@unittest.skipUnless(os.getuid() == 0, "needs root to become another user")
class PolkitCase(AskedCase):
    settings = ""

    def setUp(self):
        self.environment = dict(os.environ)
        self.addCleanup(self.restore)
        super().setUp()

    def restore(self):
        os.environ.clear()
        os.environ.update(self.environment)

    def command(self):
        with open(self.directory + "/imaged.conf", "w", encoding="utf-8") as file:
            file.write(self.settings)
        return [bus_fixture.IMAGED, "--config", self.directory + "/imaged.conf", "--repository", self.directory + "/repo",
                "--worker", bus_fixture.WORKER, "--log-level", "off", "--idle-timeout", "0"]

    def start_daemon(self):
        # The containers policy of the home directory goes before that of the host.
        policy = self.directory + "/.config/containers/policy.json"
        os.makedirs(os.path.dirname(policy))
        with open(policy, "w", encoding="utf-8") as file:
            json.dump({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {
                "signed.example": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/nowhere"}]}}}, file)
        os.environ.update({"DBUS_SYSTEM_BUS_ADDRESS": self.address, "HOME": self.directory})
        self.allow()
        super().start_daemon()

    def start_polkit(self):
        self.spawn([sys.executable, os.path.dirname(os.path.abspath(__file__)) + "/scripted-polkit.py", self.address,
                    self.directory + "/questions", self.directory + "/allowed"])
        # "busctl status" wants to know more of the process than every container tells.
        self.eventually(lambda: b"true" in subprocess.run(
            ["busctl", "--address=" + self.address, "call", "org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner",
             "s", "org.freedesktop.PolicyKit1"], capture_output=True).stdout)

    def allow(self, *actions):
        with open(self.directory + "/allowed", "w", encoding="utf-8") as file:
            file.write(" ".join(actions))

    def of_nobody(self, method, signature, *arguments, options=()):
        """The command."""
        return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "busctl", "--address=" + self.address, *options, "call", NAME, ROOT,
                MANAGER, method, signature, *arguments]

    def as_nobody(self, *call, options=()):
        return subprocess.run(self.of_nobody(*call, options=options), capture_output=True, text=True)

    def pull(self, image, *options):
        return self.as_nobody("Pull", "sa{sv}", image, *(options or ("0",)))


class Polkit(PolkitCase):
    def test_root_needs_no_polkit_and_others_get_nowhere_without(self):
        client = self.client()
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")
        self.assertIn("may not pull", self.pull("docker://open.example/succeed:1").stderr)

    def test_a_pull_is_asked_about_once_with_image_and_options(self):
        self.start_polkit()
        self.allow("org.imaged1.pull")
        run = self.pull("docker://signed.example/a:b", "2", "digest", "s", DIGEST, "interactive", "b", "true")
        self.assertEqual(run.returncode, 0, run.stderr)
        question, = self.questions()
        self.assertEqual((question["kind"], question["action"], question["flags"]), ("system-bus-name", "org.imaged1.pull", 1))
        self.assertRegex(question["name"], "^:1")
        self.assertIn("docker://signed.example/a:b", question["details"]["image"])
        self.assertEqual(question["details"]["digest"], DIGEST)

    def test_what_nothing_vouches_for_is_an_action_of_its_own(self):
        self.start_polkit()
        self.allow("org.imaged1.pull", "org.imaged1.import")
        for image in ("docker://open.example/a:b", "ostree-unverified-registry:signed.example/a:b"):
            with self.subTest(image):
                self.assertIn("need no signature", self.pull(image).stderr)
                self.assertIn("need no signature",
                              self.as_nobody("ImportImage", "sa{sv}", image, "1", "digest", "s", DIGEST).stderr)
        self.assertEqual({question["action"] for question in self.questions()}, {"org.imaged1.pull-unverified"})
        self.allow("org.imaged1.pull-unverified")
        self.assertEqual(self.pull("docker://open.example/a:b").returncode, 0)

    def test_a_job_that_was_allowed_as_signed_asks_for_a_signature(self):
        self.start_polkit()
        self.allow("org.imaged1.pull")
        number = self.pull("docker://signed.example/a:b").stdout.split()[1]
        self.assertEqual(self.client().job(int(number))["Image"], "ostree-image-signed:docker://signed.example/a:b")

    def test_a_question_keeps_nobody_else_waiting(self):
        self.start_polkit()
        self.allow("slowly", "org.imaged1.pull", "org.imaged1.pull-unverified")
        asking = subprocess.Popen(self.of_nobody("Pull", "sa{sv}", "docker://open.example/succeed:1", "0"), stdout=subprocess.DEVNULL)
        self.eventually(self.questions)
        started = time.monotonic()
        self.client().call(MANAGER, "ListJobs")
        self.assertLess(time.monotonic() - started, 1 * sanitizers.SLOWER)
        self.assertEqual(asking.wait(10), 0)

    def test_nobody_is_asked_about_what_a_full_queue_refuses(self):
        self.start_polkit()
        self.allow("org.imaged1.pull")
        client = self.client()
        client.running(client.pull(self.image("wait")))
        for number in range(32):
            self.assertEqual(self.pull(f"docker://signed.example/a:{number}").returncode, 0)
        self.assertEqual(len(self.questions()), 32)
        self.assertIn("the queue is full", self.pull("docker://signed.example/a:more").stderr)
        self.assertEqual(len(self.questions()), 32)
        self.assertEqual(self.pull("docker://signed.example/a:0").returncode, 0, "joins the one that waits")

    def test_text_in_a_question_drives_no_terminal_and_starts_no_line(self):
        self.start_polkit()
        self.allow("org.imaged1.remove")
        self.assertIn("control character", self.as_nobody("Remove", "asa{sv}", "1", "oci:/a\x1b[2Jb\nAuthenticate as root:", "0").stderr)
        run = self.as_nobody("Remove", "asa{sv}", "1", "oci:/a\x9b31mb\u202ec\u2066d", "0")
        self.assertEqual(run.returncode, 0, run.stderr)
        question, = self.questions()
        self.assertEqual([], [text for text in question["details"].values() if re.search("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)])
        self.assertIn("\\u{202e}", json.dumps(question["details"]).replace("\\\\", "\\"))

    def imagectl_as(self, uid, *words):
        """The process, and the file that it reports to."""
        path = f"{self.directory}/imagectl-{len(self.processes)}"
        with open(path, "w", encoding="utf-8") as file:
            return self.spawn(["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", IMAGECTL, *words], stdout=subprocess.DEVNULL, stderr=file), path

    def test_who_cancels_a_shared_job_elsewhere_waits_for_it_no_longer(self):
        self.start_polkit()
        self.allow("org.imaged1.pull")
        *mine, (theirs, other) = [self.imagectl_as(uid, "pull", "docker://signed.example/wait:1") for uid in [NOBODY] * 10 + [OTHER]]
        for _, told in (*mine, (theirs, other)):
            self.eventually(lambda: "fetch" in pathlib.Path(told).read_text(encoding="utf-8"))
        client = self.client()
        (job, *_), = client.call(MANAGER, "ListJobs")[0]
        client.listen()
        cancel, answer = self.imagectl_as(NOBODY, "cancel", str(job))
        self.assertEqual(cancel.wait(5 * sanitizers.SLOWER), 0)
        self.assertIn(f"job {job} goes on for other callers", pathlib.Path(answer).read_text(encoding="utf-8"))
        for process, told in mine:
            self.assertEqual(process.wait(5 * sanitizers.SLOWER), 130)
            self.assertIn(f"job {job} was cancelled for you, and goes on for other callers (org.imaged1.Error.Cancelled)", pathlib.Path(told).read_text(encoding="utf-8"))
        self.assertEqual((theirs.poll(), client.job(job)["State"], client.heard("Finished")), (None, "running", []))
        self.release()
        self.assertEqual(theirs.wait(5 * sanitizers.SLOWER), 0)
        self.assertEqual(client.wait_for("Finished")[0][4][0], "success")

    def test_another_users_job_is_cancelled_with_leave_only(self):
        self.start_polkit()
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        self.assertIn("may not cancel", self.as_nobody("CancelJob", "u", str(job)).stderr)
        self.allow("org.imaged1.cancel")
        self.assertEqual(self.as_nobody("CancelJob", "u", str(job)).returncode, 0)
        self.assertEqual(client.finished(job)["Result"], "cancelled")


class Refusals(PolkitCase):
    """What NotAuthorized says, and to whom a dialogue is allowed: by the message flag as by the option."""

    def refusal(self, dialogue, *call):
        run = self.as_nobody(*call, options=[f"--allow-interactive-authorization={dialogue}"])
        self.assertNotEqual(run.returncode, 0)
        return run.stderr

    def test_the_message_names_the_action_and_the_reason(self):
        pull = ("Pull", "sa{sv}", "docker://signed.example/a:b", "0")
        said = f"user {NOBODY} may not pull images (org.imaged1.pull): "
        self.assertIn(said + "polkit, which would decide, is not there", self.refusal("yes", *pull))
        self.start_polkit()
        for answer, dialogue, reason in (("", "yes", "polkit does not allow it"), ("dismissed", "yes", "the authentication was dismissed"),
                                         ("challenge", "no", "polkit wants somebody to authenticate, and the call does not allow a dialogue"),
                                         ("challenge", "yes", "polkit wants somebody to authenticate, and there is no agent that could ask")):
            with self.subTest(answer=answer, dialogue=dialogue):
                self.allow(answer)
                self.assertIn(said + reason, self.refusal(dialogue, *pull))

    def test_the_flag_allows_a_dialogue_also_to_cancel(self):
        self.start_polkit()
        client = self.client()
        job = client.pull(self.image("wait"))
        client.running(job)
        for dialogue, flags in (("yes", 1), ("no", 0)):
            for call in (("Prune", "a{sv}", "0"), ("CancelJob", "u", str(job))):
                self.refusal(dialogue, *call)
                self.assertEqual(self.questions()[-1]["flags"], flags, call)
        self.refusal("no", "Prune", "a{sv}", "1", "interactive", "b", "true")
        self.assertEqual(self.questions()[-1]["flags"], 1)
        for dialogue, flags in (("yes", 1), ("no", 0)):
            run = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "busctl", "--address=" + self.address,
                                  f"--allow-interactive-authorization={dialogue}", "call", NAME, f"{ROOT}/job/{job}", JOB, "Cancel"], capture_output=True, text=True)
            self.assertIn("may not cancel the job of another user (org.imaged1.cancel): ", run.stderr)
            self.assertEqual(self.questions()[-1]["flags"], flags)


@unittest.skipUnless(shutil.which("pkttyagent"), "needs pkttyagent")
class Terminal(PolkitCase):
    def on_terminal(self, *words):
        """What imagectl of nobody says on a terminal of its own, and its exit code."""
        os.chmod(self.directory, 0o755)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir("/")
            os.execvp("setpriv", ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", IMAGECTL, *words])
        text = b""
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 4096):
                text += data
        os.close(terminal)
        return text.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_imagectl_brings_an_agent_that_can_ask(self):
        self.start_polkit()
        self.allow("challenge")
        text, code = self.on_terminal("pull", "docker://signed.example/a:b")
        self.assertEqual(code, 4, text)
        self.assertIn("(org.imaged1.pull): polkit wants", text)
        agents = [entry for entry in self.questions() if "agent" in entry]
        asked = [entry for entry in self.questions() if "action" in entry]
        self.assertTrue(agents and agents[0]["agent"].startswith("RegisterAuthenticationAgent"), self.questions())
        self.assertLess(self.questions().index(agents[0]), self.questions().index(asked[0]))
        self.assertEqual([entry["flags"] for entry in asked], [1])

    def test_without_a_dialogue_there_is_none(self):
        self.start_polkit()
        self.on_terminal("pull", "--no-interactive", "docker://signed.example/a:b")
        self.assertEqual([entry.get("flags") for entry in self.questions()], [0])


@unittest.skipUnless(shutil.which("pkttyagent") and os.path.exists(POLKITD), "needs polkitd and pkttyagent")
@unittest.skipIf(subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode, "needs a mount namespace")
class RealPolkit(PolkitCase):
    """Debian's polkitd, which has imaged's actions, and a caller on a terminal whom no session is known of."""

    def test_the_agent_of_imagectl_asks_without_a_session_and_ctrl_c_leaves(self):
        actions = self.directory + "/actions"
        os.mkdir(actions)
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../dbus/org.imaged1.policy"), actions)
        self.spawn(["unshare", "-m", "sh", "-c", f"mount --bind {actions} /usr/share/polkit-1/actions && exec {POLKITD} --no-debug"],
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        watcher = self.client()
        self.eventually(lambda: watcher.connection.call_sync("org.freedesktop.DBus", "/", "org.freedesktop.DBus", "NameHasOwner",
                                                             GLib.Variant("(s)", ("org.freedesktop.PolicyKit1",)), None, 0, -1, None).unpack()[0])
        os.environ.pop("XDG_SESSION_ID", None)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir("/")
            os.execvp("setpriv", ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", IMAGECTL, "prune"])
        text = b""
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 4096):
                text += data
                if text.endswith(b"Password: "):
                    time.sleep(6)  # as people type; imagectl says after 5 seconds that it waits
                    os.write(terminal, b"\x03")
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self.assertIn("AUTHENTICATING FOR org.imaged1.prune", text.decode())
        # Who leaves at the question has not been refused.
        self.assertEqual((code, "NotAuthorized" in text.decode()), (130, False), text)
        self.assertNotIn("waiting for imaged", text.decode(), "it stands where the password is typed")


@unittest.skipUnless(hanging_file.FAULT_LAYER, "FAULT_LAYER names the library that lets calls fail")
class HangingPolicy(PolkitCase):
    def command(self):
        self.file = hanging_file.HangingFile(self.directory, self.directory + "/.config/containers/policy.json")
        return self.file.before(super().command())

    def test_a_policy_that_hangs_keeps_only_those_waiting_who_need_it(self):
        self.start_polkit()
        self.allow("org.imaged1.pull", "org.imaged1.prune")
        asking = subprocess.Popen(self.of_nobody("Pull", "sa{sv}", "docker://signed.example/succeed:1", "0"), stdout=subprocess.PIPE)
        self.addCleanup(asking.stdout.close)
        self.eventually(self.file.has_readers)
        client, started = self.client(), time.monotonic()
        client.call(MANAGER, "ListJobs", timeout=3000)
        self.assertEqual(client.finished(client.pull(self.image("succeed")))["Result"], "success")
        self.assertEqual(self.as_nobody("Prune", "a{sv}", "0").returncode, 0)
        self.assertLess(time.monotonic() - started, 3 * sanitizers.SLOWER)
        self.assertIsNone(asking.poll(), "it is asked about what nobody has read")
        self.file.release()
        self.assertEqual(asking.wait(10), 0)
        os.kill(self.daemon.pid, signal.SIGTERM)
        self.assertEqual(self.daemon.wait(8 * sanitizers.SLOWER), 0)


class Signatures(Polkit):
    settings = "[Pull]\nSignaturePolicy=signature\n"

    def test_what_nothing_vouches_for_is_an_action_of_its_own(self):
        """A reference is one that a signature is demanded of, whatever stands before it."""
        self.start_polkit()
        self.allow("org.imaged1.pull")
        self.assertEqual(self.pull("docker://open.example/a:b").returncode, 0)
        self.assertEqual(self.pull("ostree-unverified-registry:open.example/a:b").returncode, 0)


class SignaturesByDefault(Polkit):
    settings = "[Pull]\nSignaturePolicy=signature-by-default\n"

    def test_what_nothing_vouches_for_is_an_action_of_its_own(self):
        """A plain reference is one that a signature is demanded of."""
        self.start_polkit()
        self.allow("org.imaged1.pull")
        self.assertEqual(self.pull("docker://open.example/a:b").returncode, 0)
        self.assertNotEqual(self.pull("ostree-unverified-registry:open.example/a:b").returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
