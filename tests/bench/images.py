# SPDX-License-Identifier: Apache-2.0
"""The images that are measured, made of Debian packages once and kept: a chunked one with derived layers, a generic one
of the same content, and ones of many small files."""
import io
import os
import random
import re
import shutil
import subprocess
import tarfile
import zlib

import encapsulate
from machine import run
from oci_writer import Layout, layers_of

USR_MERGED = re.compile(r"^(bin|sbin|lib|lib64)(?=/|$)")
DPKG_LIST = re.compile(r"var/lib/dpkg/info/([^:/]+)(:[^/]+)?\.list")
# Each a derived layer of the large image, the packages installed without their dependencies.
LARGE = [["libreoffice-core", "libreoffice-common", "libreoffice-writer", "libreoffice-calc"],
         ["fonts-noto-cjk"],
         ["emacs-common", "emacs-el"],
         ["libwine"],
         ["firefox-esr"],
         ["texlive-latex-extra", "texlive-latex-recommended", "texlive-pictures", "texlive-fonts-recommended"],
         ["python3-numpy", "python3-pandas", "python3-scipy", "r-base-core"],
         ["gimp-data", "inkscape", "git", "vim-runtime"]]
SMALL = [["git", "vim-runtime"], ["python3-numpy"], ["emacs-el"]]
# The update: these layers on the base are there, and the next one is new.
LARGE_BEFORE, SMALL_BEFORE = 3, 2


class Images:
    def __init__(self, cache):
        self.cache = cache
        os.makedirs(cache, exist_ok=True)

    def made(self, name, make):
        """The directory NAME of the cache, filled by MAKE(directory) unless it was made before."""
        path = os.path.join(self.cache, name)
        if not os.path.exists(path):
            print(f"making {path}", flush=True)
            unfinished = path + ".new"
            shutil.rmtree(unfinished, ignore_errors=True)
            os.makedirs(unfinished)
            make(unfinished)
            os.rename(unfinished, path)
        return path

    # ---- Debian

    def base(self):
        """A root file system's tar without devices, a repository with it, and which package owns each path."""
        return self.made("base", self.make_base)

    def make_base(self, directory):
        sources = [line for line in run("apt-get", "indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)",
                                        "Created-By: Packages", "Origin: Debian").splitlines()
                   if not re.search("-debug|backports", line)]
        if not sources:
            raise RuntimeError("apt of this machine knows no Debian sources: run apt-get update")
        with open("/etc/os-release") as file:
            suite = next(line.split("=")[1].strip() for line in file if line.startswith("VERSION_CODENAME="))
        # How this machine reaches them: proxies and the like, but not its paths.
        with open(directory + "/apt.conf", "w") as file:
            file.writelines(line + "\n" for line in run("apt-config", "dump").splitlines()
                            if re.match(r"Acquire::(https?|ftp)(::|-)?.*(Proxy|Verify|CaInfo)", line))
        raw = directory + "/raw.tar"
        run("mmdebstrap", "--quiet", "--variant=important", "--format=tar", f"--aptopt={directory}/apt.conf", suite, raw,
            *sorted(set(sources)), env={**os.environ, "LC_ALL": "C.UTF-8", "TMPDIR": directory})
        with tarfile.open(raw) as source, tarfile.open(directory + "/root.tar", "w", format=tarfile.PAX_FORMAT) as target:
            for member in source:
                if not (member.ischr() or member.isblk() or member.isfifo()):
                    target.addfile(member, source.extractfile(member) if member.isreg() else None)
        os.unlink(raw)
        run("ostree", "init", f"--repo={directory}/repo", "--mode=bare")
        run("ostree", "commit", f"--repo={directory}/repo", "--branch=base", f"--tree=tar={directory}/root.tar",
            "--tar-autocreate-parents", r"--tar-pathname-filter=^\./,", r"--tar-pathname-filter=^etc(/.*)?$,usr/etc\1",
            "--add-metadata-string=version=12", "--timestamp=2026-01-01 00:00:00Z")

    def owners(self):
        """Path to package."""
        owner = {}
        with tarfile.open(self.base() + "/root.tar") as tar:
            for member in tar:
                if found := DPKG_LIST.fullmatch(member.name.lstrip("./")):
                    for line in tar.extractfile(member).read().decode().splitlines():
                        owner[USR_MERGED.sub(r"usr/\1", line.lstrip("/"))] = found.group(1)
        return owner

    def packages(self, names):
        """The packages' files, downloaded."""
        def download(directory):
            run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *names, cwd=directory)
        directory = self.made("debs-" + "+".join(names), download)
        return [os.path.join(directory, name) for name in sorted(os.listdir(directory))]

    def add_packages(self, layout, layers, names):
        seen = set()
        with layout.layer(layers) as tar:
            for package in self.packages(names):
                unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE)
                with tarfile.open(fileobj=unpack.stdout, mode="r|") as content:
                    for member in content:
                        member.name = USR_MERGED.sub(r"usr/\1", member.name.lstrip("./"))
                        if member.islnk():
                            member.linkname = USR_MERGED.sub(r"usr/\1", member.linkname.lstrip("./"))
                        if not member.name or member.name in seen or member.name in ("usr/lib64",):
                            continue
                        seen.add(member.name)
                        tar.addfile(member, content.extractfile(member) if member.isreg() else None)
                if unpack.wait() != 0:
                    raise RuntimeError("cannot read " + package)

    def debian(self, quick):
        """A layout with the tags chunked, before (chunked without the update and what follows it), update and generic."""
        groups, before = (SMALL, SMALL_BEFORE) if quick else (LARGE, LARGE_BEFORE)
        base = self.base()

        def make(directory):
            layout = Layout(directory)
            commit = run("ostree", "rev-parse", f"--repo={base}/repo", "base").strip()
            owner, chunks = self.owners(), 6 if quick else 21
            def chunk_of(path):
                package = owner.get(re.sub(r"^usr/etc", "etc", path))
                return f"chunk-{zlib.crc32(package.encode()) % chunks:02}" if package else "unpackaged"
            chunked, created_by = encapsulate.write_layers(layout, base + "/repo", commit, chunk_of)
            labels = {"ostree.commit": commit, "ostree.final-diffid": chunked[-1][1], "version": "12"}
            root = []
            with layout.layer(root) as tar, tarfile.open(base + "/root.tar") as source:
                for member in source:
                    tar.addfile(member, source.extractfile(member) if member.isreg() else None)
            derived = []
            for group in groups:
                self.add_packages(layout, derived, group)
            by = created_by + ["dpkg --unpack " + " ".join(group) for group in groups]
            layout.image("chunked", chunked + derived, labels, by)
            layout.image("before", chunked + derived[:before], labels, by[:len(chunked) + before])
            layout.image("update", chunked + derived[:before + 1], labels, by[:len(chunked) + before + 1])
            layout.image("generic", root + derived)
            layout.finish()
        directory = self.made("debian-small" if quick else "debian-large", make)
        return lambda tag: f"oci:{directory}:{tag}"

    # ---- made up

    def many_files(self, count, layers=1):
        """A generic image of COUNT distinct files of about 1 KiB, a hundred to a directory."""
        def make(directory):
            layout, written = Layout(directory), []
            source = random.Random(count)
            for layer in range(layers):
                with layout.layer(written) as tar:
                    for number in range(layer * count // layers, (layer + 1) * count // layers):
                        if number % 100 == 0:
                            info = tarfile.TarInfo(f"usr/share/many/{number // 10000:03}/{number // 100 % 100:02}")
                            info.type, info.mode = tarfile.DIRTYPE, 0o755
                            tar.addfile(info)
                        content = (b"%08d " % number) + source.randbytes(8).hex().encode() * source.randint(20, 100)
                        info = tarfile.TarInfo(f"usr/share/many/{number // 10000:03}/{number // 100 % 100:02}/file-{number}")
                        info.size, info.mode = len(content), 0o644
                        tar.addfile(info, io.BytesIO(content))
            layout.image("many", written)
            layout.finish()
        return "oci:" + self.made(f"files-{count}x{layers}", make) + ":many"

    def shape(self, name):
        """Images that try to make a worker large."""
        def make(directory):
            layout, layers = Layout(directory), []
            if name == "one-file":  # of 1 GiB
                with layout.layer(layers) as tar, open("/dev/zero", "rb") as zeros:
                    info = tarfile.TarInfo("usr/large")
                    info.size = 1 << 30
                    tar.addfile(info, zeros)
            elif name == "many-layers":
                for number in range(120):
                    with layout.layer(layers) as tar:
                        info = tarfile.TarInfo(f"usr/layer/{number}")
                        info.size = 5
                        tar.addfile(info, io.BytesIO(b"%05d" % number))
            else:  # zstd windows of 16 MiB, two at once
                source = random.Random(1)
                for number in range(4):
                    with layout.layer(layers, "zstd-long") as tar:
                        for part in range(40):
                            content = source.randbytes(1 << 20)
                            info = tarfile.TarInfo(f"usr/zstd/{number}-{part}")
                            info.size = len(content)
                            tar.addfile(info, io.BytesIO(content))
            layout.image(name, layers)
            layout.finish()
        return "oci:" + self.made("shape-" + name, make) + ":" + name

    def tiny(self, count):
        """COUNT images that differ in one file, in one layout; gives the reference of each."""
        def make(directory):
            layout, common = Layout(directory), []
            with layout.layer(common) as tar:
                info = tarfile.TarInfo("usr/common")
                tar.addfile(info)
            for number in range(count):
                layers = list(common)
                with layout.layer(layers) as tar:
                    info = tarfile.TarInfo("usr/number")
                    info.size = 5
                    tar.addfile(info, io.BytesIO(b"%05d" % number))
                layout.image(f"v{number}", layers, {"org.opencontainers.image.version": f"1.{number}"})
            layout.finish()
        directory = self.made(f"tiny-{count}", make)
        return [f"oci:{directory}:v{number}" for number in range(count)]


def size_of(reference):
    """(layers, compressed bytes)."""
    layers = layers_of(reference)
    return len(layers), sum(map(os.path.getsize, layers))
