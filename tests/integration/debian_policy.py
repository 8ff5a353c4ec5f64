# SPDX-License-Identifier: Apache-2.0
"""The SELinux policy of Debian's package selinux-policy-default, without installing it: its modules' file contexts, put together and
sorted as libsemanage does."""
import bz2
import pathlib
import struct
import subprocess

POLICY_PACKAGE, FILE_CONTEXTS = 0xF97CFF8F, 0xF97CFF90
META = set(".^$?*+|[({")


def fetch(directory):
    """Unpacks the package below DIRECTORY and returns that; None where apt cannot fetch it."""
    directory = pathlib.Path(directory)
    directory.mkdir()
    done = subprocess.run(["apt-get", "download", "-qq", "selinux-policy-default"], cwd=directory, capture_output=True)
    packages = list(directory.glob("*.deb"))
    if done.returncode != 0 or not packages:
        return None
    subprocess.run(["dpkg-deb", "-x", packages[0], directory / "root"], check=True)
    return directory / "root"


def _module_contexts(data):
    magic, _, count = struct.unpack_from("<III", data)
    assert magic == POLICY_PACKAGE
    for offset in struct.unpack_from(f"<{count}I", data, 12):
        if struct.unpack_from("<I", data, offset)[0] == FILE_CONTEXTS:
            end = min([other for other in struct.unpack_from(f"<{count}I", data, 12) if other > offset], default=len(data))
            return data[offset + 4:end].decode()
    return ""


def _order(line):
    path = line.split()[0]
    stem = next((number for number, character in enumerate(path) if character in META and path[number - 1:number] != "\\"), len(path))
    return (stem == len(path), stem, len(path), len(line.split()) == 3)


def file_contexts(root):
    """The text of contexts/files/file_contexts that the modules in the unpacked package make."""
    lines = []
    for name in (root / "usr/share/selinux/default/.modules").read_text().split():
        text = _module_contexts(bz2.decompress((root / f"usr/share/selinux/default/{name}.pp.bz2").read_bytes()))
        # Templates are filled in with the system's users, of which an image has none.
        lines += [line for line in text.splitlines() if line.startswith("/") and "%{" not in line]
    return "".join(line + "\n" for line in sorted(lines, key=_order))


def files(root):
    """What the policy brings into an image: path → content."""
    contexts = "etc/selinux/default/contexts/files/"
    return {"etc/selinux/config": b"SELINUX=enforcing\nSELINUXTYPE=default\n",
            contexts + "file_contexts": file_contexts(root).encode(),
            contexts + "file_contexts.subs_dist": (root / (contexts + "file_contexts.subs_dist")).read_bytes()}
