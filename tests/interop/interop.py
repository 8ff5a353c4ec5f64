# SPDX-License-Identifier: Apache-2.0
"""Builds one image with each real builder, pulls it through the bus, and compares the stored tree entry by entry with what umoci, and where it can buildah, make
of the same image. Prints a table; exits with 1 if anything differs. See docs/interoperability.md; ./dev interop runs it."""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from gi.repository import GLib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))


def run(*command, **options):
    """The standard output of COMMAND."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def write(path, content, mode=0o644, owner=(0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.chown(path, *owner)
    os.chmod(path, mode)


def make_trees(directory):
    """What every builder is given: a lower tree, and what a second layer adds to it."""
    lower, upper = directory / "lower", directory / "upper"
    write(lower / "usr/bin/tool", b"#!/bin/sh\necho tool\n", 0o4755)
    write(lower / "usr/bin/server", b"server" * 5000, 0o755)
    os.setxattr(lower / "usr/bin/server", "security.capability", bytes([1, 0, 0, 2, 0, 4]) + bytes(14))
    os.setxattr(lower / "usr/bin/server", "user.note", b"kept")
    write(lower / "usr/lib/libx.so.1", b"library" * 40_000)
    os.symlink("libx.so.1", lower / "usr/lib/libx.so")
    os.link(lower / "usr/lib/libx.so.1", lower / "usr/lib/libx-hard.so")
    write(lower / "usr/share" / ("long-" * 20) / ("name-" * 30) / "deep", b"deep")
    write(lower / "usr/share/Ünï/日本", b"utf-8")
    write(lower / "usr/share/zeros", bytes(1 << 20) + b"end")
    write(lower / "usr/share/old/one", b"1")
    write(lower / "usr/share/old/two", b"2")
    write(lower / "etc/app.conf", b"key=value\n", 0o640, (0, 42))
    write(lower / "etc/gone.conf", b"gone\n")
    os.symlink("/usr/bin/tool", lower / "etc/alternative")
    write(lower / "var/lib/app/state", b"state", 0o600, (1000, 1000))
    (lower / "opt/empty").mkdir(parents=True)
    os.chmod(lower / "opt/empty", 0o1777)
    (lower / "tmp").mkdir(mode=0o1777)
    write(upper / "etc/app.conf", b"key=other\n", 0o600, (0, 42))
    write(upper / "usr/share/old/three", b"3")
    write(upper / "usr/bin/added", b"added", 0o2755, (0, 50))
    return lower, upper


DOCKERFILE = "FROM scratch\nCOPY lower /\nCOPY upper /\nLABEL built=by-interop\n"


class Builders:
    """Each method that is listed in ALL builds an image and returns a reference that imaged pulls; the version is in VERSIONS."""

    def __init__(self, directory, registry, tools):
        self.directory, self.registry, self.tools = directory, registry, tools
        self.lower, self.upper = make_trees(directory)
        self.storage = ["--root", directory / "storage", "--runroot", directory / "runroot", "--storage-driver", "vfs"]
        self.mounted = {}

    def oci(self, name):
        return self.directory / name

    def buildah_build(self):
        """A Dockerfile, one layer for each instruction."""
        (self.directory / "Dockerfile").write_text(DOCKERFILE)
        run("buildah", *self.storage, "bud", "--layers", "--isolation", "chroot", "-q", "-t", "interop", "-f", self.directory / "Dockerfile", self.directory)
        run("buildah", *self.storage, "push", "-q", "interop", f"oci:{self.oci('bud')}:t")
        self.mount("buildah build", "interop")
        return f"oci:{self.oci('bud')}:t", run("buildah", "--version").split()[2]

    def buildah_commit(self):
        """A mounted container in which files are changed, replaced and removed: whiteouts and an opaque directory."""
        image = "localhost/interop-base"
        base = run("buildah", *self.storage, "from", "scratch")
        run("buildah", *self.storage, "copy", "-q", base, self.lower, "/")
        run("buildah", *self.storage, "commit", "-q", base, image)
        container = run("buildah", *self.storage, "from", image)
        root = pathlib.Path(run("buildah", *self.storage, "mount", container))
        self.change(root)
        run("buildah", *self.storage, "commit", "-q", "--format", "docker", container, "interop-commit")
        run("buildah", *self.storage, "push", "-q", "interop-commit", f"oci:{self.oci('commit')}:t")
        self.mount("buildah commit", "interop-commit")
        return f"oci:{self.oci('commit')}:t", run("buildah", "--version").split()[2]

    def change(self, root):
        (root / "etc/gone.conf").unlink()
        shutil.rmtree(root / "usr/share/old")
        run("cp", "-a", f"{self.upper}/.", root)
        os.chmod(root / "opt/empty", 0o750)
        (root / "usr/lib/libx.so").unlink()
        write(root / "usr/lib/libx.so/plugin", b"a directory in the place of a link")

    def mount(self, name, image):
        container = run("buildah", *self.storage, "from", image)
        self.mounted[name] = pathlib.Path(run("buildah", *self.storage, "mount", container))

    def umoci_repack(self):
        """A bundle that is unpacked, changed and repacked."""
        layout = self.oci("umoci")
        run("umoci", "init", "--layout", layout)
        run("umoci", "new", "--image", f"{layout}:t")
        bundle = self.directory / "bundle"
        run("umoci", "unpack", "--image", f"{layout}:t", bundle)
        run("cp", "-a", f"{self.lower}/.", bundle / "rootfs")
        run("umoci", "repack", "--refresh-bundle", "--image", f"{layout}:t", bundle)
        self.change(bundle / "rootfs")
        run("umoci", "repack", "--image", f"{layout}:t", bundle)
        return f"oci:{layout}:t", run("umoci", "--version").split()[-1]

    def skopeo_docker_archive(self):
        """What `docker save` writes, as skopeo writes it."""
        archive = self.directory / "docker.tar"
        run("skopeo", "copy", "-q", f"oci:{self.oci('umoci')}:t", f"docker-archive:{archive}:interop:t")
        return f"docker-archive:{archive}", run("skopeo", "--version").split()[-1]

    def plain(self):
        """umoci's image with layers that are not compressed, so that every copy of it compresses them."""
        plain = self.directory / "plain"
        if not plain.exists():
            run("skopeo", "copy", "-q", "--dest-decompress", f"oci:{self.oci('umoci')}:t", f"dir:{plain}")
        return f"dir:{plain}"

    def skopeo_zstd(self):
        run("skopeo", "copy", "-q", "--dest-compress-format", "zstd", self.plain(), f"oci:{self.oci('zstd')}:t")
        return f"oci:{self.oci('zstd')}:t", run("skopeo", "--version").split()[-1]

    def skopeo_zstd_chunked(self):
        """The skopeo of Debian 13, out of a root directory of it, with its own libraries."""
        root = self.tools.trixie
        if not root or not (root / "usr/bin/skopeo").exists():
            raise FileNotFoundError("no root directory of Debian 13 with skopeo (--trixie)")
        loader = next((root / "usr/lib64").glob("ld-linux*")) if (root / "usr/lib64").is_dir() else next((root / "lib64").glob("ld-linux*"))
        libraries = ":".join(str(path) for path in (root / "usr/lib").glob("*-linux-gnu"))
        skopeo = [loader, "--library-path", libraries, root / "usr/bin/skopeo", "--policy", self.directory / "policy.json"]
        (self.directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        run(*skopeo, "copy", "-q", "--dest-compress-format", "zstd:chunked", self.plain(), f"oci:{self.oci('chunked')}:t")
        return f"oci:{self.oci('chunked')}:t", run(*skopeo, "--version").split()[-1]

    def crane_append(self):
        """Tars of GNU tar as layers of an empty image, pushed to a registry."""
        crane = self.tools.crane
        if not crane:
            raise FileNotFoundError("crane is not there (go install needs Go)")
        layers = []
        for tree in (self.lower, self.upper):
            layers.append(self.directory / f"{tree.name}.tar")
            run("tar", "--xattrs", "--xattrs-include=*", "-C", tree, "-cf", layers[-1], ".")
        name = f"{self.registry.address}/crane:t"
        run(crane, "append", "--insecure", "--oci-empty-base", "-f", layers[0], "-f", layers[1], "-t", name)
        return "docker://" + name, run(crane, "version")

    def jib(self):
        """A layer of files and directories, as Jib makes them for Java programs."""
        if not self.tools.jib:
            raise FileNotFoundError("Jib is not there (it needs Java and Maven)")
        name = f"{self.registry.address}/jib:t"
        run("java", "-cp", self.tools.jib, HERE / "JibImage.java", self.lower, name, env={**os.environ, "XDG_CACHE_HOME": str(self.directory / "jib-cache")})
        version = re.search(r"jib-core-([0-9.]+)\.jar", self.tools.jib)
        return "docker://" + name, version.group(1) if version else "?"

    ALL = {"buildah build": buildah_build, "buildah commit": buildah_commit, "umoci repack": umoci_repack, "skopeo docker-archive": skopeo_docker_archive,
           "skopeo zstd": skopeo_zstd, "skopeo zstd:chunked": skopeo_zstd_chunked, "crane append": crane_append, "Jib": jib}


class Comparison:
    def __init__(self, directory, client, registry):
        import bus_fixture
        import tree
        self.directory, self.client, self.registry, self.fixture, self.tree = directory, client, registry, bus_fixture, tree
        self.repository = directory / "repo"

    def pull(self, reference):
        number, _ = self.client.start("Pull", "ostree-unverified-image:" + reference)
        job = self.client.finished(number, 300)
        if job["Result"] != "success":
            raise RuntimeError(f"{job['ErrorName']}: {job['ErrorMessage']}")
        return job["Outcome"]

    def unpacked(self, name, reference):
        """What umoci makes of the image."""
        layout, root = self.directory / f"{name}.layout", self.directory / f"{name}.umoci"
        plain = ["--src-tls-verify=false"] if reference.startswith("docker://") else []
        run("skopeo", "copy", "-q", *plain, "--dest-compress-format", "gzip", reference, f"oci:{layout}:t")
        run("umoci", "raw", "unpack", "--image", f"{layout}:t", root)
        return root

    def formats(self, image):
        """How the layers of the stored image are compressed."""
        text, = self.client.call(self.fixture.MANAGER, "GetManifest", GLib.Variant("(s)", (image,)))
        layers = json.loads(text)["layers"]
        chunked = any("zstd-chunked" in key for layer in layers for key in layer.get("annotations", {}))
        kinds = {layer["mediaType"].rpartition("tar")[2].lstrip("+.") or "none" for layer in layers}
        return ", ".join(sorted(kinds)) + (":chunked" if chunked else "")

    def root_of(self, root):
        return self.tree.of_directory(str(root))[""]

    def compare(self, name, reference, mounted):
        outcome = self.pull(reference)
        stored = self.tree.of_commit(self.repository, outcome["commit"])
        row = {"layers": outcome["layers"], "compression": self.formats(outcome["image"]), "entries": len(stored), "dropped": sum(outcome.get(key, 0) for key in ("attributes-dropped", "special-files-dropped", "names-dropped"))}
        for tool, root in (("umoci", self.unpacked(name.replace(" ", "-").replace(":", "-"), reference)), ("buildah mount", mounted)):
            if root is None:
                row[tool] = "-"
                continue
            # No layer of buildah's lists the root, whose mode buildah keeps for itself.
            stored[""] = stored[""] if tool == "umoci" else self.root_of(root)
            expected = self.tree.mapped(self.tree.of_directory(str(root)))
            differences = self.tree.differences(expected, stored)
            row[tool] = "same" if not differences else f"{len(differences)} differ"
            for difference in differences[:10]:
                print(f"{name}, {tool}: {difference}", file=sys.stderr)
        return row


def print_table(rows):
    columns = ["builder", "version", "layers", "compression", "entries", "dropped", "umoci", "buildah mount"]
    print("| " + " | ".join(columns) + " |\n|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(str(row.get(column, "-")) for column in columns) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crane", type=pathlib.Path, help="the program crane")
    parser.add_argument("--jib", help="class path of jib-core and what it needs")
    parser.add_argument("--trixie", type=pathlib.Path, help="root directory of Debian 13 with skopeo in it")
    parser.add_argument("--only", help="one builder of the table")
    tools = parser.parse_args()
    import golden
    import real_daemon
    import registry as registries
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="interop-") as scratch:
        directory = pathlib.Path(scratch)
        registry = registries.Registry(directory / "registry")
        golden.make_repository(directory / "repo")
        daemon = real_daemon.Daemon(directory, directory / "repo", "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF\n",
                                    {"CONTAINERS_REGISTRIES_CONF": str(registry.configuration)})
        client = daemon.client()
        builders, comparison = Builders(directory, registry, tools), Comparison(directory, client, registry)
        rows, failed = [], False
        try:
            for name, build in builders.ALL.items():
                if tools.only and name not in (tools.only, "umoci repack"):
                    continue
                row = {"builder": name}
                rows.append(row)
                try:
                    reference, row["version"] = build(builders)
                    row.update(comparison.compare(name, reference, builders.mounted.get(name)))
                except FileNotFoundError as missing:
                    row["umoci"] = "not run"
                    print(f"{name}: {missing}", file=sys.stderr)
                except RuntimeError as error:
                    row["umoci"], failed = "failed", True
                    print(f"{name}: {error}", file=sys.stderr)
                failed = failed or any("differ" in str(row.get(tool)) for tool in ("umoci", "buildah mount"))
            fsck = subprocess.run(["ostree", f"--repo={directory}/repo", "fsck", "--quiet"], capture_output=True, text=True)
        finally:
            client.close()
            daemon.stop()
            registry.stop()
            subprocess.run(["buildah", *map(str, builders.storage), "umount", "--all"], capture_output=True)
        print_table(rows)
        libostree = run("ostree", "--version").split("'")[1]
        print(f"\nostree fsck: {'sound' if fsck.returncode == 0 else fsck.stderr.strip()}. libostree {libostree}, umoci {run('umoci', '--version').split()[-1]}, "
              f"buildah {run('buildah', '--version').split()[2]}, skopeo {run('skopeo', '--version').split()[-1]} on {release()}.")
        return 1 if failed or fsck.returncode != 0 else 0


def release():
    fields = dict(line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return fields.get("PRETTY_NAME", "?").strip('"')


if __name__ == "__main__":
    if os.geteuid() != 0:
        sys.exit("interop needs root: a bare repository, owners, and mounts of buildah")
    sys.exit(main())
