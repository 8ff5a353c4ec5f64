# SPDX-License-Identifier: Apache-2.0
"""Writes deltas between images, right ones and wrong ones: tar-diffs, the artifacts that hold them, and where a source keeps them. Written apart from what imaged has; tar_diff.py reads them."""
import ctypes
import http.client
import io
import json
import tarfile

import chunked_layer
import oci_layout
from chunked_layer import zstd
from tar_diff import ADD, ARTIFACT, COPY, DATA, OPEN, PREFIX, PREFIXED, SEEK, TAR_DIFF, VERSIONS

WINDOW_LOG, CONTENT_SIZE_FLAG = 101, 200  # ZSTD_cParameter

for function in (zstd.ZSTD_CCtx_setParameter, zstd.ZSTD_CCtx_refPrefix, zstd.ZSTD_compress2):
    function.restype = ctypes.c_size_t
zstd.ZSTD_createCCtx.restype = ctypes.c_void_p


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def operation(kind, data=b"", size=None):
    """One operation; SIZE is that of DATA, unless it is said."""
    return bytes([kind]) + varint(len(data) if size is None else size) + data


def opened(name):
    return operation(OPEN, name.encode())


def packed(operations, version=2):
    """The tar-diff of OPERATIONS."""
    return VERSIONS[version] + chunked_layer.frame(operations, 3)


def frame_with_prefix(prefix, content, window_log=None, content_size=True):
    context = ctypes.c_void_p(zstd.ZSTD_createCCtx())
    try:
        zstd.ZSTD_CCtx_setParameter(context, CONTENT_SIZE_FLAG, int(content_size))
        # Every byte of the prefix is in reach.
        zstd.ZSTD_CCtx_setParameter(context, WINDOW_LOG, window_log or max(10, (len(prefix) + len(content)).bit_length()))
        zstd.ZSTD_CCtx_refPrefix(context, prefix, ctypes.c_size_t(len(prefix)))
        size = zstd.ZSTD_compressBound(ctypes.c_size_t(len(content)))
        out = ctypes.create_string_buffer(size)
        count = zstd.ZSTD_compress2(context, out, ctypes.c_size_t(size), content, ctypes.c_size_t(len(content)))
        assert count <= size
        return out.raw[:count]
    finally:
        zstd.ZSTD_freeCCtx(context)


def sums(old, new):
    """What ADD needs for NEW over OLD, of the same length."""
    return bytes((after - before) & 0xff for before, after in zip(old, new))


def operations(files, tar, version=2):
    """The operations that make TAR of FILES: copies of files that are the same, frames with a prefix or, in version 1, sums for those that changed."""
    out = []
    for entry, content in chunked_layer.pieces_of(tar):
        name = entry.name.removeprefix("./") if entry is not None else ""
        old = files.get(name)
        if old is None:
            out.append(operation(DATA, content))
        elif old == content:
            out += [opened(name), operation(COPY, size=len(content))]
        elif version == 2:
            out += [opened(name), operation(PREFIXED, frame_with_prefix(old, content))]
        else:
            common = min(len(old), len(content))
            half = common // 2
            out += [opened(name), operation(ADD, sums(old[:half], content[:half])), operation(SEEK, size=half), operation(ADD, sums(old[half:common], content[half:common])),
                    operation(DATA, content[common:])]
    return out


def diff(files, tar, version=2):
    """A tar-diff of operations()."""
    return packed(b"".join(operations(files, tar, version)), version)


def image(layout, tag):
    """Manifest and config of an image in a layout, as texts."""
    described, = [entry for entry in layout.manifests if entry["annotations"]["org.opencontainers.image.ref.name"] == tag]
    manifest = layout.blob_path(described["digest"]).read_bytes()
    return manifest, layout.blob_path(json.loads(manifest)["config"]["digest"]).read_bytes()


class Artifact:
    """A delta: its manifest's text, and its blobs by digest. DIFFS are the tar-diffs, or Blobs of whole layers, by the digest of the layer that each makes. CHANGE may
    change the manifest, a dictionary, before it is written."""

    def __init__(self, manifest, config, source_config, diffs, change=None):
        self.blobs = {}
        layers = [self.put(manifest, oci_layout.MANIFEST, content="image-manifest"), self.put(config, oci_layout.CONFIG, content="image-config")]
        for target, made in diffs.items():
            blob = made if isinstance(made, oci_layout.Blob) else oci_layout.Blob(made, TAR_DIFF)
            layers.append(self.put(blob.data, blob.media_type, content="image-layer", to=target))
        self.target = oci_layout.digest(manifest)
        self.document = {"schemaVersion": 2, "mediaType": oci_layout.MANIFEST, "artifactType": ARTIFACT, "config": self.put(b"{}", "application/vnd.oci.empty.v1+json"),
                         "layers": layers, "subject": {"mediaType": oci_layout.MANIFEST, "digest": self.target, "size": len(manifest)},
                         "annotations": {PREFIX + "source-config": oci_layout.digest(source_config)}}
        if change:
            change(self.document)
        self.text = json.dumps(self.document).encode()
        self.digest = oci_layout.digest(self.text)

    def put(self, data, media_type, **annotations):
        self.blobs[oci_layout.digest(data)] = data
        return {"mediaType": media_type, "digest": oci_layout.digest(data), "size": len(data),
                **({"annotations": {PREFIX + key: value for key, value in annotations.items()}} if annotations else {})}

    def described(self):
        """Its entry in an index."""
        return {"mediaType": oci_layout.MANIFEST, "artifactType": ARTIFACT, "digest": self.digest, "size": len(self.text), "annotations": dict(self.document.get("annotations", {}))}

    @property
    def tag(self):
        return self.target.replace(":", "-")

    def into(self, layout, tag):
        """Into LAYOUT, under TAG."""
        for data in (*self.blobs.values(), self.text):
            layout.put(data)
        layout.withdraw(tag)
        described = self.described()
        described["annotations"]["org.opencontainers.image.ref.name"] = tag
        layout.manifests.append(described)
        layout.write_index()
        return layout.reference(tag)

    def archive(self, path):
        """Alone in an oci-archive."""
        described = self.described()
        with tarfile.open(path, "w") as out:
            for name, data in [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
                               ("index.json", json.dumps({"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [described]}).encode()),
                               *[("blobs/" + name.replace(":", "/"), data) for name, data in [*self.blobs.items(), (self.digest, self.text)]]]:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))
        return path

    def push(self, address, name, *beside):
        """To the registry at ADDRESS, where the tag of its target's referrers leads to it and to the artifacts BESIDE it."""
        for artifact in (self, *beside):
            for data in artifact.blobs.values():
                put_blob(address, name, data)
            put_manifest(address, name, artifact.digest, artifact.text, oci_layout.MANIFEST)
        index = {"schemaVersion": 2, "mediaType": oci_layout.INDEX, "manifests": [artifact.described() for artifact in (self, *beside)]}
        put_manifest(address, name, self.tag, json.dumps(index).encode(), oci_layout.INDEX)


def request(address, method, path, data=b"", headers=None):
    connection = http.client.HTTPConnection(address)
    try:
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status < 300, (method, path, answer.status, body)
        return answer
    finally:
        connection.close()


def put_blob(address, name, data):
    place = request(address, "POST", f"/v2/{name}/blobs/uploads/").headers["Location"]
    place = place.removeprefix(f"http://{address}")
    request(address, "PUT", place + ("&" if "?" in place else "?") + "digest=" + oci_layout.digest(data), data, {"Content-Type": "application/octet-stream"})


def put_manifest(address, name, tag, text, media_type):
    request(address, "PUT", f"/v2/{name}/manifests/{tag}", text, {"Content-Type": media_type})
