# SPDX-License-Identifier: Apache-2.0
"""Activation, jobs, and what those who do them may."""
import json
import re

from scene import IMAGE, LARGE, LARGE_LAYERS, PRIVATE, REGISTRY, SECRET, Case

# CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SYS_ADMIN, SETFCAP, MAC_ADMIN: what objects need.
WRITING = sum(1 << bit for bit in (0, 1, 2, 3, 4, 21, 31, 33))


class Jobs(Case):
    def test_the_first_call_starts_it(self):
        self.forget_everything()
        self.assertFalse(self.machine.active("imaged"))
        self.assertEqual(self.busctl("ListJobs").stdout.strip(), "a(uoss) 0")
        self.assertTrue(self.machine.active("imaged"))

    def test_root_pulls_and_the_repository_is_sound(self):
        self.imagectl("pull", IMAGE)
        self.assertIn(IMAGE, self.imagectl("list").stdout)
        self.machine.run("ostree", "--repo=/ostree/repo", "fsck", "--quiet")
        commit = json.loads(self.imagectl("--json", "show", IMAGE).stdout)["commit"]
        self.assertIn("-04755", self.machine.run("ostree", "--repo=/ostree/repo", "ls", commit, "/usr/su").stdout)

    def test_an_image_of_a_local_layout_is_pulled(self):
        self.imagectl("pull", "oci:/srv/images:small")

    def test_a_user_pulls_into_a_repository_of_their_own(self):
        """The guide's section "For a single user", with another image."""
        self.machine.run("dbus-run-session", "--", "sh", "-ec",
                         "imagectl --session pull oci:/srv/images:small; imagectl --session list | grep -q oci:/srv/images:small", user="alice")
        self.machine.run("test", "-d", "/home/alice/.local/share/imaged/repo/objects")
        self.assertIn("imaged", self.machine.run("imaged", "--version").stdout)

    # ---- the sandbox

    def test_the_units_are_hardened(self):
        for unit in ("imaged.service", "imaged-proxy@.service", "imaged-update-check.service", "imaged-update.service", "imaged-prune.service"):
            with self.subTest(unit):
                self.assertLessEqual(self.security_score(unit), 2.5)

    def test_worker_and_skopeo_have_given_up_what_they_do_not_need(self):
        with self.held_pull(LARGE) as (_, worker, skopeo):
            daemon = self.main_pid()
            status, of_daemon, of_skopeo = (self.status(pid) for pid in (worker, daemon, skopeo))
            # A container may not have all of them to give.
            possible = int(self.status("1")["CapBnd"], 16)
            print(*(f"{who} CapEff={of['CapEff']} NoNewPrivs={of['NoNewPrivs']} Seccomp={of['Seccomp']} "
                    f"filters={of['Seccomp_filters'].strip()};"
                    for who, of in (("imaged", of_daemon), ("worker", status), ("skopeo", of_skopeo))), end=" ", flush=True)
            self.assertEqual(int(status["CapEff"], 16), WRITING & possible)
            self.assertEqual(int(status["CapPrm"], 16), WRITING & possible)
            self.assertEqual(int(status["CapInh"], 16) | int(status["CapAmb"], 16), 0)
            self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
            # One of its own over the unit's.
            self.assertGreater(int(status["Seccomp_filters"]), int(of_daemon["Seccomp_filters"]))

            self.assertEqual(len({self.namespace(pid, "mnt") for pid in ("1", daemon, worker, skopeo)}), 4)
            writable = {path for path, options in self.mounts(worker).items() if "rw" in options}
            self.assertEqual(writable, {"/tmp", "/var/tmp", "/var/cache/imaged"})  # its parent changes the repository
            self.assertEqual(self.namespace(worker, "net"), self.namespace(daemon, "net"))
            self.assertNotEqual(self.namespace(worker, "net"), self.namespace("1", "net"))
            interfaces = self.machine.run("cat", f"/proc/{worker}/net/dev").stdout.splitlines()[2:]
            self.assertEqual([line.split(":")[0].strip() for line in interfaces], ["lo"])

            self.assertEqual(self.namespace(skopeo, "net"), self.namespace("1", "net"))
            self.assertEqual(self.machine.run("ps", "-o", "user:20=", "-p", skopeo).stdout.strip(), "imaged-proxy")
            self.assertNotEqual(of_skopeo["Uid"].split()[0], "0")
            self.assertEqual(int(of_skopeo["CapEff"], 16) | int(of_skopeo["CapPrm"], 16) | int(of_skopeo["CapBnd"], 16), 0)
            self.assertEqual((of_skopeo["NoNewPrivs"], of_skopeo["Seccomp"]), ("1", "2"))
            for path in ("/ostree/repo", "/etc", "/srv"):
                self.assertNotIn("rw", self.mounts(skopeo).get(path, self.mounts(skopeo)["/"]), path)

    def test_one_skopeo_sees_nothing_of_another(self):
        """They have one user; what runs as this user in another user namespace is what another one would be."""
        self.forget_everything()
        with self.held_pull(LARGE) as (_, _, skopeo):
            service = self.status(skopeo)["PPid"].strip()
            # A filter of its own over the unit's keeps it from signalling others.
            self.assertGreater(int(self.status(skopeo)["Seccomp_filters"]), int(self.status(service)["Seccomp_filters"]))
            self.assertNotEqual(self.namespace(skopeo, "user"), self.namespace("1", "user"))
            other = ("systemd-run", "--quiet", "--pipe", "--wait", "-p", "User=imaged-proxy", "-p", "DynamicUser=yes", "-p", "PrivateUsers=yes")
            self.assertEqual(self.machine.run(*other, "id", "-u").stdout.strip(), self.status(skopeo)["Uid"].split()[0])
            # What everybody may read of it, and what needs the right to trace it.
            self.assertEqual(self.machine.run(*other, "cat", f"/proc/{skopeo}/comm").stdout, "skopeo\n")
            for command in ("cat {}/environ", "cat {}/maps", "head -c0 {}/fd/0", "ls {}/root/", "ls {}/cwd/"):
                run = self.machine.run(*other, *command.format(f"/proc/{skopeo}").split(), check=False)
                self.assertNotEqual(run.returncode, 0, command)
            hidden = self.machine.run(*other, "-p", "ProtectProc=invisible", "ls", f"/proc/{skopeo}", check=False)
            self.assertNotEqual(hidden.returncode, 0)

    # ---- every other job under the same rules

    def test_an_image_is_exported_and_comes_back(self):
        self.outcome("pull", IMAGE)
        self.machine.shell("rm -rf /srv/out; mkdir /srv/out")
        layout = self.outcome("export", IMAGE, "oci:/srv/out/layout:small")
        archive = self.outcome("export", IMAGE, "oci-archive:/srv/out/small.tar:small", "--compression", "zstd")
        self.assertEqual((layout["result"], archive["result"]), ("success", "success"))
        manifest = self.machine.run("skopeo", "inspect", "--raw", "oci:/srv/out/layout:small").stdout
        self.assertEqual(len(json.loads(manifest)["layers"]), 1)
        again = self.outcome("import-archive", "/srv/out/small.tar", "docker://example.org/again:1")
        self.assertEqual(again["result"], "success")
        self.assertEqual(self.outcome("pull", "oci:/srv/out/layout:small")["result"], "success")
        trees = {json.loads(self.imagectl("--json", "show", image).stdout)["commit"]: image
                 for image in ("docker://example.org/again:1", "oci:/srv/out/layout:small")}
        for commit in trees:
            self.assertIn("-04755", self.machine.run("ostree", "--repo=/ostree/repo", "ls", commit, "/usr/su").stdout)

    def test_paths_are_the_callers_below_tmp_too(self):
        self.outcome("pull", IMAGE)
        self.machine.shell("rm -rf /tmp/out* /var/tmp/out*; mkdir /var/tmp/out; ostree --repo=/tmp/out-repo init --mode=bare")
        self.addCleanup(self.machine.shell, "rm -rf /run/out*")
        for destination in ("oci:/tmp/out:it", "oci-archive:/var/tmp/out.tar:it", "oci-archive:/var/tmp/out/inner.tar:it", "oci:/run/out:it",
                            "oci-archive:/run/out.tar:it"):
            self.outcome("export", IMAGE, destination)
            self.assertTrue(self.machine.run("skopeo", "inspect", "--raw", destination).stdout)
        self.machine.shell(f"cd /tmp && imagectl export {IMAGE} oci:out-relative:it && cd /var/tmp && imagectl pull oci:../../tmp/out-relative:it")
        # imaged has a /dev of its own.
        self.assertEqual(self.imagectl("export", IMAGE, "oci:/dev/out:it", check=False).returncode, 2)
        self.outcome("copy", IMAGE, "/tmp/out-repo")
        self.stop_daemon()
        for source in ("oci:/tmp/out:it", "oci-archive:/var/tmp/out.tar:it", "oci:/tmp/out-relative:it"):
            self.outcome("pull", source)
        self.outcome("copy", "--from", IMAGE, "/tmp/out-repo", "--target", "docker://copied.example/image:1")
        # What the job unpacked for itself is gone, and was nowhere else.
        self.assertEqual(self.machine.shell("ls /var/cache/imaged; ls -d /tmp/imaged-job-* /var/tmp/imaged-job-* 2>/dev/null || true").stdout, "")

    def test_an_image_is_pushed_to_registries(self):
        self.outcome("pull", LARGE)
        pushed = self.outcome("export", LARGE, f"docker://{REGISTRY}/pushed/large:1")
        served = self.machine.shell(f"skopeo inspect --raw --tls-verify=false docker://{REGISTRY}/pushed/large:1 | sha256sum").stdout
        self.assertEqual("sha256:" + served.split()[0], pushed["digest"])
        self.assertEqual(pushed["layers"], LARGE_LAYERS)

    def test_a_push_needs_the_registrys_password(self):
        destination = f"docker://{PRIVATE}/secret/pushed:1"
        self.trust_private_registry()
        self.outcome("pull", IMAGE)
        run = self.imagectl("export", IMAGE, destination, check=False)
        self.assertEqual(run.returncode, 4, run.stderr)
        self.outcome("export", IMAGE, destination, "--authfile", self.auth_file())
        self.outcome("pull", destination, "--authfile", self.auth_file())

    def test_an_image_is_copied_between_repositories(self):
        self.outcome("pull", IMAGE)
        self.machine.shell("rm -rf /srv/other; ostree --repo=/srv/other init --mode=bare")
        self.assertEqual(self.outcome("copy", IMAGE, "/srv/other")["result"], "success")
        self.machine.run("ostree", "--repo=/srv/other", "fsck", "--quiet")
        self.imagectl("remove", IMAGE)
        self.assertNotIn(IMAGE, self.imagectl("list").stdout)
        self.assertEqual(self.outcome("copy", "--from", IMAGE, "/srv/other")["result"], "success")
        self.assertIn(IMAGE, self.imagectl("list").stdout)

    def test_images_are_verified_removed_and_pruned(self):
        self.outcome("pull", IMAGE)
        self.assertEqual(self.outcome("verify")["result"], "success")
        self.imagectl("remove", LARGE)
        self.assertEqual(self.outcome("prune")["result"], "success")
        self.machine.run("ostree", "--repo=/ostree/repo", "fsck", "--quiet")

    # ---- an OSTree host: all in a read-only /sysroot, /ostree a link into it

    def test_a_read_only_sysroot_is_written_by_the_worker_alone(self):
        self.forget_everything()
        self.machine.shell("""
            mkdir -p /sysroot/ostree
            rm -rf /ostree
            ln -s sysroot/ostree /ostree
            mount --bind /sysroot /sysroot
            mount -o remount,bind,ro /sysroot""")
        self.addCleanup(self.machine.shell, "systemctl stop imaged; umount /sysroot || umount -l /sysroot; rm -rf /ostree /sysroot/ostree; mkdir /ostree")
        self.assertIn("Read-only", self.machine.run("touch", "/sysroot/x", check=False).stderr)
        # The first one makes the repository.
        self.imagectl("pull", IMAGE)
        with self.held_pull(LARGE) as (_, worker, _):
            self.assertIn("ro", self.mounts(worker)["/sysroot/ostree/repo"])
            self.assertIn("ro", self.mounts(worker)["/sysroot"])
            for pid in ("1", self.main_pid()):
                self.assertIn("ro", self.mounts(pid)["/sysroot"])
                self.assertNotIn("/sysroot/ostree/repo", self.mounts(pid))
            self.assertIn("Read-only", self.machine.run("touch", "/sysroot/x", check=False).stderr)
        self.assertIn(LARGE, self.imagectl("list").stdout)
        self.machine.run("ostree", "--repo=/ostree/repo", "fsck", "--quiet")
        self.imagectl("remove", LARGE)
        self.imagectl("prune")
        self.assertIn("Read-only", self.machine.run("touch", "/sysroot/x", check=False).stderr)

    # ---- registries

    def trust_private_registry(self):
        self.machine.shell(f"mkdir -p /etc/containers/certs.d/{PRIVATE}; "
                           f"cp /etc/registry/tls.crt /etc/containers/certs.d/{PRIVATE}/ca.crt")

    def auth_file(self):
        self.machine.write("/root/auth.json", json.dumps({"auths": {PRIVATE: {"auth": "Y2Fyb2w6c2VjcmV0LXdvcmQ="}}}), 0o600)
        return "/root/auth.json"

    def test_a_mirror_serves_what_its_registry_does_not(self):
        self.imagectl("pull", "docker://mirrored.example/open/image:latest")

    def test_a_pull_through_mirror_fetches_what_it_serves(self):
        self.assertEqual(self.machine.shell("find /srv/registry-cache -name data -type f | wc -l").stdout.strip(), "0")
        self.imagectl("pull", "docker://cached.example/open/image:latest")
        self.assertNotEqual(self.machine.shell("find /srv/registry-cache -name data -type f | wc -l").stdout.strip(), "0")

    def test_a_private_registry_wants_its_certificate_and_a_password(self):
        self.machine.shell("rm -rf /etc/containers/certs.d")
        run = self.imagectl("pull", SECRET, check=False)
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("certificate", run.stderr)
        self.trust_private_registry()
        run = self.imagectl("pull", SECRET, check=False)
        self.assertEqual(run.returncode, 4, run.stderr)

    def test_credentials_come_by_descriptor_or_from_the_host(self):
        self.trust_private_registry()
        self.imagectl("pull", "--authfile", self.auth_file(), SECRET)
        for path in ("/etc/ostree/auth.json", "/run/ostree/auth.json"):
            with self.subTest(path):
                self.machine.shell(f"mkdir -p {path.rpartition('/')[0]}; install -m 600 /root/auth.json {path}")
                self.imagectl("prepare", SECRET)
                self.machine.run("rm", path)
        self.assertEqual(self.imagectl("prepare", SECRET, check=False).returncode, 4)
        journal = self.machine.run("journalctl", "--no-pager").stdout
        self.assertIsNone(re.search("secret-word|Y2Fyb2w6c2VjcmV0LXdvcmQ=", journal))
