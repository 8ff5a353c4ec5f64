#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imagectl against a scripted daemon on a private bus: results, exit codes, progress on a terminal and elsewhere, Ctrl-C."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

import sanitizers

IMAGECTL = os.environ.get("IMAGECTL")
HERE = os.path.dirname(os.path.abspath(__file__))
DIGEST, OTHER_DIGEST = "sha256:" + "ab" * 32, "sha256:" + "cd" * 32
PULL_KEYS = {"schema", "job", "kind", "result", "image", "digest", "image-id", "architecture", "os", "previous-digest", "changed", "commit", "merge-commit", "base-commit",
             "version", "layers", "layers-fetched", "bytes-fetched", "bytes-reused", "objects-written", "objects-reused", "bytes-written",
             "filtered", "special-files-dropped", "names-dropped", "attributes-dropped", "layers-dropped", "relabelled", "signature-policy", "layers-partial", "fetched-whole", "delta", "delta-layers", "delta-bytes"}


class ImagectlTest(unittest.TestCase):
    def setUp(self):
        self.bus = self.start(["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"])
        self.address = self.bus.stdout.readline().strip()
        self.daemon = self.start([sys.executable, os.path.join(HERE, "scripted-daemon.py")],
                                 env={**os.environ, "DBUS_TEST_ADDRESS": self.address})
        self.assertEqual(self.daemon.stdout.readline(), "ready\n")

    def start(self, command, **options):
        """A process that ends with the test, also when setUp fails."""
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)

        def end():
            process.kill()
            process.wait()
            process.stdout.close()
        self.addCleanup(end)
        return process

    def environment(self, **more):
        return {**os.environ, "IMAGED_BUS_ADDRESS": self.address, "TERM": "xterm", **more}

    def run_it(self, *words, **options):
        return subprocess.run([IMAGECTL, *words], capture_output=True, text=True, timeout=20 * sanitizers.SLOWER, stdin=subprocess.DEVNULL,
                              env=self.environment(), **options)

    def call(self):
        return json.loads(self.daemon.stdout.readline())

    def start_on_terminal(self, *words, rows=24, columns=80):
        """imagectl with a terminal of its own; (pid, file descriptor of the terminal)."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(IMAGECTL, [IMAGECTL, *words], self.environment())
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        return pid, terminal

    def read_terminal(self, terminal, until=None, seconds=15):
        text, end = b"", time.monotonic() + seconds
        while time.monotonic() < end and not (until and until in text):
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                more = os.read(terminal, 65536)
            except OSError:
                break
            if not more:
                break
            text += more
        return text

    def end_of(self, pid):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def test_pull_prints_its_result_on_standard_output_and_progress_on_standard_error(self):
        done = self.run_it("pull", "docker://play:success")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(DIGEST, done.stdout)
        self.assertIn("fetch: 2 layers", done.stderr)
        self.assertIn("layer 000000000000 done, 1.0 kB", done.stderr)
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        self.assertIn("1\\x1b[2J", done.stdout)

    def test_json_outcome_has_the_documented_keys_only(self):
        done = self.run_it("pull", "docker://play:success", "--json")
        result = json.loads(done.stdout)
        self.assertLessEqual(set(result), PULL_KEYS)
        self.assertEqual((result["schema"], result["result"], result["bytes-fetched"], result["changed"]), (1, "success", 3000, True))
        self.assertEqual(result["filtered"], {DIGEST: {"dev": 2}})

    def test_every_json_key_is_documented(self):
        with open(os.path.join(HERE, "../../docs/imagectl-json.md"), encoding="utf-8") as page:
            documented = set(re.findall(r"^\| `([^`]+)`", page.read(), re.M))
        self.run_it("pull", "docker://play:success")

        def keys(value, skip=("labels", "filtered", "manifest", "config")):
            if isinstance(value, list):
                return set().union(*[keys(item) for item in value], set())
            if isinstance(value, dict):
                return set(value).union(*[keys(item) for key, item in value.items() if key not in skip], set())
            return set()
        for words in (["pull", "docker://play:success"], ["prepare", "docker://play:success"], ["pull", "docker://play:error:NoSpace"], ["list"], ["jobs"], ["deployments"],
                      ["show", "docker://example/a:1"], ["manifest", "x"], ["pull", "-d", "docker://play:endless"], ["watch", "1"]):
            with self.subTest(words=words):
                done = self.run_it("--json", *words)
                self.assertEqual(keys(json.loads(done.stdout)) - documented, set())

    def test_a_job_that_is_over_before_the_answer_is_not_missed(self):
        self.assertEqual(self.run_it("pull", "docker://play:instant").returncode, 0)
        # Its end is told before its properties are read, which name its kind.
        document = json.loads(self.run_it("--json", "pull", "docker://play:instant").stdout.splitlines()[-1])
        self.assertEqual((document["kind"], document["image"]), ("pull", "play:instant"))

    def test_each_error_name_has_its_exit_code(self):
        codes = {"InvalidReference": 2, "InvalidArgument": 2, "NotFound": 3, "NotAuthorized": 4, "SourceDenied": 4, "PolicyRejected": 5,
                 "SourceUnreachable": 6, "DigestMismatch": 7, "CorruptInput": 7, "UnsupportedImage": 7, "NoSpace": 8,
                 "RepositoryDamaged": 1, "QueueFull": 1, "Failed": 1, "Cancelled": 130, "Stopped": 11, "Unheard": 1}
        for name, code in codes.items():
            for scene in ("error", "refuse"):
                with self.subTest(name=name, scene=scene):
                    done = self.run_it("pull", "--quiet", f"docker://play:{scene}:{name}")
                    self.assertEqual(done.returncode, code)
                    self.assertRegex(done.stderr, rf"^imagectl: .* \(org\.imaged1\.Error\.{name}\)\n$")
                    self.assertNotIn("\x1b", done.stderr)

    def test_verify_ends_with_the_code_of_the_first_image_that_was_not_checked(self):
        for names, code in ((("NoSpace", "SourceUnreachable"), 8), (("SourceUnreachable", "NoSpace"), 6), (("Unheard", "NoSpace"), 1)):
            with self.subTest(names=names):
                done = self.run_it("verify", *[f"docker://play:unchecked:{name}" for name in names])
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertIn("the first cause", done.stdout)

    def test_no_bus_and_no_daemon_are_exit_code_9(self):
        self.daemon.kill()
        self.daemon.wait()
        for words in (["list"], ["pull", "x"], ["--address", "unix:path=/nonexistent/bus", "list"]):
            done = self.run_it(*words)
            self.assertEqual((done.returncode, done.stdout), (9, ""), done.stderr)

    def test_a_daemon_that_leaves_in_the_middle_is_exit_code_9(self):
        done = self.run_it("pull", "docker://play:vanish")
        self.assertEqual(done.returncode, 9)
        self.assertIn("imaged left the bus", done.stderr)

    def test_a_bus_that_leaves_in_the_middle_is_exit_code_9(self):
        process = subprocess.Popen([IMAGECTL, "pull", "docker://play:endless"], stderr=subprocess.PIPE, text=True, env=self.environment())
        self.call()
        self.bus.kill()
        self.assertIn("imagectl: ", process.communicate(timeout=10 * sanitizers.SLOWER)[1])
        self.assertEqual(process.returncode, 9)

    def test_hostile_answers_end_in_a_clear_error(self):
        done = self.run_it("pull", "docker://play:hostile")
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("\x1b", done.stderr)
        done = self.run_it("config", "x")
        self.assertEqual(done.returncode, 1)
        self.assertIn("(u) instead of (s)", done.stderr)
        self.assertEqual(self.run_it("manifest", "docker://play:deep", "--json").returncode, 7)

    def test_detach_prints_number_and_path(self):
        done = self.run_it("pull", "--detach", "docker://play:endless")
        self.assertEqual((done.returncode, done.stdout), (0, "1 /org/imaged1/job/1\n"))
        self.assertEqual(json.loads(self.run_it("jobs", "--json").stdout)["jobs"][0]["state"], "running")
        self.assertEqual(self.run_it("cancel", "1").returncode, 0)
        self.assertEqual(self.run_it("watch", "1").returncode, 130)
        self.assertEqual(self.run_it("cancel", "7").returncode, 3)
        self.assertEqual(self.run_it("watch", "7").returncode, 3)

    def test_options_reach_the_daemon(self):
        with tempfile.NamedTemporaryFile() as auth:
            self.run_it("pull", "docker://play:success", "--digest", DIGEST, "--target", "t", "--authfile", auth.name, "--bind", "--interactive")
        self.assertEqual(self.call()["options"], {"digest": DIGEST, "target": "docker://docker.io/library/t", "authfile": "fd", "bind-to-caller": 1, "interactive": 1})
        self.run_it("prepare", "docker://play:success")
        self.assertEqual(self.call()["options"], {})
        self.assertEqual(self.run_it("pull", "x", "--authfile", "/nonexistent").returncode, 1)

    def test_wrong_usage_is_exit_code_2(self):
        for words in ([], ["fly"], ["pull"], ["pull", "--digest", DIGEST, "a", "b"], ["pull", "--fly", "a"], ["import", "a"], ["list", "a"], ["cancel"],
                      ["cancel", "x"], ["watch", "-1"], ["pull", "--detach", "--bind", "a"], ["--session", "--system", "list"],
                      ["prepare", "--digest", "x", "a"], ["pull", ""]):
            with self.subTest(words=words):
                self.assertEqual(self.run_it(*words).returncode, 2)

    def test_a_name_without_a_transport_is_taken_as_one_of_a_registry(self):
        for name, taken in (("play:success", "docker://docker.io/library/play:success"), ("quay.io/play:success", "docker://quay.io/play:success")):
            for words in (["prepare"], ["pull"], ["import", "--digest", DIGEST]):
                done = self.run_it(*words, name)
                told = [line for line in done.stderr.splitlines() if "is taken as" in line]
                self.assertEqual((self.call()["image"], told), (taken, [f"imagectl: {name} is taken as {taken}"]), words)
        self.run_it("prepare", "docker://quay.io/play:success")
        self.assertEqual(self.call()["image"], "docker://quay.io/play:success")

    def test_a_wrong_verb_gets_the_right_one_and_a_verb_its_own_help(self):
        for word, verb in (("ls", "list"), ("images", "list"), ("rm", "remove"), ("inspect", "show"), ("pul", "pull"), ("lsit", "list"),
                           ("verfiy", "verify"), ("import-archiv", "import-archive"), ("update", "pull"), ("ps", "jobs")):
            done = self.run_it(word)
            self.assertEqual(done.stderr, f"imagectl: there is no verb '{word}'; did you mean '{verb}'?\nTry 'imagectl {verb} --help'.\n")
        for word in ("fly", "x", "", "p" * 10_000):
            self.assertTrue(self.run_it(word).stderr.endswith("'\nTry 'imagectl --help'.\n"))
        self.assertEqual(self.run_it("list", "a").stderr, "imagectl: unexpected argument 'a'\nTry 'imagectl list --help'.\n")
        self.assertTrue(self.run_it("pull", "--fly", "a").stderr.endswith("Try 'imagectl pull --help'.\n"))
        for words, same in ((["help"], ["--help"]), (["help", "pull"], ["pull", "--help"])):
            self.assertEqual((self.run_it(*words).stdout, self.run_it(*words).returncode), (self.run_it(*same).stdout, 0))
        self.assertEqual(self.run_it("help", "ls").stderr, self.run_it("ls").stderr)

    def test_every_error_is_a_json_document_too(self):
        for words, status, name in ((["fly"], 2, None), (["pull", "--fly"], 2, None), (["show", "docker://example/none:1"], 3, "NotFound"),
                                    (["pull", "docker://play:refuse:NoSpace"], 8, "NoSpace"), (["pull", "docker://play:error:NoSpace"], 8, "NoSpace")):
            for place in (0, len(words)):
                done = self.run_it(*words[:place], "--json", *words[place:])
                self.assertEqual(done.returncode, status, done.stderr)
                error = json.loads(done.stdout)["error"]
                self.assertEqual(error.get("name"), name and "org.imaged1.Error." + name)
                self.assertIn(error["message"].split("\x1b")[0], done.stderr)

    def test_several_images_in_one_pull(self):
        done = self.run_it("pull", "-q", "docker://play:success", "docker://play:error:NoSpace", "docker://play:instant")
        self.assertEqual((done.returncode, done.stdout.splitlines()), (8, [DIGEST, DIGEST]))
        self.assertEqual([self.call()["image"] for _ in range(3)], ["docker://play:success", "docker://play:error:NoSpace", "docker://play:instant"])

    def test_each_message_of_several_images_says_which(self):
        # One that is refused at once does not keep the others from being pulled either.
        images = ["docker://play:refuse:NoSpace", "docker://play:error:NotFound", "docker://play:success"]
        done = self.run_it("--json", "pull", *images)
        documents = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 8)
        self.assertEqual([document["image"].removeprefix("docker://") for document in documents], [image.removeprefix("docker://") for image in images])
        self.assertEqual([document.get("error", {}).get("name") for document in documents], ["org.imaged1.Error.NoSpace", "org.imaged1.Error.NotFound", None])
        for image, line in zip(images, [line for line in done.stderr.splitlines() if "org.imaged1.Error" in line]):
            self.assertTrue(line.startswith(f"imagectl: {image}: "), line)
        detached = self.run_it("--json", "pull", "--detach", "docker://play:endless", "docker://play:success")
        self.assertEqual([json.loads(line)["image"] for line in detached.stdout.splitlines()], ["docker://play:endless", "docker://play:success"])
        # Where the daemon has left, the others are not tried.
        done = self.run_it("--json", "pull", "docker://play:vanish", "docker://play:success")
        self.assertEqual((done.returncode, [json.loads(line)["image"] for line in done.stdout.splitlines()]), (9, ["docker://play:vanish"]))

    def test_an_image_by_its_digest(self):
        for word in (DIGEST, DIGEST[:15], DIGEST[7:], DIGEST[7:19]):
            self.assertIn("docker://example/a:1", self.run_it("show", word).stdout, word)
        listed = self.run_it("list", "--no-legend").stdout.split()[1]
        self.assertIn("docker://example/a:1", self.run_it("show", listed).stdout)
        # Too short for what list prints, or of no image: a name.
        for word in (DIGEST[7:18], "0123456789ab"):
            self.assertIn(f"docker://docker.io/library/{word}", self.run_it("show", word).stderr)
        # Nobody knows which of several is meant.
        for verb in ("show", "origin", "diff", "check"):
            done = self.run_it(verb, OTHER_DIGEST[7:19])
            self.assertEqual((done.returncode, done.stderr), (2, f"imagectl: the digest {OTHER_DIGEST[:19]} belongs to several images; name one of them: "
                                                              "docker://example/c:1, docker://example/d:1 (org.imaged1.Error.InvalidArgument)\n"), verb)
        done = self.run_it("show", "sha256:00")
        self.assertEqual((done.returncode, done.stderr), (3, "imagectl: no stored image has the digest sha256:00 (org.imaged1.Error.NotFound)\n"))

    def test_progress_for_programs(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        done = subprocess.run([IMAGECTL, "pull", "docker://play:many:3", "--progress-fd", str(writing)], capture_output=True, text=True, timeout=60,
                              env=self.environment(), pass_fds=[writing])
        os.close(writing)
        with open(reading, closefd=False) as pipe:
            lines = [json.loads(line) for line in pipe]
        self.assertEqual((done.returncode, lines[0]), (0, {"type": "Start", "version": "0.1.0"}))
        byte_events = [line for line in lines if line["type"] == "ProgressBytes"]
        self.assertTrue(byte_events)
        for line in lines[1:]:
            keys = {"type", "task", "description", "id", "stepsCached", "steps", "stepsTotal", "subtasks"}
            self.assertEqual(set(line), keys | ({"bytesCached", "bytes", "bytesTotal"} if line["type"] == "ProgressBytes" else set()))
            for part in line["subtasks"]:
                self.assertEqual(set(part), {"subtask", "description", "id", "bytesCached", "bytes", "bytesTotal"})
        done = self.run_it("pull", "docker://play:success", "--progress", "json")
        self.assertEqual(json.loads(done.stderr.splitlines()[0])["type"], "Start")
        self.assertEqual(self.run_it("pull", "docker://play:success", "--progress", "none").stderr, "")
        for words in (["--progress", "much"], ["--progress-fd", "1"], ["--progress-fd", "999"]):
            self.assertEqual(self.run_it("pull", "docker://play:success", *words).returncode, 2)

    def test_a_reader_of_progress_that_leaves_stops_nothing(self):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([IMAGECTL, "pull", "docker://play:success", "--progress-fd", str(writing)], capture_output=True, text=True, timeout=60,
                              env=self.environment(), pass_fds=[writing])
        os.close(writing)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_help_of_every_verb_has_an_example_and_the_exit_codes(self):
        overall = self.run_it("--help").stdout
        verbs = re.findall(r"(?m)^  ([a-z-]+) .*", overall.split("Verbs:\n")[1].split("\n\n")[0])
        self.assertGreater(len(verbs), 20)
        for verb in verbs:
            text = self.run_it(verb, "--help").stdout
            self.assertIn("\nExamples:\n", text)
            self.assertIn("130  cancelled", text)
            for line in (text + overall).splitlines():
                self.assertLessEqual(len(line), 80, line)
            self.assertEqual(text.count("OPTION…"), 1)

    def test_lists_and_documents(self):
        lines = self.run_it("list").stdout.splitlines()
        self.assertRegex(lines[1], r"^docker://example/a:1 +abababababab +12 +2023-11-14 +123.5 MB +23.5 MB +-$")
        self.assertRegex(lines[2], r"damaged$")
        # A script finds each column in its place.
        self.assertEqual({len(line.replace(" MB", "MB").split()) for line in lines}, {len(lines[0].split())})
        self.run_it("pull", "docker://play:success")
        for verb in ("list", "jobs", "deployments"):
            titled, bare = (self.run_it(verb, *option).stdout.splitlines() for option in ((), ("--no-legend",)))
            self.assertEqual([line.split() for line in bare], [line.split() for line in titled[1:]], verb)
        images = json.loads(self.run_it("list", "--json").stdout)["images"]
        self.assertEqual(images[1], {"image": "docker://example/b:1", "state": "damaged", "error": "no commit"})
        self.assertEqual(self.run_it("manifest", "x").stdout, '{"schemaVersion": 2, "z":1,"a" :[]}')
        self.assertEqual(self.run_it("show", "docker://example/none:1").returncode, 3)
        self.assertIn("a=b\\x1b[31m", self.run_it("show", "docker://example/a:1").stdout)

    def test_a_list_fits_a_narrow_terminal(self):
        pid, terminal = self.start_on_terminal("list", columns=72)
        lines = self.read_terminal(terminal).decode().replace("\r", "").splitlines()
        self.assertEqual(self.end_of(pid), 0)
        os.close(terminal)
        self.assertLessEqual(max(map(len, lines)), 72)
        self.assertEqual(lines[1], "docker://example/a:1")
        self.assertRegex(lines[2], r"^ +abababababab  12 +2023-11-14  123.5 MB  23.5 MB  -$")

    def test_deployments_are_a_table_and_json(self):
        lines = self.run_it("deployments").stdout.splitlines()
        self.assertRegex(lines[1], r"^host +c{12}\.1 +booted,pinned +docker://example/a:1 +abababababab +12 +-$")
        self.assertRegex(lines[2], r"^host +d{12}\.0 +rollback +a:b +- +- +it has no \\x1b\[31morigin file$")
        good, bad = json.loads(self.run_it("deployments", "--json").stdout)["deployments"]
        self.assertEqual((good["serial"], good["booted"], good["pending"], good["stored-as"]), (1, True, False, []))
        self.assertEqual(set(bad), {"stateroot", "checksum", "serial", "booted", "pending", "rollback", "staged", "pinned", "refspec", "error"})

    def test_changes_are_those_since_the_deployment_that_runs(self):
        done = self.run_it("changes", "docker://example/a:1")
        self.assertEqual(self.call(), {"call": "changes", "image": "docker://example/a:1", "options": {"commit": "c" * 64}})
        self.assertEqual(done.stdout.splitlines(), [
            f"example/a:1: {'c' * 12} → 12, {DIGEST[7:19]}", "Changed, 7 packages:", "  bash\\x1b[2J 1 → 2", "  … and 6 more",
            "Files of /etc:", "  + /etc/a\\x1b[2J", "  … and more"], done.stderr)
        self.run_it("changes", "docker://example/a:1", "--kept", "0123")
        self.assertEqual(self.call()["options"], {"digest": "0123"})
        # No deployment is one of this image.
        self.run_it("changes", "docker://example/c:1", "--update")
        self.assertEqual(self.call()["options"], {"update": True})

    def test_a_full_standard_output_is_an_error(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            process = subprocess.run([IMAGECTL, "list"], stdout=full, stderr=subprocess.PIPE, env=self.environment(), check=False)
        self.assertEqual(process.returncode, 1)

    def test_the_live_display_shows_layers_and_restores_the_cursor(self):
        pid, terminal = self.start_on_terminal("pull", "docker://play:success")
        text = self.read_terminal(terminal)
        self.assertEqual(self.end_of(pid), 0)
        os.close(terminal)
        self.assertIn(b"000000000001 fetching [", text)
        self.assertIn(b"0/2 layers", text)
        self.assertEqual(text.count(b"\x1b[?25l"), text.count(b"\x1b[?25h"))
        self.assertGreater(text.rfind(b"\x1b[?25h"), text.rfind(b"\x1b[?25l"))

    def test_the_live_display_fits_a_small_terminal(self):
        pid, terminal = self.start_on_terminal("pull", "docker://play:many:50", rows=10, columns=40)
        text = self.read_terminal(terminal)
        self.assertEqual(self.end_of(pid), 0)
        os.close(terminal)
        frames = text.split(b"\x1b[?25l")[2:-1]
        self.assertTrue(frames)
        for frame in frames:
            frame = frame.split(b"\x1b[?25h")[0]
            lines = [re.sub(rb"\x1b\[[0-9?]*[A-Za-z]", b"", line).strip(b"\r") for line in frame.split(b"\r\n")]
            self.assertLessEqual(len(lines), 10)
            self.assertTrue(all(len(line.decode()) < 40 for line in lines), lines)

    def test_ctrl_c_cancels_the_job_and_waits(self):
        pid, terminal = self.start_on_terminal("pull", "docker://play:endless")
        self.read_terminal(terminal, b"fetching")
        self.assertEqual(self.call()["call"], "pull")
        os.write(terminal, b"\x03")
        text = self.read_terminal(terminal)
        self.assertEqual(self.end_of(pid), 130)
        os.close(terminal)
        self.assertEqual(self.call()["call"], "Cancel")
        self.assertIn(b"(org.imaged1.Error.Cancelled)", text)

    def test_a_second_interrupt_leaves_at_once(self):
        process = subprocess.Popen([IMAGECTL, "pull", "docker://play:stubborn"], stderr=subprocess.PIPE, text=True, env=self.environment())
        self.call()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.call()["call"], "Cancel")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5 * sanitizers.SLOWER)
        self.assertEqual(process.returncode, 130)

    def test_a_cancel_that_is_refused_says_that_the_job_goes_on(self):
        process = subprocess.Popen([IMAGECTL, "pull", "docker://play:mine"], stderr=subprocess.PIPE, text=True, env=self.environment())
        self.call()
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        self.assertIn("it goes on", process.communicate(timeout=5 * sanitizers.SLOWER)[1])
        self.assertEqual(process.returncode, 4)

    def test_cancel_says_that_a_shared_job_goes_on(self):
        self.run_it("pull", "--detach", "docker://play:shared")
        done = self.run_it("cancel", "1")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", "imagectl: job 1 goes on for other callers\n"))

    def started(self, *words, **options):
        process = subprocess.Popen([IMAGECTL, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment(), **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_ctrl_c_before_imaged_has_answered(self):
        self.daemon.send_signal(signal.SIGSTOP)
        self.addCleanup(self.daemon.send_signal, signal.SIGCONT)
        run = self.started("pull", "docker://play:endless")
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=5 * sanitizers.SLOWER)
        self.assertEqual(run.returncode, 130)

    def test_it_says_that_imaged_does_not_answer(self):
        self.daemon.send_signal(signal.SIGSTOP)
        self.addCleanup(self.daemon.send_signal, signal.SIGCONT)
        run = self.started("pull", "docker://play:endless")
        self.assertIn("waiting for imaged to answer", run.stderr.readline())

    def test_nohup_is_honoured_and_a_terminal_that_closes_cancels(self):
        for handler, code in ((signal.SIG_IGN, 0), (signal.SIG_DFL, 130)):
            with self.subTest(handler=handler):
                run = self.started("pull", "docker://play:many:3", preexec_fn=lambda handler=handler: signal.signal(signal.SIGHUP, handler))
                run.stderr.readline()
                run.send_signal(signal.SIGHUP)
                run.communicate(timeout=30)
                self.assertEqual(run.returncode, code)

    def test_a_reader_that_has_seen_enough_is_no_failure(self):
        for words in (["list"], ["manifest", "x"], ["--help"], ["pull", "docker://play:success"]):
            reading, writing = os.pipe()
            os.close(reading)
            done = subprocess.run([IMAGECTL, *words], stdout=writing, stderr=subprocess.PIPE, text=True, env=self.environment(), timeout=30)
            os.close(writing)
            self.assertEqual((done.returncode, "cannot write" in done.stderr), (0, False))

    def test_each_message_of_watch_says_which_job(self):
        self.run_it("pull", "-d", "docker://play:endless")
        run = self.started("watch")
        run.stderr.readline()
        for image in ("docker://play:error:NoSpace", "docker://play:success"):
            self.run_it("pull", "-d", image)
        self.run_it("cancel", "1")
        out, err = run.communicate(timeout=30 * sanitizers.SLOWER)
        self.assertIn("imagectl: job 2 (pull play:error:NoSpace): ", err)
        self.assertIn("job 3 (pull play:success):\n", out)

    def test_watch_follows_all_jobs_and_cancels_nothing(self):
        for _ in range(2):
            self.run_it("pull", "--detach", "docker://play:success")
        self.assertEqual(self.run_it("watch").returncode, 0)
        self.run_it("pull", "--detach", "docker://play:endless")
        process = subprocess.Popen([IMAGECTL, "watch", "--json"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment())
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=5 * sanitizers.SLOWER), 130)
        self.assertEqual(json.loads(self.run_it("jobs", "--json").stdout)["jobs"][-1]["state"], "running")


if __name__ == "__main__":
    if not IMAGECTL:
        sys.exit("IMAGECTL must be the path of the built imagectl")
    unittest.main(verbosity=2)
