# SPDX-License-Identifier: Apache-2.0
"""The limits of a skopeo that is the worker's child, tried out by a program in its place before it becomes the real one."""
import json
import os
import pathlib
import shutil
import unittest

import oci_layout
import ostree_repository
import skopeo_service
import worker
from repository_case import ScratchCase

# Tries to have more than it may, says what happened, and becomes skopeo.
GREEDY = """#!/usr/bin/python3 -I
import json, os, resource, sys, tempfile
def outcome(function):
    try:
        function()
        return "done"
    except (MemoryError, OSError) as error:
        return type(error).__name__
def fill():
    blocks = [bytearray(64 << 20) for _ in range(20)]
def write():
    with tempfile.TemporaryFile() as file:
        os.pwrite(file.fileno(), b"x", 17 << 30)
said = {"memory": outcome(fill), "file": outcome(write), "cpu": resource.getrlimit(resource.RLIMIT_CPU), "scratch": tempfile.gettempdir()}
with open("@", "a") as file:
    file.write(json.dumps(said) + "\\n")
os.execv("#", sys.argv)
"""


class Limits(ScratchCase):
    def setUp(self):
        super().setUp()
        self.said = self.directory / "said"
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "skopeo").write_text(GREEDY.replace('"@"', json.dumps(str(self.said))).replace('"#"', json.dumps(shutil.which("skopeo"))))
        (programs / "skopeo").chmod(0o755)
        self.environment = {"PATH": f"{programs}:{os.environ['PATH']}"}
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.layout.image("t", [oci_layout.layer([oci_layout.Entry("usr/x", content=b"x")])])

    def test_memory_files_and_time_are_limited_and_the_scratch_directory_goes(self):
        repository = ostree_repository.init(self.directory / "repo")
        self.layout.as_dir("t", self.directory / "dir")
        for image in (self.layout.reference("t"), f"dir:{self.directory}/dir"):
            result = worker.pull("ostree-unverified-image:" + image, repository, env=self.environment).result
            self.assertEqual(result["outcome"], "success", result)
        tried = [json.loads(line) for line in self.said.read_text().splitlines()]
        self.assertGreaterEqual(len(tried), 2)
        for one in tried:
            self.assertEqual((one["memory"], one["file"]), ("MemoryError", "OSError"))
            self.assertEqual(one["cpu"], [4 * 3600] * 2)
            self.assertFalse(pathlib.Path(one["scratch"]).exists(), one["scratch"])
            self.assertNotIn(one["scratch"], ("/tmp", "/var/tmp"))


class CannotBeRun(ScratchCase):
    """A skopeo that cannot be run, as the worker's child and by the service: the cause, and no question about packages but for the one that is missing."""

    def setUp(self):
        super().setUp()
        self.directory.chmod(0o755)
        self.layout = oci_layout.Layout(self.directory / "layout")
        self.layout.image("t", [oci_layout.layer([oci_layout.Entry("usr/x", content=b"x")])])
        self.image = "ostree-unverified-image:" + self.layout.reference("t")
        self.repository = ostree_repository.init(self.directory / "repo")
        self.assertEqual(worker.pull(self.image, self.repository).result["outcome"], "success")

    def programs(self, name, make):
        directory = self.directory / name
        directory.mkdir()
        make(directory / "skopeo")
        directory.chmod(0o755)
        return str(directory)

    def results(self, path):
        environment = {"PATH": path}
        registry = "ostree-unverified-image:docker://127.0.0.1:1/a:b"
        yield "child, pull", worker.pull(self.image, self.directory / "other", env=environment).result
        yield "child, export", worker.pull(self.layout.reference("t"), self.repository, kind="export", arguments={"destination": "docker://127.0.0.1:1/a:b"}, env=environment).result
        service = skopeo_service.SkopeoService(environment)
        try:
            settings = {"skopeo-service": service.path}
            yield "service, pull", worker.pull(registry, self.directory / "other", settings=settings).result
            yield "service, export", worker.pull(self.layout.reference("t"), self.repository, kind="export", arguments={"destination": "docker://127.0.0.1:1/a:b"},
                                                 settings=settings).result
        finally:
            service.stop()

    def test_the_cause_is_named(self):
        def forbidden(path):
            path.write_text("#!/bin/sh\n")
            path.chmod(0o644)

        for path, cause in ((self.programs("empty", lambda path: None), "No such file or directory; is it installed?"),
                            (self.programs("forbidden", forbidden), "Permission denied"), (self.programs("loop", lambda path: path.symlink_to("skopeo")), "Too many levels of symbolic links")):
            for where, result in self.results(path):
                with self.subTest(where, cause=cause):
                    self.assertEqual((result.get("error-name"), result["message"].rsplit(": skopeo", 1)[-1].removeprefix("skopeo")),
                                     ("Failed", " could not be started: cannot run skopeo: " + cause))


if __name__ == "__main__":
    unittest.main(verbosity=2)
