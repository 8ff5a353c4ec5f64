# SPDX-License-Identifier: Apache-2.0
"""What an administrator types on the installed system, beside what jobs.py and service.py try."""
from scene import IMAGE, REGISTRY, SECRET, Case

MOVING, STILL = f"docker://{REGISTRY}/open/moving:latest", f"docker://{REGISTRY}/open/still:latest"


class Administration(Case):
    def typed(self, line, status=0, user=None):
        """What a shell line says, both outputs together; shown, so that a run is a record of it."""
        run = self.machine.run("sh", "-c", f"{line} 2>&1", user=user, check=False)
        print(f"\n$ {line}\n{run.stdout.rstrip()}\n[{run.returncode}]", end=" ", flush=True)
        self.assertEqual(run.returncode, status, run.stdout)
        return run.stdout

    def publish(self, what, *names):
        for name in names:
            self.machine.shell(f"skopeo copy -q --dest-tls-verify=false oci:/srv/images:{what} {name}")

    def state(self, image):
        return [line for line in self.typed("imagectl list").splitlines() if line.startswith(image)][0]

    def test_an_update_is_that_of_the_name_which_was_checked(self):
        self.forget_everything()
        self.publish("small", MOVING, STILL)
        self.typed(f"imagectl pull -q {MOVING} {STILL}")
        self.publish("newer", MOVING)
        self.typed(f"imagectl check {MOVING} {STILL}")
        self.assertIn(" update", self.state(MOVING))
        self.assertNotIn(" update", self.state(STILL))
        self.publish("small", MOVING)
        self.typed(f"imagectl check {MOVING}")
        self.assertNotIn(" update", self.state(MOVING))

    def test_the_version_before_is_kept_and_one_rolls_back_to_it(self):
        self.forget_everything()
        self.publish("small", MOVING)
        first = self.typed(f"imagectl pull -q {MOVING}").strip()
        self.publish("newer", MOVING)
        second = self.typed(f"imagectl pull -q {MOVING}").strip()
        self.assertNotEqual(first, second)
        self.typed("imagectl prune")
        self.assertRegex(self.typed(f"imagectl show {MOVING}"), f"Kept: +{first}")
        self.assertEqual(self.typed(f"imagectl rollback -q {MOVING}").strip(), first)
        self.assertEqual(self.typed(f"imagectl rollback -q --to {second.removeprefix('sha256:')[:12]} {MOVING}").strip(), second)
        self.machine.run("ostree", "--repo=/ostree/repo", "fsck", "--quiet")
        self.typed(f"imagectl rollback --to {second} {MOVING}", status=3)

    def test_a_broken_file_of_the_host_is_named(self):
        self.forget_everything()
        for path, text, image in (("/etc/ostree/auth.json", "{", SECRET), ("/etc/containers/registries.conf", "[[registry", IMAGE),
                                  ("/etc/containers/policy.json", "{", IMAGE), ("/etc/containers/registries.d/signed.yaml", "docker: [", IMAGE)):
            self.machine.shell(f"mkdir -p {path.rpartition('/')[0]}; touch {path}; mv {path} /srv/set-aside")
            try:
                self.machine.write(path, text, 0o644)
                said = self.machine.run("imagectl", "pull", "-q", image, check=False)
                print(said.stderr.strip(), end=" ", flush=True)
                self.assertNotEqual(said.returncode, 0)
                self.assertIn(path, said.stderr)
                self.assertNotIn("/proc/", said.stderr)
            finally:
                self.machine.shell(f"mv /srv/set-aside {path}; test -s {path} || rm {path}")
        self.typed(f"imagectl pull -q {IMAGE}")

    def test_a_user_has_a_session_service(self):
        """As over ssh, where no session runs."""
        said = self.typed(f"dbus-run-session -- sh -c 'imagectl --session pull -q {IMAGE} && imagectl --session list'", user="alice")
        self.assertIn(IMAGE, said)
        self.assertIn("/home/alice/.local/share/imaged/repo/config",
                      self.machine.run("ls", "/home/alice/.local/share/imaged/repo/config", user="alice").stdout)
        self.assertIn("ExecStart=/usr/libexec/imaged/imaged --session", self.machine.run("cat", "/usr/lib/systemd/user/imaged.service").stdout)

    def test_an_origin_file_is_written_for_ostree(self):
        self.typed(f"imagectl pull -q {IMAGE}")
        said = self.typed(f"imagectl origin {IMAGE}")
        self.assertIn("[origin]\ncontainer-image-reference=", said)
        self.assertIn(IMAGE.removeprefix("docker://"), said)
        self.assertIn("container-image-reference=ostree-image-signed:", self.typed(f"imagectl origin ostree-image-signed:{IMAGE}"))
        # No OSTree host: no deployments, and no error.
        self.typed("imagectl deployments")
