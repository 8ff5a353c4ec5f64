# SPDX-License-Identifier: Apache-2.0
"""The trees of stacks that real builders make and that are easily got wrong, pulled over the bus: /etc and /usr/etc, links of lower layers in
names and targets, whiteouts beside what replaces their directory, links to what cannot be stored, the root policy of the merged tree."""
import contextlib
import hashlib
import itertools
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

from gi.repository import GLib

import agreement
import encapsulation
import hostile_commits
import oci_layout
import ostree_repository
import real_daemon
import tree
from bus_fixture import MANAGER
from oci_layout import Entry, directory, opaque, whiteout

FACTORY = tree.FACTORY_VAR
REPLACED = {FACTORY: 1} if tree.VAR_MOVES else {}  # what is counted where a file of /var takes the place of one in the factory


def file(path, content="", **more):
    return Entry(path, content=content.encode(), **more)


def link(path, target):
    return Entry(path, "symlink", mode=0o777, target=target)


def hard(path, target):
    return Entry(path, "hardlink", target=target)


class Case(unittest.TestCase):
    texts = {}  # by the hash that tree.of_commit() tells

    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.repository = cls.directory / "repo"
        ostree_repository.init(cls.repository)
        cls.layout = oci_layout.Layout(cls.directory / "layout")
        cls.base = cls.make_base()
        cls.daemon = real_daemon.Daemon(cls.directory, cls.repository)
        cls.addClassCleanup(cls.daemon.stop)
        cls.client = cls.daemon.client()
        cls.addClassCleanup(cls.client.close)
        cls.number = 0

    @classmethod
    def make_base(cls):
        """The commit of an operating system with a merged /usr, in a repository of its own."""
        cls.source = cls.directory / "source"
        ostree_repository.init(cls.source)
        root = cls.directory / "root"
        for path, content in {"usr/lib/base": "base", "usr/etc/passwd": "root", "usr/etc/app/conf": "base", FACTORY + "/lib/app/db": "factory"}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content)
            cls.texts[hashlib.sha256(content.encode()).hexdigest()] = content
        for path, target in {"lib": "usr/lib", "opt": "var/opt"}.items():
            (root / path).symlink_to(target)
        return encapsulation.ostree(cls.source, "commit", "--branch=base", "--owner-uid=0", "--owner-gid=0", "--no-xattrs", root)

    def pull(self, layers, base=False):
        """The merged tree as path → what is there: text of a file, "-> target", "/" for a directory."""
        type(self).number += 1
        tag = f"t{self.number}"
        blobs = [oci_layout.layer(entries) for entries in layers]
        if base:
            encapsulation.encapsulate(self.layout, tag, self.source, self.base, blobs)
        else:
            self.layout.image(tag, blobs)
        job = self.client.finished(self.client.pull("ostree-unverified-image:" + self.layout.reference(tag)), timeout=60)
        self.assertEqual(job["Result"] if "Result" in job else job["Error"] if job.get("Error") else "success", "success", job)
        self.outcome = job["Outcome"]
        self.digests = [blob.digest for blob in blobs]
        self.commit = self.outcome["merge-commit"]
        self.stored = stored = tree.of_commit(self.repository, self.commit)
        for entry in itertools.chain(*layers):
            self.texts[hashlib.sha256(entry.content).hexdigest()] = entry.content.decode()
        return {path: "/" if kind == "dir" else "-> " + content if kind == "symlink" else self.texts[content]
                for path, (kind, *_, content) in stored.items() if path}

    def files(self, layers, **more):
        return {path: what for path, what in self.pull(layers, **more).items() if what != "/"}

    @staticmethod
    def combined(stacks):
        """The layers of an image that has each of STACKS, lists of layers whose links are relative, below a directory of its own; and those directories."""
        whole, places = [[] for _ in max(stacks, key=len)], []
        for number, stack in enumerate(stacks):
            # Large directories would take most of the time.
            place = f"{number // 32}/{number % 32}/"
            places.append(place)
            whole[0].append(directory(place))
            for layer, entries in zip(whole, stack):
                layer += [Entry(**{**vars(entry), "path": place + entry.path, "target": place * (entry.kind == "hardlink") + entry.target}) for entry in entries]
        return whole, places

    def assert_each(self, cases):
        """That each of CASES, pairs of a stack for combined() and what files() should give for it, gives that."""
        whole, places = self.combined([stack for stack, _ in cases])
        found = self.pull(whole)
        for place, (stack, expected) in zip(places, cases):
            self.assertEqual({path.removeprefix(place): what for path, what in found.items() if path.startswith(place) and what != "/"}, expected, stack[-1])
        return [{path.removeprefix(place): what for path, what in found.items() if path.startswith(place)} for place in places]

    def assert_same_as_umoci(self, stacks):
        """The trees that umoci makes of STACKS, for combined()."""
        whole, places = self.combined(stacks)
        self.pull(whole)
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            theirs = oci_layout.Layout(scratch + "/layout")
            # umoci lets a whiteout hide what its own layer has brought.
            theirs.image("t", [oci_layout.layer(sorted(entries, key=lambda entry: "/.wh." not in entry.path)) for entries in whole])
            subprocess.run(["umoci", "unpack", "--image", f"{theirs.path}:t", scratch + "/bundle"], check=True, capture_output=True)
            expected, actual = tree.mapped(tree.of_directory(scratch + "/bundle/rootfs")), tree.of_commit(self.repository, self.commit)
        expected[""] = actual[""]
        for line in tree.differences(expected, actual)[:20]:
            with self.subTest(*[f"{entry.kind} {entry.path} {entry.target}" for place, stack in zip(places, stacks) if line.startswith(place) for entry in sum(stack, [])]):
                self.fail(line)

    def filtered(self):
        """Counts by path, of all layers."""
        counts = {}
        for paths in self.outcome["filtered"].values():
            for path, count in paths.items():
                counts[path] = counts.get(path, 0) + count
        return counts


class Etc(Case):
    def test_of_two_files_the_one_in_etc_stays_and_the_other_is_counted(self):
        etc, usr = [directory("etc"), file("etc/nsswitch.conf", "admin")], [directory("usr/etc"), file("usr/etc/nsswitch.conf", "vendor"), file("usr/etc/only", "v")]
        for layers in ([etc + usr], [usr + etc], [etc, usr], [usr, etc]):
            self.assertEqual(self.files(layers), {"usr/etc/nsswitch.conf": "admin", "usr/etc/only": "v"})
            self.assertEqual(self.filtered(), {"usr/etc": 1})

    def test_equal_files_are_no_loss(self):
        self.assertEqual(self.files([[file("etc/a", "same"), file("usr/etc/a", "same")]]), {"usr/etc/a": "same"})
        self.assertEqual(self.filtered(), {})

    def test_whiteouts_and_opaque_markers_of_one_leave_the_other(self):
        both = [directory("etc"), file("etc/app", "admin"), directory("usr/etc"), file("usr/etc/app", "vendor"), file("usr/etc/other", "o")]
        self.assertEqual(self.files([both, [whiteout("etc/app")]]), {"usr/etc/app": "vendor", "usr/etc/other": "o"})
        self.assertEqual(self.files([both, [whiteout("usr/etc/other")]]), {"usr/etc/app": "admin"})
        self.assertEqual(self.files([both, [whiteout("usr/etc")]]), {"usr/etc/app": "admin"})
        self.assertEqual(self.files([both, [whiteout("etc")]]), {"usr/etc/app": "vendor", "usr/etc/other": "o"})
        self.assertEqual(self.files([both, [opaque("etc"), file("etc/x", "x")]]), {"usr/etc/app": "vendor", "usr/etc/other": "o", "usr/etc/x": "x"})
        self.assertEqual(self.files([both, [opaque("usr/etc"), file("usr/etc/x", "x")]]), {"usr/etc/app": "admin", "usr/etc/x": "x"})
        self.assertEqual(self.files([both, [whiteout("usr")]]), {"usr/etc/app": "admin"})

    def test_a_link_of_one_to_the_other_adds_nothing(self):
        vendor = [directory("usr/etc"), file("usr/etc/passwd", "root")]
        for target in ("usr/etc", "/usr/etc", "./usr//etc"):
            for layers in ([vendor + [link("etc", target)]], [[link("etc", target)] + vendor], [vendor, [link("etc", target)]]):
                self.assertEqual(self.files(layers), {"usr/etc/passwd": "root"})
        self.assertEqual(self.files([vendor + [link("etc", "usr/etc")], [file("etc/added", "a")]]), {"usr/etc/passwd": "root", "usr/etc/added": "a"})
        self.assertEqual(self.files([[link("etc", "usr/etc"), file("etc/passwd", "root")]]), {"usr/etc/passwd": "root"})
        admin = [directory("etc"), file("etc/passwd", "root")]
        for target in ("../etc", "/etc"):
            self.assertEqual(self.files([admin, [link("usr/etc", target)]]), {"usr/etc/passwd": "root"})
        for entry in (link("etc/x", "../usr/etc/x"), link("etc/x", "/usr/etc/x")):
            self.assertEqual(self.files([[entry, file("usr/etc/x", "x")]]), {"usr/etc/x": "x"})
        self.assertEqual(self.files([[file("etc/x", "x"), link("usr/etc/x", "../../etc/x")]]), {"usr/etc/x": "x"})
        self.assertEqual(self.filtered(), {})

    def test_a_link_elsewhere_stays_and_what_it_stands_in_the_way_of_is_counted(self):
        self.assertEqual(self.files([[link("etc", "/config/etc"), file("config/etc/passwd", "root")]]), {"usr/etc": "-> /config/etc", "config/etc/passwd": "root"})
        self.assertEqual(self.files([[link("etc", "/config"), file("usr/etc/a/b", "root")]]), {"usr/etc": "-> /config"})
        self.assertEqual(self.filtered(), {"usr/etc": 3})
        self.assertEqual(self.files([[file("etc/a", "a"), file("usr/etc", "a file")]]), {"usr/etc/a": "a"})
        self.assertEqual(self.filtered(), {"usr/etc": 1})

    def test_entries_through_links_that_lead_to_usr_etc(self):
        for layers in ([[directory("usr/etc"), link("conf", "usr/etc"), file("etc/a", "a"), file("conf/b", "b")]],
                       [[link("conf", "usr/etc"), file("etc/a", "a")], [file("conf/b", "b")]]):
            self.assertEqual(self.files(layers), {"conf": "-> usr/etc", "usr/etc/a": "a", "usr/etc/b": "b"})

    def test_links_of_both_to_each_other_after_an_entry_that_is_not_kept(self):
        for dropped in (directory("etc/\udce9"), Entry("etc/x", "fifo"), hard("etc/x", "usr/old")):
            self.assertEqual(self.files([[link("etc", "/usr/etc"), file("usr/old", "o")], [dropped, link("usr/etc", "../etc")]]), {"usr/old": "o"}, dropped)

    def test_hard_links_name_the_directory_that_they_name(self):
        self.assertEqual(self.files([[file("etc/a", "admin"), file("usr/etc/a", "vendor"), hard("usr/b", "usr/etc/a"), hard("usr/c", "etc/a")]]),
                         {"usr/etc/a": "admin", "usr/b": "vendor", "usr/c": "admin"})

    def test_over_an_ostree_base_nothing_in_usr_etc_reaches_etc(self):
        base = self.files([], base=True)
        self.assertEqual(base["usr/etc/passwd"], "root")
        etc = {path: what for path, what in base.items() if path.startswith("usr/etc/")}
        for layers in ([[whiteout("usr/etc")]], [[directory("usr"), opaque("usr/etc")]], [[link("usr/etc", "../etc")]], [[file("usr/etc", "x")]],
                       [[file("usr/etc/foo", "f")], [file("etc/foo", "f"), whiteout("usr/etc")]]):
            found = self.files(layers, base=True)
            self.assertEqual({path: what for path, what in found.items() if path.startswith("usr/etc/") and path != "usr/etc/foo"}, etc, layers)
        self.assertEqual(found["usr/etc/foo"], "f")
        found = self.files([[whiteout("usr/etc"), file("etc/new", "n")]], base=True)
        self.assertEqual(found, {**base, "usr/etc/new": "n"})
        found = self.files([[opaque("usr"), file("usr/only", "o")]], base=True)
        self.assertEqual({path: what for path, what in found.items() if path.startswith("usr/etc/")}, etc)
        self.assertEqual(found["usr/only"], "o")

class Var(Case):
    def test_var_and_its_factory_are_two_directories(self):
        base = [directory(FACTORY), file(FACTORY + "/lib/app/db", "factory"), file(FACTORY + "/lib/app/more", "more")]
        live = [directory("var"), file("var/lib/app/db", "live")]
        factory = {FACTORY + "/lib/app/db": "factory", FACTORY + "/lib/app/more": "more"}
        self.assertEqual(self.files([base + live]), {**factory, tree.place("var/lib/app/db"): "live"})
        self.assertEqual(self.filtered(), REPLACED)
        self.assertEqual(self.files([base + live, [whiteout("var/lib/app")]])[FACTORY + "/lib/app/db"], "factory")
        self.assertEqual(self.files([base, [opaque("var")]])[FACTORY + "/lib/app/db"], "factory")
        self.assertEqual(self.files([base, [file("var/lib/x", "x")]])[tree.place("var/lib/x")], "x")
        self.assertEqual(self.files([base + live, [whiteout(FACTORY)]]), {tree.place("var/lib/app/db"): "live"})

    def test_a_cleaned_var_leaves_the_factory_of_the_base(self):
        self.assertEqual(self.files([[whiteout("var/lib/app"), opaque("var/lib")]], base=True)[FACTORY + "/lib/app/db"], "factory")
        found = self.files([[file("var/lib/app/db", "live"), file("var/new", "n")]], base=True)
        self.assertEqual((found[tree.place("var/lib/app/db")], found[tree.place("var/new")]), ("live", "n"))
        self.assertEqual(found[FACTORY + "/lib/app/db"], "live" if tree.VAR_MOVES else "factory")
        self.assertEqual(self.filtered(), REPLACED)


class Whiteouts(Case):
    BELOW = [directory("usr"), directory("usr/a"), file("usr/a/old", "old"), file("usr/a/other", "other")]

    def test_a_whiteout_inside_a_file_of_its_layer_leaves_the_file(self):
        for replaced, expected in ((file("usr/a", "new"), "new"), (link("usr/a", "b"), "-> b")):
            for mark in (whiteout("usr/a/old"), opaque("usr/a"), whiteout("usr/a/deep/er")):
                for upper in ([replaced, mark], [mark, replaced]):
                    self.assertEqual(self.files([self.BELOW, upper]), {"usr/a": expected})

    def test_a_whiteout_goes_through_the_links_of_lower_layers_only(self):
        below = [directory("usr/lib"), link("lib", "usr/lib"), file("usr/lib/x", "x"), file("usr/lib/y", "y")]
        for upper in ([whiteout("lib/x"), link("lib", "usr/lib")], [link("lib", "usr/lib"), whiteout("lib/x")]):
            self.assertEqual(self.files([below, upper]), {"lib": "-> usr/lib", "usr/lib/y": "y"})
        self.assertEqual(self.files([[file("usr/lib/x", "x"), file("lib/x", "low")], [link("lib", "usr/lib"), whiteout("lib/x")]]),
                         {"lib": "-> usr/lib", "usr/lib/x": "x"})
        # What the layer itself brings stays, by whatever path.
        self.assertEqual(self.files([below, [file("usr/lib/x", "new"), whiteout("lib/x")]]), {"lib": "-> usr/lib", "usr/lib/x": "new", "usr/lib/y": "y"})

    def test_a_directory_in_the_place_of_a_file_of_its_layer_is_new(self):
        self.assertEqual(self.pull([self.BELOW, [file("usr/a", "x"), directory("usr/a"), file("usr/a/n", "n")]]), {"usr": "/", "usr/a": "/", "usr/a/n": "n"})

    def test_a_directory_that_is_hidden_and_only_implied_again_is_a_new_one(self):
        for marks in ([opaque("usr")], [whiteout("usr/lib")], [whiteout("usr")], [opaque("usr"), opaque("usr/lib/d")]):
            for upper in (marks + [directory("usr/lib/d", 0o700)], [directory("usr/lib/d", 0o700)] + marks):
                self.pull([[directory("usr/lib", 0o1777, uid=33, gid=42, xattrs={"user.note": b"x"}), file("usr/lib/x", "x")], upper])
                self.assertEqual(tree.of_commit(self.repository, self.commit), {
                    "": ("dir", 0o755, 0, 0, (), ""), "usr": ("dir", 0o755, 0, 0, (), ""), "usr/lib": ("dir", 0o755, 0, 0, (), ""), "usr/lib/d": ("dir", 0o700, 0, 0, (), "")}, upper)

    def test_an_opaque_root_hides_all_below(self):
        self.assertEqual(self.pull([self.BELOW + [file("etc/x", "x")], [opaque(""), file("opt/a", "a")]]), {"opt": "/", "opt/a": "a"})
        found = self.files([[Entry(".wh..wh..opq", mode=0), file("usr/bin/sh", "sh")]], base=True)
        self.assertEqual(found, {"usr/bin/sh": "sh", "lib": "-> usr/lib", "opt": "-> var/opt"})

    def test_an_empty_file_of_a_build_hides_nothing(self):
        below = [link("etc/resolv.conf", "../run/resolv.conf"), file("etc/hostname", "name"), file("etc/hosts", "hosts")]
        self.assertEqual(self.files([below, [file("etc/resolv.conf"), file("etc/hostname"), file("etc/hosts")]]),
                         {"usr/etc/resolv.conf": "-> ../run/resolv.conf", "usr/etc/hostname": "name", "usr/etc/hosts": ""})
        self.assertEqual(self.files([[file("etc/hostname"), file("etc/a", "a")]]), {"usr/etc/a": "a"})


class LowerLinks(Case):
    BELOW = [directory("usr"), directory("usr/lib"), link("lib", "usr/lib"), file("usr/lib/old", "old")]

    def test_names_and_targets_mean_what_they_mean_in_the_whole_stack(self):
        always, cases = {"lib": "-> usr/lib", "usr/lib/old": "old"}, []
        for upper, expected in (
                ([file("usr/lib/new", "new"), hard("usr/lib/alias", "lib/new")], {"usr/lib/new": "new", "usr/lib/alias": "new"}),
                ([file("lib/new", "new"), hard("usr/lib/alias", "usr/lib/new")], {"usr/lib/new": "new", "usr/lib/alias": "new"}),
                ([file("usr/lib/old", "NEW"), hard("usr/lib/alias", "lib/old")], {"usr/lib/old": "NEW", "usr/lib/alias": "NEW"}),
                ([file("lib/old", "NEW"), hard("usr/lib/alias", "usr/lib/old")], {"usr/lib/old": "NEW", "usr/lib/alias": "NEW"}),
                ([hard("lib/alias", "usr/lib/old")], {"usr/lib/alias": "old"}),
                ([hard("usr/lib/alias", "lib/old"), file("usr/lib/old", "NEW")], {"usr/lib/old": "NEW", "usr/lib/alias": "old"}),
                ([hard("usr/lib/alias", "usr/lib/old"), file("usr/lib/old", "NEW")], {"usr/lib/old": "NEW", "usr/lib/alias": "old"}),
                ([whiteout("usr/lib/old"), hard("usr/alias", "usr/lib/old")], {"usr/alias": "old", "usr/lib/old": None})):
            cases.append(([self.BELOW, upper], {path: what for path, what in {**always, **expected}.items() if what is not None}))
        self.assert_each(cases)

    def test_of_two_entries_for_one_place_the_last_wins(self):
        for first, second in (("lib/x", "usr/lib/x"), ("usr/lib/x", "lib/x"), ("lib/d/x", "usr/lib/d/x"), ("usr/lib/d/x", "lib/d/x")):
            place = second if second.startswith("usr") else "usr/" + second
            self.assertEqual(self.files([self.BELOW, [file(first, "first"), file(second, "second")]]),
                             {"lib": "-> usr/lib", "usr/lib/old": "old", place: "second"}, (first, second))
        below = self.BELOW + [link("lib64", "usr/lib")]
        for first, second in (("lib/x", "lib64/x"), ("lib64/x", "lib/x")):
            self.assertEqual(self.files([below, [file(first, "first"), file(second, "second")]])["usr/lib/x"], "second")
        for upper, expected in (([directory("lib/d", 0o700), directory("usr/lib/d", 0o711)], 0o711), ([directory("usr/lib/d", 0o711), directory("lib/d", 0o700)], 0o700)):
            self.pull([self.BELOW, upper])
            self.assertEqual(tree.of_commit(self.repository, self.commit)["usr/lib/d"][1], expected)

    def test_a_file_through_a_link_and_then_a_directory_in_its_place_leave_nothing_of_below(self):
        below = self.BELOW + [directory("usr/lib/a"), file("usr/lib/a/low", "low")]
        rest = {"lib": "-> usr/lib", "usr/lib/old": "old"}
        for first, second in (("lib", "usr/lib"), ("usr/lib", "lib")):
            for replaced in (file(first + "/a", "f"), link(first + "/a", "x"), hard(first + "/a", "usr/lib/old")):
                found = self.pull([below, [replaced, directory(second + "/a", 0o700), file(second + "/a/new", "n")]])
                self.assertEqual({path: what for path, what in found.items() if what != "/"}, {**rest, "usr/lib/a/new": "n"}, (first, replaced))
                self.assertEqual(tree.of_commit(self.repository, self.commit)["usr/lib/a"][1], 0o700)

    def test_a_hard_link_is_to_what_is_there_when_it_comes(self):
        always, cases = {"lib": "-> usr/lib", "usr/lib/old": "old"}, []
        for first, second in (("lib/f", "usr/lib/f"), ("usr/lib/f", "lib/f")):
            for entry, what in ((link(second, "elsewhere"), "-> elsewhere"), (file(second, "new"), "new")):
                before = [file(first, "first"), entry]
                for links in ([hard("opt/x", first), hard("a", "opt/x")], [hard("opt/x", second), hard("a", "opt/x")]):
                    cases.append(([self.BELOW, before + links], {**always, "usr/lib/f": what, "opt/x": what, "a": what}))
                # What comes later is another file, and what is elsewhere too.
                cases.append(([self.BELOW, [file(first, "first"), hard("opt/x", first), entry]], {**always, "usr/lib/f": what, "opt/x": "first"}))
                cases.append(([self.BELOW, [file(first, "first"), file("opt/f", "other"), hard("opt/x", first)]],
                              {**always, "usr/lib/f": "first", "opt/f": "other", "opt/x": "first"}))
        self.assert_each(cases)

    def test_a_link_to_a_link_that_waits_comes_when_it_comes(self):
        self.assertEqual(self.files([self.BELOW, [hard("usr/first", "lib"), file("usr/lib/c", "earlier"), hard("lib/c", "usr/first")]]),
                         {"lib": "-> usr/lib", "usr/first": "-> usr/lib", "usr/lib/old": "old", "usr/lib/c": "-> usr/lib"})

    def test_links_that_wait_have_their_own_moment(self):
        nameless = "opt/\udce9"
        below = self.BELOW + [file("opt/c", "c"), file(nameless, "dropped"), Entry("usr/lib/device", "char"), file("var/d/a", "of d"), file("var/e/a", "of e")]
        always = {"lib": "-> usr/lib", "usr/lib/old": "old", "opt/c": "c", "var/d/a": "of d", "var/e/a": "of e"}
        without_d = {path: what for path, what in always.items() if path != "var/d/a"}
        cases = []
        for first, second in (("lib/f", "usr/lib/f"), ("usr/lib/f", "lib/f")):
            cases += [
                # One that is dropped takes no place that a file takes later, and takes the place of one that came before.
                ([below, [hard(first, nameless), file(second, "later")]], {**always, "usr/lib/f": "later"}),
                ([below, [file(second, "earlier"), hard(first, nameless)]], always),
                # A link to the name of a link that waits is one to what took the place of that one meanwhile, by whatever path.
                ([below, [hard(first, "opt/c"), file(second, "between"), hard("a", first)]], {**always, "usr/lib/f": "between", "a": "between"}),
                ([below, [hard(first, "opt/c"), hard("a", first), file(second, "after")]], {**always, "usr/lib/f": "after", "a": "c"}),
                ([below, [hard(first, "opt/c"), file(second, "between"), hard("a", first), file("opt/c", "new")]],
                 {**always, "opt/c": "new", "usr/lib/f": "between", "a": "between"}),
                ([below, [hard(first, "opt/c"), file("opt/x/f", "elsewhere"), hard("a", first)]], {**always, "opt/x/f": "elsewhere", "usr/lib/f": "c", "a": "c"}),
                # A second link by one name has a moment of its own, whether its file is known or not.
                ([below, [hard(first, "opt/c"), file(second, "between"), hard(first, "lib/old")]], {**always, "usr/lib/f": "old"}),
                ([below, [file("opt/n", "n"), hard(first, "opt/c"), file(second, "between"), hard(first, "opt/n")]], {**always, "opt/n": "n", "usr/lib/f": "n"})]
        cases += [
            # What its layer makes of a directory afterwards does not lead it elsewhere.
            ([below, [hard("var/e/a", "var/d/a"), link("var/d", "e")]], {**without_d, "var/d": "-> e", "var/e/a": "of d"}),
            ([below, [hard("var/b", "usr/lib/device"), link("usr/lib", "other")]], {**{path: what for path, what in always.items() if path != "usr/lib/old"}, "usr/lib": "-> other"})]
        self.assert_each(cases)

    def test_what_went_through_a_link_stays_where_it_led_when_its_layer_replaces_the_link(self):
        entered = [file("lib/new", "n"), directory("lib/d", 0o700), file("lib/d/e/f", "f"), hard("lib/alias", "lib/new")]
        there = {"usr/lib/old": "old", "usr/lib/new": "n", "usr/lib/d/e/f": "f", "usr/lib/alias": "n"}
        for replacing, what in ((file("lib", "x"), "x"), (link("lib", "usr/lib"), "-> usr/lib"), (link("lib", "elsewhere"), "-> elsewhere"),
                                (hard("lib", "usr/lib/old"), "old")):
            found = self.files([self.BELOW, entered + [replacing]])
            self.assertEqual(found, {**there, "lib": what}, replacing)
            self.assertEqual(tree.of_commit(self.repository, self.commit)["usr/lib/d"][1], 0o700)
            # A directory is replaced with all that is in it.
            self.assertEqual(self.files([[directory("lib"), file("lib/old", "o"), file("usr/lib/old", "old")], entered + [replacing]]),
                             {"usr/lib/old": "old", "lib": what}, replacing)
        # What the layer lists is no link any more; and what it puts there afterwards comes later.
        self.assertEqual(self.files([self.BELOW, [directory("lib")] + entered + [link("lib", "usr/lib")]]), {"lib": "-> usr/lib", "usr/lib/old": "old"})
        self.assertEqual(self.files([self.BELOW, entered + [link("lib", "usr/lib"), file("usr/lib/new", "later")]]), {**there, "usr/lib/new": "later", "lib": "-> usr/lib"})
        self.assertEqual(self.files([self.BELOW, [file("usr/lib/new", "earlier")] + entered + [link("lib", "usr/lib")]]), {**there, "lib": "-> usr/lib"})
        # The link that is replaced is below one that the layer lists.
        below = [directory("opt"), link("opt/app", "/usr/app"), directory("usr/app"), file("usr/app/old", "old")]
        self.assertEqual(self.files([below, [directory("opt"), file("opt/app/new", "n"), file("opt", "x")]]), {"opt": "x", "usr/app/old": "old", "usr/app/new": "n"})

    def test_an_entry_through_a_link_is_where_the_link_led_when_it_came(self):
        def below(name):
            return [directory("t"), file("t/old", "t"), directory("t/d"), file("t/d/low", "l"), directory("u"), file("u/old", "u"), directory("p/t"), file("p/t/old", "p"),
                    directory("q/t"), file("q/t/old", "q"), link("m", "t"), link("n", "m"), link("top", "."), link(name, routes[name][0])]

        def entered(name, mark):
            return {"file": [file(f"{name}/x{mark}", mark)], "link": [link(f"{name}/x{mark}", "old")], "directory": [directory(f"{name}/e{mark}", 0o700), file(f"{name}/e{mark}/y", mark)],
                    "below": [file(f"{name}/d/y{mark}", mark)], "hard": [hard(f"{name}/x{mark}", "u/old")], "own": [file("o" + mark, mark), hard(f"{name}/x{mark}", "o" + mark)],
                    "itself": [hard("h" + mark, f"{name}/old")], "lost": [Entry(f"{name}/old", "fifo")]}
        # Which of the paths that the link leads through is replaced, by what.
        routes = {"a": ("t", ["t", "a", "top/t"]), "z": ("t", ["t", "z"]), "l": ("m", ["m", "t"]), "y": ("n", ["n", "m", "t"]), "b": ("p/t", ["p", "p/t"]),
                  "x": ("top/t", ["t", "top"]), "c": ("none", ["none"])}
        cases = []
        for name, (_, replaced) in routes.items():
            for path in replaced:
                for kind in entered(name, ""):
                    if (kind, path) == ("itself", "none") or (name not in "ay" and kind not in ("file", "directory", "itself")):
                        continue
                    first, second = entered(name, "1")[kind], entered(name, "2")[kind]
                    for replacing in (file(path, "f"), Entry(path, "fifo"), hard(path, "u/old")):
                        cases.append((name, first + [replacing]))
                    if kind in ("file", "own"):
                        cases += [(name, first + [whiteout(path)]), (name, [opaque(path)] + first)]
                    replacing = link(path, {"p": "q", "p/t": "../u"}.get(path, "u"))
                    cases.append((name, first + [replacing]))
                    if kind not in ("itself", "lost"):
                        for change in [replacing] + [directory(path, 0o711)] * (path in ("m", "n")):
                            cases += [(name, [change] + first), (name, first + [change] + second)]
        self.assert_same_as_umoci([[below(name), upper] for name, upper in cases])
        self.assertEqual(self.filtered(), {})

    def test_a_directory_leaves_nothing_of_what_it_takes_the_place_of(self):
        below = [directory("t/c"), file("t/c/low", "low"), file("t/old", "old"), link("l", "t"), link("z", "l"), file("t/f", "f")]
        cases = []
        pairs = [("l", "t"), ("t", "l"), ("z", "t"), ("t", "z"), ("l", "z"), ("z", "l")]
        for place in ("c", "new", "f", "c/deep/er"):
            for first, second in pairs if place == "c" else pairs[:2]:
                one, other = f"{first}/{place}", f"{second}/{place}"
                for before in ([file(one + "/a", "a"), file(one + "/d/e", "e")], [directory(one + "/d", 0o700), file(one + "/d/a", "a")], [hard(one + "/a", "t/old")],
                               [file("own", "own"), hard(one + "/a", "own")], [link(one + "/a", "t")], [directory(one, 0o700), file(one + "/a", "a")]):
                    if place == "f":
                        before = [directory(one, 0o711), *before]
                    for replaced in (file(other, "x"), Entry(other, "fifo"), *[link(other, "x"), hard(other, "t/old")] * (place == "c")):
                        again = [replaced, directory(other, 0o711)]
                        cases += [[below, before + again], [below, before + again + [file(one + "/b", "b"), file(other + "/a", "later")]]]
                        cases += [[below, before + again + [directory(one, 0o750), hard(one + "/a", "t/old")]]]
        # The directory that the link leads to.
        for name in ("l", "z"):
            for replaced in (file("t", "x"), link("t", "x"), Entry("t", "fifo")):
                again = [replaced, directory("t", 0o711)]
                for before in ([file(name + "/a", "a")], [directory(name + "/c", 0o700)], [hard(name + "/a", "t/old")], [file("own", "own"), hard(name + "/a", "own")]):
                    cases += [[below, before + again], [below, before + again + [file(name + "/b", "b")]], [below, before + again + [file("own", "o"), hard(name + "/b", "own")]]]
        self.assert_same_as_umoci(cases)
        self.assertEqual(self.filtered(), {})

    def test_a_hard_link_to_a_file_below_whose_place_a_directory_takes(self):
        cases = []
        for name, other in (("t/f", "t/f"), ("l/f", "t/f"), ("t/f", "l/f"), ("l/f", "l/f"), ("t/k", "t/k"), ("l", "l")):
            for replacing in ([directory(other, 0o711)], [directory(other, 0o711), file(other + "/x", "x")], [file(other, "n"), directory(other, 0o711)]):
                cases.append([[file("t/f", "f"), link("t/k", "f"), link("l", "t")], [hard("h", name), hard("o/h", "h"), *replacing, hard("o/i", "h")]])
        self.assert_same_as_umoci(cases)
        self.layout.image("bad", [oci_layout.layer([file("f", "f")]), oci_layout.layer([directory("f"), hard("h", "f")])])
        job = self.client.finished(self.client.pull("ostree-unverified-image:" + self.layout.reference("bad")), timeout=60)
        self.assertIn("hard link to the directory", str(job))

    def test_what_no_unpacker_puts_below_a_file_is_counted(self):
        below = [directory("t"), directory("t/d"), link("l", "t"), link("z", "t"), file("f", "below"), link("g", "f")]
        links = {"l": "-> t", "z": "-> t", "g": "-> f"}
        for upper, expected, counted in (
                ([file("t", "f"), file("l/x", "x")], {"t": "f", "f": "below"}, {"t": 1}), ([file("t", "f"), file("z/x", "x"), directory("z/y")], {"t": "f", "f": "below"}, {"t": 2}),
                ([file("l/d", "f"), file("t/d/x", "x")], {"t/d": "f", "f": "below"}, {"t/d": 1}), ([file("t/d", "f"), file("l/d/x", "x")], {"t/d": "f", "f": "below"}, {"t/d": 1}),
                ([file("g/x", "x")], {"f/x": "x"}, {"f": 1}),
                ([file("l/x/y", "y"), hard("t/x", "f"), file("l/x/z", "z"), file("t/w", "w")], {"t/x": "below", "t/w": "w", "f": "below"}, {"t/x": 1}),
                ([file("t", "f"), hard("l/x", "f")], {"t": "f", "f": "below"}, {"t/x": 1}),
                ([Entry("l/n", "fifo"), file("l/n/a", "a"), file("t/n/b", "b")], {"f": "below", "t/n/a": "a"}, {"t/n": 1})):
            self.assertEqual(self.files([below, upper]), {**links, **expected}, upper)
            self.assertEqual(self.filtered(), counted, upper)

    def test_a_hard_link_that_waits_goes_through_a_link_that_its_layer_replaces(self):
        below = self.BELOW + [file("opt/c", "c")]
        always, cases = {"usr/lib/old": "old", "opt/c": "c"}, []
        waits = [hard("lib/a/x", "opt/c"), hard("lib/y", "lib/a/x")]
        for replacing, what in ((link("lib", "usr/lib"), "-> usr/lib"), (file("lib", "f"), "f"), (Entry("lib", "fifo"), None)):
            want = {path: text for path, text in {**always, "lib": what}.items() if text is not None}
            cases += [
                ([below, waits + [replacing]], {**want, "usr/lib/a/x": "c", "usr/lib/y": "c"}),
                # Of two for one place the last one stays, as ever.
                ([below, waits + [file("usr/lib/y", "later"), replacing]], {**want, "usr/lib/a/x": "c", "usr/lib/y": "later"}),
                ([below, [file("usr/lib/y", "earlier")] + waits + [replacing]], {**want, "usr/lib/a/x": "c", "usr/lib/y": "c"}),
                ([below, waits + [file("usr/lib/a", "later"), replacing]], {**want, "usr/lib/a": "later", "usr/lib/y": "c"}),
                # No link below: it goes with its directory.
                ([[file("lib/old", "o")] + below[3:] + below[4:], waits + [replacing]], want)]
        self.assert_each(cases)
        self.assertEqual(self.files([below, waits + [file("usr/lib/a", "later")]]), {**always, "lib": "-> usr/lib", "usr/lib/a": "later", "usr/lib/y": "c"})
        # Files that the layer brings itself, later.
        self.assertEqual(self.files([below, [hard("lib/y", "opt/new"), file("opt/new", "n"), link("lib", "usr/lib")]]),
                         {**always, "lib": "-> usr/lib", "opt/new": "n", "usr/lib/y": "n"})

    def test_what_is_not_stored_replaces_what_came_before_it(self):
        always, cases, places = {"usr/lib/old": "old", "lib": "-> usr/lib"}, [], []
        for kind in ("fifo", "char", "block"):
            for entered, special, expected in (
                    ([file("lib/new", "n")], Entry("lib", kind), {"lib": None, "usr/lib/new": "n"}),
                    ([directory("lib/d/e"), directory("lib/d/e/f")], Entry("usr/lib/d/e", kind), {}),
                    ([directory("usr/lib/d/e"), directory("usr/lib/d/e/f")], Entry("lib/d/e", kind), {}),
                    ([file("lib/old", "n")], Entry("usr/lib/old", kind), {"usr/lib/old": None}),
                    ([file("usr/lib/old", "n")], Entry("lib/old", kind), {"usr/lib/old": None}),
                    ([hard("lib/x", "usr/lib/old")], Entry("usr/lib/x", kind), {})):
                want = {path: what for path, what in {**always, **expected}.items() if what is not None}
                cases += [([self.BELOW, entered + [special]], want), ([self.BELOW, entered[-1:] + [special]], want)]
                places += [None, None]
                if special.path != "lib":
                    # What comes after it stays; what took the place of its parent does not bring back what it replaced.
                    after = {**always, **{"usr/lib/" + entry.path.rpartition("/")[2]: entry.content.decode() or "old" for entry in entered if entry.kind != "dir"}}
                    cases += [([self.BELOW, [special] + entered], after), ([self.BELOW, entered + [special, link("lib", "usr/lib")]], want)]
                    places += ["/" if "d/e" in special.path else None, None]
        self.assertEqual([found.get("usr/lib/d/e") for found in self.assert_each(cases)], places)

    def test_over_an_ostree_base_entries_follow_its_links(self):
        found = self.files([[file("lib/x", "x"), file("opt/app/bin", "b"), file("srv/y", "y"), directory("data"), file("data/z", "z")]], base=True)
        self.assertEqual(found["usr/lib/x"], "x")
        self.assertEqual(found[tree.place("var/opt/app/bin")], "b")
        self.assertEqual((found["lib"], found["opt"]), ("-> usr/lib", "-> var/opt"))
        self.assertNotIn("srv/y", found)
        self.assertEqual(self.filtered(), {"srv": 1, "data": 2})

    def test_the_merged_tree_says_what_may_be_at_the_top(self):
        conf = [file("usr/lib/ostree/prepare-root.conf", "[composefs]\nenabled = true\n")]
        for layers in ([conf, [file("srv/x", "x")]], [[file("srv/x", "x")], conf], [conf + [file("srv/x", "x")]]):
            found = self.files(layers, base=True)
            self.assertEqual(found.get("srv/x"), "x", layers)
            self.assertEqual(self.filtered(), {})
        found = self.files([conf + [file("srv/x", "x")], [whiteout("usr/lib/ostree/prepare-root.conf")]], base=True)
        self.assertNotIn("srv/x", found)
        self.assertEqual(self.filtered(), {"srv": 1})


class Names(Case):
    @contextlib.contextmanager
    def with_root(self, change):
        """The image pulled last, with another root: what CHANGE makes of the dirtree's files and directories; or the bytes of it. Gives its checksum."""
        def stored(checksum, kind):
            return self.repository / f"objects/{checksum[:2]}/{checksum[2:]}.{kind}"

        def put(data, kind):
            checksum = hashlib.sha256(data).hexdigest()
            new = not stored(checksum, kind).exists()
            stored(checksum, kind).parent.mkdir(exist_ok=True)
            stored(checksum, kind).write_bytes(data)
            return checksum, [stored(checksum, kind)] * new
        whole = GLib.Variant.new_from_bytes(GLib.VariantType("(a{sv}aya(say)sstayay)"), GLib.Bytes(stored(self.commit, "commit").read_bytes()), False)
        root = bytes(whole.get_child_value(6)).hex()
        top = GLib.Variant.new_from_bytes(GLib.VariantType("(a(say)a(sayay))"), GLib.Bytes(stored(root, "dirtree").read_bytes()), False).unpack()
        made = change([(name, bytes(file).hex()) for name, file in top[0]], [(name, bytes(sub).hex(), bytes(meta).hex()) for name, sub, meta in top[1]])
        tree_checksum, files = put(made if isinstance(made, bytes) else hostile_commits.dirtree(*made), "dirtree")
        parts = [whole.get_child_value(number) for number in range(whole.n_children())]
        parts[6] = GLib.Variant("ay", bytes.fromhex(tree_checksum))
        self.changed, more = put(GLib.Variant.new_tuple(*parts).get_data_as_bytes().get_data(), "commit")
        ref = self.repository / "refs/heads" / next(line for line in encapsulation.ostree(self.repository, "refs", "--list", "ostree/container/image").splitlines()
                                                    if encapsulation.ostree(self.repository, "rev-parse", line) == self.commit)
        before = ref.read_text()
        ref.write_text(self.changed + "\n")
        try:
            yield tree_checksum
        finally:
            ref.write_text(before)
            for path in files + more:
                path.unlink()

    def verify(self):
        return self.client.finished(self.client.call(MANAGER, "Verify", GLib.Variant("(asa{sv})", ([], {})))[0], timeout=60)["Outcome"]

    def test_no_check_passes_one_name_twice(self):
        self.pull([[file("usr/x", "x"), file("usr/y", "y")]])
        image = self.layout.reference(f"t{self.number}")
        with self.with_root(lambda files, directories: (files, directories[:1] * 2)) as twice:
            self.assertIn(twice, str(self.verify()))
            ostree_repository.init(self.directory / "copy")
            job = self.client.finished(self.client.call(MANAGER, "Copy", GLib.Variant("(ssa{sv})", (image, str(self.directory / "copy"), {})))[0], timeout=60)
            self.assertIn("RepositoryDamaged", str(job))

    def test_names_that_are_sound_are_those_that_ostree_checks_and_checks_out(self):
        self.pull([[file("a", "a"), file("b", "b"), file("usr/y", "y"), directory("z")]])

        def renamed(name):
            return lambda files, directories: ([(name, files[0][1]), *files[1:]], directories)

        def directory_renamed(name):
            return lambda files, directories: (files, [(name, *directories[0][1:]), *directories[1:]])

        def bytes_of(old, new):
            return lambda files, directories: hostile_commits.dirtree(files, directories).replace(old, new)
        for what, change, sound in (
                ("as it is", lambda files, directories: (files, directories), True),
                ("another name", renamed("A"), True), ("not ASCII", renamed("\u00e9"), True), ("255 bytes", renamed("A" * 255), True), ("a line", renamed("A\nB"), True),
                ("unsorted files", lambda files, directories: (files[::-1], directories), None),
                ("unsorted directories", lambda files, directories: (files, directories[::-1]), None),
                ("a file twice", lambda files, directories: (files[:1] + files, directories), False),
                ("a directory twice", lambda files, directories: (files, directories[:1] + directories), False),
                ("a file and a directory", lambda files, directories: ([*files, (directories[0][0], files[0][1])], directories), False),
                ("256 bytes", renamed("A" * 256), False),
                ("not UTF-8", bytes_of(b"a\0", b"\xff\0"), False),
                *((f"a {kind} named {name!r}", rename(name), False) for kind, rename in (("file", renamed), ("directory", directory_renamed))
                  for name in ("", ".", "..", "/", "a/b", "../a", "/a"))):
            with self.subTest(what), self.with_root(change) as changed:
                fsck = agreement.ostree(self.repository, "fsck", "--quiet").returncode == 0
                target = self.directory / "names"
                checkout = agreement.ostree(self.repository, "checkout", "--user-mode", self.changed, target).returncode == 0
                shutil.rmtree(target, ignore_errors=True)
                # Of the directory itself: that it is not what the layers give is another fault.
                ours = changed not in str(self.verify())
                self.assertEqual(ours, fsck and checkout)
                if sound is not None:
                    self.assertEqual(ours, sound)


class Exported(Case):
    def test_an_exported_stack_gives_the_same_tree_again(self):
        below = LowerLinks.BELOW
        for layers in ([[file("etc/a", "admin"), file("usr/etc/a", "vendor"), file("usr/etc/b", "b")], [whiteout("usr/etc/b")]],
                       [[file("etc/a", "admin"), file("usr/etc/b", "b")], [whiteout("etc")], [file("etc/c", "c"), link("usr/etc/c", "/etc/c")]],
                       [below, [file("usr/lib/x", "first"), file("lib/x", "second")], [file("lib/y", "first"), file("usr/lib/y", "second")]],
                       [below, [hard("usr/lib/alias", "lib/old"), file("usr/lib/old", "NEW")]],
                       [below, [link("lib", "usr/lib"), whiteout("lib/old"), file("usr/lib/z", "z")]],
                       [below, [file("lib/new", "n"), directory("lib/d", 0o700), link("lib", "usr/lib")]],
                       [below, [file("usr/lib/x", "first"), file("lib/x", "second"), link("lib", "usr/lib")]],
                       [below, [file("lib/x", "first"), file("usr/lib/x", "second"), link("lib", "usr/lib")]],
                       [below, [file("usr/lib/f", "first"), link("lib/f", "x"), hard("a", "usr/lib/f"), hard("z", "usr/lib/f")]],
                       [below + [file("opt/c", "c")], [file("usr/lib/y", "earlier"), hard("lib/a/x", "opt/c"), hard("lib/y", "opt/c"), link("lib", "usr/lib")]],
                       [Whiteouts.BELOW, [file("usr/a", "x"), directory("usr/a"), file("usr/a/n", "n")]],
                       [below + [file("usr/lib/a/low", "l")], [file("usr/lib/a/x", "x"), file("lib/a", "f"), directory("lib/a", 0o711), file("usr/lib/a/y", "y")]],
                       [below + [file("usr/lib/a/low", "l")], [file("lib/a/x", "x"), file("usr/lib/a", "f"), directory("usr/lib/a", 0o711)]],
                       [below + [link("k", "usr")], [hard("h", "k"), directory("k", 0o700)]],
                       [below, [file("lib/x", "x"), file("usr/large", random.Random(0).randbytes(50_000).hex()), link("usr/lib", "other"), file("lib/y", "y")]],
                       [below + [directory("t"), link("z", "t")], [file("z/x", "x"), link("t", "usr"), file("z/y", "y"), hard("z/a", "usr/lib/old"), file("t/b", "b")]]):
            with self.subTest(layers):
                self.pull(layers)
                image, exported = self.layout.reference(f"t{self.number}"), f"oci:{self.directory}/exported:t{self.number}"
                job = self.client.finished(self.client.call(MANAGER, "Export", GLib.Variant("(ssa{sv})", (image, exported, {})))[0], timeout=60)
                job = self.client.finished(self.client.pull("ostree-unverified-image:" + exported), timeout=60)
                self.assertIn("merge-commit", job["Outcome"], job)
                self.assertEqual(tree.of_commit(self.repository, job["Outcome"]["merge-commit"]), tree.of_commit(self.repository, self.commit))
                self.assertLess(sum(blob.stat().st_size for blob in (self.directory / "exported/blobs/sha256").iterdir()), 100_000)

    def test_a_layer_of_very_many_directories_that_it_does_not_list(self):
        """Then it is kept which ones it lists."""
        many = [file(f"usr/share/{'n' * 60}-{number}/f") for number in range(45_000)]
        below = [directory("usr/", 0o711), directory("usr/share/", 0o700), directory("usr/a/", 0o700), directory("usr/b/", 0o700), link("lib", "usr/b"), file("usr/c/old", "old")]
        layers = [below, [directory("usr/a/"), directory("usr/d/", 0o750), *many, whiteout("usr/c/old"), file("lib/new", "new")]]
        found = self.pull(layers)
        modes = {path: f"{mode:o}" for path, (_, mode, *_) in self.stored.items() if path in ("usr", "usr/share", "usr/a", "usr/b", "usr/d")}
        self.assertEqual(modes, {"usr": "711", "usr/share": "700", "usr/a": "755", "usr/b": "700", "usr/d": "750"})
        self.assertEqual({path: what for path, what in found.items() if not path.startswith("usr/share/n")},
                         {"usr": "/", "usr/share": "/", "usr/a": "/", "usr/b": "/", "usr/b/new": "new", "usr/c": "/", "usr/d": "/", "lib": "-> usr/b"})
        self.assertEqual(len(found), 8 + 2 * len(many))
        image, exported = self.layout.reference(f"t{self.number}"), f"oci:{self.directory}/exported-many:t"
        self.client.finished(self.client.call(MANAGER, "Export", GLib.Variant("(ssa{sv})", (image, exported, {})))[0], timeout=60)
        job = self.client.finished(self.client.pull("ostree-unverified-image:" + exported), timeout=60)
        self.assertEqual(tree.of_commit(self.repository, job["Outcome"]["merge-commit"]), self.stored)


class LostTargets(Case):
    def test_links_to_files_of_aufs_become_the_file(self):
        entries = [directory(".wh..wh.plnk", 0o700), file(".wh..wh.plnk/292.1", "shared"), hard("usr/a", ".wh..wh.plnk/292.1"), hard("usr/b", ".wh..wh.plnk/292.1")]
        for layer in (entries, entries[2:] + entries[:2]):
            self.assertEqual(self.files([layer]), {"usr/a": "shared", "usr/b": "shared"})

    def test_what_is_below_a_name_of_a_whiteout_is_counted_but_for_what_is_aufs_own(self):
        layers = [[file("usr/a/old", "old"), file("usr/b", "b")],
                  [directory("usr/.wh.a"), file("usr/.wh.a/y", "y"), hard("usr/c", "usr/.wh.a/y"), file("usr/.wh.d/z", "z"), file(".wh..wh.orph/x", "x")]]
        self.assertEqual(self.files(layers), {"usr/b": "b", "usr/c": "y"})
        self.assertEqual(self.outcome["names-dropped"], 2)

    def test_links_to_special_files_are_dropped_and_counted(self):
        for kind in ("fifo", "char", "block"):
            for entries in ([Entry("var/p", kind), hard("usr/q", "var/p"), hard("usr/r", "usr/q")], [hard("usr/q", "var/p"), hard("usr/r", "usr/q"), Entry("var/p", kind)],
                            [Entry("dev/p", kind), hard("usr/q", "dev/p"), hard("dev/r", "dev/p")]):
                self.assertEqual(self.files([[file("usr/q", "below"), file("usr/f", "f")], entries]), {"usr/f": "f"}, entries)
                self.assertEqual(self.outcome["special-files-dropped"], 3)
        # Of lower layers too, and links of links to them.
        for kind in ("fifo", "char", "block"):
            below = [Entry("usr/p", kind), file("usr/f", "f"), file("usr/q", "below"), directory("usr/lib"), link("lib", "usr/lib"), Entry("lib/p", kind)]
            for target in ("usr/p", "lib/p", "usr/lib/p"):
                self.assertEqual(self.files([below, [hard("usr/q", target)], [hard("usr/r", "usr/q"), hard("lib/s", "usr/r")]]), {"usr/f": "f", "lib": "-> usr/lib"}, target)
                self.assertEqual(self.outcome["special-files-dropped"], 5)
        self.assertEqual(self.files([below, [whiteout("usr/p"), file("usr/p", "p")], [hard("usr/q", "usr/p")]]), {"usr/f": "f", "lib": "-> usr/lib", "usr/p": "p", "usr/q": "p"})
        # A link to a file below has taken the place of a special file: who links to it now wants the file.
        for kind in ("fifo", "char", "block"):
            self.assertEqual(self.files([[file("usr/f", "f")], [Entry("usr/p", kind), hard("usr/p", "usr/f"), hard("usr/q", "usr/p")]]), {"usr/f": "f", "usr/p": "f", "usr/q": "f"})
        # What is below /run and /dev is in no layer.
        self.assertEqual(self.files([[Entry("dev/null", "char"), file("usr/f", "f")], [hard("usr/null", "dev/null")]]), {"usr/f": "f"})
        self.assertEqual(self.outcome["special-files-dropped"], 2)

    def test_links_to_names_that_are_not_utf8_become_the_file(self):
        self.assertEqual(self.files([[file("usr/\udce9", "content"), hard("usr/a", "usr/\udce9"), hard("usr/b", "usr/a")]]), {"usr/a": "content", "usr/b": "content"})
        self.assertEqual(self.outcome["names-dropped"], 1)
        # A lower layer has not stored it; its parents are there.
        self.assertEqual(self.pull([[file("usr/sub/\udce9", "content")], [file("usr/f", "f"), hard("usr/a", "usr/sub/\udce9")], [hard("usr/b", "usr/a")]]),
                         {"usr": "/", "usr/sub": "/", "usr/f": "f"})
        self.assertEqual((self.outcome["names-dropped"], self.outcome["special-files-dropped"]), (2, 1))

    def test_a_hard_link_to_a_link_below_through_which_the_layer_puts_something(self):
        self.assertEqual(self.files([[directory("usr/lib"), link("lib", "usr/lib")], [file("lib/x", "x"), hard("usr/l", "lib")]]),
                         {"lib": "-> usr/lib", "usr/l": "-> usr/lib", "usr/lib/x": "x"})

    def test_hard_links_that_lead_nowhere_and_entries_below_one_are_refused(self):
        for number, (error, text, upper) in enumerate((
                ("CorruptInput", "there is no file", [hard("a", "none")]),
                ("CorruptInput", "there is no file", [hard("a", "b"), hard("b", "a")]),
                ("CorruptInput", "there is no file", [hard("d/a", "d"), hard("d", "d/a")]),
                ("UnsupportedImage", "hard link", [hard("a", "lib"), file("a/x", "x")]),
                ("UnsupportedImage", "hard link", [hard("a", "f"), directory("a/x")]),
                ("UnsupportedImage", "hard link", [hard("a", "lib"), hard("usr/x", "a/f")]))):
            self.layout.image(f"refused-{number}", [oci_layout.layer(LowerLinks.BELOW + [file("f", "f"), file("usr/lib/f", "f")]), oci_layout.layer(upper)])
            job = self.client.finished(self.client.pull("ostree-unverified-image:" + self.layout.reference(f"refused-{number}")), timeout=60)
            self.assertEqual(job["ErrorName"].rpartition(".")[2], error, job)
            self.assertIn(text, job["ErrorMessage"])
        # One of two that are links to each other is what a lower layer has.
        self.assertEqual(self.files([[file("b", "b")], [hard("a", "b"), hard("b", "a")]]), {"a": "b", "b": "b"})

    def test_links_through_what_is_dropped_lead_on_to_the_file(self):
        for upper in ([hard("run/x", "usr/f"), hard("usr/a", "run/x")], [hard("usr/\udce9", "usr/f"), hard("usr/a", "usr/\udce9")],
                      [hard("usr/a", "usr/f"), hard("run/x", "usr/a"), hard("usr/a", "run/x")],
                      [file("run/x", "x"), hard("run/x", "usr/f"), hard("usr/a", "run/x")]):
            self.assertEqual(self.files([[file("usr/f", "f")], upper]), {"usr/f": "f", "usr/a": "f"}, upper)


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit(77)  # a bare repository and its owners need root
    unittest.main(verbosity=2)
