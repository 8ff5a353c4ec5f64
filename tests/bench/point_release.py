# SPDX-License-Identifier: Apache-2.0
"""Two Debian images in two states: as Debian's last point release has their packages, and with all updates since (bookworm-updates and bookworm-security). Each is one layer, as mmdebstrap
makes it with all that the packages' scripts write."""
import os
import re
import shutil
import subprocess
import tarfile

from oci_writer import Layout

MIRROR = "http://deb.debian.org"
RELEASE = [f"deb {MIRROR}/debian bookworm main"]
UPDATED = RELEASE + [f"deb {MIRROR}/debian bookworm-updates main", f"deb {MIRROR}/debian-security bookworm-security main"]
# The first: those of the image buildpack-deps:bookworm, which images of languages are made from.
IMAGES = {
    "build": ("ca-certificates curl gnupg netbase sq wget git mercurial openssh-client subversion procps autoconf automake bzip2 default-libmysqlclient-dev dpkg-dev file g++ gcc imagemagick "
              "libbz2-dev libc6-dev libcurl4-openssl-dev libdb-dev libevent-dev libffi-dev libgdbm-dev libglib2.0-dev libgmp-dev libjpeg-dev libkrb5-dev liblzma-dev libmagickcore-dev "
              "libmagickwand-dev libmaxminddb-dev libncurses5-dev libncursesw5-dev libpng-dev libpq-dev libreadline-dev libsqlite3-dev libssl-dev libtool libwebp-dev libxml2-dev libxslt1-dev "
              "libyaml-dev make patch unzip xz-utils zlib1g-dev").split(),
    "server": "systemd-sysv openssh-server nginx postgresql-15 python3 git vim curl".split(),
}


def make_root(directory, name, age):
    """The tar of an image."""
    path = directory / f"{name}-{age}.tar"
    if not path.exists():
        unfinished = directory / f"{name}-{age}.new.tar"
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--skip=output/dev", "--include=" + ",".join(IMAGES[name]), "bookworm", unfinished,
                        *(RELEASE if age == "old" else UPDATED)], check=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}, stdin=subprocess.DEVNULL)
        unfinished.rename(path)
    return path


def members(path, prefix=""):
    """What a layer has of the tar PATH, with the contents: (member, file or None)."""
    with tarfile.open(path) as content:
        for member in content:
            member.name = prefix + re.sub(r"^(\./?)?", "", member.name)
            if member.name == prefix or member.ischr():
                continue
            if member.islnk():
                member.linkname = prefix + re.sub(r"^\./", "", member.linkname)
            yield member, content.extractfile(member) if member.isreg() else None


def packages(path):
    """Package → version of an image's tar."""
    with tarfile.open(path) as content:
        text = content.extractfile("./var/lib/dpkg/status").read().decode()
    return dict(re.findall(r"^Package: (\S+)\n(?:.+\n)*?Version: (\S+)$", text, re.MULTILINE))


def make_images(directory, name):
    """A layout with the tags NAME-old, NAME-new, and NAME-moved, which is the new one with all files in another directory; how many packages there are, and how many are other ones in the new."""
    path = directory / f"{name}-images"
    if not path.exists():
        tars = {age: make_root(directory, name, age) for age in ("old", "new")}
        old, new = (packages(tars[age]) for age in ("old", "new"))
        unfinished = directory / f"{name}-images.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        layout = Layout(str(unfinished))
        for age, tar, prefix in (("old", tars["old"], ""), ("new", tars["new"], ""), ("moved", tars["new"], "srv/")):
            layers = []
            with layout.layer(layers, "zstd") as written:
                for member, content in members(tar, prefix):
                    written.addfile(member, content)
            layout.image(f"{name}-{age}", layers, {"version": age})
        layout.finish()
        (unfinished / "packages").write_text(f"{len(new)} {sum(old.get(package) != version for package, version in new.items())}")
        unfinished.rename(path)
        for tar in tars.values():
            tar.unlink()
    return (path, *map(int, (path / "packages").read_text().split()))
