# SPDX-License-Identifier: Apache-2.0
"""A docker-registry of its own on 127.0.0.1, over plain HTTP as an administrator allows it: by a registries.conf."""
import json
import pathlib
import re
import shutil
import socket
import subprocess
import time


def make_certificates(directory):
    """Makes in DIRECTORY ca.crt, server.cert with server.key for 127.0.0.1, and client.cert with client.key for root-of-the-host."""
    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "2",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")
    # Without them Python's ssl takes no certificate from 3.13 on.
    identifiers = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    for name, subject, more in (("server", "127.0.0.1", "subjectAltName=IP:127.0.0.1"), ("client", "root-of-the-host", "")):
        pathlib.Path(directory, name + ".ext").write_text(identifiers + more)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + subject)
        openssl("x509", "-req", "-in", name + ".csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", name + ".cert", "-days", "2", "-extfile", name + ".ext")


def free_port():
    """A TCP port of 127.0.0.1 that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _blob(blobs, digest):
    return blobs / digest.replace(":", "/")


def _link(place, digest):
    link = place / digest.replace(":", "/") / "link"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.write_text(digest)


def _unchanged(source):
    """The directory of blobs, the digest of the manifest and the manifest, if SOURCE is an image of a layout that skopeo copies as it is."""
    transport, _, place = source.partition(":")
    path, _, tag = place.rpartition(":")
    if transport != "oci" or not path:
        return None
    index = json.loads(pathlib.Path(path, "index.json").read_bytes())
    found = [entry["digest"] for entry in index["manifests"] if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == tag]
    if len(found) != 1:
        return None
    blobs = pathlib.Path(path, "blobs")
    manifest = json.loads(_blob(blobs, found[0]).read_bytes())
    # It compresses what is not, and chooses one of several images.
    if not manifest.get("layers") or not all(layer.get("mediaType", "").endswith(("+gzip", "+zstd")) for layer in manifest["layers"]):
        return None
    return blobs, found[0], manifest


class Registry:
    def __init__(self, directory, certificates=None, storage=None, more="", address=None):
        """Starts it on DIRECTORY, which holds all of it; stop() ends it. By TLS if CERTIFICATES is a directory that has some (make_certificates()). STORAGE is that
        of another one; MORE is added to its configuration; ADDRESS is HOST:PORT, by default a free port of 127.0.0.1."""
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        self.address = address or f"127.0.0.1:{free_port()}"
        self.storage = pathlib.Path(storage or self.directory / "storage")
        tls = f", tls: {{certificate: {certificates}/server.cert, key: {certificates}/server.key}}" if certificates else ""
        (self.directory / "registry.yml").write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.storage}}}}}\nhttp: {{addr: \"{self.address}\"{tls}}}\n{more}")
        self.configuration = self.directory / "registries.conf"
        self.configuration.write_text(f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n')
        with open(self.directory / "access.log", "wb") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.directory / "registry.yml"], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, "docker-registry does not start"
            time.sleep(0.05)

    def _answers(self):
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def answers(self):
        """What it has answered until now: (path, status, bytes, program that asked)."""
        lines = re.findall(r'"[A-Z]+ (\S+) HTTP[^"]*" (\d+) (\d+) "[^"]*" "([^"]*)"', (self.directory / "access.log").read_text())
        return [(path, int(status), int(size), agent) for path, status, size, agent in lines]

    def push(self, source, name):
        """Copies the image SOURCE (as skopeo writes it) to NAME here; returns the digest it has here. The image of a layout that skopeo would not change is put where the
        registry keeps images (the storage layout of distribution, registry/storage/paths.go): that takes a tenth of the time of an upload."""
        if image := _unchanged(source):
            return self._store(*image, name)
        digest = self.directory / "digest"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--digestfile", digest, source,
                        f"docker://{self.address}/{name}"], check=True, stdout=subprocess.DEVNULL)
        return digest.read_text().strip()

    def _store(self, blobs, digest, manifest, name):
        repository, tag = name.rsplit(":", 1)
        storage = self.storage / "docker/registry/v2"
        image = storage / "repositories" / repository
        for part in [digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]:
            data = storage / "blobs/sha256" / part[7:9] / part[7:] / "data"
            if not data.exists():
                data.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(_blob(blobs, part), data.with_name("new"))
                data.with_name("new").rename(data)
            _link(image / ("_manifests/revisions" if part == digest else "_layers"), part)
        _link(image / "_manifests/tags" / tag / "index", digest)
        (image / "_manifests/tags" / tag / "current").mkdir(exist_ok=True)
        (image / "_manifests/tags" / tag / "current/link").write_text(digest)
        return digest

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
