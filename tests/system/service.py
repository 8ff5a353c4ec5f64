# SPDX-License-Identifier: Apache-2.0
"""The service over time: watching, restarts, idling, configuration, timers, the journal."""
import os
import re
import socket

from scene import IMAGE, LARGE, LARGE_LAYERS, REGISTRY, Case

MESSAGE_IDS = {"start": "4d4c9fa1d1c64ac9a6e1e1c1fc2f6c01", "success": "8f3c4ac0c8654c0d9c63a1f7f8b6e202",
               "failure": "b0f7d0bb4a3f4c55a2b5f3c6e9d1a303"}

GUIDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/administration.md")


PROMETHEUS = "/run/imaged/public/metrics.promsock"


class Service(Case):
    def test_progress_is_seen_by_another_client(self):
        self.forget_everything()
        monitor = self.machine.start("busctl", "monitor", "--json=short", "--match",
                                     "type=signal,path_namespace=/org/imaged1/job")
        try:
            with self.held_pull(LARGE):
                job = self.imagectl("--json", "jobs").stdout
                number = re.search(r'"job":(\d+)', job).group(1)
                followers = self.followers()
                watcher = self.machine.start("imagectl", "watch", number, user="bob")
                self.machine.eventually(lambda: self.followers() > followers)
            text = watcher.communicate(timeout=300)[0]
        finally:
            self.machine.run("pkill", "-x", "busctl", check=False)
            signals = monitor.communicate(timeout=60)[0]
        self.assertEqual(watcher.returncode, 0, text)
        self.assertEqual(len(re.findall(r"layer \S+ done", text)), LARGE_LAYERS, text)
        seen = {name: signals.count(f'"member":"{name}"') for name in ("PropertiesChanged", "LayerProgress", "Finished")}
        print(seen, end=" ", flush=True)
        self.assertGreaterEqual(seen["LayerProgress"], LARGE_LAYERS)
        self.assertGreater(seen["PropertiesChanged"], 1)
        self.assertEqual(seen["Finished"], 1)

    def followers(self):
        """How many match rules of the bus's clients are about imaged's signals."""
        return self.machine.run("busctl", "--json=short", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                "org.freedesktop.DBus.Debug.Stats", "GetAllMatchRules").stdout.count("sender='org.imaged1'")

    def numbers(self):
        """What the socket for Prometheus gives, by series."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(f"/proc/{self.machine.leader}/root{PROMETHEUS}")
            text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        return {series: float(value) for series, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}

    def test_prometheus_reads_what_was_counted_and_wakes_nobody(self):
        self.forget_everything()
        pulls = 'imaged_jobs_total{error="",kind="pull",result="success"}'
        before = self.numbers().get(pulls, 0)
        self.imagectl("pull", IMAGE)
        self.machine.eventually(lambda: self.numbers()[pulls] == before + 1)
        self.assertEqual((self.numbers()["imaged_images"], self.numbers()["imaged_up"]), (1, 1))
        self.machine.run("systemctl", "stop", "imaged")
        for _ in range(300):
            self.numbers()
        found = self.numbers()
        self.assertEqual((found["imaged_images"], found[pulls], found["imaged_up"]), (1, before + 1, 0))
        self.assertFalse(self.machine.active("imaged"))
        self.assertTrue(self.machine.active("imaged-metrics.socket"))
        self.assertEqual(self.machine.run("stat", "-c", "%a %U", PROMETHEUS, os.path.dirname(PROMETHEUS)).stdout, "666 root\n755 root\n")
        # As the guide says: the same by hand, and for the node exporter.
        by_hand, for_exporter = self.section("Metrics for Prometheus").splitlines()
        self.assertIn(pulls, self.machine.shell(by_hand).stdout)
        self.machine.shell("mkdir -p /var/lib/prometheus/node-exporter")
        self.machine.shell(for_exporter)
        self.addCleanup(self.machine.shell, "systemctl stop imaged-textfile.timer; rm -r /var/lib/prometheus")
        self.machine.eventually(lambda: pulls in self.machine.run("cat", "/var/lib/prometheus/node-exporter/imaged.prom", check=False).stdout, 90)

    def test_a_restart_in_the_middle_of_a_pull_loses_nothing_that_was_done(self):
        self.forget_everything()
        self.configure("[Pull]\nLayersAtOnce=1\n")
        pull = self.machine.start("imagectl", "pull", LARGE)
        self.machine.shell("""
            until ostree --repo=/ostree/repo refs 2>/dev/null | grep -q ostree/container/blob; do sleep 0.01; done
            pkill -STOP -x skopeo""", timeout=60)
        self.machine.run("systemctl", "restart", "imaged")
        text = pull.communicate(timeout=60)[0]
        self.assertNotEqual(pull.returncode, 0, text)
        self.machine.run("ostree", "--repo=/ostree/repo", "fsck", "--quiet")
        self.machine.eventually(lambda: not self.machine.run("pgrep", "-x", "skopeo", check=False).stdout, 10, "skopeo stays")
        fetched = self.outcome("pull", LARGE)["layers-fetched"]
        print(f"{fetched} of {LARGE_LAYERS} layers fetched after the restart;", end=" ", flush=True)
        self.assertGreater(fetched, 0)
        self.assertLess(fetched, LARGE_LAYERS)
        self.assertEqual(self.machine.shell("ls -d /ostree/repo/tmp/imaged-* 2>/dev/null || true").stdout, "")
        self.configure("")

    def test_it_leaves_when_idle_and_comes_back(self):
        self.configure("[Daemon]\nIdleSec=2\n")
        self.imagectl("list")
        first = self.main_pid()
        self.machine.eventually(lambda: not self.machine.active("imaged"), 30, "it stays")
        self.assertEqual(self.machine.run("systemctl", "show", "-P", "Result", "imaged").stdout.strip(), "success")
        self.imagectl("list")
        self.assertNotEqual(self.main_pid(), first)
        # However a call falls on the moment of leaving, it is answered.
        self.configure("[Daemon]\nIdleSec=1\n")
        self.machine.shell("for i in 1 2 3 4 5 6; do imagectl list >/dev/null; sleep 0.99; imagectl list >/dev/null; sleep 1.01; done")
        self.configure("")

    def test_a_reload_takes_the_new_configuration_and_refuses_a_bad_one(self):
        self.configure("[Daemon]\nIdleSec=600\n")
        self.imagectl("list")
        pid = self.main_pid()
        self.machine.write("/etc/imaged/imaged.conf.d/50-test.conf", "[Daemon]\nIdleSec=600\nQueuedJobs=1\nColour=red\n")
        self.machine.run("systemctl", "reload", "imaged")
        self.machine.eventually(lambda: "took the new configuration" in self.machine.run("journalctl", "-u", "imaged").stdout)
        self.assertIn("50-test.conf:4: unknown key Colour=", self.machine.run("journalctl", "-u", "imaged").stdout)
        self.machine.write("/etc/imaged/imaged.conf.d/50-test.conf", "[Daemon]\nIdleSec=never\n")
        self.assertNotEqual(self.machine.run("systemctl", "reload", "imaged", check=False).returncode, 0)
        check = self.machine.run("/usr/libexec/imaged/imaged", "--check-config", check=False)
        self.assertNotEqual(check.returncode, 0)
        self.assertIn("/etc/imaged/imaged.conf.d/50-test.conf:2: IdleSec=:", check.stderr)
        self.assertEqual(self.main_pid(), pid)
        self.configure("")

    def test_a_configuration_with_an_error_shuts_nobody_out(self):
        self.configure("[Daemon]\nIdleSec=600\nQueuedJobs=77\n")
        self.imagectl("list")
        self.configure("[Daemon]\nIdleSec=never\n")
        wrong = "/etc/imaged/imaged.conf.d/50-test.conf:2: IdleSec=:"
        self.assertIn(wrong, self.imagectl("list").stderr)
        self.assertIn("QueuedJobs=77", self.machine.run("cat", "/var/lib/imaged/imaged.conf").stdout)
        self.assertIn(wrong, self.machine.run("journalctl", "-u", "imaged").stdout)
        self.configure("")
        self.assertEqual(self.imagectl("list").stderr, "")
        # One that does not run reads it when it starts.
        self.stop_daemon()
        self.machine.run("systemctl", "try-reload-or-restart", "imaged")

    def test_a_prefix_does_not_pass_a_policy_of_signatures(self):
        self.forget_everything()
        unverified = "ostree-unverified-registry:" + IMAGE.removeprefix("docker://")
        for policy, status in (("signature", 5), ("signature-by-default", 0)):
            self.configure(f"[Pull]\nSignaturePolicy={policy}\n")
            self.assertEqual(self.imagectl("pull", unverified, check=False).returncode, status, policy)
        self.configure("")

    def test_it_may_be_started_as_often_as_somebody_likes(self):
        self.machine.shell("for time in 1 2 3 4 5 6 7 8; do systemctl restart imaged; imagectl list >/dev/null; done", timeout=60)

    def run_unit(self, unit):
        """Runs it to its end; gives what it said."""
        self.machine.run("systemctl", "start", unit, check=False)
        invocation = self.machine.run("systemctl", "show", "-P", "InvocationID", unit).stdout.strip()
        said = self.machine.run("journalctl", "--no-pager", "-o", "cat", f"_SYSTEMD_INVOCATION_ID={invocation}").stdout
        self.assertEqual(self.machine.run("systemctl", "show", "-P", "Result", unit).stdout.strip(), "success", said)
        return said

    def test_the_timers_are_off_and_what_they_start_works(self):
        moving = f"docker://{REGISTRY}/open/moving:latest"
        self.forget_everything()
        self.machine.shell(f"skopeo copy -q --dest-tls-verify=false oci:/srv/images:small {moving}")
        self.imagectl("pull", moving)
        self.imagectl("pull", IMAGE)
        # Names that their registry does not know; the worker is confined, and another process notes their sources.
        tested, archived = "docker://nowhere.example/tested:1", "docker://nowhere.example/archived:1"
        self.imagectl("pull", moving, "--target", tested)
        self.machine.shell("skopeo copy -q oci:/srv/images:small oci-archive:/srv/archived.tar:it; imagectl import-archive /srv/archived.tar " + archived)
        self.machine.shell(f"skopeo copy -q --dest-tls-verify=false oci:/srv/images:newer {moving}")
        for timer in ("imaged-update-check.timer", "imaged-update.timer", "imaged-prune.timer"):
            # Nor by presets, which a first boot applies.
            self.machine.run("systemctl", "preset", timer)
            self.assertEqual(self.machine.run("systemctl", "is-enabled", timer, check=False).stdout.strip(), "disabled")
            self.machine.run("systemctl", "enable", "--now", timer)
            self.assertIn(timer, self.machine.run("systemctl", "list-timers", "--no-pager").stdout)
        said = self.run_unit("imaged-update-check.service")
        self.assertIn(f"{moving}: there is an update", said)
        self.assertIn(f"{tested}: there is an update", said)
        self.assertIn(f"{archived}: cannot be checked: it was imported from an archive", said)
        self.assertIn("update-digest", self.imagectl("--json", "show", moving).stdout)
        self.run_unit("imaged-update.service")
        self.assertNotIn("update-digest", self.imagectl("--json", "show", moving).stdout)
        self.imagectl("remove", moving)
        self.run_unit("imaged-prune.service")
        for timer in ("imaged-update-check.timer", "imaged-update.timer", "imaged-prune.timer"):
            self.machine.run("systemctl", "disable", "--now", timer)

    def test_the_units_let_jobs_lower_their_priority(self):
        for options, expected in ((), ("5", "SCHED_OTHER", "none")), (("--background",), ("19", "SCHED_IDLE", "idle")):
            self.forget_everything()
            with self.held_pull(LARGE, *options) as (_, worker, skopeo):
                # A skopeo of the service has the job's priority in the background only.
                for pid in (worker, skopeo) if options else (worker,):
                    told = self.machine.shell(f"awk '{{print $19}}' /proc/{pid}/stat; chrt -p {pid}; ionice -p {pid}").stdout
                    self.assertRegex(told, rf"\A{expected[0]}\n.*{expected[1]}\n(?s:.*){expected[2]}", options)

    def test_the_journal_has_fields(self):
        digest = self.outcome("pull", IMAGE)["digest"]
        self.imagectl("pull", f"docker://{REGISTRY}/open/none:latest", check=False)
        entries = [entry for entry in self.machine.journal("-u", "imaged") if "IMAGED_JOB" in entry]
        start, end = [entry for entry in entries if entry.get("IMAGED_IMAGE") == IMAGE][-2:]
        self.assertEqual((start["MESSAGE_ID"], end["MESSAGE_ID"]), (MESSAGE_IDS["start"], MESSAGE_IDS["success"]))
        self.assertEqual(start["IMAGED_JOB"], end["IMAGED_JOB"])
        self.assertEqual(end["IMAGED_DIGEST"], digest)
        self.assertRegex(end["MESSAGE"], r"after [0-9.]+ s: success, [0-9]+ bytes")
        self.assertEqual((entries[-1]["MESSAGE_ID"], entries[-1]["IMAGED_ERROR"]), (MESSAGE_IDS["failure"], "NotFound"))
        self.assertEqual(end["IMAGED_POLICY"], "insecureAcceptAnything (default)")
        target = "docker://audited.example/image:1"
        self.imagectl("pull", IMAGE, "--target", target)
        self.imagectl("prune", "--dry-run")
        self.imagectl("remove", target)
        self.refused("pull", IMAGE, user="bob", why="may not")
        entries = self.machine.journal("-u", "imaged")
        self.assertTrue(any(entry.get("IMAGED_TARGET") == target and entry.get("IMAGED_DIGEST") == digest for entry in entries))
        self.assertTrue(any(entry.get("IMAGED_DRY_RUN") == "1" for entry in entries))
        removed = [entry for entry in entries if entry.get("MESSAGE_ID") == "fa1f251a28f24947bfc7c4941a3b6a54"][-1]
        self.assertEqual((removed["IMAGED_IMAGE"], removed["IMAGED_DIGEST"]), (target, digest))
        self.assertTrue(any(entry.get("MESSAGE_ID") == "cba0be038aad455fbde4950039d57c7e" and entry.get("IMAGED_IMAGE") == IMAGE for entry in entries))
        self.refused("remove", IMAGE, LARGE, user="bob", why="may not")
        last = self.machine.shell("journalctl -u imaged -o verbose --no-pager MESSAGE_ID=cba0be038aad455fbde4950039d57c7e -n 1").stdout
        for field in ("IMAGED_KIND=remove", "IMAGED_IMAGE=" + IMAGE, "IMAGED_IMAGE=" + LARGE):
            self.assertIn(field, last)
        self.imagectl("list")
        self.assertRegex(self.machine.run("systemctl", "status", "--no-pager", "imaged").stdout, r'Status: "(Idle|Job \d+: [a-z-]+.*)"')
        explained = self.machine.run("journalctl", "-x", "--no-pager", "-u", "imaged").stdout
        for subject in (f"Subject: Job {end['IMAGED_JOB']} of imaged succeeded", f"Subject: The image {target} was removed", "refused", "of imaged failed"):
            self.assertIn(subject, explained)
        texts = [line for line in explained.splitlines() if line.startswith("░░")]
        self.assertFalse([line for line in texts if "IMAGED_" in line or "@" in line], "fields that such entries lack")
        self.assertNotIn("Failed with result", self.machine.run("journalctl", "-u", "imaged-proxy@*", "--no-pager").stdout)
        print({key: value for key, value in end.items() if key.startswith("IMAGED_") or key.startswith("MESSAGE")}, end=" ", flush=True)

    def test_a_worker_that_takes_too_much_memory_ends_and_the_daemon_stays(self):
        """With another worker, which takes all there is, and a limit that it reaches soon."""
        drop_in = "/etc/systemd/system/imaged.service.d/50-test.conf"
        self.stop_daemon()
        self.machine.write("/srv/eater", "#!/bin/sh\nexec tail /dev/zero\n", 0o755)
        self.machine.write(drop_in, "[Service]\nMemoryMax=200M\nMemorySwapMax=0\nExecStart=\nExecStart=/usr/libexec/imaged/imaged --worker /srv/eater\n")
        self.machine.run("systemctl", "daemon-reload")
        try:
            self.imagectl("list")
            pid = self.main_pid()
            group = self.machine.run("systemctl", "show", "-P", "ControlGroup", "imaged").stdout.strip()
            limit = self.machine.run("cat", f"/sys/fs/cgroup{group}/memory.max", check=False).stdout.strip()
            if limit != str(200 << 20):
                self.skipTest("the kernel limits no memory in this machine")
            for _ in range(2):
                run = self.imagectl("pull", IMAGE, check=False)
                self.assertNotEqual(run.returncode, 0)
                self.assertIn("signal 9", run.stderr)
            self.assertEqual(self.main_pid(), pid)
            self.assertTrue(self.machine.active("imaged"))
            self.imagectl("list")
            # What systemd says of it when it leaves.
            self.stop_daemon()
            self.assertNotEqual(self.machine.run("systemctl", "show", "-P", "Result", "imaged").stdout.strip(), "exit-code")
        finally:
            self.stop_daemon()
            self.machine.shell(f"rm -r {drop_in} /srv/eater; systemctl daemon-reload; systemctl reset-failed imaged 2>/dev/null || true")

    def section(self, title):
        """The shell lines of a section of the guide, as they are pasted."""
        with open(GUIDE, encoding="utf-8") as file:
            text = file.read().split(f"\n## {title}\n")[1].split("\n## ")[0]
        return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    ") and not line.startswith("    imagectl: "))

    def test_the_guides_lines_work_as_pasted(self):
        self.imagectl("pull", IMAGE)
        try:
            for title in ("Install it", "Configure it", "Who may enter the repository", "The journal"):
                with self.subTest(title):
                    self.machine.shell(self.section(title).replace("docker://registry.example/host:stable", IMAGE))
            # What was configured holds.
            self.assertEqual(self.imagectl("pull", IMAGE, check=False).returncode, 5)
        finally:
            self.machine.shell("rm -f /etc/imaged/imaged.conf.d/10-signed.conf; systemctl disable --now imaged-update-check.timer imaged-prune.timer 2>&1")
            self.stop_daemon()
