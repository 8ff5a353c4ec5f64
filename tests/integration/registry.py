# SPDX-License-Identifier: Apache-2.0
"""A docker-registry of its own on 127.0.0.1, over plain HTTP as an administrator allows it: by a registries.conf."""
import pathlib
import socket
import subprocess
import time


class Registry:
    def __init__(self, directory):
        """Starts it on DIRECTORY, which holds all of it; stop() ends it."""
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        (self.directory / "registry.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory}/storage}}}}\nhttp: {{addr: \"{self.address}\"}}\n")
        self.configuration = self.directory / "registries.conf"
        self.configuration.write_text(f'[[registry]]\nlocation = "{self.address}"\ninsecure = true\n')
        self.process = subprocess.Popen(["docker-registry", "serve", self.directory / "registry.yml"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not self._answers():
            assert self.process.poll() is None and time.monotonic() < end, "docker-registry does not start"
            time.sleep(0.05)

    def _answers(self):
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def push(self, source, name):
        """Copies the image SOURCE (as skopeo writes it) to NAME here; returns the digest it has here."""
        digest = self.directory / "digest"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--digestfile", digest, source,
                        f"docker://{self.address}/{name}"], check=True, stdout=subprocess.DEVNULL)
        return digest.read_text().strip()

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
