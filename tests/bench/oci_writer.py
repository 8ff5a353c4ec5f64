# SPDX-License-Identifier: Apache-2.0
"""Writes OCI layouts layer by layer, without holding a layer in memory."""
import contextlib
import hashlib
import json
import os
import subprocess
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+"
CREATED = "2026-01-01T00:00:00Z"
COMPRESSORS = {"gzip": ["gzip", "-6", "-n", "-c"], "zstd": ["zstd", "-q", "-3", "-c"],
               "zstd-long": ["zstd", "-q", "-3", "--long=24", "-c"]}


class Hasher:
    """A file that hashes what is written to it on its way to another one."""

    def __init__(self, file):
        self.file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, data):
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def tell(self):
        return self.size


class Layout:
    def __init__(self, path):
        self.path = path
        os.makedirs(os.path.join(path, "blobs/sha256"), exist_ok=True)
        self.index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}

    def blob(self, digest):
        return os.path.join(self.path, "blobs", digest.replace(":", "/"))

    @contextlib.contextmanager
    def layer(self, descriptors, compression="gzip"):
        """A tarfile to fill; its layer is appended to DESCRIPTORS as (descriptor, diff-id) when it is closed."""
        unnamed = os.path.join(self.path, "blobs/new")
        with open(unnamed, "wb") as file:
            compressor = subprocess.Popen(COMPRESSORS[compression], stdin=subprocess.PIPE, stdout=file)
            hasher = Hasher(compressor.stdin)
            with tarfile.open(fileobj=hasher, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 18) as tar:
                yield tar
            compressor.stdin.close()
            if compressor.wait() != 0:
                raise RuntimeError("compressing a layer failed")
        with open(unnamed, "rb") as file:
            digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        os.rename(unnamed, self.blob(digest))
        descriptors.append(({"mediaType": LAYER + compression.split("-")[0], "digest": digest, "size": os.path.getsize(self.blob(digest))},
                            "sha256:" + hasher.hash.hexdigest()))

    def put(self, document):
        raw = json.dumps(document, separators=(",", ":")).encode()
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        with open(self.blob(digest), "wb") as file:
            file.write(raw)
        return {"digest": digest, "size": len(raw)}

    def image(self, tag, layers, labels=None, created_by=None):
        """Adds the image TAG of LAYERS, each a (descriptor, diff-id)."""
        config = {"architecture": "amd64", "os": "linux", "created": CREATED, "config": {"Labels": labels or {}},
                  "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
                  "history": [{"created": CREATED, "created_by": by} for by in created_by or ["a layer"] * len(layers)]}
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, **self.put(config)},
                    "layers": [descriptor for descriptor, _ in layers], "annotations": labels or {}}
        self.index["manifests"].append({"mediaType": MANIFEST, **self.put(manifest),
                                        "annotations": {"org.opencontainers.image.ref.name": tag}})

    def finish(self):
        with open(os.path.join(self.path, "oci-layout"), "w") as file:
            file.write('{"imageLayoutVersion":"1.0.0"}')
        with open(os.path.join(self.path, "index.json"), "w") as file:
            json.dump(self.index, file)


def layers_of(reference):
    """The paths of an oci: image's layers, lowest first."""
    path, tag = reference.removeprefix("oci:").rsplit(":", 1)
    with open(os.path.join(path, "index.json")) as file:
        index = json.load(file)
    named = [manifest for manifest in index["manifests"]
             if manifest.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag]
    blob = lambda digest: os.path.join(path, "blobs", digest.replace(":", "/"))
    with open(blob(named[-1]["digest"])) as file:
        return [blob(layer["digest"]) for layer in json.load(file)["layers"]]
