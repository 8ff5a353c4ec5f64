#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What images take on disk: the sizes are what du finds and what a removal frees, whoever shares what with whom, and no record of them is believed that is not of this repository."""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest

import oci_layout
import ostree_repository
import real_daemon
import worker
from oci_layout import Entry
from repository_case import ScratchCase

IMAGECTL = os.environ["IMAGECTL"]
SOURCES = pathlib.Path(os.environ["SOURCE_ROOT"])
DATA = SOURCES / "tests/data"
IMAGE = "ostree/container/image/"
RECORD = "extensions/imaged/usage.json"


def escape(text):
    keeps = lambda number, char: char.isalnum() or char == "-" or (char == "/" and text[number - 1].isalnum())
    return "".join(char if keeps(number, char) else f"_{ord(char):02X}_" for number, char in enumerate(text))


def du(paths):
    """What du(1) says that the files take; one with several names counts once."""
    names = "\0".join(map(str, paths))
    lines = subprocess.run(["du", "-c", "-B1", "--files0-from=-"], input=names, check=True, capture_output=True, text=True).stdout
    return int(lines.splitlines()[-1].split()[0])


def objects(repository):
    return [path for path in (pathlib.Path(repository) / "objects").glob("*/*") if not path.is_dir() or path.is_symlink()]


def some_bytes(seed, size):
    return random.Random(seed).randbytes(size)


class Case(ScratchCase):
    configuration = ""

    def setUp(self):
        super().setUp()
        # As a system has it: what is deployed lies beside it.
        self.sysroot = self.directory / "sysroot"
        self.repository = self.sysroot / "ostree/repo"
        self.repository.parent.mkdir(parents=True)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.daemon = None

    def ostree(self, *arguments, repository=None):
        return subprocess.run(["ostree", f"--repo={repository or self.repository}", *map(str, arguments)], check=True, capture_output=True, text=True).stdout

    def work(self, kind, image="", repository=None, **arguments):
        settings = {"keep": 1}
        result = worker.pull(image, repository or self.repository, kind=kind, settings=settings, arguments=arguments).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def pull(self, tag, layers, name=None):
        self.layout.image(tag, layers)
        name = f"oci:stored:{name or tag}"
        self.work("pull", "ostree-unverified-image:" + self.layout.reference(tag), target=name)
        return name

    def count(self, repository=None):
        return self.work("disk-usage", repository=repository)

    def recorded(self):
        return {name: {"disk-size": size, "unique-size": unique, "shared-size": size - unique}
                for name, (size, unique) in json.loads((self.repository / RECORD).read_text())["images"].items()}

    def serve(self):
        directory = tempfile.TemporaryDirectory(prefix="imaged-usage-")
        self.addCleanup(directory.cleanup)
        self.daemon = real_daemon.Daemon(directory.name, self.repository, self.configuration)
        self.addCleanup(self.daemon.stop)

    def imagectl(self, *arguments, plain=False):
        run = subprocess.run([IMAGECTL, "--address", self.daemon.address, *([] if plain else ["--json"]), *arguments], capture_output=True, text=True, timeout=120)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run.stdout if plain else json.loads(run.stdout)

    def listed(self):
        return {image["image"]: {key: image[key] for key in ("disk-size", "unique-size", "shared-size") if key in image} for image in self.imagectl("list")["images"]}

    def reached(self, refs, repository=None):
        """The objects that the commits of REFS and their parents reach."""
        repository = pathlib.Path(repository or self.repository)
        found = set()

        def add(checksum, *suffixes):
            for suffix in suffixes:
                path = repository / "objects" / checksum[:2] / (checksum[2:] + suffix)
                if os.path.lexists(path):
                    found.add(path)
        commits = [self.ostree("rev-parse", ref, repository=repository).strip() for ref in refs]
        while commits:
            commit = commits.pop()
            add(commit, ".commit", ".commitmeta")
            for line in self.ostree("ls", "-R", "-C", commit, repository=repository).splitlines():
                words = line.split()
                if line[0] == "d":
                    add(words[4], ".dirtree")
                    add(words[5], ".dirmeta")
                else:
                    add(words[4], ".file", ".filez")
            for line in self.ostree("show", commit, repository=repository).splitlines():
                if line.startswith("Parent:"):
                    commits.append(line.split()[1])
        return found

    def refs_of(self, image):
        """Those of IMAGE, of its kept versions, and of the layers of all these."""
        refs = []
        for ref in self.ostree("refs").split():
            if ref == IMAGE + escape(image) or ref.startswith(f"imaged/kept/{escape(image)}/"):
                manifest = json.loads(subprocess.run(["ostree", f"--repo={self.repository}", "show", "--print-metadata-key=ostree.manifest", ref], check=True, capture_output=True,
                                                     text=True).stdout.strip()[1:-1].replace("\\'", "'"))
                refs += [ref, *(f"ostree/container/blob/{escape(layer['digest'])}" for layer in manifest["layers"])]
        return refs

    def freed_by_removal(self, image):
        """What comes free of the objects of a copy of all that there is when IMAGE is removed and pruned, beyond what a prune alone frees."""
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            # With its hard links, in one go.
            subprocess.run(["cp", "-a", self.sysroot, scratch], check=True)
            copy = pathlib.Path(scratch) / "sysroot"
            repository = copy / "ostree/repo"
            self.work("prune", repository=repository)
            before = self.all_files(copy)
            self.work("remove", repository=repository, images=[image])
            self.work("prune", repository=repository)
            return before - self.all_files(copy)

    @staticmethod
    def all_files(sysroot):
        """What the objects take, and what the copies and deployments beside the repository do."""
        return du(path for path in pathlib.Path(sysroot).rglob("*") if not path.is_dir() and ("objects" in path.parent.parts or "deploy" in path.parts))

    def assert_true(self):
        """What the count finds of each image is what du and a removal say."""
        outcome = self.count()
        sizes = self.recorded()
        for image, size in sizes.items():
            with self.subTest(image=image):
                self.assertEqual(size["disk-size"], du(self.reached(self.refs_of(image))))
                self.assertEqual(size["unique-size"], self.freed_by_removal(image))
        self.assertEqual(outcome["disk-size"], du(objects(self.repository)))
        self.assertEqual(outcome["objects"], len(objects(self.repository)))
        self.assertEqual(outcome["prunable-size"], self.work("prune", **{"dry-run": True})["bytes"])
        return outcome, sizes


class Sizes(Case):
    def ten_images(self):
        """Layers and single files shared in every way; returns what each is for."""
        file = lambda path, seed, size: Entry(path, content=some_bytes(seed, size))
        base = oci_layout.layer([file(f"usr/lib/base/{number}", number, 3000 * number) for number in range(1, 20)])
        own = lambda name, size=9000: oci_layout.layer([file(f"usr/share/{name}", name, size)])
        self.pull("one", [base, own("one")])
        self.pull("two", [base, own("two", 50_000), own("more")])
        # The files of the base again, in a layer of its own that has other files too.
        self.pull("files", [oci_layout.layer([*(file(f"usr/lib/base/{number}", number, 3000 * number) for number in range(1, 10)), file("usr/extra", "extra", 7000)])])
        # Twice the same file in two layers of an image, and in no other.
        self.pull("twice", [oci_layout.layer([file("usr/a", "twice", 30_000)]), oci_layout.layer([file("usr/b", "twice", 30_000)])])
        # Nothing of it is its own.
        self.pull("one", [base, own("one")], name="alias")
        # What is removed from the merged tree stays in the layer.
        self.pull("whiteout", [base, oci_layout.layer([oci_layout.whiteout("usr/lib/base/19"), Entry("usr/lib/base/18", content=b"instead")])])
        # A version that is kept, with a layer that only it has.
        self.pull("kept", [base, own("old", 80_000)])
        self.pull("kept", [base, own("new", 20_000)])
        self.pull("deployed", [base, own("deployed", 60_000)])
        self.pull("foreign", [own("foreign", 70_000), own("beside", 11_000)])
        self.pull("alone", [own("alone", 100_000), oci_layout.layer([Entry("usr/link", "symlink", target="x" * 200), Entry("usr/hole", content=bytes(300_000)), Entry("usr/empty")])])
        return ["one", "two", "files", "twice", "alias", "whiteout", "kept", "deployed", "foreign", "alone"]

    def other_users(self):
        """A deployment with its hard links, a branch with a file of an image, one commit without a ref, and what a prune takes."""
        commit = self.ostree("rev-parse", IMAGE + escape("oci:stored:deployed")).strip()
        deployment = self.sysroot / f"ostree/deploy/host/deploy/{commit}.0"
        deployment.parent.mkdir(parents=True)
        mode = ["-U"] if self.mode != "bare" else []
        self.ostree("checkout", *mode, *(["-H"] if self.mode != "archive" else []), commit, deployment)
        self.ostree("refs", "--create=ostree/0/1/0", commit)
        tree = self.directory / "tree"
        self.ostree("checkout", *mode, "--subpath=/usr/share", IMAGE + escape("oci:stored:foreign"), tree)
        (tree / "theirs").write_bytes(some_bytes("theirs", 12_345))
        self.ostree("commit", "--branch=their/branch", f"--tree=dir={tree}")
        (tree / "theirs").write_bytes(some_bytes("unnamed", 23_456))
        self.ostree("commit", "--orphan", f"--tree=dir={tree}")
        self.pull("gone", [oci_layout.layer([Entry("usr/gone", content=some_bytes("gone", 40_000))])])
        self.work("remove", images=["oci:stored:gone"])
        return f"{commit}.0"

    mode = "bare"

    def deployment_name(self, name):
        return name

    def all_true(self):
        ostree_repository.init(self.repository, self.mode)
        names = self.ten_images()
        deployment = self.other_users()
        outcome, sizes = self.assert_true()
        self.assertEqual(set(sizes), {"oci:stored:" + name for name in names})
        size = lambda name: sizes["oci:stored:" + name]
        self.assertEqual(size("one")["unique-size"], 0)
        self.assertEqual(size("alone")["shared-size"], size("alone")["disk-size"] - size("alone")["unique-size"])
        self.assertGreater(size("alone")["unique-size"], 100_000)
        self.assertGreater(size("kept")["unique-size"], 100_000)  # with the version that is kept
        self.assertGreater(size("twice")["unique-size"], 30_000)
        self.assertLess(size("twice")["unique-size"], 90_000)
        self.assertEqual((outcome["images"], outcome["deployments"], outcome["refs"], outcome["foreign-commits"]), (10, 1, 1, 1))
        self.assertEqual([(user["kind"], user["name"]) for user in outcome["others"]], [("deployment", self.deployment_name(deployment)), ("ref", "their/branch")])
        branch = outcome["others"][1]
        self.assertEqual(branch["disk-size"], du(self.reached(["their/branch"])))
        self.assertGreaterEqual(branch["unique-size"], 12_345)
        self.assertLess(branch["unique-size"], 30_000)
        self.assertGreater(outcome["prunable-size"], 40_000)
        self.assertEqual(outcome["damaged"], [])
        print(json.dumps({key: value for key, value in outcome.items() if key != "others"}), {name.removeprefix("oci:stored:"): list(size.values()) for name, size in sizes.items()})

    def test_ten_images_in_a_bare_repository(self):
        self.all_true()

    def test_ten_images_in_an_archive_repository(self):
        self.mode = "archive"
        self.all_true()

    def test_images_of_ostree_commits(self):
        with tarfile.open(DATA / "oci.tar.gz") as archive:
            archive.extractall(self.directory)
        ostree_repository.init(self.repository)
        for tag in ("base", "derived"):
            self.work("pull", f"ostree-unverified-image:oci:{self.directory}/oci:{tag}", target=f"oci:stored:{tag}")
        outcome, sizes = self.assert_true()
        self.assertGreater(sizes["oci:stored:derived"]["unique-size"], 0)
        self.assertGreater(sizes["oci:stored:derived"]["shared-size"], 0)
        self.assertEqual(outcome["refs"], 0)

    def test_what_another_repository_shares_is_not_unique(self):
        ostree_repository.init(self.repository)
        for name in ("shared", "own"):
            self.pull(name, [oci_layout.layer([Entry(f"usr/{name}", content=some_bytes(name, 50_000))])])
        _, before = self.assert_true()
        self.assertGreater(before["oci:stored:shared"]["unique-size"], 50_000)
        other = self.sysroot / "objects"  # which freed_by_removal() looks at
        ostree_repository.init(other)
        result = worker.pull("oci:stored:shared", self.repository, kind="copy", arguments={"repository": str(other)}).result
        self.assertEqual(result["outcome"], "success", result)
        _, after = self.assert_true()
        self.assertEqual(after["oci:stored:shared"]["disk-size"], before["oci:stored:shared"]["disk-size"])
        self.assertLess(after["oci:stored:shared"]["unique-size"], 50_000)
        self.assertEqual(after["oci:stored:own"], before["oci:stored:own"])
        shutil.rmtree(other)
        _, at_last = self.assert_true()
        self.assertEqual(at_last, before)

    def test_two_names_of_one_file_count_once(self):
        ostree_repository.init(self.repository)
        for name in ("a", "b"):
            self.pull(name, [oci_layout.layer([Entry(f"usr/{name}", content=some_bytes(name, 50_000))])])
        large = sorted((path for path in objects(self.repository) if path.stat().st_size == 50_000))
        self.assertEqual(len(large), 2)
        os.unlink(large[0])
        os.link(large[1], large[0])
        _, sizes = self.assert_true()
        for size in sizes.values():
            self.assertGreater(size["shared-size"], 50_000)


class Listing(Case):
    """What callers of imaged see."""

    def setUp(self):
        super().setUp()
        ostree_repository.init(self.repository)
        base = oci_layout.layer([Entry("usr/base", content=some_bytes("base", 60_000))])
        for name in ("a", "b"):
            self.pull(name, [base, oci_layout.layer([Entry(f"usr/{name}", content=some_bytes(name, 30_000))])])

    def test_list_and_show_have_what_was_counted(self):
        self.count()
        self.serve()
        sizes = self.recorded()
        self.assertEqual(self.listed(), sizes)
        shown = self.imagectl("show", "oci:stored:a")
        self.assertEqual({key: shown[key] for key in sizes["oci:stored:a"]}, sizes["oci:stored:a"])
        self.assertEqual(self.imagectl("list", plain=True).split("\n")[0].split(), ["IMAGE", "DIGEST", "VERSION", "CREATED", "SIZE", "UNIQUE"])
        for title in ("Compressed:", "Size:", "Unique:", "Shared:"):
            self.assertIn(title, self.imagectl("show", "oci:stored:a", plain=True))

    def test_df(self):
        self.ostree("commit", "--branch=their/branch", f"--tree=dir={self.layout.path}")
        self.serve()
        outcome = self.imagectl("df")
        self.assertEqual((outcome["kind"], outcome["images"], outcome["refs"]), ("disk-usage", 2, 1))
        text = self.imagectl("df", plain=True)
        self.assertIn("their/branch", text)
        self.assertRegex(text, r"Images +2 +\S+ kB +\S+ kB\n")
        self.assertIn("Prune frees:", text)

    def test_the_lines_of_the_guide(self):
        lines = re.search(r"## Disk usage\n.*?\n\n((?:    [^\n]*\n)+)", (SOURCES / "docs/administration.md").read_text(), re.S).group(1)
        self.serve()
        run = subprocess.run(["sh", "-ec", lines], check=True, capture_output=True, text=True, env={
            **os.environ, "PATH": os.path.dirname(IMAGECTL) + ":" + os.environ["PATH"], "IMAGED_BUS_ADDRESS": self.daemon.address})
        self.assertIn("Prune frees:", run.stdout)
        self.assertRegex(run.stdout, r"oci:stored:a .* \S+ kB +\S+ kB\n")

    def test_a_ref_that_others_change_makes_sizes_unknown(self):
        self.count()
        self.serve()
        sizes = self.listed()
        self.assertTrue(all(sizes.values()), sizes)
        commit = self.ostree("rev-parse", IMAGE + escape("oci:stored:a")).strip()
        # A branch keeps the merged tree, a deployment the layers besides.
        for ref, most in (("their/ref", 20_000), ("ostree/0/1/0", 0)):
            self.ostree("refs", f"--create={ref}", commit)
            self.assertEqual(self.listed(), {"oci:stored:a": {}, "oci:stored:b": {}})
            self.imagectl("df")
            self.assertLessEqual(self.listed()["oci:stored:a"]["unique-size"], most)
            self.ostree("refs", "--delete", ref)
            self.imagectl("df")
            self.assertEqual(self.listed(), sizes)

    def test_show_does_not_keep_news_from_list(self):
        (self.repository / RECORD).unlink()
        self.serve()
        self.assertEqual(self.listed(), {"oci:stored:a": {}, "oci:stored:b": {}})
        self.count()
        self.imagectl("show", "oci:stored:a")
        self.assertEqual(self.listed(), self.recorded())

    def spoilt_records(self):
        good = (self.repository / RECORD).read_text()
        record = json.loads(good)
        first = record["images"]["oci:stored:a"]
        yield "nonsense", lambda path: path.write_text("{")
        yield "empty", lambda path: path.write_text("")
        yield "cut off", lambda path: path.write_text(good[:-5])
        yield "other types", lambda path: path.write_text(json.dumps({**record, "images": {"oci:stored:a": [str(first[0]), -1]}}))
        yield "more of its own than in all", lambda path: path.write_text(json.dumps({**record, "images": {"oci:stored:a": [1, 2]}}))
        yield "no list", lambda path: path.write_text("[]")
        yield "too long", lambda path: path.write_text(good + " " * 20_000_000)
        yield "a directory", lambda path: [path.unlink(), path.mkdir()]
        yield "a symbolic link", lambda path: [(path.parent / "real").write_text(good), path.unlink(), path.symlink_to("real")]
        yield "a pipe", lambda path: [path.unlink(), os.mkfifo(path)]
        yield "another user may write it", lambda path: [path.chmod(0o666), path.touch()]
        yield "of another user", lambda path: [os.chown(path, 12345, 12345), path.touch()]

    def test_a_record_that_is_lost_or_broken_costs_a_count(self):
        self.count()
        self.serve()
        sizes = self.listed()
        self.assertTrue(all(sizes.values()), sizes)
        path = self.repository / RECORD
        path.unlink()
        self.assertEqual(self.listed(), {"oci:stored:a": {}, "oci:stored:b": {}})
        self.imagectl("df")
        for name, spoil in list(self.spoilt_records()):
            if name == "of another user" and os.geteuid() != 0:
                continue
            with self.subTest(record=name):
                spoil(path)
                self.assertEqual(self.listed(), {"oci:stored:a": {}, "oci:stored:b": {}})
                self.imagectl("df")
                self.assertEqual(self.listed(), sizes)
                self.assertTrue(path.is_file() and not path.is_symlink())

    def test_the_record_of_another_repository_does_not_count(self):
        self.count()
        copy = self.directory / "copy"
        subprocess.run(["cp", "-a", self.repository, copy], check=True)
        self.repository = copy
        self.serve()
        self.assertEqual(self.listed(), {"oci:stored:a": {}, "oci:stored:b": {}})

    def test_a_record_removes_nothing_and_keeps_nothing(self):
        """A record that calls everything unique, and one that calls nothing so, change no prune."""
        self.count()
        path = self.repository / RECORD
        record = json.loads(path.read_text())
        for unique in (True, False):
            path.write_text(json.dumps({**record, "images": {name: [size, size if unique else 0] for name, (size, _) in record["images"].items()}}))
            self.assertEqual(self.work("prune")["objects"], 0)
        self.ostree("fsck")

    def test_damage_is_told_and_not_counted(self):
        image = self.ostree("rev-parse", IMAGE + escape("oci:stored:a")).strip()
        listing = self.ostree("ls", "-C", "-d", image, "/usr").split()
        tree = self.repository / "objects" / listing[4][:2] / (listing[4][2:] + ".dirtree")
        content = tree.read_bytes()
        for spoil in (lambda: tree.unlink(), lambda: tree.write_bytes(content[:-1] + b"x"), lambda: [tree.unlink(), os.mkfifo(tree)]):
            spoil()
            outcome = self.count()
            self.assertEqual([entry["image"] for entry in outcome["damaged"]], ["oci:stored:a"])
            self.assertEqual(outcome["prunable-size"], self.work("prune", **{"dry-run": True})["bytes"])
            self.assertNotIn("oci:stored:a", self.recorded())
            tree.unlink(missing_ok=True)
            tree.write_bytes(content)
        self.assertEqual(self.count()["damaged"], [])

    def test_directories_with_names_of_objects_stay_and_are_told(self):
        one, _ = (self.pull(tag, [oci_layout.layer([Entry("usr/" + tag, content=some_bytes(tag, 40_000))])]) for tag in ("one", "two"))
        before = self.count()
        places = [self.repository / f"objects/ab/{'c' * 61}{number}.{kind}" for number, kind in enumerate(("file", "dirtree", "dirmeta", "commit", "commitmeta", "payload-link"))]
        for place in places:
            place.mkdir(parents=True)
            (place / "note").write_text("somebody's")
        self.assertEqual({key: self.count()[key] for key in before}, before)
        self.work("remove", images=[one])
        promised = self.count()["prunable-size"]
        self.assertGreater(promised, 40_000)
        for dry_run in (True, False):
            freed = self.work("prune", **{"dry-run": dry_run})
            self.assertEqual((freed["bytes"], freed["foreign-commits"]), (promised, 0))
            self.assertEqual([warning.split()[0] for warning in freed["warnings"]], [str(place.relative_to(self.repository)) for place in places])
        self.assertEqual([(place / "note").read_text() for place in places], ["somebody's"] * len(places))
        self.assertEqual((self.work("prune")["objects"], self.count()["prunable-size"]), (0, 0))
        self.serve()
        self.assertEqual(self.imagectl("prune", plain=True).count("Warning: objects/ab/ccc"), len(places))
        for place in places:
            shutil.rmtree(place)  # libostree fails at them

    def test_an_empty_place_has_no_sizes(self):
        self.repository = self.directory / "nothing"
        outcome = self.count()
        self.assertEqual((outcome["images"], outcome["disk-size"], outcome["prunable-size"]), (0, 0, 0))
        self.assertFalse(self.repository.exists())


class Kept(Case):
    """Jobs that change images leave sizes that a count of everything finds."""
    configuration = "[Repository]\nKeep=1\n"
    settings = {"keep": 1}

    def setUp(self):
        super().setUp()
        ostree_repository.init(self.repository)
        self.base = oci_layout.layer([Entry("usr/base", content=some_bytes("base", 60_000))])

    def own(self, name, size=30_000):
        return oci_layout.layer([Entry(f"usr/{name}", content=some_bytes(name, size))])

    def assert_kept(self, images):
        """The sizes of so many images are there, and the right ones."""
        left = self.recorded()
        self.assertEqual(len(left), images)
        self.count()
        self.assertEqual(left, self.recorded())

    def test_each_job(self):
        a, b = self.pull("a", [self.base, self.own("a")]), self.pull("b", [self.base, self.own("b")])
        self.assert_kept(2)
        self.pull("a", [self.base, self.own("new")])
        self.assert_kept(2)
        self.pull("a", [self.base, self.own("newer")])
        self.assert_kept(2)
        self.work("rollback", a)
        self.assert_kept(2)
        other = self.directory / "other"
        ostree_repository.init(other)
        for image, target in ((b, {}), (a, {"target": "oci:stored:there"})):
            run = worker.pull(image, self.repository, kind="copy", settings=self.settings, arguments={"repository": str(other), **target})
            self.assertEqual(run.result["outcome"], "success", run.result)
            self.assert_kept(2)
        run = worker.pull("oci:stored:there", self.repository, kind="copy", settings=self.settings, arguments={"repository": str(other), "from": True, "target": "oci:stored:back"})
        self.assertEqual(run.result["outcome"], "success", run.result)
        self.assert_kept(3)
        shutil.rmtree(other)
        self.work("remove", images=[b])
        self.assert_kept(2)
        self.work("prune")
        self.assert_kept(2)
        self.assertGreater(self.recorded()[a]["unique-size"], 0)

    def test_the_daemon_lists_them_at_once(self):
        self.serve()
        for name in ("a", "b"):
            self.layout.image(name, [self.base, self.own(name)])
            self.imagectl("pull", "ostree-unverified-image:" + self.layout.reference(name))
            self.assertTrue(all(self.listed().values()), self.listed())
        before = self.listed()
        self.imagectl("df")
        self.assertEqual(self.listed(), before)

    def file_object(self, size):
        found, = [path for path in objects(self.repository) if path.stat().st_size == size]
        return found

    def test_known_objects_are_not_looked_at_again(self):
        """But by df, a prune and a copy."""
        image = self.pull("a", [self.own("a", 30_001)])
        before = self.recorded()[image]["disk-size"]
        self.file_object(30_001).write_bytes(bytes(100_000))
        self.pull("b", [self.own("b")])
        self.assertEqual(self.recorded()[image]["disk-size"], before)
        self.work("prune")
        self.assertGreater(self.recorded()[image]["disk-size"], before + 60_000)
        self.pull("c", [self.own("c")])
        self.assertGreater(self.recorded()[image]["disk-size"], before + 60_000)

    def test_links_that_come_and_go_are_found(self):
        image = self.pull("a", [self.own("a", 30_001)])
        unique = self.recorded()[image]["unique-size"]
        link = self.directory / "link"
        os.link(self.file_object(30_001), link)
        self.work("prune")
        self.assertLess(self.recorded()[image]["unique-size"], unique - 30_000)
        link.unlink()
        self.pull("b", [self.own("b")])
        self.assertGreater(self.recorded()[image]["unique-size"], unique - 10_000)  # what the directories share
        self.assert_kept(2)

    def test_facts_that_are_lost_or_broken_cost_a_look(self):
        facts = self.repository / "extensions/imaged/objects"
        image = self.pull("a", [self.own("a", 30_001)])
        good = facts.read_bytes()
        # What is believed would be seen.
        self.file_object(30_001).write_bytes(bytes(100_000))
        large = self.work("disk-usage") and self.recorded()[image]["disk-size"]
        changed = bytearray(good)
        changed[len(good) // 2] ^= 1
        other = self.directory / "facts"
        other.write_bytes(good)
        for number, (name, spoil) in enumerate({
                "lost": facts.unlink, "empty": lambda: facts.write_bytes(b""), "cut off": lambda: facts.write_bytes(good[:-40]), "changed": lambda: facts.write_bytes(changed),
                "nonsense": lambda: facts.write_bytes(b"imaged objects 1" + bytes(1000)), "a symbolic link": lambda: [facts.unlink(), facts.symlink_to(other)],
                "a directory": lambda: [facts.unlink(), facts.mkdir()], "a pipe": lambda: [facts.unlink(), os.mkfifo(facts)],
                "of another user": lambda: [facts.write_bytes(good), os.chown(facts, 12345, 12345)] if os.geteuid() == 0 else facts.unlink()}.items()):
            with self.subTest(name):
                spoil()
                self.pull(f"other-{number}", [self.own(f"other-{number}")])
                self.assertEqual(self.recorded()[image]["disk-size"], large)
                self.assertTrue(facts.is_file() and not facts.is_symlink())
        self.assertEqual(other.read_bytes(), good)

    def test_those_of_another_repository_do_not_count(self):
        image = self.pull("a", [self.own("a", 30_001)])
        copy = self.directory / "copy"
        subprocess.run(["cp", "-a", self.repository, copy], check=True)
        self.repository = copy
        self.file_object(30_001).write_bytes(bytes(100_000))
        self.pull("b", [self.own("b")])
        self.assertGreater(self.recorded()[image]["disk-size"], 100_000)

    def test_a_place_that_takes_no_record_fails_no_job(self):
        (self.repository / "extensions").rmdir() if (self.repository / "extensions").exists() else None
        (self.repository / "extensions").write_text("")
        self.pull("a", [self.own("a")])
        self.work("remove", images=["oci:stored:a"])
        self.work("prune")
        self.work("disk-usage")


@unittest.skipIf(os.geteuid() != 0, "needs root")
class KeptByConfined(Kept):
    settings = {"keep": 1, "confined": True}

    def work(self, kind, image="", repository=None, **arguments):
        result = worker.pull(image, repository or self.repository, kind=kind, settings=self.settings, arguments=arguments).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    test_the_daemon_lists_them_at_once = test_facts_that_are_lost_or_broken_cost_a_look = test_those_of_another_repository_do_not_count = None


@unittest.skipIf(os.geteuid() != 0, "needs root")
class Confined(Sizes):
    """The same where the worker sees a repository that it cannot write."""

    def work(self, kind, image="", repository=None, **arguments):
        result = worker.pull(image, repository or self.repository, kind=kind, settings={"keep": 1, "confined": kind == "disk-usage"}, arguments=arguments).result
        self.assertEqual(result["outcome"], "success", result)
        return result["details"]

    def deployment_name(self, name):
        return "ostree/0/1/0"  # of /var/tmp, the job sees the repository and nothing beside it

    test_ten_images_in_an_archive_repository = test_images_of_ostree_commits = test_two_names_of_one_file_count_once = None


if __name__ == "__main__":
    unittest.main(verbosity=2)
