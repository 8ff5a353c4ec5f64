#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What imaged pulls can be deployed by ostree, in a scratch sysroot; and imaged tells which image each deployment there came from."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import unittest

from gi.repository import GLib

import encapsulation
import ostree_repository
import worker
from bus_fixture import MANAGER, NAME, ROOT, Case
from oci_layout import Entry, Layout, layer

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
MODULES = "usr/lib/modules/6.1.0"
FOLDERS = ["usr", "usr/bin", "usr/etc", "usr/lib", "usr/lib/modules", MODULES, "boot", "ostree", "sysroot", "var",
           "proc", "dev", "run", "tmp"]
SYSTEM = [*(Entry(name, "dir", mode=0o755) for name in FOLDERS), *(Entry(name, "symlink", target="usr/" + name) for name in ("bin", "lib", "lib64")),
          Entry(MODULES + "/vmlinuz", content=b"kernel"), Entry(MODULES + "/initramfs.img", content=b"initramfs"),
          Entry("usr/lib/os-release", content=b"NAME=Test\nID=test\nVERSION=1\n"), Entry("usr/etc/issue", content=b"before\n")]
STATES = ("booted", "pending", "rollback", "staged", "pinned")


def image(layout, tag):
    labels = {"org.opencontainers.image.version": "1." + tag}
    return layout.image(tag, [layer(SYSTEM), layer([Entry("usr/etc/issue", content=tag.encode() + b"\n")])], config={"config": {"Labels": labels}})


@unittest.skipUnless(os.getuid() == 0, "needs root for a bare repository and ostree admin")
class Deploy(Case):
    def setUp(self):
        super().setUp()
        os.environ["IMAGED_BUS_ADDRESS"] = self.address
        self.addCleanup(os.environ.pop, "IMAGED_BUS_ADDRESS")

    def command(self):
        self.sysroot = self.directory + "/sysroot"
        os.mkdir(self.sysroot)
        self.ostree("admin", "init-fs", "--modern", self.sysroot)
        self.ostree("admin", "os-init", "--sysroot=" + self.sysroot, "test")
        self.repository = ostree_repository.without_reserve(self.sysroot + "/ostree/repo")
        self.layout = Layout(self.directory + "/layout")
        return [*super().command(), "--repository", self.repository, "--worker", os.environ["IMAGED_WORKER"]]

    def ostree(self, *arguments):
        run = subprocess.run(["ostree", *arguments], capture_output=True, text=True,
                             env={**os.environ, "OSTREE_SYSROOT_DEBUG": "mutable-deployments"})
        self.assertEqual(run.returncode, 0, run.stderr)
        return run.stdout.strip()

    def pull(self, tag):
        """The details of what was pulled, with its reference and the commit to deploy."""
        pulled = worker.pull("ostree-unverified-image:" + self.layout.reference(tag), self.repository)
        self.assertEqual(pulled.result["outcome"], "success", pulled.result)
        return pulled.result["details"]

    def deploy(self, commit, origin=None):
        """The deployment's directory."""
        words = []
        if origin is not None:
            with open(self.directory + "/origin", "w", encoding="utf-8") as file:
                file.write(origin)
            words = [f"--origin-file={self.directory}/origin"]
        self.ostree("admin", "deploy", "--sysroot=" + self.sysroot, "--os=test", "--retain", *words, commit)
        return f"{self.sysroot}/ostree/deploy/test/deploy/{commit}.0"

    def deploy_image(self, tag):
        pulled = self.pull(tag)
        directory = self.deploy(pulled["commit"], "[origin]\ncontainer-image-reference=ostree-unverified-image:" + self.layout.reference(tag) + "\n")
        return pulled, directory

    def deployments(self):
        run = subprocess.run([IMAGECTL, "deployments", "--json"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        return json.loads(run.stdout)["deployments"]

    def states(self):
        return [[state for state in STATES if one[state]] for one in self.deployments()]

    def test_a_bootable_image_is_deployed(self):
        image(self.layout, "v1")
        pulled = self.pull("v1")
        deployment = self.deploy(pulled["commit"])
        self.assertIn(pulled["commit"], self.ostree("admin", "status", "--sysroot=" + self.sysroot))
        with open(deployment + "/etc/issue", encoding="utf-8") as file:
            self.assertEqual(file.read(), "v1\n")
        entries = [name for _, _, names in os.walk(self.sysroot + "/boot/loader") for name in names]
        # libostree 2025.2 names the entry without its stateroot.
        self.assertIn(entries, (["ostree-1.conf"], ["ostree-1-test.conf"]))

    def test_the_guides_lines_deploy_an_image(self):
        """As they are pasted, but for the name of the image."""
        image(self.layout, "v1")
        name, example = self.layout.reference("v1"), "docker://registry.example/host:stable"
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/administration.md"), encoding="utf-8") as file:
            lines = re.search(r"## Deploying what was pulled\n.*?\n\n((?:    [^\n]*\n)+)", file.read(), re.S).group(1)
        self.assertIn(example, lines)
        self.ostree("admin", "os-init", "--sysroot=" + self.sysroot, "default")
        subprocess.run(["sh", "-ec", lines.replace(example, name)], check=True, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={
            **os.environ, "PATH": os.path.dirname(IMAGECTL) + ":" + os.environ["PATH"], "OSTREE_SYSROOT": self.sysroot, "OSTREE_SYSROOT_DEBUG": "mutable-deployments"})
        deployed, = self.deployments()
        self.assertEqual((deployed["stateroot"], deployed["reference"], deployed["image"]), ("default", "ostree-unverified-image:" + name, name))

    def test_an_origin_file_says_what_verifies_the_image(self):
        digest = image(self.layout, "v1")
        self.pull("v1")
        name = self.layout.reference("v1")
        for given, written in ((name, "ostree-unverified-image:" + name), ("ostree-image-signed:" + name, "ostree-image-signed:" + name),
                               (digest, "ostree-unverified-image:" + name)):
            run = subprocess.run([IMAGECTL, "origin", given], capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stdout), (0, f"[origin]\ncontainer-image-reference={written}\n"), run.stderr)
        self.assertEqual(json.loads(subprocess.run([IMAGECTL, "origin", "--json", name], capture_output=True, text=True).stdout)["reference"], "ostree-unverified-image:" + name)
        self.assertEqual(subprocess.run([IMAGECTL, "origin", "docker://nowhere.example/none:1"], capture_output=True).returncode, 3)

    def test_prune_keeps_what_is_deployed_while_its_ref_is_replaced(self):
        """ostree admin takes the refs of all deployments away before it writes them anew."""
        image(self.layout, "v1")
        pulled = self.pull("v1")
        self.deploy(pulled["commit"])
        self.ostree("refs", "--repo=" + self.repository, "--delete", "ostree/0", "ostree/1")
        worker.pull("", self.repository, kind="remove", arguments={"images": [self.layout.reference("v1")]})
        self.assertEqual(worker.pull("", self.repository, kind="prune").result["outcome"], "success")
        self.ostree("ls", "--repo=" + self.repository, "-R", pulled["commit"])
        # With the deployment its commit goes as well.
        self.ostree("admin", "undeploy", "--sysroot=" + self.sysroot, "0")
        worker.pull("", self.repository, kind="prune")
        self.assertNotIn(pulled["commit"] + ".commit", [path.parent.name + path.name for path in pathlib.Path(self.repository, "objects").glob("*/*.commit")])

    def test_each_deployment_is_told_with_its_image(self):
        digests = [image(self.layout, tag) for tag in ("v1", "v2")]
        pulled = [self.deploy_image(tag)[0] for tag in ("v1", "v2")]
        self.assertEqual([entry["digest"] for entry in pulled], digests)
        second, first = self.deployments()
        self.assertEqual(second, {
            "stateroot": "test", "checksum": pulled[1]["commit"], "serial": 0, "booted": False, "pending": True, "rollback": False, "staged": False,
            "pinned": False, "reference": "ostree-unverified-image:" + self.layout.reference("v2"), "image": self.layout.reference("v2"),
            "digest": pulled[1]["digest"], "version": "1.v2", "merge-commit": pulled[1]["merge-commit"], "stored-as": [self.layout.reference("v2")], "kept-of": []})
        self.assertEqual((first["digest"], first["pending"]), (pulled[0]["digest"], False))
        # The deployment keeps what it came from when the image is removed; the repository does not have it by a name any more.
        worker.pull("", self.repository, kind="remove", arguments={"images": [self.layout.reference("v1")]})
        gone = self.deployments()[1]
        self.assertEqual((gone["digest"], gone["stored-as"], gone["version"]), (pulled[0]["digest"], [], "1.v1"))
        lines = subprocess.run([IMAGECTL, "deployments"], capture_output=True, text=True, check=True).stdout.splitlines()
        self.assertEqual(lines[0].split(), ["STATEROOT", "DEPLOYMENT", "STATE", "IMAGE", "DIGEST", "VERSION"])
        self.assertEqual(lines[1].split(), ["test", pulled[1]["commit"][:12] + ".0", "pending", self.layout.reference("v2"), pulled[1]["digest"][7:19], "1.v2"])

    def test_an_earlier_version_that_is_kept_is_no_stranger(self):
        for tag in ("v1", "v2"):
            image(self.layout, tag)
        system = self.ostree("--repo=" + self.repository, "commit", "--orphan", "--tree=ref=" + self.pull("v1")["commit"])
        encapsulation.encapsulate(self.layout, "base", self.repository, system)
        for tag in ("v1", "base"):
            with self.subTest(tag):
                name = f"docker://registry.example/{tag}:1"
                job = worker.pull(self.layout.reference(tag), self.repository, target=name, settings={"keep": 1}).result["details"]
                self.deploy(job["commit"])
                worker.pull(self.layout.reference("v2"), self.repository, target=name, settings={"keep": 1})
                entry, = (entry for entry in self.deployments() if entry["checksum"] == job["commit"])
                self.assertEqual((entry["digest"], name in entry["stored-as"], entry["kept-of"]), (job["digest"], False, [name]))

    def test_everybody_may_ask_and_options_are_strict(self):
        image(self.layout, "v1")
        pulled, _ = self.deploy_image("v1")
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        call = ["busctl", "--address=" + self.address, "call", NAME, ROOT, MANAGER, "ListDeployments", "a{sv}"]
        run = subprocess.run([*nobody, *call, "0"], capture_output=True, text=True)
        self.assertTrue(run.stdout.startswith("aa{sv} 1 "), run.stderr)
        self.assertIn(f'"checksum" s "{pulled["commit"]}"', run.stdout)
        self.assertIn('"serial" u 0', run.stdout)
        run = subprocess.run([*call, "1", "colour", "s", "blue"], capture_output=True, text=True)
        self.assertIn("colour", run.stderr)

    def test_an_image_that_is_nothing_but_a_commit_is_known_by_its_base(self):
        image(self.layout, "v1")
        system = self.ostree("--repo=" + self.repository, "commit", "--orphan", "--tree=ref=" + self.pull("v1")["commit"])
        encapsulation.encapsulate(self.layout, "base", self.repository, system)
        pulled = self.pull("base")
        self.assertEqual(pulled["commit"], system)
        self.assertNotEqual(pulled["commit"], pulled["merge-commit"])
        self.deploy(pulled["commit"])
        one, = self.deployments()
        self.assertEqual((one["merge-commit"], one["digest"], one["stored-as"]),
                         (pulled["merge-commit"], pulled["digest"], [self.layout.reference("base")]))

    def test_a_commit_made_on_top_of_an_image_came_from_it(self):
        image(self.layout, "v1")
        pulled = self.pull("v1")
        commit = self.ostree("--repo=" + self.repository, "commit", "--parent=" + pulled["commit"], "--tree=ref=" + pulled["commit"],
                             "--branch=local", "--add-metadata-string=version=1.v1-local")
        self.deploy(commit, "[origin]\ncontainer-image-reference=ostree-unverified-image:" + self.layout.reference("v1") + "\n")
        one, = self.deployments()
        self.assertEqual((one["checksum"], one["merge-commit"], one["digest"]), (commit, pulled["merge-commit"], pulled["digest"]))
        self.assertEqual(one["stored-as"], [self.layout.reference("v1")])

    def test_what_came_from_no_image_says_so(self):
        image(self.layout, "v1")
        commit = self.pull("v1")["commit"]
        plain = self.ostree("--repo=" + self.repository, "commit", "--orphan", "--tree=ref=" + commit, "--add-metadata-string=version=7")
        self.deploy(plain, "[origin]\nrefspec=remote:os/stable\n")
        one, = self.deployments()
        self.assertEqual({key: value for key, value in one.items() if key not in STATES},
                         {"stateroot": "test", "checksum": plain, "serial": 0, "refspec": "remote:os/stable", "version": "7"})

    def test_an_origin_file_that_is_missing_or_broken_is_told_in_its_entry(self):
        for tag in ("v1", "v2"):
            image(self.layout, tag)
        (first, one), (second, two) = self.deploy_image("v1"), self.deploy_image("v2")
        good = pathlib.Path(two + ".origin").read_bytes()
        for content, error in [(None, "no origin file"), (b"garbage\n", "garbage"), (b"\xff\xfe[origin]\n", "its origin file"), (b"", "neither an image nor a ref"),
                               (b"[origin]\ncontainer-image-reference=nonsense\n", "nonsense"), ("pipe", "no regular file")]:
            with self.subTest(content):
                if content is None:
                    os.unlink(two + ".origin")
                elif content == "pipe":
                    os.unlink(two + ".origin")
                    os.mkfifo(two + ".origin")
                else:
                    pathlib.Path(two + ".origin").write_bytes(content)
                entries = {entry["checksum"]: entry for entry in self.deployments()}
                self.assertIn(error, entries[second["commit"]]["error"])
                self.assertEqual(entries[second["commit"]]["digest"], second["digest"])
                self.assertNotIn("error", entries[first["commit"]])
                self.assertEqual(entries[first["commit"]]["image"], self.layout.reference("v1"))
                table = subprocess.run([IMAGECTL, "deployments"], capture_output=True, text=True, check=True).stdout
                self.assertIn("ERROR", table)
        os.unlink(two + ".origin")
        pathlib.Path(two + ".origin").write_bytes(good)
        self.assertEqual(self.states(), [["pending"], []])
        with open(one + ".origin", "a", encoding="utf-8") as file:
            file.write("\n[libostree-transient]\npinned=true\n")
        self.assertEqual(self.states(), [["pending"], ["pinned"]])

    def test_a_commit_that_is_gone_is_told_in_its_entry(self):
        image(self.layout, "v1")
        pulled, _ = self.deploy_image("v1")
        commit = pulled["commit"]
        os.unlink(f"{self.repository}/objects/{commit[:2]}/{commit[2:]}.commit")
        one, = self.deployments()
        self.assertIn(commit, one["error"])
        self.assertEqual(one["image"], self.layout.reference("v1"))

    def test_the_running_system_and_the_one_to_go_back_to(self):
        """imaged inside the second of three deployments: as after a boot of it, but with the host's programs."""
        for tag in ("v1", "v2", "v3"):
            image(self.layout, tag)
        _, running, _ = [self.deploy_image(tag)[1] for tag in ("v1", "v2", "v3")]
        build = os.path.dirname(os.path.dirname(os.path.abspath(os.environ["IMAGED"])))
        suppressions = os.environ["SOURCE_ROOT"] + "/tests"  # which sanitizers read first of all
        script = f"""
            mount --make-rprivate / && cd {running}
            mount --bind {running} {running} && cd {running}
            mount --rbind {self.sysroot} sysroot && mount --bind sysroot/boot boot && mount --rbind /usr usr && mount --rbind /proc proc && mount --rbind /dev dev
            mount -t tmpfs tmpfs run && touch run/ostree-booted
            mount -t tmpfs tmpfs tmp && mkdir -p ./{self.directory} ./{build} ./{suppressions}
            mount --bind {self.directory} ./{self.directory} && mount --bind {build} ./{build} && mount --bind {suppressions} ./{suppressions}
            rmdir ostree 2>/dev/null; ln -sfn sysroot/ostree ostree
            exec chroot . "$0" "$@" """
        other = "unix:path=" + self.directory + "/bus"
        self.daemon.terminate()
        self.daemon.wait(10)
        inside = subprocess.Popen(["unshare", "--mount", "sh", "-ec", script, os.environ["IMAGED"], "--bus-address", other, "--repository", "/ostree/repo",
                                   "--worker", "/bin/false", "--log-level", "off"], stderr=subprocess.PIPE, text=True)
        self.processes.append(inside)
        self.addCleanup(inside.stderr.close)
        watcher = self.client()
        self.eventually(lambda: self.has_owner(watcher) or inside.poll() is not None)
        if inside.poll() is not None:
            error = inside.stderr.read()
            if error.startswith("unshare:") or "mount:" in error:
                self.skipTest("no mount namespace to be had: " + error.strip())
            self.fail(error)
        self.assertEqual([entry.get("version") for entry in self.deployments()], ["1.v3", "1.v2", "1.v1"])
        self.assertEqual(self.states(), [["pending"], ["booted"], ["rollback"]])


class NoSystem(Case):
    """A host without OSTree, as most test machines are."""

    def test_there_are_none(self):
        for where in ("nothing", "empty", "half"):
            with self.subTest(where):
                if where != "nothing":
                    os.mkdir(self.directory + "/root")
                if where == "half":
                    os.makedirs(self.directory + "/root/ostree/deploy/test/deploy")
                self.assertEqual(self.client().call(MANAGER, "ListDeployments", GLib.Variant("(a{sv})", ({},))), ([],))
                shutil.rmtree(self.directory + "/root", ignore_errors=True)

    def command(self):
        return [*super().command(), "--sysroot", self.directory + "/root"]


if __name__ == "__main__":
    unittest.main(verbosity=2)
