#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""imaged's configuration from outside: --check-config, what reaches a job, and SIGHUP."""
import http.server
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import unittest.mock

from gi.repository import GLib

import agreement
import ostree_repository
import real_daemon
import registry
import sanitizers
import worker
from bus_fixture import IMAGED, MANAGER, Case
from oci_layout import Entry, Layout, layer

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")


def check(text):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(text)
        file.flush()
        return file.name, subprocess.run([IMAGED, "--config", file.name, "--check-config"], capture_output=True, text=True)


class CheckConfig(unittest.TestCase):
    def test_what_holds_is_printed(self):
        _, run = check("[Pull]\nStallSec=2min\n")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("StallSec=120\n", run.stdout)
        self.assertIn("Path=/ostree/repo\n", run.stdout)
        self.assertEqual(run.stderr, "")

    def test_limits_are_sizes_and_a_ratio(self):
        _, run = check("[Limits]\nLayerSize=2G\nImageSize=3G\nExpansionRatio=50\n")
        self.assertIn("[Limits]\nLayerSize=2147483648\nImageSize=3221225472\nExpansionRatio=50\n", run.stdout)
        for value in ("LayerSize=0", "LayerSize=much", "ImageSize=1X", "ExpansionRatio=0"):
            path, run = check("[Limits]\n" + value + "\n")
            self.assertEqual(run.returncode, 2)
            self.assertIn(f"{path}:2: {value.split('=')[0]}=: must be", run.stderr)

    def test_an_unknown_key_is_a_warning(self):
        path, run = check("[Pull]\nRetries=1\nColour=red\n")
        self.assertEqual(run.returncode, 0)
        self.assertIn(f"warning: {path}:3: unknown key Colour=", run.stderr)

    def test_a_bad_value_is_an_error(self):
        path, run = check("[Pull]\nRetries=many\n")
        self.assertEqual((run.returncode, run.stdout), (2, ""))
        self.assertIn(f"{path}:2: Retries=: must be a whole number", run.stderr)

    def test_a_file_that_is_not_there_is_an_error(self):
        run = subprocess.run([IMAGED, "--config", "/nowhere", "--check-config"], capture_output=True, text=True)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("/nowhere", run.stderr)


class Configured(Case):
    def command(self):
        self.configure("[Daemon]\nQueuedJobsPerUser=5\n")
        return super().command() + ["--config", self.directory + "/imaged.conf"]

    def configure(self, text):
        with open(self.directory + "/imaged.conf", "w", encoding="utf-8") as file:
            file.write(text)

    def fill_queue(self, client):
        """How many jobs may wait behind one that runs."""
        running = client.pull(self.image("wait"))
        client.running(running)
        waiting = []
        try:
            while len(waiting) < 10:
                waiting.append(client.pull(f"oci:{self.directory}/{len(waiting)}/wait"))
        except Exception as error:
            self.assertIn("the queue is full", str(error))
        for job in [*waiting, running]:
            client.cancel(job)
        client.finished(running)
        return len(waiting)


class Reload(Configured):
    def test_a_signal_takes_the_new_configuration_and_not_a_bad_one(self):
        client = self.client()
        self.assertEqual(self.fill_queue(client), 5)
        self.configure("[Daemon]\nQueuedJobsPerUser=2\n")
        self.daemon.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        self.assertEqual(self.fill_queue(client), 2)
        self.configure("[Daemon]\nQueuedJobsPerUser=none\n")
        self.daemon.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        self.assertEqual(self.fill_queue(client), 2)


class Start(Configured):
    """A configuration that cannot be taken shuts nobody out."""

    def setUp(self):
        state = tempfile.TemporaryDirectory()
        self.addCleanup(state.cleanup)
        patched = unittest.mock.patch.dict(os.environ, STATE_DIRECTORY=state.name)
        patched.start()
        self.addCleanup(patched.stop)
        self.text = "[Daemon]\nQueuedJobsPerUser=2\n"
        super().setUp()

    def command(self):
        command = super().command()
        self.configure(self.text)
        return command

    def start_again(self, text):
        self.daemon.terminate()
        self.assertEqual(self.daemon.wait(10 * sanitizers.SLOWER), 0)
        self.text = text
        self.start_daemon()

    def error(self, client):
        return client.call("org.freedesktop.DBus.Properties", "Get", GLib.Variant("(ss)", (MANAGER, "ConfigurationError")))[0]

    def told(self):
        run = subprocess.run([IMAGECTL, f"--address={self.address}", "jobs"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stderr

    def test_it_starts_with_what_held_last_and_says_what_is_wrong(self):
        self.assertEqual((self.error(self.client()), self.told()), ("", ""))
        self.start_again("[Daemon]\nQueuedJobsPerUser=none\n")
        client = self.client()
        wrong = f"{self.directory}/imaged.conf:2: QueuedJobsPerUser=: must be a whole number from 1 to 10000, not \"none\""
        self.assertEqual(self.error(client), wrong + "; imaged works with the configuration that held before")
        self.assertIn(wrong, self.told())
        self.assertEqual(self.fill_queue(client), 2)
        # Once more: what held is not what it was started with.
        self.start_again("nonsense")
        client = self.client()
        self.assertIn("imaged.conf:1: ", self.error(client))
        self.assertEqual(self.fill_queue(client), 2)
        self.configure("[Daemon]\nQueuedJobsPerUser=3\n")
        self.daemon.send_signal(signal.SIGHUP)
        self.eventually(lambda: self.error(client) == "")
        self.assertEqual(self.told(), "")
        self.assertEqual(self.fill_queue(client), 3)

    def test_a_reload_that_is_refused_is_told(self):
        self.configure("[Daemon]\nQueuedJobsPerUser=none\n")
        self.daemon.send_signal(signal.SIGHUP)
        client = self.client()
        self.eventually(lambda: "imaged.conf:2: QueuedJobsPerUser=" in self.error(client))
        self.assertIn("imaged.conf:2: QueuedJobsPerUser=", self.told())


class FirstStart(unittest.TestCase):
    """Nothing has held yet."""

    def test_images_need_a_signature(self):
        with agreement.Scratch(dir="/var/tmp") as directory:
            layout = Layout(directory + "/layout")
            layout.image("v1", [layer([Entry("usr", "dir", mode=0o755)])])
            for configuration, error in (("[Pull]\nRetries=1\n", ""), ("[Pull]\nRetries=many\n", "PolicyRejected")):
                daemon = real_daemon.Daemon(directory, ostree_repository.init(f"{directory}/repo{error}"), configuration)
                client = daemon.client()
                try:
                    job = client.finished(client.pull(layout.reference("v1")), 60)
                    told = client.call("org.freedesktop.DBus.Properties", "Get", GLib.Variant("(ss)", (MANAGER, "ConfigurationError")))[0]
                finally:
                    client.close()
                    daemon.stop()
                self.assertEqual(job["ErrorName"].rpartition(".")[2], error, job["ErrorMessage"])
                self.assertEqual(("imaged works with the defaults, and images need a signature" in told, "SignaturePolicy= of imaged.conf" in job["ErrorMessage"]),
                                 (error != "", error != ""), told + job["ErrorMessage"])

    def test_what_is_in_the_place_of_what_held_shuts_nobody_out(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
            os.makedirs(directory + "/state/imaged.conf")
            with unittest.mock.patch.dict(os.environ, STATE_DIRECTORY=directory + "/state"):
                daemon = real_daemon.Daemon(directory, ostree_repository.init(directory + "/repo"), "[Pull]\nRetries=many\n")
            client = daemon.client()
            try:
                self.assertEqual(client.call(MANAGER, "ListImages", GLib.Variant("(a{sv})", ({},)))[0], [])
            finally:
                client.close()
                daemon.stop()


class NoBus(unittest.TestCase):
    """What imaged prints before it serves, and of what keeps it from serving."""

    def printed(self, *words, **environment):
        run = subprocess.run([IMAGED, *words], capture_output=True, text=True, env={**os.environ, **environment}, timeout=60)
        self.assertEqual(run.returncode, 1, run.stderr)
        return run.stderr.splitlines()

    def test_each_line_is_one_of_imaged(self):
        with tempfile.TemporaryDirectory() as directory:
            os.makedirs(directory + "/state/imaged.conf")
            with open(directory + "/imaged.conf", "w", encoding="utf-8") as file:
                file.write("[Pull]\nRetries=1\n")
            kept, bus = self.printed("--bus-address", f"unix:path={directory}/no-bus", "--config", directory + "/imaged.conf", STATE_DIRECTORY=directory + "/state")
            self.assertTrue(kept.startswith("imaged: warning: the configuration is not kept for a start without one: "), kept)
            self.assertTrue(bus.startswith("imaged: there is no bus to serve on: "), bus)
            line, = self.printed("--session", DBUS_SESSION_BUS_ADDRESS=f"unix:path={directory}/no-bus")
            self.assertTrue(line.startswith("imaged: there is no session bus to serve on: "), line)


class Twice(Case):
    def test_another_one_is_told(self):
        run = subprocess.run([IMAGED, "--bus-address", self.address, "--repository", self.directory + "/second"], capture_output=True, text=True, timeout=60)
        self.assertEqual((run.returncode, run.stderr), (1, "imaged: another imaged serves this bus\n"))


class Job(unittest.TestCase):
    """What of the configuration a worker is told."""

    def setUp(self):
        directory = agreement.Scratch()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        self.layout = Layout(self.directory + "/layout")
        self.layout.image("v1", [layer([Entry("usr", "dir", mode=0o755), Entry("usr/hello", content=b"hello\n")])])
        self.repository = str(ostree_repository.init(self.directory + "/repo"))

    def pull(self, image, **settings):
        return worker.pull(image, self.repository, settings={key.replace("_", "-"): value for key, value in settings.items()})

    def test_a_signature_is_demanded(self):
        home = self.directory + "/home"
        os.makedirs(home + "/.config/containers")
        with open(home + "/.config/containers/policy.json", "w", encoding="utf-8") as file:
            json.dump({"default": [{"type": "insecureAcceptAnything"}]}, file)
        expected = {"containers-policy": ["", "", "PolicyRejected"], "signature": ["PolicyRejected"] * 3, "signature-by-default": ["PolicyRejected", "", "PolicyRejected"]}
        prefixes = ("", "ostree-unverified-image:", "ostree-image-signed:")
        for policy in expected:
            errors = [worker.pull(prefix + self.layout.reference("v1"), self.repository, settings={"signature-policy": policy}, env={"HOME": home}).result["error-name"]
                      for prefix in prefixes]
            self.assertEqual(errors, expected[policy], policy)

    def test_a_policy_that_skopeo_does_not_know_is_named(self):
        policy = self.directory + "/policy.json"
        with open(policy, "w", encoding="utf-8") as file:
            file.write('{"default": [{"type": "bogus"}]}')
        run = worker.Run(self.layout.reference("v1"), self.directory + "/other", env={"CONTAINERS_POLICY": policy})
        result = run.finish().result
        self.assertEqual((result["error-name"], policy in result["message"]), ("PolicyRejected", True), result)

    def test_the_reserve_of_the_disk_is_kept(self):
        self.assertEqual(self.pull(self.layout.reference("v1"), disk_reserve=1 << 60).result["error-name"], "NoSpace")

    def test_the_limits_of_what_an_image_unpacks_to_are_kept(self):
        for limits in ({"layer_bytes": 512}, {"image_bytes": 512}):
            with self.subTest(limits):
                self.assertEqual(self.pull(self.layout.reference("v1"), **limits).result["error-name"], "UnsupportedImage")
        self.assertEqual(self.pull(self.layout.reference("v1"), layer_bytes=1 << 20, image_bytes=1 << 20).result["outcome"], "success")

    def test_a_source_that_says_nothing_stalls_and_is_tried_again(self):
        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        calls = []

        def listen():
            while True:
                try:
                    calls.append(server.accept())
                except OSError:
                    return
        threading.Thread(target=listen, daemon=True).start()
        image = f"docker://127.0.0.1:{server.getsockname()[1]}/a:b"
        started = time.monotonic()
        run = self.pull(image, stall_milliseconds=1000, retries=1)
        self.assertEqual(run.result["error-name"], "SourceUnreachable", run.result)
        self.assertGreater(time.monotonic() - started, 2.9)  # two attempts and the pause between them
        self.assertGreaterEqual(len(calls), 2)

    def test_a_wait_between_attempts_can_be_cancelled(self):
        run = worker.Run("docker://127.0.0.1:1/a:b", self.repository, settings={"retries": 20})
        time.sleep(2)
        run.cancel()
        started = time.monotonic()
        run.finish()
        self.assertEqual(run.result["outcome"], "cancelled")
        self.assertLess(time.monotonic() - started, 2 * sanitizers.SLOWER)

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_a_confined_worker_pulls_into_a_repository_that_is_read_only_to_others(self):
        where = self.directory + "/sysroot"
        os.makedirs(where)
        script = f"""
            mount -t tmpfs tmpfs {where} && mount -o remount,bind,ro {where} && exec "$0" "$@" """
        run = subprocess.run(["unshare", "--mount", "sh", "-ec", script, sys.executable, os.path.abspath(__file__), "--confined",
                              self.layout.reference("v1"), where + "/ostree/repo"], capture_output=True, text=True)
        if run.stderr.startswith("unshare:"):
            self.skipTest("no mount namespace to be had, as in a chroot that is no mount point: " + run.stderr.strip())
        self.assertEqual(run.returncode, 0, run.stderr + run.stdout)
        result = json.loads(run.stdout.splitlines()[-1])
        self.assertEqual((result["outcome"], result["error-name"]), ("success", ""), result)


class HostFiles(unittest.TestCase):
    """A file of the host's that cannot be read is called by its name."""

    def pull(self, script, directory, **environment):
        run = subprocess.run(["unshare", "--mount", "sh", "-ec", f'mount -t tmpfs tmpfs /run && mkdir /run/ostree && {script} exec "$0" "$@"', sys.executable,
                              os.path.abspath(__file__), "--host-files", directory + "/repo"], capture_output=True, text=True, env={**os.environ, **environment})
        if run.stderr.startswith("unshare:"):
            self.skipTest("no mount namespace to be had: " + run.stderr.strip())
        self.assertEqual(run.returncode, 0, run.stderr + run.stdout)
        result = json.loads(run.stdout.splitlines()[-1])
        self.assertNotIn("/proc/", result["message"])
        return result

    @unittest.skipUnless(os.getuid() == 0, "needs root to make a mount namespace")
    def test_credentials_registries_and_policy(self):
        with agreement.Scratch() as directory:
            for text in ('{"auths": {', '{"auths": {"127.0.0.1:1": {"auth": "!!"}}}', '{"auths": {"127.0.0.1:1": {"auth": 5}}}'):
                result = self.pull(f"echo '{text}' >/run/ostree/auth.json &&", directory)
                self.assertEqual((result["error-name"], "/run/ostree/auth.json" in result["message"]), ("Failed", True), (text, result))
            for variable, name, text in (("CONTAINERS_REGISTRIES_CONF", "registries.conf", "[[registry"), ("CONTAINERS_POLICY", "policy.json", "{")):
                path = f"{directory}/{name}"
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                self.assertIn(path, self.pull("", directory, **{variable: path})["message"])
            # It is not taken for a registry that cannot be reached, and is a line of text.
            for text in ("garbage", "[[registry]]\nlocation = \n"):
                path = directory + "/registries.conf"
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                result = self.pull("", directory, CONTAINERS_REGISTRIES_CONF=path)
                self.assertEqual((result["error-name"], path in result["message"], "\n" in result["message"]), ("Failed", True, False), result)
            for text in ("{}", '{"default": []}'):
                path = directory + "/policy.json"
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                result = self.pull("", directory, CONTAINERS_POLICY=path)
                self.assertEqual((result["error-name"], path in result["message"]), ("PolicyRejected", True), result)
            os.makedirs(directory + "/registries.d")
            with open(directory + "/registries.d/broken.yaml", "w", encoding="utf-8") as file:
                file.write("docker:\n  a:\n    - b\n")
            result = self.pull("", directory, CONTAINERS_REGISTRIES_D=directory + "/registries.d")
            self.assertEqual((result["error-name"], directory + "/registries.d/broken.yaml" in result["message"]), ("Failed", True), result)
            result = self.pull("ln -s auth.json /run/ostree/auth.json &&", directory)
            self.assertEqual((result["error-name"], "/run/ostree/auth.json" in result["message"]), ("Failed", True), result)


class Guide(unittest.TestCase):
    """What docs/administration.md says of registries, as it is pasted, but for the names of hosts."""

    def setUp(self):
        directory = agreement.Scratch()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        ostree_repository.init(self.directory + "/repo")
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/administration.md"), encoding="utf-8") as file:
            self.text = re.search(r"## Registries\n(.*?)\n## ", file.read(), re.S).group(1)

    def pull(self, image, configuration="", **environment):
        path = self.directory + "/registries.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write(configuration)
        return worker.pull(image, self.directory + "/repo", env={"CONTAINERS_REGISTRIES_CONF": path, **environment}).result

    def block(self, title):
        found = re.search(rf"- \*\*{title}.*?\n\n((?:      .*\n|\n)+)", self.text)
        self.assertIsNotNone(found, title)
        return found.group(1)

    def test_mirrors_and_plain_http(self):
        server = registry.Registry(self.directory + "/registry")
        self.addCleanup(server.stop)
        layout = Layout(self.directory + "/layout")
        layout.image("v1", [layer([Entry("usr", "dir", mode=0o755)])])
        server.push(layout.reference("v1"), "host/app:1")
        self.assertEqual(self.pull("docker://registry.example/host/app:1", self.block("A mirror").replace("mirror.lan:5000", server.address))["error-name"], "")
        image = f"docker://{server.address}/host/app:1"
        self.assertNotEqual(self.pull(image)["error-name"], "")
        self.assertEqual(self.pull(image, self.block("Plain HTTP").replace("registry.lan:5000", server.address))["error-name"], "")

    @unittest.skipUnless(os.getuid() == 0, "writes to /etc/containers/certs.d")
    def test_a_private_ca(self):
        registry.make_certificates(self.directory)
        server = registry.Registry(self.directory + "/registry", self.directory)
        self.addCleanup(server.stop)
        layout = Layout(self.directory + "/layout")
        layout.image("v1", [layer([Entry("usr", "dir", mode=0o755)])])
        server.push(layout.reference("v1"), "host/app:1")
        image = f"docker://{server.address}/host/app:1"
        self.assertIn("unknown authority", self.pull(image)["message"])
        os.rename(self.directory + "/ca.crt", self.directory + "/ca.pem")
        place = "/etc/containers/certs.d/" + server.address
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        subprocess.run(["sh", "-ec", self.block("A private CA").replace("registry.lan:5000", server.address)], check=True, cwd=self.directory)
        self.assertEqual(self.pull(image)["error-name"], "")
        # Each of them as it may be broken; what skopeo says of it has no path.
        for broken, files in (("ca.crt", {"ca.crt": "no certificate"}), ("ca.crt", {"ca.crt": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}),
                              ("client.cert", {"client.cert": "x", "client.key": "x"}), ("client.cert", {"client.cert": "x"}), ("client.key", {"client.key": "x"})):
            with self.subTest(files=files):
                shutil.rmtree(place)
                os.mkdir(place)
                shutil.copy(self.directory + "/ca.pem", place + "/ca.crt")
                for name, text in files.items():
                    with open(f"{place}/{name}", "w", encoding="utf-8") as file:
                        file.write(text)
                for kind in ("pull", "prepare"):
                    result = worker.pull(image, self.directory + "/other", kind=kind).result
                    self.assertEqual((result["error-name"], f"{place}/{broken}" in result["message"]), ("Failed", True), result)

    def test_a_proxy_and_what_is_reached_without_it(self):
        variables = dict(re.findall(r"(HTTPS_PROXY|NO_PROXY)=([^ \\]+)", self.block("An HTTP proxy")))
        asked = []

        class Proxy(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self):
                asked.append(self.path)
                self.send_error(502)

            def log_message(self, *_):
                pass
        proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        self.addCleanup(proxy.server_close)
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(proxy.shutdown)
        variables["HTTPS_PROXY"] = variables["HTTPS_PROXY"].replace("proxy.lan:3128", "127.0.0.1:%d" % proxy.server_port)
        for host in ("registry.lan:5000", "10.1.2.3:1", "registry.invalid:5000"):
            self.pull(f"docker://{host}/a:b", **variables)
        self.assertEqual(set(asked), {"registry.invalid:5000"})


def confined(image, repository):
    """Inside the mount namespace: pull, then see that the directory is still not writable."""
    run = worker.pull(image, repository, settings={"confined": True})
    subprocess.run(["ostree", "--repo=" + repository, "fsck", "--quiet"], check=True)
    try:
        os.mkdir(os.path.dirname(repository) + "/x")
        sys.exit("the directory is writable")
    except OSError:
        print(json.dumps(run.result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--confined"]:
        confined(*sys.argv[2:])
    elif sys.argv[1:2] == ["--host-files"]:
        print(json.dumps(worker.pull("docker://127.0.0.1:1/a:b", sys.argv[2]).result))
    else:
        unittest.main(verbosity=2)
