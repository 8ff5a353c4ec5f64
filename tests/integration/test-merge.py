# SPDX-License-Identifier: Apache-2.0
"""Random stacks of layers, merged by imaged-worker and unpacked by umoci, give the same tree, and none loses anything uncounted, those that no unpacker
takes included. --seed (or SEED) and --rounds (or ROUNDS)."""
import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

import agreement
import losses
import oci_layout
import ostree_repository
import tree
import worker
from losses import is_whiteout
from oci_layout import Entry, directory, opaque, whiteout

TOP = ["a", "b", "usr", "etc", "var", "opt", "lib", "run"]
# Directories that a commit has one of, and what lower links lead to.
DEEPER = ["usr/etc", "usr/etc", "usr/lib", "usr/lib", "lib", "etc", "usr/share/factory/var"]
CARELESS = ["a", "b", "lib", "usr/lib", "usr/etc", "etc", "usr/share/factory/var", "var", "a/b", "usr/lib/a", "opt"]
NAMES = ["a", "b", "c", "lib"] * 3 + [".hid", "with space", "ünï", "-n", "back\\slash", "trailing ", ".wh", "...", "é", "n" * 251, "not-utf8-\udcff"]
SPELLINGS = [lambda path: path, lambda path: "./" + path, lambda path: "/" + path, lambda path: path.replace("/", "//")]
TARGETS = ["/a", "/usr/lib", "nowhere", "b", "/usr/etc", "/etc", "../a"]
# What is kept; what is dropped: empty values, and namespaces that the kernel here does not take.
XATTRS = {"user.note": [b"one", b"two"], "trusted.note": [b"one", b"two"], "security.note": [b"one", b"two"], "user.empty": [b""], "trusted.empty": [b""], "security.empty": [b""],
          "com.apple.quarantine": [b"0081;", b""], "btrfs.compression": [b"zstd"], "lustre.lov": [b"\x01"]}
ACLS = {"SCHILY.acl.access": "user::rwx,user:33:r-x,group::r-x,mask::r-x,other::---"}
ROUNDS_OF_A_REPOSITORY = 50  # `ostree fsck` takes more than twice the time for twice as many
SPECIAL = ["fifo", "char", "block"]
LINKS = {"lib": ["usr/lib", "/usr/lib", "a"], "etc": ["usr/etc", "/usr/etc"], "usr/etc": ["../etc", "/etc"]}


def random_path(rng):
    first = rng.choice(DEEPER) if rng.random() < 0.4 else rng.choice(TOP)
    return "/".join([first] + [rng.choice(NAMES) for _ in range(rng.choice([0, 1, 1, 2, 2, 3]))])


def random_entry(rng, path, files):
    owner = {"uid": rng.choice([0, 0, 33, 4000000]), "gid": rng.choice([0, 0, 42])}
    xattrs = {name: rng.choice(XATTRS[name]) for name in rng.sample(sorted(XATTRS), 2)} if rng.random() < 0.25 else {}
    more = {**owner, "xattrs": xattrs, "pax": ACLS if rng.random() < 0.05 else {}}
    kind = rng.choice(["file"] * 4 + ["dir"] * 4 + ["symlink", "hardlink", "hardlink", "special"])
    if not is_stored(path) and kind == "symlink":
        kind = "file"  # a link that is dropped leads nowhere
    if path in LINKS and rng.random() < 0.3:
        return Entry(path, "symlink", mode=0o777, target=rng.choice(LINKS[path]))
    if path in TOP and kind != "symlink" or path in ("usr", "etc", "var", "run", "usr/lib", "usr/etc", "usr/share/factory/var"):
        kind = "dir"
    if kind == "hardlink" and files:
        return Entry(path, "hardlink", target=rng.choice(files))
    if kind == "dir":
        # No setgid: below such a directory the kernel hands umoci's implicit parents its group and the bit itself.
        return directory(path, rng.choice([0o755, 0o700, 0o1777, 0o1755]), **more)
    if kind == "symlink":
        more["xattrs"] = {name: value for name, value in xattrs.items() if not name.startswith("user.")}
        return Entry(path, "symlink", mode=0o777, target=rng.choice(TARGETS), **more)
    if kind == "special":
        return Entry(path, rng.choice(SPECIAL), **owner)
    return Entry(path, "file", rng.choice([b"", b"x", b"yy", b"zzz"]), rng.choice([0o644, 0o755, 0o4755, 0o600]), **more)


def other_spelling(rng, path, links=None):
    """The same file where lib is a link to usr/lib, perhaps: with LINKS, path → target, only where it is."""
    for name, place in (("lib/", "usr/lib/"), ("etc/", "usr/etc/")):
        if links is not None and links.get(name[:-1], "").strip("/") != place[:-1]:
            continue
        if path.startswith(place) and rng.random() < 0.4:
            return name + path[len(place):]
        if path.startswith(name) and rng.random() < 0.4:
            return place + path[len(name):]
    return path


def is_stored(path):
    """Whether a layer keeps a file of that name; a link of a later layer to any other has nothing to lead to."""
    return not path.startswith("run/") and not any(0xdc80 <= ord(letter) <= 0xdcff for letter in path)


def shown(lower, entries):
    """What is there beside directories, path → entry, when a layer of ENTRIES is over LOWER; links aside."""
    result = dict(lower)
    for entry in entries:
        if is_whiteout(entry):
            directory, _, name = entry.path.rpartition("/")
            hidden = directory if name == ".wh..wh..opq" else f"{directory}/{name[4:]}".lstrip("/")
            result = {path: other for path, other in result.items() if not path.startswith(hidden + "/") and (path != hidden or hidden == directory)}
    for entry in entries:
        if not is_whiteout(entry):
            result = {path: other for path, other in result.items() if path != entry.path and (entry.kind == "dir" or not path.startswith(entry.path + "/"))}
            if entry.kind != "dir":
                result[entry.path] = entry
    return result


def random_layer(rng, lower):
    """Entries in the order of the tar. LOWER is what layers below show beside directories; some hard links lead there. Nothing is put below
    what this layer or, unlisted, one below says is neither a directory nor a link, but for whiteouts: umoci refuses that. No directory is listed
    after what is in it: links of lower layers may lead that around it."""
    found, entries, lost = {}, [], set()
    below, targets = lower, set()  # what this layer does not hide, and what of it links lead to
    for _ in range(rng.randint(1, 12)):
        path = random_path(rng)
        if found and rng.random() < 0.2:
            path = other_spelling(rng, rng.choice(list(found)))
        elif found and rng.random() < 0.1:
            path = rng.choice(list(found)) + "/" + rng.choice(NAMES)
        chance = rng.random()
        inside = [other for other in found if other.startswith(path + "/")]
        if chance < 0.28:
            mark = whiteout(path) if chance < 0.2 else opaque(path)
            below = shown(below, [mark])
            if targets.issubset(below):
                entries.append(mark)
            else:
                below = shown(lower, [entry for entry in entries if is_whiteout(entry)])
        elif path not in lost and not any({**below, **found}[parent].kind not in ("dir", "symlink") for parent in parents_of(path) if parent in {**below, **found}):
            files = [name for name, other in found.items() if other.kind != "dir" and name != path]
            if below and (not files or rng.random() < 0.3):
                files = [name for name in below if name != path and not any(found[parent].kind != "dir" for parent in parents_of(name) if parent in found)]
            links = {name: other.target for name, other in {**below, **found}.items() if other.kind == "symlink"}
            entry = random_entry(rng, path, [other_spelling(rng, name, links) for name in files])
            if inside and entry.kind == "dir":
                continue
            for other in inside:
                del found[other]
            if entry.kind == "hardlink" and entry.target not in found and not is_stored(entry.target):
                lost.add(entry.target)
            if entry.kind == "hardlink" and entry.target in below and entry.target not in found:
                targets.add(entry.target)
            found[path] = entry
            entries.append(entry)
    return entries


def random_stack(rng):
    stack, lower = [], {}
    for _ in range(rng.randint(2, 5)):
        stack.append(random_layer(rng, lower))
        lower = shown(lower, stack[-1])
    # What is below /run is dropped as a layer is read; the directory itself is there when a layer lists it.
    stack[0] = [entry for entry in stack[0] if entry.path != "run"] + [directory("run")]
    stack = [[entry for entry in entries if entry.path not in (".wh.run", "run/.wh..wh..opq")] for entries in stack]
    if rng.random() < 0.1:
        stack.append(stack[0])
    return stack


def parents_of(path):
    return ["/".join(path.split("/")[:number]) for number in range(1, path.count("/") + 1)]


def careless_layer(rng, named, kinds):
    """Entries at any of a few paths, NAMED (path → kind) before or not, whatever is there; each with an owner or content of its own."""
    entries = []
    for number in range(rng.randint(3, 9)):
        owner = 100 * len(named) + number + 1
        path = "/".join([rng.choice(CARELESS), *rng.choices("abc", k=rng.choice([0, 0, 1, 1, 2]))])
        if named and rng.random() < 0.5:
            path = rng.choice(list(named)) + rng.choice(["", "", "/" + rng.choice("abc")])
        kind = rng.choice(kinds)
        files = [name for name, other in named.items() if other in ("file", "symlink") and name != path]
        if kind == "whiteout":
            entries.append(rng.choice([whiteout, opaque])(path))
            continue
        if any(named.get(parent) == "hardlink" for parent in parents_of(path)) or (kind == "hardlink" and not files):
            continue
        if kind == "symlink":
            entries.append(Entry(path, "symlink", mode=0o777, uid=owner, target=rng.choice(["usr/lib", "c", "../usr/lib", *TARGETS])))
        elif kind == "dropped":
            entries.append(rng.choice([Entry(path, "fifo"), Entry("run/" + path), Entry(path + "/\udcff")]))
        elif kind == "hardlink":
            entries.append(Entry(path, "hardlink", target=rng.choice(files)))
        else:
            entries.append(Entry(path, kind, str(owner).encode(), uid=owner))
        named[path] = kind
    return entries


def careless_stack(rng):
    named = {}
    kinds = ["file"] * 4 + ["dir"] * 3 + ["symlink"] * 3 + ["hardlink"] * 4 + ["whiteout"]
    below = [careless_layer(rng, named, kinds) for _ in range(rng.randint(1, 2))]
    return [*below, careless_layer(rng, named, kinds + ["dropped", "dropped"])]


def shuffled(rng, entries):
    """The same layer, its whiteouts anywhere: they are about what is below. Any spelling of the paths."""
    result = [entry for entry in entries if not is_whiteout(entry)]
    for entry in entries:
        if is_whiteout(entry):
            result.insert(rng.randint(0, len(result)), entry)
    spell = rng.choice(SPELLINGS)
    return [Entry(**{**vars(entry), "path": spell(entry.path)}) for entry in result]


def for_umoci(entries):
    """The same layer in the order that no unpacker can misread: whiteouts before all else but the directories that the layer itself puts above
    them. umoci 0.4 lets a whiteout remove a file that the same layer has already brought, and follow a link that it has; the specification
    applies whiteouts to lower layers only. And it leaves a directory of a lower layer as it is that a whiteout hides, if the same layer has already
    put something below it; the overlay file system of buildah has a new one there in either order."""
    seen, stored = set(), []
    for entry in entries:
        # A link to what a lower layer has not stored is dropped, as a link to a special file is.
        lost = entry.kind == "hardlink" and entry.target not in seen and not is_stored(entry.target)
        stored.append(Entry(entry.path, "fifo") if lost else entry)
        seen.add(entry.path)
    entries = stored
    whiteouts = [entry for entry in entries if is_whiteout(entry)]
    around = [entry for entry in entries if entry.kind == "dir" and any(other.path.startswith(entry.path + "/") for other in whiteouts)]
    first = sorted(around + whiteouts, key=lambda entry: (len(parents_of(entry.path)) - is_whiteout(entry), is_whiteout(entry)))
    return first + [entry for entry in entries if not is_whiteout(entry)]


def hollow_parents(stack, expected, actual):
    """Directories that exist because a layer has a whiteout below them, and for nothing else. We make a directory for each parent
    that a layer names; umoci makes none for a whiteout that finds nothing to hide."""
    named = set()
    for entries in stack:
        for entry in entries:
            if ".wh." in entry.path:
                path = "/".join(entry.path.split("/")[:-1])
                while path:
                    named.add(path)
                    path = path.rpartition("/")[0]
    places = {tree.place(path) for path in named}
    places |= {"/".join(place.split("/")[:number]) for place in places for number in range(1, place.count("/") + 1)}
    default = ("dir", 0o755, 0, 0, (), "")
    return {path for path in places if path not in expected and actual.get(path) == default}


class Merge(unittest.TestCase):
    def rounds(self):
        """A generator of random numbers, a repository and a directory for each round."""
        print(f"seed {arguments.seed}, {arguments.rounds} rounds", file=sys.stderr)
        with agreement.Scratch(dir="/var/tmp") as scratch:
            for number in range(arguments.rounds):
                if number % ROUNDS_OF_A_REPOSITORY == 0:
                    self.repository = pathlib.Path(scratch) / f"repo-{number}"
                    ostree_repository.init(self.repository)
                with tempfile.TemporaryDirectory(dir=scratch) as directory:
                    yield number, random.Random(f"{arguments.seed}/{number}"), pathlib.Path(directory)

    def pulled(self, directory, blobs):
        """The result of a pull of BLOBS, and the tree."""
        layout = oci_layout.Layout(directory / "ours")
        layout.image("t", blobs)
        result = worker.pull("ostree-unverified-image:" + layout.reference("t"), self.repository, target="oci:merged:t").result
        return result, tree.of_commit(self.repository, "ostree/container/image/oci_3A_merged_3A_t") if result["outcome"] == "success" else {}

    def assert_right(self, wrong):
        self.assertEqual(wrong, [], f"{len(wrong)} of {arguments.rounds} differ\n" + "\n".join(wrong[:10]))

    def test_random_stacks_equal_what_umoci_unpacks(self):
        refused, hollows, wrong = 0, 0, []
        for number, rng, directory in self.rounds():
            stack = random_stack(rng)
            theirs = oci_layout.Layout(directory / "theirs")
            blobs = [oci_layout.layer(shuffled(rng, entries), rng.choice(["gzip", "plain"])) for entries in stack]
            theirs.image("t", [oci_layout.layer(for_umoci(entries)) for entries in stack])
            unpacked = subprocess.run(["umoci", "unpack", "--image", f"{theirs.path}:t", directory / "bundle"], capture_output=True)
            result, actual = self.pulled(directory, blobs)
            if unpacked.returncode != 0:
                refused += 1
            elif result["outcome"] != "success":
                wrong.append(f"round {number}: {result['error-name']}: {result['message']}")
            else:
                lines = losses.uncounted(stack, actual, result["details"])
                expected = tree.mapped(tree.of_directory(directory / "bundle/rootfs"))
                expected[""] = actual[""]  # no layer lists the root
                hollow = hollow_parents(stack, expected, actual)
                hollows += len(hollow)
                for path in hollow:
                    del actual[path]
                lines += tree.differences(expected, actual)
                if lines:
                    wrong.append(f"round {number}:\n  " + "\n  ".join(lines))
        print(f"umoci refused {refused} stacks; {hollows} parents of nothing but whiteouts", file=sys.stderr)
        self.assert_right(wrong)

    def test_careless_layers_lose_nothing_uncounted(self):
        refused, wrong = 0, []
        for number, rng, directory in self.rounds():
            stack = careless_stack(rng)
            result, actual = self.pulled(directory, [oci_layout.layer(entries, "plain") for entries in stack])
            if result["outcome"] != "success":
                refused += 1
                # Links to nothing and to directories, links in a circle, entries below a hard link.
                lines = [] if result["error-name"] in ("CorruptInput", "UnsupportedImage") else [str(result)]
            else:
                lines = losses.uncounted(stack, actual, result["details"])
            if lines:
                wrong.append(f"round {number}:\n  " + "\n  ".join(lines))
        print(f"{refused} stacks were refused", file=sys.stderr)
        self.assertLess(refused, arguments.rounds)
        self.assert_right(wrong)


parser = argparse.ArgumentParser()
parser.add_argument("--seed", default=os.environ.get("SEED", "imaged"))
parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", "100")))
arguments, remaining = parser.parse_known_args()

if __name__ == "__main__":
    if os.geteuid() != 0 or not shutil.which("umoci"):
        sys.exit(77)  # owners and special modes need root
    unittest.main(argv=sys.argv[:1] + remaining, verbosity=2)
