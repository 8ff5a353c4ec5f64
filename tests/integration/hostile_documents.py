# SPDX-License-Identifier: Apache-2.0
"""Manifests and configs that lie. Each case changes an image that is right and says what must become of it."""
import json

import oci_layout
from oci_layout import Entry

CORRUPT, UNSUPPORTED, MISMATCH, OK = "CorruptInput", "UnsupportedImage", "DigestMismatch", "success"
REFUSED = (CORRUPT, UNSUPPORTED, MISMATCH, "NotFound")
LAYER = oci_layout.layer([Entry("x", content=b"content")])


class Case:
    """MANIFEST and CONFIG: keys to replace, or all of the bytes. LAYERS as they are stored."""

    def __init__(self, name, outcome, text="", manifest=None, config=None, layers=None):
        self.name, self.outcome, self.text = name, outcome, text
        self.manifest, self.config, self.layers = manifest, config, layers or [LAYER]

    def build(self, layout):
        layout.image("t", self.layers, config=self.config, manifest=self.manifest)


def descriptor(**changes):
    return {"mediaType": LAYER.media_type, "digest": LAYER.digest, "size": len(LAYER.data), **changes}


def nested(depth):
    return "[" * depth + "]" * depth


def manifests():
    def one(name, outcome, text="", **keys):
        return Case(f"manifest: {name}", outcome, text, manifest=keys)
    for value in (1, 3, "2", 2.5, None, [], -2):
        yield one(f"schemaVersion {value!r}", REFUSED, schemaVersion=value)
    for value in ("application/vnd.oci.image.index.v1+json", "text/html", "application/vnd.docker.distribution.manifest.v1+json"):
        yield one(f"media type {value}", REFUSED, mediaType=value)
    for value in (7, [], {}):
        yield one(f"media type {value!r}", REFUSED, mediaType=value)
    for value in (None, [], "x", 7, {}):
        yield one(f"config {value!r}", REFUSED, config=value)
        if value != []:
            yield one(f"layers {value!r}", REFUSED, layers=value)
    yield one("no layers and a diff_id", REFUSED, "diff_ids", layers=[])
    for value in (None, "x", 7, [], {}):
        yield one(f"a layer {value!r}", REFUSED, layers=[value])
    digests = {"sha512": "sha512:" + "a" * 128, "sha1": "sha1:" + "a" * 40, "md5": "md5:" + "a" * 32, "short": "sha256:abc", "long": "sha256:" + "a" * 65,
               "upper case": "sha256:" + "A" * 64, "empty": "", "no algorithm": "a" * 64, "climbing": "sha256:../../../etc/passwd",
               "a path": "/etc/passwd", "a slash in it": "sha256:" + "a" * 31 + "/" + "a" * 32, "a number": 7, "null": None}
    for name, value in digests.items():
        yield one(f"layer digest {name}", REFUSED, layers=[descriptor(digest=value)])
        yield one(f"config digest {name}", REFUSED, config={"mediaType": oci_layout.CONFIG, "digest": value, "size": 100})
    yield one("a layer that is not there", ("NotFound", "Failed"), "", layers=[descriptor(digest="sha256:" + "b" * 64)])
    yield one("a config that is not there", REFUSED, config={"mediaType": oci_layout.CONFIG, "digest": "sha256:" + "b" * 64, "size": 100})
    for value in (-1, 0, 1, len(LAYER.data) - 1, len(LAYER.data) + 1, 2 ** 62, 2 ** 63, 2 ** 64, 1.5, "7", None, [], True):
        outcome = ("NoSpace",) if value == 2 ** 62 else REFUSED
        yield one(f"layer size {value!r}", outcome, layers=[descriptor(size=value)])
    for value in (-1, 0, 1, 2 ** 62, 1.5, "7", None):
        config = {"mediaType": oci_layout.CONFIG, "size": value, "digest": "sha256:" + "b" * 64}
        yield one(f"config size {value!r}", REFUSED, config=config)
    yield one("a config of 5 MiB by its descriptor", UNSUPPORTED, "limit", config={"mediaType": oci_layout.CONFIG, "size": 5 << 20, "digest": LAYER.digest})
    yield one("a layer as the config", REFUSED, config={"mediaType": oci_layout.CONFIG, "digest": LAYER.digest, "size": len(LAYER.data)})
    yield one("an artifact", UNSUPPORTED, "artifact", config={"mediaType": "application/vnd.example+json", "digest": "sha256:" + "b" * 64, "size": 2})
    for value in ("application/vnd.oci.image.manifest.v1+json", "text/plain", 7, [], "x" * 100000):
        yield one(f"layer media type {str(value)[:50]!r}", REFUSED, layers=[descriptor(mediaType=value)])
    yield one("annotations of numbers", CORRUPT, "", annotations={"a": 7})
    yield one("annotations of lists", CORRUPT, "", annotations=["a"])
    yield one("a time of nonsense", OK, annotations={"org.opencontainers.image.created": "yesterday"})
    yield one("a time of year 292277026596", OK, annotations={"org.opencontainers.image.created": "292277026596-12-04T15:30:08Z"})
    yield one("a thousand layers of one digest", REFUSED, "diff_ids", layers=[descriptor()] * 1000)
    yield one("nested 500 deep", CORRUPT, "nested", x=json.loads(nested(500)))
    yield one("300,000 values", CORRUPT, "values", x=[0] * 300000)
    yield one("more than 4 MiB", REFUSED, "", x="y" * (4 << 20))

    def whole(name, outcome, data, text=""):
        return Case(f"manifest: {name}", outcome, text, manifest=data)
    right = json.dumps({"schemaVersion": 2, "mediaType": oci_layout.MANIFEST, "config": descriptor(), "layers": [descriptor()]})
    for name, data in {"empty": b"", "null": b"null", "a list": b"[]", "a number": b"7", "text": b'"x"', "cut off": right[:50].encode(),
                       "not JSON": b"<html>not found</html>", "two documents": (right + right).encode(), "UTF-16": right.encode("utf-16"),
                       "with a BOM": b"\xef\xbb\xbf" + right.encode(), "not UTF-8": right.replace("schema", "schem\xe4").encode("latin-1"),
                       "a NUL in it": right.replace("oci", "o\\u0000ci").encode(), "nested 100,000 deep": nested(100000).encode(),
                       "nested 100,000 deep inside": ('{"schemaVersion":2,"x":' + nested(100000) + "}").encode(),
                       "half a surrogate": b'{"schemaVersion":2,"x":"\\ud800"}', "a number of 100,000 digits": b'{"schemaVersion":2' + b"0" * 100000 + b"}"}.items():
        yield whole(name, (*REFUSED, "Failed"), data)
    yield whole("keys twice", REFUSED, right.replace('"layers"', '"layers": [], "layers"').encode())


def configs():
    def one(name, outcome, text="", layers=None, **keys):
        return Case(f"config: {name}", outcome, text, config=keys, layers=layers)

    def diff_ids(name, outcome, value, text=""):
        return one(name, outcome, text, rootfs={"type": "layers", "diff_ids": value})
    for value in (None, [], "x", 7, {}, {"type": "layers"}, {"type": "tree", "diff_ids": [LAYER.diff_id]}, {"type": 7, "diff_ids": []}):
        yield one(f"rootfs {value!r}", REFUSED, rootfs=value)
    for name, value in {"null": None, "text": "x", "numbers": [7], "lists": [[]], "none": [], "one too many": [LAYER.diff_id] * 2, "short": ["sha256:abc"],
                        "sha512": ["sha512:" + "a" * 128], "no algorithm": ["a" * 64], "upper case": [LAYER.diff_id.upper()], "climbing": ["../../x"],
                        "two thousand": [LAYER.diff_id] * 2000}.items():
        yield diff_ids(f"diff_ids {name}", REFUSED, value)
    yield diff_ids("another's diff_id", MISMATCH, ["sha256:" + "a" * 64], "config says")
    for value in (7, [], "x"):
        yield one(f"config {value!r}", REFUSED, config=value)
        yield one(f"Labels {value!r}", REFUSED, config={"Labels": value})
        yield one(f"history {value!r}", (OK, *REFUSED), history=value)
    for value in ("nonsense", "sha256:" + "a" * 64, "sha512:" + "a" * 128, "", "../x"):
        yield one(f"ostree.final-diffid {value[:20]!r}", REFUSED, config={"Labels": {"ostree.final-diffid": value}})
    yield one("a plain layer as ostree's", CORRUPT, "commit", config={"Labels": {"ostree.final-diffid": LAYER.diff_id}})
    yield one("labels of numbers", CORRUPT, "not a string", config={"Labels": {"a": 7}})
    yield one("a history of numbers", REFUSED, history=[7])
    yield one("a history of ten thousand", OK, history=[{"created_by": "x" * 100}] * 10000)
    yield one("a label of 3 MiB", OK, config={"Labels": {"a": "x" * (3 << 20)}})
    yield one("a label with controls", OK, config={"Labels": {"version": "\x1b[31m\u0000\n"}})
    for value in (7, [], {}):
        yield one(f"created {value!r}", REFUSED, created=value)
    yield one("created nonsense", OK, created="yesterday")
    yield one("nested 500 deep", CORRUPT, "nested", x=json.loads(nested(500)))
    yield one("300,000 values", CORRUPT, "values", x=[0] * 300000)
    yield one("more than 4 MiB", REFUSED, "limit", x="y" * (4 << 20))
    for name, data in {"empty": b"", "null": b"null", "a list": b"[]", "not JSON": b"<html>", "not UTF-8": b'{"rootfs":"\xff"}', "with a BOM": b"\xef\xbb\xbf{}",
                       "nested 100,000 deep": nested(100000).encode()}.items():
        yield Case(f"config: {name}", REFUSED, config=data)


def all_cases():
    yield from manifests()
    yield from configs()
