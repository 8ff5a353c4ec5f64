# SPDX-License-Identifier: Apache-2.0
"""The format of delta artifacts, and a reader of them: written from the format's description, apart from imaged. Frames are left to the zstd command. delta_artifact.py writes some."""
import io
import json
import pathlib
import subprocess
import tarfile
import tempfile

import oci_layout

ARTIFACT = "application/vnd.io.github.containers.oci-delta.v1"
TAR_DIFF = "application/vnd.tar-diff"
PREFIX = "io.github.containers.delta."
VERSIONS = {1: b"tardf1\n\0", 2: b"tardf2\n\0"}
DATA, OPEN, COPY, ADD, SEEK, PREFIXED = range(6)


def zstd(*arguments, data):
    return subprocess.run(["zstd", "-q", "-c", *arguments], input=data, check=True, capture_output=True).stdout


def unpacked_with_prefix(prefix, frame):
    with tempfile.NamedTemporaryFile() as file:
        file.write(prefix)
        file.flush()
        return zstd("-d", "--long=29", f"--patch-from={file.name}", data=frame)


def operations(blob):
    """(version, [(operation, size, payload)])"""
    version = {magic: number for number, magic in VERSIONS.items()}[blob[:8]]
    text, at, found = zstd("-d", data=blob[8:]), 0, []
    while at < len(text):
        operation, at, size, shift = text[at], at + 1, 0, 0
        while True:
            size |= (text[at] & 0x7f) << shift
            shift, at = shift + 7, at + 1
            if text[at - 1] < 0x80:
                break
        count = size if operation in (DATA, OPEN, ADD, PREFIXED) else 0
        payload, at = text[at:at + count], at + count
        assert len(payload) == count, "the stream is cut off"
        found.append((operation, size, payload))
    return version, found


def sum_of_bytes(one, other):
    """Each byte of ONE and that of OTHER, without carrying: the lower seven bits are added as one large number."""
    size = len(one)
    low = int.from_bytes(b"\x7f" * size, "little")
    one, other = int.from_bytes(one, "little"), int.from_bytes(other, "little")
    return (((one & low) + (other & low)) ^ ((one ^ other) & ~low & ((1 << 8 * size) - 1))).to_bytes(size, "little")


def apply(blob, files):
    """The tar that BLOB makes of FILES, path to content."""
    version, found = operations(blob)
    out, current, position = bytearray(), None, 0
    for operation, size, payload in found:
        if operation == DATA:
            out += payload
        elif operation == OPEN:
            current, position = files[payload.decode()], 0
        elif operation == COPY:
            assert position + size <= len(current)
            out += current[position:position + size]
            position += size
        elif operation == ADD:
            assert position + size <= len(current)
            out += sum_of_bytes(payload, current[position:position + size])
            position += size
        elif operation == SEEK:
            position = size
        else:
            assert operation == PREFIXED and version == 2, operation
            out += unpacked_with_prefix(current, payload)
    return bytes(out)


def files_of(*tars):
    """The regular files of an image of these layers: path to content. Knows whiteouts of files only."""
    files = {}
    for data in tars:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                name = member.name.removeprefix("./").rstrip("/")
                if member.isreg():
                    files[name] = archive.extractfile(member).read()
                elif member.islnk():
                    files[name] = files.get(member.linkname.removeprefix("./"))
                else:
                    files.pop(name, None)
                folder, _, base = name.rpartition("/")
                if base.startswith(".wh."):
                    del files[name]
                    files.pop((folder + "/" if folder else "") + base[4:], None)
    return files


class Layout:
    """The blobs and the index of a layout, a directory or an archive."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.archive = None if self.path.is_dir() else tarfile.open(self.path)
        self.index = json.loads(self.read("index.json"))

    def read(self, name):
        return self.archive.extractfile(name).read() if self.archive else (self.path / name).read_bytes()

    def blob(self, descriptor):
        data = self.read("blobs/" + descriptor["digest"].replace(":", "/"))
        assert (oci_layout.digest(data), len(data)) == (descriptor["digest"], descriptor["size"]), descriptor
        return data

    def entries(self, tag):
        return [entry for entry in self.index["manifests"] if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag]

    def listed(self, digest):
        """What the index of artifacts lists for the image with the manifest DIGEST."""
        entry, = self.entries("sha256-" + digest.removeprefix("sha256:"))
        return json.loads(self.blob(entry))["manifests"]


class Artifact:
    """A delta artifact; BLOB(descriptor) reads."""

    def __init__(self, descriptor, blob):
        self.manifest, self.blob = json.loads(blob(descriptor)), blob
        assert self.manifest["artifactType"] == ARTIFACT
        self.source_config = self.manifest["annotations"][PREFIX + "source-config"]
        parts = {}
        self.layers = {}
        for layer in self.manifest["layers"]:
            content = layer["annotations"][PREFIX + "content"]
            if content == "image-layer":
                self.layers[layer["annotations"][PREFIX + "to"]] = layer
            else:
                assert parts.setdefault(content, layer) is layer
        self.target_text, self.config_text = (blob(parts["image-" + part]) for part in ("manifest", "config"))
        self.target, self.config = json.loads(self.target_text), json.loads(self.config_text)
        assert self.manifest["subject"]["digest"] == oci_layout.digest(self.target_text)
        assert self.target["config"]["digest"] == oci_layout.digest(self.config_text)

    def tar(self, number, files):
        """The uncompressed tar of a layer of the target, or None if the source image has it."""
        layer = self.layers.get(self.target["layers"][number]["digest"])
        if layer is None:
            return None
        data = self.blob(layer)
        if layer["mediaType"] == TAR_DIFF:
            data = apply(data, files)
        elif layer["mediaType"].endswith("gzip"):
            data = subprocess.run(["gzip", "-dc"], input=data, check=True, capture_output=True).stdout
        elif layer["mediaType"].endswith("zstd"):
            data = zstd("-d", data=data)
        assert oci_layout.digest(data) == self.config["rootfs"]["diff_ids"][number], f"layer {number} has another diff-id"
        return data
