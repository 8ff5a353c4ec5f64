# SPDX-License-Identifier: Apache-2.0
"""Repositories that are not what they say: copies from and to hostile ones, odd refs in one's own, and one that other users may enter."""
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import time
import unittest
import zlib

import bus_fixture
import oci_layout
import ostree_repository
import sanitizers
import worker
from oci_layout import Entry
from repository_case import RepositoryCase

GOOD, EVIL = b"what the image has\n" * 200, b"what an attacker has\n" * 200
USER = 1000
IMAGE = "ostree/container/image/"


def job(kind, where, image="", **arguments):
    return worker.Run(image, where, kind=kind, arguments=arguments).finish().result


class Case(RepositoryCase):
    def make(self, name, mode="bare"):
        path = self.directory / name
        ostree_repository.init(path, mode)
        return path

    def pull_into(self, repository, *entries, tag="t"):
        """Pulls an image of one layer; returns its reference."""
        self.blob = oci_layout.layer(list(entries) or [Entry("usr/file", content=GOOD)])
        self.layout.image(tag, [self.blob])
        result = worker.pull("ostree-unverified-image:" + self.layout.reference(tag), repository).result
        self.assertEqual(result["outcome"], "success", result)
        return self.layout.reference(tag)

    def copy(self, image, source, destination):
        return job("copy", source, image, repository=str(destination))

    def copied(self, image, source, destination):
        result = self.copy(image, source, destination)
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def refused(self, result, error, *texts):
        self.assertEqual((result["outcome"], result["error-name"]), ("failed", error), result)
        for text in texts:
            self.assertIn(text, result["message"])

    def object_of(self, repository, content, suffix="file"):
        return next(path for path in pathlib.Path(repository, "objects").glob(f"*/*.{suffix}") if path.is_file() and path.read_bytes() == content)

    def content(self, repository, name="usr/file", tag="t"):
        # By hand: libostree lists no ref where one is odd.
        ref = next(path for path in pathlib.Path(repository, "refs/heads", IMAGE).rglob("*_3A_" + tag))
        return subprocess.run(["ostree", f"--repo={repository}", "cat", ref.read_text().strip(), "/" + name], check=True, capture_output=True).stdout


class Copy(Case):
    def test_wrong_content_under_a_right_name_does_not_come_in(self):
        for mode in ("bare", "bare-user", "archive"):
            with self.subTest(mode):
                source, destination = self.make(f"from-{mode}", mode), self.make(f"to-{mode}", mode)
                image = self.pull_into(source)
                if mode == "archive":
                    path = next(path for path in (source / "objects").glob("*/*.filez"))
                    data = bytearray(path.read_bytes())
                    data[-1] ^= 1
                else:
                    path, data = self.object_of(source, GOOD), EVIL
                path.write_bytes(data)
                self.refused(self.copy(image, source, destination), "RepositoryDamaged", "corrupt" if mode != "archive" else "")
                self.assertEqual(subprocess.run(["ostree", f"--repo={destination}", "refs"], capture_output=True).stdout, b"")
                self.pull_into(destination)
                self.assertEqual(self.content(destination), GOOD)
                subprocess.run(["ostree", f"--repo={destination}", "fsck", "--quiet"], check=True)

    def test_wrong_metadata_does_not_come_in(self):
        for kind in ("dirtree", "dirmeta", "commit"):
            with self.subTest(kind):
                source, destination = self.make("from-" + kind), self.make("to-" + kind)
                image = self.pull_into(source)
                for path in (source / "objects").glob(f"*/*.{kind}"):
                    path.write_bytes(path.read_bytes() + b"x")
                self.refused(self.copy(image, source, destination), "RepositoryDamaged")
                self.assertEqual([path.name for path in (destination / "objects").glob(f"*/*.{kind}")], [])

    def test_what_is_too_large_is_named_and_not_read(self):
        source = self.make("from")
        image, size = self.pull_into(source), 1 << 40
        commit = next((source / "objects").glob("*/*.commit"))
        for path, error in ((next((source / "objects").glob("*/*.dirtree")), "RepositoryDamaged"), (next((source / "objects").glob("*/*.dirmeta")), "RepositoryDamaged"),
                            (commit, "RepositoryDamaged"), (commit.with_suffix(".commitmeta"), "RepositoryDamaged"), (source / "config", "InvalidArgument")):
            with self.subTest(path.suffix or path.name):
                content = path.read_bytes() if path.exists() else None
                with open(path, "wb") as file:
                    file.truncate(size)
                self.refused(self.copy(image, source, self.make("to-" + path.name)), error, "larger than the limit")
                path.unlink()
                if content is not None:
                    path.write_bytes(content)

    def test_files_that_no_layer_could_have_given_are_not_read(self):
        """With holes, and with zeros in an archive's compressed objects. Hashing them would take from a minute to hours."""
        started = time.monotonic()
        for mode, to in (("bare", "bare"), ("bare-user", "bare-user"), ("bare", "archive")):
            source, destination = self.make(f"{mode}-{to}-from", mode), self.make(f"{mode}-{to}-to", to)
            image = self.pull_into(source)
            path = self.object_of(source, GOOD)
            for size, text in ((1 << 40, "more than the limit of 512 GiB"), (100 << 30, "over the limit of 400 to one")):
                with self.subTest(mode=mode, to=to, size=size):
                    os.truncate(path, size)
                    self.refused(self.copy(image, source, destination), "RepositoryDamaged", path.stem[2:], text)
                    self.assertEqual(list((destination / "objects").glob("*/*.file*")), [])
                    damaged = job("verify", source)["details"]["damaged"]
                    self.assertIn(text, json.dumps(damaged))
        zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
        megabyte = zeros.compress(bytes(1 << 20)) + zeros.flush(zlib.Z_FULL_FLUSH)
        source = self.make("archive-from", "archive")
        image = self.pull_into(source)
        path = next(path for path in (source / "objects").glob("*/*.filez"))
        content = path.read_bytes()
        length = 8 + int.from_bytes(content[:4], "big")
        for size, text in ((1 << 40, "more than the limit of 512 GiB"), (40 << 30, "over the limit of 400 to one"), (len(GOOD), "")):
            for to in ("archive", "bare"):
                with self.subTest(mode="archive", to=to, size=size):
                    path.write_bytes(content[:8] + size.to_bytes(8, "big") + content[16:length] + megabyte * (40 << 10))
                    self.refused(self.copy(image, source, self.make(f"archive-{to}-{size}", to)), "RepositoryDamaged", path.stem[2:], text)
        self.assertLess(time.monotonic() - started, 240 * sanitizers.SLOWER)

    def test_the_hashing_of_a_large_file_can_be_cancelled(self):
        source, destination = self.make("from"), self.make("to")
        image = self.pull_into(source)
        path = self.object_of(source, GOOD)
        os.truncate(path, 16 << 30)
        self.addCleanup(path.unlink)  # verify would hash it again
        run = worker.Run(image, source, kind="copy", arguments={"repository": str(destination)})
        while run.next_message().get("phase") != "copy":
            pass
        time.sleep(0.5)
        started = time.monotonic()
        run.cancel()
        self.assertEqual(run.finish().result["outcome"], "cancelled", run.result)
        self.assertLess(time.monotonic() - started, 3 * sanitizers.SLOWER)

    def test_only_what_nobody_else_can_change_is_linked(self):
        source, destination = self.make("from"), self.make("to")
        entries = {"own": Entry("usr/own", content=b"own" * 100), "theirs": Entry("usr/theirs", content=b"theirs" * 100, uid=USER, gid=USER),
                   "group": Entry("usr/group", content=b"group" * 100, mode=0o664), "all": Entry("usr/all", content=b"all" * 100, mode=0o666)}
        image = self.pull_into(source, *entries.values())
        details = self.copied(image, source, destination)
        links = {name: self.object_of(destination, entry.content).stat().st_nlink for name, entry in entries.items()}
        self.assertEqual(links, {"own": 2, "theirs": 1, "group": 1, "all": 1})
        self.assertEqual(details["objects-copied"] + details["objects-reflinked"], 3)
        subprocess.run(["ostree", f"--repo={destination}", "fsck", "--quiet"], check=True)

    def test_nothing_of_a_users_repository_is_linked(self):
        source, destination = self.make("from", "bare-user"), self.make("to", "bare-user")
        image = self.pull_into(source)
        subprocess.run(["chown", "-R", f"{USER}:{USER}", source], check=True)
        self.assertEqual(self.copied(image, source, destination)["objects-linked"], 0)
        for path in (destination / "objects").glob("*/*"):
            self.assertEqual((path.stat().st_nlink, path.stat().st_uid), (1, 0), path)

    def test_a_parent_repository_is_not_followed(self):
        other, destination = self.make("other"), self.make("to")
        image = self.pull_into(other)
        hostile = self.make("hostile")
        for path in (other / "refs/heads").rglob("*"):
            target = hostile / path.relative_to(other)
            target.mkdir(parents=True, exist_ok=True) if path.is_dir() else shutil.copy(path, target)
        config = (hostile / "config").read_text()
        for parent in (other, hostile):
            (hostile / "config").write_text(config + f"parent={parent}\n")
            self.refused(self.copy(image, hostile, destination), "InvalidArgument", "core.parent")
        (hostile / "config").write_text(config)
        (destination / "config").write_text((destination / "config").read_text() + f"parent={other}\n")
        self.refused(self.copy(image, other, destination), "InvalidArgument", "core.parent")

    def test_links_in_a_repository_are_not_followed(self):
        source = self.make("from")
        image = self.pull_into(source)
        for name in ("objects", "refs/heads", "tmp", "config"):
            elsewhere = self.directory / ("elsewhere-" + name.replace("/", "-"))
            with self.subTest(name):
                destination = self.make("to-" + name.replace("/", "-"))
                (destination / name).rename(elsewhere)
                (destination / name).symlink_to(elsewhere)
                before = sorted(str(path) for path in elsewhere.rglob("*"))
                self.refused(self.copy(image, source, destination), "InvalidArgument", name.split("/")[0])
                self.assertEqual(sorted(str(path) for path in elsewhere.rglob("*")), before)

    def test_a_destination_of_another_user_is_not_written(self):
        source, destination = self.make("from"), self.make("to")
        image = self.pull_into(source)
        os.chown(destination, USER, USER)
        self.refused(self.copy(image, source, destination), "InvalidArgument", "another user")
        os.chown(destination, 0, 0)
        os.chmod(destination / "objects", 0o777)
        self.refused(self.copy(image, source, destination), "InvalidArgument", "everybody may write")
        os.chmod(destination / "objects", 0o755)
        self.copied(image, source, destination)


SETUID = Entry("usr/bin/run", content=b"#!/bin/sh\nid -u\n" + b"#" * 1000, mode=0o4755)


class Exposed(Case):
    def setUp(self):
        super().setUp()
        self.directory.chmod(0o755)

    def reaches(self, path):
        return subprocess.run(["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "stat", path], capture_output=True).returncode == 0

    def test_nobody_else_enters_a_repository_that_imaged_made(self):
        for name in ("new", "deep/er/new", "empty"):
            repository = self.directory / name
            if name == "empty":
                repository.mkdir(mode=0o755)
            self.pull_into(repository, SETUID)
            self.assertEqual(stat.S_IMODE(repository.stat().st_mode), 0o700)
            program = self.object_of(repository, SETUID.content)
            self.assertEqual(stat.S_IMODE(program.stat().st_mode), 0o4755)
            self.assertFalse(self.reaches(program))
            self.assertEqual(job("verify", repository)["details"]["warnings"], [])

    def test_verify_reports_one_that_others_enter_and_how_to_close_it(self):
        self.pull_into(self.repository, SETUID)
        self.assertTrue(self.reaches(self.object_of(self.repository, SETUID.content)))
        details = job("verify", self.repository)["details"]
        self.assertTrue(details["sound"])
        warning, = details["warnings"]
        self.assertIn("other users may enter", warning)
        subprocess.run(warning.split("close it with: ")[1], shell=True, check=True)
        self.assertFalse(self.reaches(self.object_of(self.repository, SETUID.content)))
        self.assertEqual(job("verify", self.repository)["details"]["warnings"], [])

    def test_a_directory_above_that_is_closed_is_enough(self):
        self.directory.chmod(0o700)
        self.pull_into(self.repository, SETUID)
        self.assertEqual(job("verify", self.repository)["details"]["warnings"], [])


class ExposedAtStart(bus_fixture.Case):
    options = ["--idle-timeout", "0"]

    def start_daemon(self):
        ostree_repository.init(f"{self.directory}/repo")
        self.log = self.directory + "/stderr"
        self.start_again()

    def start_again(self):
        command = self.command()
        command[command.index("off")] = "warning"
        with open(self.log, "w", encoding="utf-8") as log:
            self.daemon = self.spawn(command, stderr=log)
        watcher = bus_fixture.Client(self.address)
        self.eventually(lambda: self.has_owner(watcher))
        watcher.close()

    def logged(self):
        with open(self.log, encoding="utf-8") as log:
            return log.read()

    def test_the_journal_says_so_once(self):
        self.eventually(lambda: "chmod 0700" in self.logged())
        self.assertEqual(self.logged().count("\n"), 1)
        self.daemon.terminate()
        self.daemon.wait(10)
        os.chmod(self.directory + "/repo", 0o700)
        self.start_again()
        self.client().call(bus_fixture.MANAGER, "ListImages", bus_fixture.GLib.Variant("(a{sv})", ({},)))
        self.assertEqual(self.logged(), "")


class OddRefs(Case):
    """Each odd ref is damage of its own; everything else goes on."""

    def setUp(self):
        super().setUp()
        self.image = self.pull_into(self.repository)
        self.ref = next(ref for ref in self.refs().split() if ref.startswith(IMAGE))
        self.layer = next(ref for ref in self.refs().split() if "/blob/" in ref)

    def heads(self, ref):
        return self.repository / "refs/heads" / ref

    def verify(self):
        result = job("verify", self.repository)
        self.assertEqual(result["outcome"], "success", result)
        return {image["image"]: image["problems"] for image in result["details"]["damaged"]}

    def goes_on(self, damaged):
        """All jobs work with the other image; DAMAGED is what verify reports."""
        self.assertEqual(set(self.verify()), damaged)
        result = job("prune", self.repository)
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(self.content(self.repository), GOOD)
        self.pull_into(self.repository, Entry("usr/other", content=b"other"), tag="u")
        result = job("remove", self.repository, images=[self.layout.reference("u")])
        self.assertEqual(result["outcome"], "success", result)

    def test_a_link_that_leads_nowhere(self):
        odd = self.heads(IMAGE + "docker_3A__2F__2F_odd/image_3A_1")
        odd.parent.mkdir()
        odd.symlink_to("nowhere")
        self.goes_on({"docker://odd/image:1"})
        result = job("remove", self.repository, images=["docker://odd/image:1"])
        self.assertEqual(result["outcome"], "success", result)
        self.assertFalse(os.path.lexists(odd))
        self.assertEqual(self.verify(), {})

    def test_nonsense_a_fifo_and_a_loop(self):
        names = ["nonsense", "empty", "fifo", "loop", "socket"]
        paths = {name: self.heads(IMAGE + f"docker_3A__2F__2F_odd/{name}_3A_1") for name in names}
        paths["nonsense"].parent.mkdir()
        paths["nonsense"].write_text("x" * 64)
        paths["empty"].write_text("")
        os.mkfifo(paths["fifo"])
        paths["loop"].symlink_to(paths["loop"].name)
        os.mknod(paths["socket"], stat.S_IFSOCK | 0o644)
        self.goes_on({f"docker://odd/{name}:1" for name in names})
        result = job("remove", self.repository, images=[f"docker://odd/{name}:1" for name in names])
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual(self.verify(), {})

    def test_an_alias_is_the_image_that_it_names(self):
        alias = IMAGE + "docker_3A__2F__2F_alias/image_3A_1"
        self.ostree("refs", "--alias", f"--create={alias}", self.ref)
        self.goes_on(set())
        # Nothing is taken away while the alias needs it.
        result = job("remove", self.repository, images=[self.image])
        self.refused(result, "InvalidArgument", alias)
        self.assertEqual(self.content(self.repository), GOOD)
        self.assertIn(alias, self.refs())
        result = job("remove", self.repository, images=[self.image, "docker://alias/image:1"])
        self.assertEqual(result["outcome"], "success", result)
        self.assertEqual([ref for ref in self.refs().split() if ref.startswith(IMAGE)], [])

    def test_an_alias_by_an_absolute_path_or_over_another_link_is_one_too(self):
        alias = self.heads(IMAGE + "docker_3A__2F__2F_alias/image_3A_1")
        alias.parent.mkdir(parents=True)
        elsewhere = self.directory / "elsewhere"
        elsewhere.symlink_to(self.heads(self.ref).parent)
        for target in (self.heads(self.ref), elsewhere / self.heads(self.ref).name, f"../../../../../heads/{self.ref}"):
            with self.subTest(target):
                alias.symlink_to(target)
                self.goes_on(set())
                result = job("remove", self.repository, images=[self.image])
                self.refused(result, "InvalidArgument", str(alias.relative_to(self.repository / "refs/heads")))
                self.assertEqual(self.content(self.repository), GOOD)
                alias.unlink()
        # One that leads out of the repository is damage of its own, and holds nobody up.
        alias.symlink_to(self.directory / "nowhere")
        self.assertEqual(job("remove", self.repository, images=[self.image])["outcome"], "success")

    def test_removing_an_alias_leaves_the_image(self):
        alias = IMAGE + "docker_3A__2F__2F_alias/image_3A_1"
        self.ostree("refs", "--alias", f"--create={alias}", self.ref)
        self.assertEqual(job("remove", self.repository, images=["docker://alias/image:1"])["outcome"], "success")
        self.assertNotIn(alias, self.refs())
        self.assertEqual(self.content(self.repository), GOOD)

    def test_a_layer_that_an_alias_names_stays(self):
        self.ostree("refs", "--alias", "--create=mine", self.layer)
        self.assertEqual(job("remove", self.repository, images=[self.image])["outcome"], "success")
        self.assertEqual(job("prune", self.repository)["outcome"], "success")
        self.assertEqual(set(self.refs().split()), {self.layer, "mine"})

    def test_a_ref_of_imageds_that_is_a_directory(self):
        commit = self.ostree("rev-parse", self.layer).strip()
        self.heads(self.layer).unlink()
        self.heads(self.layer).mkdir()
        self.assertEqual(set(self.verify()), {self.image})
        self.pull_into(self.repository)  # an empty one is replaced
        self.assertEqual(self.verify(), {})
        self.heads(self.layer).unlink()
        self.ostree("refs", f"--create={self.layer}/below", commit)
        self.assertEqual(set(self.verify()), {self.image})
        result = worker.pull("ostree-unverified-image:" + self.image, self.repository).result
        self.refused(result, "RepositoryDamaged", self.layer, "is a directory")
        self.pull_into(self.repository, Entry("usr/other", content=b"other"), tag="u")


class OddRefsListed(bus_fixture.Case):
    def test_list_images_goes_on(self):
        heads = pathlib.Path(self.directory, "repo/refs/heads", IMAGE, "docker_3A__2F__2F_odd")
        client = self.client()
        ostree_repository.init(f"{self.directory}/repo", "bare-user")
        heads.mkdir(parents=True)
        (heads / "dangling_3A_1").symlink_to("nowhere")
        (heads / "loop_3A_1").symlink_to("loop_3A_1")
        os.mkfifo(heads / "fifo_3A_1")
        images, = client.call(bus_fixture.MANAGER, "ListImages", bus_fixture.GLib.Variant("(a{sv})", ({},)))
        self.assertEqual({image["image"]: image["state"] for image in images},
                         {f"docker://odd/{name}:1": "damaged" for name in ("dangling", "loop", "fifo")})


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and other users need root
    unittest.main(verbosity=2)
