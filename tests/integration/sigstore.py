# SPDX-License-Identifier: Apache-2.0
"""Sigstore signatures as skopeo writes them (containers-sigstore: attachments of the registry), made with openssl: Debian 12's skopeo verifies but cannot sign."""
import base64
import hashlib
import json
import pathlib
import subprocess
import urllib.request

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Key:
    """An ECDSA key of P-256 in the files NAME.pem and NAME.pub below DIRECTORY."""

    def __init__(self, directory, name):
        self.private, self.public = pathlib.Path(directory, name + ".pem"), pathlib.Path(directory, name + ".pub")
        self.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.private)
        self.openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)

    @staticmethod
    def openssl(*arguments, data=None):
        return subprocess.run(["openssl", *map(str, arguments)], input=data, check=True, capture_output=True).stdout

    def sign(self, payload):
        return base64.b64encode(self.openssl("dgst", "-sha256", "-sign", self.private, data=payload)).decode()


class Attachments:
    """Puts signatures into the registry at ADDRESS."""

    def __init__(self, address):
        self.address = address

    def request(self, method, url, data=None, headers=None):
        request = urllib.request.Request(url if url.startswith("http") else f"http://{self.address}{url}", data=data, method=method, headers=headers or {})
        return urllib.request.urlopen(request, timeout=20)

    def put_blob(self, name, data):
        with self.request("POST", f"/v2/{name}/blobs/uploads/", b"") as answer:
            location = answer.headers["Location"]
        separator = "&" if "?" in location else "?"
        self.request("PUT", f"{location}{separator}digest={digest(data)}", data, {"Content-Type": "application/octet-stream"}).close()
        return {"digest": digest(data), "size": len(data)}

    def attach(self, name, image, identity, key, signed=None):
        """Signs IMAGE, a digest in the repository NAME, as IDENTITY with KEY; SIGNED is the digest that the signature names instead."""
        payload = json.dumps({"critical": {"identity": {"docker-reference": identity}, "image": {"docker-manifest-digest": signed or image},
                                           "type": "cosign container image signature"},
                              "optional": {"creator": "test", "timestamp": 1700000000}}).encode()
        layer = {"mediaType": PAYLOAD, **self.put_blob(name, payload), "annotations": {"dev.cosignproject.cosign/signature": key.sign(payload)}}
        config = json.dumps({"architecture": "", "os": "", "config": {}, "rootfs": {"type": "layers", "diff_ids": [digest(payload)]}}).encode()
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, **self.put_blob(name, config)}, "layers": [layer]}).encode()
        self.request("PUT", f"/v2/{name}/manifests/{image.replace(':', '-')}.sig", manifest, {"Content-Type": MANIFEST}).close()
