# SPDX-License-Identifier: Apache-2.0
"""Removing, pruning, verifying and repairing what ostree-ext wrote and what imaged wrote, by imagectl over a real bus and with a real worker."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import bus_fixture
import golden
import oci_layout
import tree

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
WORKER = os.environ.get("IMAGED_WORKER", "imaged-worker")
BLOB, IMAGE = "ostree/container/blob/", "ostree/container/image/"


def escape(text):
    """A reference as a part of a ref's name."""
    out = ""
    for number, char in enumerate(text):
        keeps = char.isascii() and (char.isalnum() or char == "-") or (char == "/" and text[number - 1].isalnum() and number + 1 < len(text))
        out += char if keeps else "__" if char == "_" else f"_{ord(char):02X}_"
    return out


class Upkeep(bus_fixture.Case):
    def setUp(self):
        super().setUp()
        self.repository = golden.unpack("repo.tar.gz", self.directory)
        golden.unpack("oci.tar.gz", self.directory)
        # ostree-ext was given a path that leads from somewhere else.
        self.images = {}
        for tag in ("base", "derived"):
            self.images[tag] = f"oci:{self.directory}/oci:{tag}"
            old = f"{IMAGE}oci_3A_oci_3A_{tag}"
            self.ostree("refs", f"--create={self.image_ref(tag)}", old)
            self.ostree("refs", "--delete", old)

    def command(self):
        command = super().command()
        command[command.index(bus_fixture.WORKER)] = WORKER
        return command

    def imagectl(self, *arguments, status=0):
        run = subprocess.run([IMAGECTL, "--address", self.address, "--json", *arguments], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, status, run.stdout + run.stderr)
        return json.loads(run.stdout)

    def ostree(self, *arguments):
        return subprocess.run(["ostree", f"--repo={self.repository}", *arguments], check=True, capture_output=True, text=True).stdout

    def rev(self, ref):
        return self.ostree("rev-parse", ref).strip()

    def image_ref(self, tag):
        return IMAGE + escape(self.images[tag])

    def refs(self):
        return set(self.ostree("refs").split())

    def object(self, name):
        path = self.repository / "objects" / name[:2] / name[2:]
        return path

    def blocks(self):
        """Bytes on disk of every file, each inode once; directories aside, and what a job keeps of sizes in its end."""
        inodes = {}
        for folder, _, files in os.walk(self.repository):
            for name in files:
                if folder.endswith("extensions/imaged") and name in ("usage.json", "objects", "refs"):
                    continue
                status = os.lstat(os.path.join(folder, name))
                inodes[status.st_ino] = status.st_blocks * 512
        return sum(inodes.values())

    def checksum_of(self, commit, path):
        """Of the file or directory at PATH: what its object is called."""
        line = self.ostree("ls", "-C", "-d", commit, path).split()
        return line[4]

    def flip_byte(self, path):
        with open(path, "r+b") as file:
            first = file.read(1)
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))

    def states(self):
        return {image["image"]: image["state"] for image in self.imagectl("list")["images"]}

    def small_image(self, tag="small"):
        """An image of another source, pulled as the damaged ones lie there."""
        path = pathlib.Path(self.directory) / "other"
        layout = oci_layout.Layout(path) if not path.exists() else self.layout
        self.layout = layout
        layout.image(tag, [oci_layout.layer([oci_layout.Entry(f"usr/share/{tag}", content=tag.encode() * 1000)])])
        return layout.reference(tag)


class Verify(Upkeep):
    def setUp(self):
        super().setUp()
        self.refetched = set()

    def verify(self, *arguments, status=0):
        return self.imagectl("verify", *arguments, status=status)

    def damage(self, image=None):
        """The one thing that is wrong with IMAGE."""
        image = image or self.images["derived"]
        outcome = self.verify(status=1)
        self.assertFalse(outcome["sound"])
        found = {entry["image"]: entry for entry in outcome["damaged"]}
        self.assertIn(image, found, outcome)
        self.assertEqual(len(found[image]["problems"]), 1, found[image])
        return found[image]["problems"][0]

    def mend(self, layers=None):
        """Repairs, and sees that all is sound and as it was. LAYERS: how many are fetched for each image."""
        # Nobody is held up by the damage.
        self.imagectl("pull", self.small_image())
        self.assertIn("damaged", self.states().values())
        self.assertEqual(self.states()[self.layout.reference("small")], "ok")
        outcome = self.verify("--repair")
        self.assertTrue(outcome["sound"], outcome)
        self.assertEqual(outcome["unrepaired"], [])
        if layers is not None:
            self.assertEqual(sum(image["layers-fetched"] for image in outcome["repaired"]), layers, outcome["repaired"])
        self.assertTrue(self.verify()["sound"])
        self.assertEqual(set(self.states().values()), {"ok"})
        self.ostree("fsck")
        self.refetched |= {image["image"] for image in outcome["refetched"]}
        # A layer that is imported anew has its /var where this libostree wants it.
        expected = {name: (golden.DATA / f"{name}.ls").read_text() for name in ("base", "derived")}
        if self.images["derived"] in self.refetched:
            expected["derived"] = golden.derived_listing()
        for name, text in expected.items():
            self.assertEqual(self.ostree("ls", "-R", "-X", "-C", self.image_ref(name)), text)
        return outcome

    def test_what_ostree_ext_wrote_is_sound(self):
        outcome = self.verify()
        self.assertTrue(outcome["sound"], outcome)
        self.assertEqual((outcome["images-checked"], outcome["damaged"], outcome["damaged-layers"]), (2, [], []))
        self.assertGreater(outcome["objects-checked"], 200)

    def test_a_flipped_byte_in_a_file_of_a_chunk(self):
        name = self.checksum_of(self.image_ref("derived"), "/usr/bin/true") + ".file"
        self.flip_byte(self.object(name))
        problem = self.damage()
        self.assertEqual((problem["kind"], problem["object"], problem["path"]), ("object", name, "/usr/bin/true"))
        self.assertTrue(problem["layer"].startswith("sha256:"))
        self.assertEqual(self.states(), {self.images["base"]: "damaged", self.images["derived"]: "damaged"})
        merge = self.rev(self.image_ref("derived"))
        outcome = self.mend(layers=1)
        self.assertEqual({image["image"] for image in outcome["repaired"]}, {self.images["base"], self.images["derived"]})
        # The merge stays, where a layer that is fetched anew is stored as ostree-ext stored it.
        (self.assertEqual if tree.VAR_MOVES else self.assertNotEqual)(self.rev(self.image_ref("derived")), merge)

    def test_a_directory_that_is_gone(self):
        name = self.checksum_of(self.image_ref("derived"), "/usr/share/doc/p10") + ".dirtree"
        self.object(name).unlink()
        problem = self.damage()
        self.assertEqual((problem["kind"], problem["object"], problem["path"]), ("object", name, "/usr/share/doc/p10"))
        self.assertIn("is missing", problem["message"])
        self.mend(layers=1)

    def test_a_merge_commit_that_was_cut_off(self):
        commit = self.rev(self.image_ref("derived"))
        os.truncate(self.object(commit + ".commit"), 20)
        problem = self.damage()
        self.assertEqual(problem["object"], commit + ".commit")
        # The manifest is lost: the image comes from its source again.
        self.mend(layers=0)

    def test_a_base_commit_that_was_cut_off(self):
        layers = self.imagectl("show", self.images["base"])["layer-list"]
        os.truncate(self.object(layers[0]["commit"] + ".commit"), 0)
        problem = self.damage(self.images["base"])
        self.assertEqual((problem["object"], problem["layer"]), (layers[0]["commit"] + ".commit", layers[0]["digest"]))
        self.mend(layers=1)

    def test_refs_of_layers_of_every_kind(self):
        kinds = {}
        for layer in self.imagectl("show", self.images["derived"])["layer-list"]:
            kinds.setdefault(layer["kind"], layer)
        self.assertEqual(set(kinds), {"commit", "chunk", "derived"})
        # The first repair fetches all layers anew, which nobody here has verified; then their refs need no source.
        for layers, (kind, layer) in zip((1, 0, 0), kinds.items()):
            with self.subTest(kind=kind):
                self.ostree("refs", "--delete", layer["ref"])
                problem = self.damage()
                self.assertEqual((problem["kind"], problem["ref"], problem["layer"]), ("ref", layer["ref"], layer["digest"]))
                self.mend(layers=layers)
                self.assertIn(layer["ref"], self.refs())

    def test_what_has_no_source_is_said(self):
        self.flip_byte(self.object(self.checksum_of(self.image_ref("derived"), "/usr/bin/true") + ".file"))
        outcome = self.verify("--repair", "--source", f"oci:{self.directory}/nowhere:tag", status=1)
        self.assertEqual({image["image"] for image in outcome["unrepaired"]}, {self.images["base"], self.images["derived"]})
        self.assertFalse(outcome["sound"])
        self.assertEqual(set(self.states().values()), {"damaged"})

    def test_an_image_that_imaged_wrote_comes_back_bit_for_bit(self):
        image = self.small_image("own")
        self.imagectl("pull", image)
        stored = self.imagectl("show", image)
        name = self.checksum_of(stored["merge-commit"], "/usr/share/own") + ".file"
        self.flip_byte(self.object(name))
        self.assertEqual(self.damage(image)["path"], "/usr/share/own")
        outcome = self.verify("--repair")
        self.assertEqual([(entry["image"], entry["layers-fetched"]) for entry in outcome["repaired"]], [(image, 1)])
        self.assertEqual(self.imagectl("show", image)["merge-commit"], stored["merge-commit"])

    def refused(self, *arguments):
        error = self.imagectl(*arguments, status=1)["error"]
        self.assertTrue(error["name"].endswith("RepositoryDamaged"), error)
        return error["message"]

    def test_nothing_relies_on_what_was_found_damaged(self):
        image = self.small_image("own")
        self.imagectl("pull", image)
        shared = oci_layout.layer([oci_layout.Entry("usr/share/own", content=b"own" * 1000)])
        self.layout.image("sharing", [shared, oci_layout.layer([oci_layout.Entry("usr/share/sharing", content=b"sharing" * 1000)])])
        other = pathlib.Path(self.directory) / "copied"
        subprocess.run(["cp", "-a", self.repository, other], check=True)
        name = self.checksum_of(self.imagectl("show", image)["merge-commit"], "/usr/share/own") + ".file"
        self.flip_byte(self.object(name))
        self.damage(image)
        for words in (("pull", image), ("pull", self.layout.reference("sharing")), ("copy", "--from", image, str(other))):
            with self.subTest(words=words):
                message = self.refused(*words)
                self.assertIn(name, message)
                self.assertIn("imagectl verify --repair " + image, message)
        self.assertNotIn(self.layout.reference("sharing"), self.states())
        self.assertTrue(self.imagectl("pull", self.small_image("unconcerned"))["changed"])
        self.assertTrue(self.verify("--repair")["sound"])
        self.assertFalse(self.imagectl("pull", image)["changed"])
        self.imagectl("pull", self.layout.reference("sharing"))
        self.imagectl("copy", "--from", image, str(other))

    def marks(self):
        return sorted(path.name for path in (self.repository / "state").glob("*.commitpartial"))

    def fsck_fails(self):
        run = subprocess.run(["ostree", f"--repo={self.repository}", "fsck"], capture_output=True, text=True)
        self.assertNotEqual(run.returncode, 0, run)
        return self.marks()

    def test_the_marks_of_ostree_fsck_go_with_the_damage(self):
        image = self.small_image("own")
        self.imagectl("pull", image)
        lost = self.object(self.checksum_of(self.imagectl("show", image)["merge-commit"], "/usr/share/own") + ".file")
        content = lost.read_bytes()
        with self.subTest("a pull brings it back"):
            lost.unlink()
            self.assertEqual(len(self.fsck_fails()), 2)
            self.imagectl("pull", image)
            self.ostree("fsck")
        with self.subTest("a repair brings it back"):
            lost.unlink()
            self.assertEqual(len(self.fsck_fails()), 2)
            self.assertTrue(self.verify("--repair")["sound"])
            self.ostree("fsck")
        with self.subTest("somebody brings it back"):
            aside = lost.rename(pathlib.Path(self.directory) / "aside")
            self.assertEqual(len(self.fsck_fails()), 2)
            aside.rename(lost)
            self.fsck_fails()
            outcome = self.verify()
            self.assertTrue(outcome["sound"], outcome)
            self.assertIn("ostree fsck fails although 2 commits are whole", "".join(outcome["warnings"]))
            self.assertTrue(self.verify("--repair")["sound"])
            self.ostree("fsck")
        self.assertEqual(lost.read_bytes(), content)
        self.assertEqual(self.marks(), [])
        self.assertNotIn("ostree fsck", "".join(self.verify()["warnings"]))

    def merge_again(self, change):
        """The image's tree after CHANGE, under its ref, with what the commit says of the image."""
        checkout = pathlib.Path(self.directory) / "checkout"
        self.ostree("checkout", self.image_ref("derived"), checkout)
        change(checkout)
        commit = self.rev(self.image_ref("derived"))
        metadata = [f"--add-metadata={key}={self.ostree('show', '--print-metadata-key=' + key, commit).strip()}"
                    for key in ("ostree.manifest-digest", "ostree.manifest", "ostree.container.image-config", "ostree.importer.version")]
        self.ostree("commit", "-b", self.image_ref("derived"), "--no-bindings", "--parent=none", f"--tree=dir={checkout}", *metadata)

    def test_a_kept_directory_mode_is_a_note_and_no_damage(self):
        # As programs merge that keep what the lowest layer says of a directory: the same tree but for one mode.
        def change(checkout):
            directory = checkout / "usr/lib/os"
            directory.chmod((directory.stat().st_mode & 0o7777) ^ 0o022)

        self.merge_again(change)
        outcome = self.verify()
        self.assertTrue(outcome["sound"], outcome)
        self.assertEqual([note["image"] for note in outcome["notes"]], [self.images["derived"]])
        self.assertIn("/usr/lib/os", outcome["notes"][0]["message"])

    def test_a_wrong_merge_of_another_program(self):
        self.merge_again(lambda checkout: (checkout / "usr/share/more").write_text("more"))
        self.assertEqual(self.damage()["kind"], "merge")
        self.mend()  # with the manifest as the source serves it, not as that program wrote it


class Prune(Upkeep):
    def other_programs(self):
        """A branch, a commit that no ref names, a deployment and a protected base. Returns the two commits."""
        foreign = pathlib.Path(self.directory) / "foreign"
        foreign.mkdir()
        (foreign / "file").write_text("branch")
        self.ostree("commit", "-b", "exampleos/x86_64/stable", f"--tree=dir={foreign}")
        (foreign / "file").write_text("nobody names this")
        unnamed = self.ostree("commit", "--orphan", f"--tree=dir={foreign}").strip()
        self.ostree("refs", "--create=ostree/0/1/0", self.image_ref("derived"))
        self.ostree("refs", "--create=ostree/container/baseimage/host", self.image_ref("base"))
        return self.rev("exampleos/x86_64/stable"), unnamed

    def test_what_stays_and_what_goes(self):
        small, gone = self.small_image("small"), self.small_image("gone")
        for image in (small, gone):
            self.imagectl("pull", image)
        gone_layers = [layer["ref"] for layer in self.imagectl("show", gone)["layer-list"]]
        merge_of_gone = self.imagectl("show", gone)["merge-commit"]
        branch, unnamed = self.other_programs()
        # Of the derived image only the deployment is left.
        self.ostree("refs", "--delete", self.image_ref("derived"))
        before = self.refs()
        outcome = self.imagectl("remove", gone, "oci:/nowhere:tag", self.images["base"], status=3)
        self.assertEqual([image["image"] for image in outcome["removed"]], [gone, self.images["base"]])
        self.assertEqual(outcome["missing"], ["oci:/nowhere:tag"])
        self.assertEqual(len(outcome["layers-dropped"]), 1)
        self.assertEqual(before - self.refs(), {self.image_ref("base"), *gone_layers, *(ref for ref in before if ref.endswith("_gone"))})

        on_disk = self.blocks()
        promised = self.imagectl("prune", "--dry-run")
        self.assertEqual(self.blocks(), on_disk)
        done = self.imagectl("prune")
        freed = on_disk - self.blocks()
        print(f"promised {promised['bytes']}, told {done['bytes']}, freed {freed}; objects {done['objects']}", file=sys.stderr)
        self.assertEqual((promised["bytes"], promised["objects"]), (done["bytes"], done["objects"]))
        self.assertEqual(freed, done["bytes"])
        self.assertGreater(freed, 0)
        self.assertEqual(done["foreign-commits"], 1)
        self.assertFalse(self.object(merge_of_gone + ".commit").exists())
        self.assertTrue(self.object(unnamed + ".commit").exists())
        self.assertEqual(self.rev("exampleos/x86_64/stable"), branch)
        self.assertEqual(self.refs() & set(self.kept_layers()), set(self.kept_layers()))
        self.ostree("fsck")
        self.assertEqual(self.imagectl("prune")["objects"], 0)
        self.assertEqual(self.imagectl("prune", "--foreign-commits")["commits"], 1)
        self.assertFalse(self.object(unnamed + ".commit").exists())

    def kept_layers(self):
        return [line.split()[0] for line in (golden.DATA / "refs.txt").read_text().splitlines() if line.startswith(BLOB)]

    def test_a_damaged_image_keeps_all_layers_and_nothing_more(self):
        gone, broken = self.small_image("gone"), self.small_image("broken")
        for image in (gone, broken):
            self.imagectl("pull", image)
        merge = self.imagectl("show", gone)["merge-commit"]
        own = self.imagectl("show", broken)
        branch, unnamed = self.other_programs()
        self.imagectl("remove", gone)
        os.truncate(self.object(own["merge-commit"] + ".commit"), 20)
        on_disk = self.blocks()
        promised = self.imagectl("prune", "--dry-run")
        done = self.imagectl("prune")
        freed = on_disk - self.blocks()
        print(f"promised {promised['bytes']}, told {done['bytes']}, freed {freed}; damaged {done['damaged']}", file=sys.stderr)
        self.assertEqual([entry["image"] for entry in done["damaged"]], [broken])
        self.assertEqual(promised["bytes"], done["bytes"])
        self.assertEqual(freed, done["bytes"])
        self.assertFalse(self.object(merge + ".commit").exists())
        self.assertEqual(self.refs() & set(self.kept_layers()), set(self.kept_layers()))
        self.assertIn(own["layer-list"][0]["ref"], self.refs())
        self.assertEqual(self.rev("exampleos/x86_64/stable"), branch)
        self.assertTrue(self.object(unnamed + ".commit").exists())
        self.assertEqual([image["layers-fetched"] for image in self.imagectl("verify", broken, "--repair")["repaired"]], [0])
        self.assertEqual(self.imagectl("show", broken)["merge-commit"], own["merge-commit"])
        self.ostree("fsck")

    def test_an_update_drops_the_layers_that_it_replaces(self):
        image = self.small_image("update")
        self.imagectl("pull", image)
        old = self.imagectl("show", image)["layer-list"][0]
        # One version stays beside the current one.
        for content, dropped in ((b"new", []), (b"newer", [old["digest"]])):
            shutil.rmtree(pathlib.Path(self.directory) / "other")
            layout = oci_layout.Layout(pathlib.Path(self.directory) / "other")
            layout.image("update", [oci_layout.layer([oci_layout.Entry("usr/share/new", content=content)])])
            self.assertEqual(self.imagectl("pull", image)["layers-dropped"], dropped)
        self.assertNotIn(old["ref"], self.refs())
        self.assertEqual(len(self.refs() & set(self.kept_layers())), len(self.kept_layers()))

    def test_removing_nothing_but_missing_images_fails(self):
        outcome = self.imagectl("remove", "oci:/nowhere:tag", status=3)
        self.assertEqual(outcome["error"]["name"], "org.imaged1.Error.NotFound")

    def test_a_lock_that_is_held_is_said(self):
        self.ostree("config", "set", "core.lock-timeout-secs", "1")
        holder = subprocess.Popen(["flock", "-s", self.repository / ".lock", "sleep", "60"])
        try:
            self.eventually(lambda: subprocess.run(["flock", "-n", "-x", self.repository / ".lock", "true"]).returncode != 0)
            error = self.imagectl("prune", status=1)["error"]
            self.assertIn("another program is at work", error["message"])
        finally:
            holder.terminate()
            holder.wait()


class Options(Upkeep):
    def test_unknown_and_wrong_options_are_refused(self):
        client = self.client()
        from gi.repository import GLib
        call = lambda method, signature, *arguments: client.call(bus_fixture.MANAGER, method, GLib.Variant(signature, arguments))
        self.refused("InvalidArgument", call, "Prune", "(a{sv})", {"force": GLib.Variant("b", True)})
        self.refused("InvalidArgument", call, "Prune", "(a{sv})", {"dry-run": GLib.Variant("s", "yes")})
        self.refused("InvalidArgument", call, "Remove", "(asa{sv})", [], {})
        self.refused("InvalidReference", call, "Remove", "(asa{sv})", ["nonsense"], {})
        self.refused("InvalidArgument", call, "Verify", "(asa{sv})", [], {"source": GLib.Variant("s", "oci:/a:b")})
        self.refused("InvalidReference", call, "Verify", "(asa{sv})", [], {"repair": GLib.Variant("b", True), "source": GLib.Variant("s", "nonsense")})


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    import unittest
    unittest.main(verbosity=2)
