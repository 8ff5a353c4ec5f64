# SPDX-License-Identifier: Apache-2.0
"""Text from registries, images and names on a terminal and in the log: nothing in it drives a terminal, starts a line or changes the order of characters."""
import json
import os
import pathlib
import pty
import re
import select
import subprocess
import time
import unittest

import agreement
import bus_fixture
import oci_layout
import ostree_repository
import sanitizers
from oci_layout import Entry

IMAGECTL = os.environ.get("IMAGECTL", "imagectl")
WORKER = os.environ.get("IMAGED_WORKER", "imaged-worker")
# Each by what it would do: clear the screen, start a line, return, C1's CSI, override and isolate directions, end a line, a tag.
HOSTILE = "a\x1b[2Jb\x07c\x9b31md\u202ee\u2066f\u061cg\u2028h\ufeffi\U000e0041j\x7fk"
# What a reference may have in it.
NAME = "a\x9b31md\u202ee\u2066f\u061cg\u2028h\ufeffi\U000e0041j"
LINES = HOSTILE + "\nimagectl: a line of its own\rx"
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")


class Terminal(bus_fixture.Case):
    def setUp(self):
        scratch = agreement.Scratch(dir="/var/tmp")
        self.addCleanup(scratch.cleanup)
        # The path of a layout is part of the image's name.
        self.scratch = pathlib.Path(scratch.name, NAME)
        self.scratch.mkdir()
        super().setUp()

    def command(self):
        command = super().command()
        command[command.index(bus_fixture.WORKER)] = WORKER
        command[command.index("off")] = "debug"
        return command

    def start_daemon(self):
        ostree_repository.init(f"{self.directory}/repo", "bare-user")
        self.log = self.directory + "/stderr"
        with open(self.log, "w", encoding="utf-8") as log:
            self.daemon = self.spawn(self.command(), stderr=log)
        watcher = bus_fixture.Client(self.address)
        self.eventually(lambda: self.has_owner(watcher))
        watcher.close()

    def image(self, tag="t"):
        layout = oci_layout.Layout(self.scratch / tag)
        packages = "".join(f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1{HOSTILE}-{tag}\n\n" for name in ("plain", "p" + HOSTILE))
        layer = oci_layout.layer([Entry("usr/file", content=tag.encode()), Entry("usr/" + LINES.replace("/", ""), content=b"x"), Entry("top" + HOSTILE + "/x", content=b"x"),
                                  Entry("etc/" + LINES.replace("/", ""), content=tag.encode()), Entry("usr/lib/modules/6" + HOSTILE + "/vmlinuz", content=b"x"),
                                  Entry("var/lib/dpkg/status", content=packages.encode())])
        config = {"config": {"Labels": {LINES: LINES, "org.opencontainers.image.version": LINES}}, "history": [{"created_by": LINES}]}
        # As it may be on the wire: not everything has to be escaped in JSON.
        document = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]}, **config}, ensure_ascii=False).encode()
        annotations = {"org.opencontainers.image.version": LINES, LINES: LINES}
        layout.image("t", [layer], config=document)
        described = json.loads(layout.blob_path(layout.manifests[0]["digest"]).read_bytes())
        self.manifest = json.dumps({**described, "annotations": annotations}, ensure_ascii=False).encode()
        layout.image("t", [layer], config=document, manifest=self.manifest)
        return "ostree-unverified-image:" + layout.reference("t")

    def on_terminal(self, *words):
        """What imagectl writes to a terminal, standard error included."""
        terminal, other = pty.openpty()
        process = subprocess.Popen([IMAGECTL, "--address", self.address, *words], stdin=subprocess.DEVNULL, stdout=other, stderr=other,
                                   env={**os.environ, "TERM": "dumb"})
        os.close(other)
        output, end = b"", time.monotonic() + 60 * sanitizers.SLOWER
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    piece = os.read(terminal, 65536)
                except OSError:
                    break  # the other side is closed
                if not piece:
                    break
                output += piece
            elif process.poll() is not None:
                break
        process.wait(10)
        os.close(terminal)
        return output.decode()

    def harmless(self, *words):
        output = self.on_terminal(*words)
        found = FORBIDDEN.search(output)
        self.assertIsNone(found, f"{words[:2]}: {output!r}")
        self.assertNotIn("\nimagectl: a line of its own", output.replace("\r", "\n"), words)
        self.assertNotEqual(output, "")
        return output

    def test_every_verb(self):
        image, other = self.image(), self.image("other")
        stored, second = (name.removeprefix("ostree-unverified-image:") for name in (image, other))
        archive = self.directory + "/archive.tar"
        subprocess.run(["tar", "-C", self.scratch / "other", "-cf", archive, "."], check=True)
        for name in ("refs/heads/odd" + LINES.replace("/", ""), "refs/heads/ostree/container/image/odd" + HOSTILE):
            path = pathlib.Path(self.directory, "repo", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("0" * 64 + "\n")
        for json_words in ([], ["--json"]):
            for words in (["prepare", image], ["pull", image], ["pull", image], ["list"], ["show", stored], ["manifest", stored], ["config", stored], ["check", image],
                          ["diff", stored, stored, "--files", "--packages"], ["changes", stored, "--from", stored], ["changes", stored], ["jobs"],
                          ["pull", other], ["changes", stored, "--from", second], ["diff", stored, second, "--files", "--packages"], ["df"], ["origin", stored], ["watch", "1"],
                          ["rollback", stored], ["cancel", "1" + LINES], ["watch", "1" + LINES], ["import-archive", archive, "docker://x.example/" + ("a" if json_words else "b") + ":1"], ["check", "--packages", image],
                          ["check"], ["list", "--all"], ["remove", second], ["verify"], ["verify", stored, "--repair"], ["deployments"], ["prune"],
                          ["export", stored, f"oci:{self.scratch}/out{len(json_words)}:{'t'}"], ["copy", stored, str(self.scratch / "nowhere")],
                          ["pull", image + LINES], ["show", "docker://" + HOSTILE], ["show", "oci:/" + NAME], ["remove", stored + "x"], ["frobnicate" + LINES], ["remove", stored]):
                with self.subTest(" ".join(json_words + words[:1])):
                    output = self.harmless(*json_words, *words)
                    if json_words and output.startswith("{"):
                        json.loads(output.splitlines()[0])
        with open(self.log, encoding="utf-8") as log:
            lines = log.read()
        self.assertIsNone(FORBIDDEN.search(lines), lines)
        self.assertIn("pull", lines)
        self.assertEqual([line for line in lines.splitlines() if not line.startswith("imaged: ")], [])

    def test_elsewhere_a_document_is_what_is_stored(self):
        image = self.image()
        self.on_terminal("pull", image)
        stored = image.removeprefix("ostree-unverified-image:")
        run = subprocess.run([IMAGECTL, "--address", self.address, "manifest", stored], capture_output=True, check=True)
        self.assertEqual(run.stdout, self.manifest)
        run = subprocess.run([IMAGECTL, "--address", self.address, "--json", "manifest", stored], capture_output=True, check=True)
        self.assertEqual(json.loads(run.stdout)["manifest"]["annotations"][LINES], LINES)
        # And on a terminal it is still the same document.
        self.assertEqual(json.loads(self.on_terminal("manifest", stored))["annotations"], json.loads(self.manifest)["annotations"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
