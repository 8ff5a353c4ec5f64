#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Everything at once on one repository: two daemons that pull, update, roll back, remove, prune, verify and copy images that share layers; beside them `ostree commit`, `ostree
prune`, and `ostree admin deploy` and `undeploy`. At the end the tree of every image, and of the version that is kept of it, is compared with its source.

./dev soak mix --minutes N --seed S
"""
import argparse
import collections
import hashlib
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time

from gi.repository import GLib

import rig
import oci_layout
import tree
from bus_fixture import MANAGER
from oci_layout import Entry

TAGS = [f"t{number}" for number in range(6)]
POOL = 8  # layers that images share
MODULES = "usr/lib/modules/6.1.0"
# Every image can be deployed.
SYSTEM = [*(Entry(name, "dir", mode=0o755) for name in ("usr", "usr/etc", "usr/lib", "usr/lib/modules", MODULES, "boot", "ostree", "sysroot", "var")),
          Entry(MODULES + "/vmlinuz", content=b"kernel"), Entry(MODULES + "/initramfs.img", content=b"initramfs"),
          Entry("usr/lib/os-release", content=b"NAME=Mix\nID=mix\nVERSION=1\n"), Entry("usr/etc/issue", content=b"mix\n")]
LOCK_SECONDS = 300  # of other programs' locks; all of them are at work all the time
JOB_SECONDS = 400


class Layout(oci_layout.Layout):
    """One whose index is replaced at once: skopeo may be reading it."""

    def image(self, tag, layers):
        index = self.path / "index.json"
        new = Layout.__new__(Layout)
        new.path, new.manifests = self.path / "new", self.manifests
        (self.path / "new").mkdir(exist_ok=True)
        if not (self.path / "new/blobs").exists():
            (self.path / "new/blobs").symlink_to("../blobs")
        digest = oci_layout.Layout.image(new, tag, layers)
        self.manifests = new.manifests
        (self.path / "new/index.json").rename(index)
        return digest


class Source:
    """An image that changes, and the tree that it must have."""

    def __init__(self, mix, tag):
        self.mix, self.tag, self.lock = mix, tag, threading.Lock()
        self.layout = Layout(mix.directory / f"layout-{tag}")
        self.stored = None  # (digest, tree) of what the repository must have
        self.kept = None  # the same of the version before
        self.copied = None  # the same of the other repository
        self.change(random.Random(f"{mix.seed} {tag}"))

    def change(self, rng):
        """Layers of the pool, one of its own, and one file that each layer replaces."""
        picked = sorted(rng.sample(range(POOL), 4))
        own = [Entry(f"usr/share/own/f{number}", content=rng.randbytes(rng.choice([0, 100, 5000, 40000]))) for number in range(20)]
        own.append(Entry("usr/share/last", content=self.tag.encode()))
        entries = [SYSTEM, *(self.mix.pool[number][0] for number in picked), own]
        blobs = [self.mix.system, *(self.mix.pool[number][1] for number in picked), oci_layout.layer(own)]
        self.digest = self.layout.image(self.tag, blobs)
        self.tree = {entry.path: hashlib.sha256(entry.content).hexdigest() for layer in entries for entry in layer if entry.kind == "file"}

    @property
    def name(self):
        return self.layout.reference(self.tag)


class Mix:
    def __init__(self, directory, seed):
        self.directory, self.seed = pathlib.Path(directory), seed
        rng = random.Random(seed)
        self.pool = []
        for number in range(POOL):
            entries = [Entry(f"usr/share/p{number}/d{n % 5}/f{n}", content=rng.randbytes(rng.choice([0, 50, 3000, 20000]))) for n in range(60)]
            entries += [Entry("usr/share/last", content=f"pool {number}".encode()), Entry(f"usr/share/p{number}/large", content=rng.randbytes(300_000))]
            self.pool.append((entries, oci_layout.layer(entries)))
        self.system = oci_layout.layer(SYSTEM)
        self.sources = {tag: Source(self, tag) for tag in TAGS}
        self.sysroot = self.directory / "sysroot"
        self.sysroot.mkdir()
        self.admin("init-fs", "--modern", self.sysroot)
        self.admin("os-init", f"--sysroot={self.sysroot}", "mix")
        self.repository = rig.Repository(self.sysroot / "ostree/repo")
        self.other = rig.Repository(self.directory / "other")
        for repository in (self.repository, self.other):
            repository.ostree("config", "set", "core.lock-timeout-secs", LOCK_SECONDS)
        self.daemons = []
        for number in range(2):
            place = self.directory / f"daemon{number}"
            place.mkdir()
            self.daemons.append(rig.Daemon(place, self.repository))
        self.counts, self.failures, self.commits = collections.Counter(), [], {}
        self.admin_lock = threading.Lock()
        self.guard, self.ended = threading.Lock(), threading.Event()

    @staticmethod
    def admin(*arguments):
        return rig.run("ostree", "admin", *arguments, env={**os.environ, "OSTREE_SYSROOT_DEBUG": "mutable-deployments"})

    def note(self, what, failure=None):
        with self.guard:
            self.counts[what] += 1
            if failure:
                self.failures.append(f"{what}: {failure}")
                print(f"    {what}: {failure}", flush=True)

    # ---- what clients of the daemons do

    def job(self, client, what, method, signature, *arguments, accepted=()):
        """The outcome of a job that succeeds; None of one that ends in an error of ACCEPTED."""
        number = client.call(MANAGER, method, GLib.Variant(signature, arguments))[0]
        job = client.finished(number, timeout=JOB_SECONDS)
        error = job["ErrorName"].rpartition(".")[2]
        good = job["Result"] == "success" or error in accepted
        self.note(what, None if good else f"{error}: {job['ErrorMessage']}")
        return job["Outcome"] if job["Result"] == "success" else None

    def pull(self, client, source, rng):
        with source.lock:
            if update := rng.random() < 0.5:
                source.change(rng)
            # The digest that was asked for or an error: no other end.
            if self.job(client, "update" if update else "pull", "Pull", "(sa{sv})", "ostree-unverified-image:" + source.name, {}) is not None:
                if source.stored and source.stored[0] != source.digest:
                    source.kept = source.stored
                source.stored = (source.digest, source.tree)

    def remove(self, client, source, _):
        with source.lock:
            if self.job(client, "remove", "Remove", "(asa{sv})", [source.name], {}, accepted=("NotFound",)) is not None:
                source.stored = source.kept = None

    def rollback(self, client, source, _):
        with source.lock:
            accepted = () if source.kept else ("NotFound",)
            outcome = self.job(client, "rollback" if source.kept else "rollback to nothing", "Rollback", "(sa{sv})", source.name, {}, accepted=accepted)
            if outcome is None:
                return
            source.stored, source.kept = source.kept, source.stored
            if not source.stored or outcome["digest"] != source.stored[0]:
                self.note("rollback", f"to {outcome['digest']} instead of {source.stored and source.stored[0]}")

    def copy(self, client, source, _):
        with source.lock:
            if source.stored and self.job(client, "copy", "Copy", "(ssa{sv})", source.name, str(self.other.path), {}) is not None:
                source.copied = source.stored

    def prune(self, client, *_):
        self.job(client, "prune", "Prune", "(a{sv})", {})

    def verify(self, client, *_):
        outcome = self.job(client, "verify", "Verify", "(asa{sv})", [], {})
        for image in (outcome or {}).get("damaged", []):
            # Others move refs meanwhile; what is still wrong in the end is what counts.
            kinds = {problem["kind"] for problem in image["problems"]}
            self.note("damage seen in between, by kind " + "/".join(sorted(kinds)))

    def client_work(self, daemon, seed):
        rng, client = random.Random(seed), daemon.client()
        work = [self.pull] * 5 + [self.rollback] * 2 + [self.remove, self.copy, self.copy, self.prune, self.verify]
        try:
            while not self.ended.is_set():
                rng.choice(work)(client, self.sources[rng.choice(TAGS)], rng)
        except Exception as error:  # whatever ends a client early is a failure of the run
            self.note("client", repr(error))
        finally:
            client.close()

    # ---- what other programs do

    def beside(self, what, work, pause):
        while not self.ended.wait(pause):
            try:
                work()
                self.note(what)
            except subprocess.CalledProcessError as error:
                self.note(what, error.stderr.strip())

    def commit(self):
        branch, place = f"other/{self.counts['ostree commit'] % 3}", self.directory / "tree"
        place.mkdir(exist_ok=True)
        (place / f"f{self.counts['ostree commit'] % 20}").write_bytes(os.urandom(5000))
        self.repository.ostree("commit", f"--branch={branch}", place)
        self.commits[branch] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in place.iterdir()}

    def ostree_prune(self):
        # `ostree admin` takes the refs of all deployments away before it writes them anew, so nobody may run `ostree prune` beside it (OstreeAlone in
        # odd_trials.py shows it); imaged's prune is safe.
        with self.admin_lock:
            self.repository.ostree("prune", "--refs-only", "--depth=1")

    def deploy(self):
        """A stored image for a while, whatever becomes of it under its name."""
        rng = random.Random(self.counts["deploy"])
        with (source := self.sources[rng.choice(TAGS)]).lock:
            if not source.stored:
                return
            commit = self.repository.ostree("rev-parse", rig.IMAGE_REF + self.escaped(source.name)).strip()
            with self.admin_lock:
                self.admin("deploy", f"--sysroot={self.sysroot}", "--os=mix", "--retain", commit)
            wanted = source.stored[1]
        root = self.sysroot / f"ostree/deploy/mix/deploy/{commit}.0"
        if (found := {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in wanted}) != wanted:
            self.note("deployment", f"{commit} differs from its source: {[path for path in wanted if found[path] != wanted[path]][:5]}")
        self.note("deploy")
        while len(self.admin("status", f"--sysroot={self.sysroot}").split("mix ")) > 3:
            with self.admin_lock:
                self.admin("undeploy", f"--sysroot={self.sysroot}", "1")
            self.note("undeploy")

    @staticmethod
    def escaped(text):
        """A reference as a part of a ref's name."""
        return "".join(c if c.isalnum() or c == "-" or (c == "/" and text[n - 1].isalnum() and text[n + 1:n + 2]) else "__" if c == "_" else f"_{ord(c):02X}_"
                       for n, c in enumerate(text))

    # ---- the end

    def run(self, seconds):
        threads = [threading.Thread(target=self.client_work, args=(daemon, f"{self.seed} {number} {client}"))
                   for number, daemon in enumerate(self.daemons) for client in range(2)]
        threads += [threading.Thread(target=self.beside, args=arguments)
                    for arguments in (("ostree commit", self.commit, 0.5), ("ostree prune", self.ostree_prune, 2), ("deploy and undeploy", self.deploy, 3))]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(thread.is_alive() for thread in threads[:4]):
            time.sleep(1)
        self.ended.set()
        for thread in threads:
            thread.join()
        for daemon in self.daemons:
            self.note("daemon", None if daemon.process.poll() is None else f"ended with {daemon.process.returncode}")

    def compare(self, repository, what, expected):
        """The images of REPOSITORY with EXPECTED, (digest, tree) by reference. Returns how many were compared and how many are lost."""
        refs, lost = repository.images(), 0
        for name, (_, wanted) in expected.items():
            ref = rig.IMAGE_REF + self.escaped(name)
            try:
                found = {path: entry[5] for path, entry in tree.of_commit(repository.path, ref).items() if entry[0] == "file"}
            except (subprocess.CalledProcessError, OSError) as error:
                found = str(getattr(error, "stderr", error))
            if found != wanted:
                lost += 1
                differs = found if isinstance(found, str) else sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))[:5]
                print(f"    LOST in {what}: {name}: {differs}", flush=True)
        stray = set(refs) - {rig.IMAGE_REF + self.escaped(name) for name in expected}
        if stray:
            print(f"    images in {what} that were removed: {sorted(stray)}", flush=True)
        return len(expected), lost + len(stray)

    def lost_version(self, source):
        """Whether the version that SOURCE had before is not kept: the latest of those that are."""
        prefix = f"imaged/kept/{self.escaped(source.name)}/version."
        numbers = [int(ref.removeprefix(prefix)) for ref in self.repository.refs() if ref.startswith(prefix)]
        found = numbers and {path: entry[5] for path, entry in tree.of_commit(self.repository.path, f"{prefix}{max(numbers)}").items() if entry[0] == "file"}
        if found == source.kept[1]:
            return False
        print(f"    LOST: the version before of {source.name}; kept are {numbers}", flush=True)
        return True

    def judge(self):
        """Problems in the end."""
        compared, lost = self.compare(self.repository, "the repository", {source.name: source.stored for source in self.sources.values() if source.stored})
        for source in self.sources.values():
            if source.kept:
                compared, lost = compared + 1, lost + self.lost_version(source)
        more, lost_copies = self.compare(self.other, "the copy", {source.name: source.copied for source in self.sources.values() if source.copied})
        problems = []
        for branch, wanted in self.commits.items():
            found = {path: entry[5] for path, entry in tree.of_commit(self.repository.path, branch).items() if entry[0] == "file"}
            if found != wanted:
                problems.append(f"the commit of {branch} differs")
        for repository in (self.repository, self.other):
            problems += repository.check([])
        client = self.daemons[0].client()
        outcome = self.job(client, "verify in the end", "Verify", "(asa{sv})", [], {})
        if not outcome or not outcome["sound"]:
            problems.append(f"verify in the end: {outcome}")
        # Nothing stays of a job once the next one that clears has ended.
        self.prune(client)
        problems += [f"left in tmp: {name}" for name in self.repository.leftovers() + self.other.leftovers()]
        client.close()
        return compared + more, lost + lost_copies, problems


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="imaged-mix-") as directory:
        os.chmod(directory, 0o755)
        mix = Mix(directory, arguments.seed)
        try:
            mix.run(arguments.minutes * 60)
            compared, lost, problems = mix.judge()
        finally:
            for daemon in mix.daemons:
                daemon.stop()
            # A deployment's directory cannot be removed otherwise.
            subprocess.run(["chattr", "-R", "-i", mix.sysroot / "ostree/deploy"], stderr=subprocess.DEVNULL, check=False)
    print(*(f"    {problem}" for problem in problems), sep="\n", end="\n" if problems else "")
    print("mix: " + ", ".join(f"{count} {what}" for what, count in sorted(mix.counts.items())))
    print(f"mix: {compared} trees compared with their sources, {lost} lost; {len(mix.failures)} jobs or commands failed, {len(problems)} problems; "
          f"seed {arguments.seed}, {arguments.minutes:g} minutes")
    return 1 if lost or problems or mix.failures else 0


if __name__ == "__main__":
    sys.exit(main())
