# SPDX-License-Identifier: Apache-2.0
"""Builds OCI image layouts, right ones and wrong ones. A layer is a list of Entry; what it becomes is a Blob."""
import dataclasses
import gzip
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE,
         "fifo": tarfile.FIFOTYPE, "char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE}


@dataclasses.dataclass
class Entry:
    path: str
    kind: str = "file"
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    target: str = ""  # of a symlink or a hardlink
    xattrs: dict = dataclasses.field(default_factory=dict)  # name → bytes
    mtime: float = 0
    pax: dict = dataclasses.field(default_factory=dict)  # further headers, name → text


@dataclasses.dataclass
class Blob:
    data: bytes
    media_type: str
    diff_id: str = ""
    annotations: dict = dataclasses.field(default_factory=dict)  # of its descriptor

    @property
    def digest(self):
        return digest(self.data)


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def directory(path, mode=0o755, **more):
    return Entry(path, "dir", mode=mode, **more)


def whiteout(path):
    parent, _, name = path.rpartition("/")
    return Entry((parent + "/" if parent else "") + ".wh." + name, mode=0)


def opaque(path):
    return Entry((path + "/" if path else "") + ".wh..wh..opq", mode=0)


def tar(entries, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.type, info.mode, info.uid, info.gid, info.mtime = TYPES[entry.kind], entry.mode, entry.uid, entry.gid, entry.mtime
            info.linkname = entry.target
            info.size = len(entry.content) if entry.kind == "file" else 0
            info.pax_headers = {"SCHILY.xattr." + name: value.decode("utf-8", "surrogateescape") for name, value in entry.xattrs.items()} | entry.pax
            archive.addfile(info, io.BytesIO(entry.content))
    return out.getvalue()


def layer(entries, compression="gzip", **options):
    return compressed(tar(entries, **options), compression)


def compressed(data, compression="gzip"):
    if compression == "gzip":
        packed = gzip.compress(data, 1, mtime=0)
    elif compression == "zstd":
        packed = subprocess.run(["zstd", "-q", "-1", "-c"], input=data, capture_output=True, check=True).stdout
    else:
        return Blob(data, LAYER, digest(data))
    return Blob(packed, f"{LAYER}+{compression}", digest(data))


def check_layout(path):
    """What is wrong with a layout, a directory or a tar of one: all that the index leads to is there, as it was described."""
    path = pathlib.Path(path)
    if path.is_dir():
        def read(name):
            return (path / name).read_bytes()
    else:
        archive = tarfile.open(path)

        def read(name):
            return archive.extractfile(name).read()
    problems = []

    def blob(described):
        try:
            data = read("blobs/" + described["digest"].replace(":", "/"))
        except (OSError, KeyError):
            problems.append(f"{described['digest']} is missing")
            return b"{}"
        if (digest(data), len(data)) != (described["digest"], described["size"]):
            problems.append(f"{described['digest']} is not what its name says")
        return data
    try:
        for described in json.loads(read("index.json"))["manifests"]:
            manifest = json.loads(blob(described))
            for part in [manifest["config"], *manifest["layers"]] if "layers" in manifest else manifest["manifests"]:
                blob(part)
    except (OSError, KeyError, ValueError, tarfile.TarError) as error:
        problems.append(f"{path}: {error!r}")
    return problems


class Layout:
    """A directory with any number of tagged images."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        (self.path / "blobs/sha256").mkdir(parents=True)
        (self.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.manifests = []

    def blob_path(self, name):
        return self.path / "blobs" / name.replace(":", "/")

    def put(self, data):
        self.blob_path(digest(data)).write_bytes(data)
        return digest(data)

    def image(self, tag, layers, config=None, manifest=None):
        """Adds or replaces an image of LAYERS (Blobs) and returns its digest; CONFIG and MANIFEST replace keys, or everything when bytes."""
        document = {"architecture": "amd64", "os": "linux", "config": {}, "created": "2024-01-02T03:04:05Z",
                    "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in layers]},
                    "history": [{"created_by": f"layer {number}"} for number in range(len(layers))]}
        raw = config if isinstance(config, bytes) else json.dumps({**document, **(config or {})}).encode()
        described = {"schemaVersion": 2, "mediaType": MANIFEST,
                     "config": {"mediaType": CONFIG, "digest": self.put(raw), "size": len(raw)},
                     "layers": [{"mediaType": blob.media_type, "digest": self.put(blob.data), "size": len(blob.data),
                                 **({"annotations": blob.annotations} if blob.annotations else {})} for blob in layers]}
        text = manifest if isinstance(manifest, bytes) else json.dumps({**described, **(manifest or {})}).encode()
        self.withdraw(tag)
        self.manifests.append({"mediaType": MANIFEST, "digest": self.put(text), "size": len(text),
                               "annotations": {"org.opencontainers.image.ref.name": tag}})
        self.write_index()
        return digest(text)

    def withdraw(self, tag):
        """The tag leads nowhere any more."""
        self.manifests = [entry for entry in self.manifests if entry["annotations"]["org.opencontainers.image.ref.name"] != tag]
        self.write_index()

    def write_index(self):
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": self.manifests}))

    def reference(self, tag):
        return f"oci:{self.path}:{tag}"

    def as_dir(self, tag, path, docker=False):
        """The same image in skopeo's dir: transport; DOCKER changes its media types."""
        path = pathlib.Path(path)
        path.mkdir(exist_ok=True)
        described, = [entry for entry in self.manifests if entry["annotations"]["org.opencontainers.image.ref.name"] == tag]
        text = self.blob_path(described["digest"]).read_bytes()
        manifest = json.loads(text)
        for blob in [manifest["config"], *manifest["layers"]]:
            (path / blob["digest"].removeprefix("sha256:")).write_bytes(self.blob_path(blob["digest"]).read_bytes())
        if docker:
            manifest["mediaType"], manifest["config"]["mediaType"] = DOCKER_MANIFEST, DOCKER_CONFIG
            for blob in manifest["layers"]:
                blob["mediaType"] = DOCKER_LAYER
            text = json.dumps(manifest).encode()
        (path / "version").write_text("Directory Transport Version: 1.1\n")
        (path / "manifest.json").write_bytes(text)
        return f"dir:{path}"

    def packed(self, tag, path):
        """The same image in a compressed archive, which imaged leaves to skopeo: its blobs come through the image proxy."""
        subprocess.run(["tar", "-C", self.path, "-czf", path, "."], check=True)
        return f"oci-archive:{path}:{tag}"
