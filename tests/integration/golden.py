# SPDX-License-Identifier: Apache-2.0
"""What ostree-ext wrote (tests/data), unpacked; and OSTree repositories looked at with ostree's own tool."""
import os
import pathlib
import subprocess

DATA = pathlib.Path(os.environ.get("SOURCE_ROOT", pathlib.Path(__file__).resolve().parents[2])) / "tests/data"
BLOB, IMAGE = "ostree/container/blob/", "ostree/container/image/"
BASE, DERIVED = IMAGE + "oci_3A_oci_3A_base", IMAGE + "oci_3A_oci_3A_derived"


def unpack(name, directory):
    """oci.tar.gz or repo.tar.gz, into DIRECTORY."""
    subprocess.run(["tar", "-xzf", DATA / name, "--xattrs", "--xattrs-include=*", "-C", directory], check=True)
    return pathlib.Path(directory) / name.split(".")[0]


def expected_refs():
    return dict(line.split() for line in (DATA / "refs.txt").read_text().splitlines())


def ostree(repository, *arguments):
    return subprocess.run(["ostree", f"--repo={repository}", *arguments], check=True, capture_output=True, text=True).stdout


def make_repository(path, mode="bare"):
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    ostree(path, "init", f"--mode={mode}")
    return pathlib.Path(path)


def refs(repository):
    return {name: ostree(repository, "rev-parse", name).strip() for name in ostree(repository, "refs").split()}


def listing(repository, ref):
    return ostree(repository, "ls", "-R", "-X", "-C", ref)
