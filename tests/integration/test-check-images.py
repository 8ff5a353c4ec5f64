#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""All images, or some, are checked by one job, which does not fail because a source cannot be asked; and what the timers' units do with it."""
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import unittest.mock

from gi.repository import GLib

import bus_fixture
import oci_layout
import registry
from bus_fixture import ERROR, MANAGER

bus_fixture.WORKER = os.environ["IMAGED_WORKER"]
IMAGECTL = os.environ["IMAGECTL"]
SOURCES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
ARCHIVED, RENAMED = "docker://example.org/from-an-archive:1", "docker://example.org/renamed:1"


class CheckImages(bus_fixture.Case):
    options = ["--idle-timeout", "0", "--pass-environment", "CONTAINERS_REGISTRIES_CONF"]

    def setUp(self):
        configuration = tempfile.TemporaryDirectory()
        self.addCleanup(configuration.cleanup)
        self.registries = configuration.name + "/registries.conf"
        with unittest.mock.patch.dict(os.environ, CONTAINERS_REGISTRIES_CONF=self.registries):
            super().setUp()
        self.layout = oci_layout.Layout(self.directory + "/layout")
        self.bus_client = self.client()
        self.old = {tag: self.publish(tag, "old") for tag in ("moving", "same", "gone")}
        self.images = {tag: self.layout.reference(tag) for tag in self.old}
        for tag in self.old:
            self.finished(self.bus_client.start("Pull", self.images[tag]))

    def publish(self, tag, content):
        layer = oci_layout.layer([oci_layout.Entry("usr/" + tag, content=content.encode())])
        return self.layout.image(tag, [layer], config={"config": {"Labels": {"org.opencontainers.image.version": content}}})

    def finished(self, answer):
        properties = self.bus_client.finished(answer[0], 60)
        self.assertEqual(properties["Result"], "success", properties)
        return properties

    def offline(self):
        """Stores an image whose registry cannot be reached any more, and gives its name."""
        server = registry.Registry(self.directory + "/registry")
        self.addCleanup(server.stop)
        shutil.copy(server.configuration, self.registries)
        server.push(self.images["same"], "offline:1")
        image = f"docker://{server.address}/offline:1"
        self.finished(self.bus_client.start("Pull", image))
        server.stop()
        return image

    def archived(self):
        """Stores an image that has no source."""
        subprocess.run(["tar", "-cf", self.directory + "/archive", "-C", self.directory + "/layout", "."], check=True)
        done = self.imagectl("import-archive", "--name", "same", self.directory + "/archive", ARCHIVED)
        self.assertEqual(done.returncode, 0, done)

    def check(self, *images):
        return self.finished(self.bus_client.call(MANAGER, "CheckImages", GLib.Variant("(asa{sv})", (images, {}))))

    def imagectl(self, *words):
        return subprocess.run([IMAGECTL, *words], capture_output=True, text=True, env={**os.environ, "IMAGED_BUS_ADDRESS": self.address})

    def run_unit(self, name):
        """What the unit starts, one after the other."""
        with open(f"{SOURCES}/systemd/{name}.service.in", encoding="utf-8") as file:
            lines = re.findall(r"(?m)^ExecStart=@bindir@/imagectl (.*)", file.read())
        self.assertTrue(lines)
        text = ""
        for line in lines:
            done = self.imagectl(*line.split())
            self.assertEqual(done.returncode, 0, done)
            text += done.stdout
        return text

    def test_one_job_checks_all_and_tells_of_each(self):
        offline = self.offline()
        self.archived()
        new = self.publish("moving", "new")
        self.layout.withdraw("gone")
        self.bus_client.listen()
        checked = self.check()
        self.assertEqual((checked["Kind"], checked["Steps"], checked["Unit"]), ("check-images", (5, 5), "images"))
        outcome = checked["Outcome"]
        self.assertEqual((outcome["all"], outcome["images-checked"]), (True, 2))
        update, = outcome["updates"]
        self.assertEqual((update["image"], update["digest"], update["update-digest"], update["update-version"], update["layers-missing"]),
                         (self.images["moving"], self.old["moving"], new, "new", 1))
        self.assertEqual({entry["image"]: entry["error-name"] for entry in outcome["unchecked"]},
                         {self.images["gone"]: ERROR + "NotFound", ARCHIVED: ERROR + "NotFound", offline: ERROR + "SourceUnreachable"})
        self.assertEqual([values[:3] for _, _, _, _, values in self.bus_client.wait_for("UpdateFound")], [(self.images["moving"], self.old["moving"], new)])
        self.assertEqual(len(self.bus_client.heard("JobNew")), 1)

    def test_some_are_checked_and_others_are_not(self):
        self.publish("moving", "new")
        outcome = self.check(self.images["same"])["Outcome"]
        self.assertEqual((outcome["all"], outcome["images-checked"], outcome["updates"], outcome["unchecked"]), (False, 1, [], []))

    def test_an_image_under_another_name_is_checked_where_it_came_from(self):
        self.finished(self.bus_client.start("Pull", self.images["moving"], target=GLib.Variant("s", RENAMED)))
        new = self.publish("moving", "new")
        for images in ((), (RENAMED,)):
            updates = {entry["image"]: entry["update-digest"] for entry in self.check(*images)["Outcome"]["updates"]}
            self.assertEqual(updates[RENAMED], new)
        self.assertEqual(self.run_unit("imaged-update").count("there is an update"), 2)
        self.assertEqual(self.check()["Outcome"]["updates"], [])

    def test_an_empty_repository_has_nothing_to_check(self):
        self.finished(self.bus_client.call(MANAGER, "Remove", GLib.Variant("(asa{sv})", (list(self.images.values()), {}))))
        outcome = self.check()["Outcome"]
        self.assertEqual((outcome["images-checked"], outcome["updates"], outcome["unchecked"]), (0, [], []))

    def test_it_is_cancelled_in_the_middle(self):
        pipe = self.directory + "/layout/index.json"
        os.unlink(pipe)
        os.mkfifo(pipe)
        job = self.bus_client.call(MANAGER, "CheckImages", GLib.Variant("(asa{sv})", ([], {})))[0]
        self.bus_client.until(job, lambda properties: properties["State"] == "running")
        self.bus_client.cancel(job)
        ended = self.bus_client.finished(job, 10)
        self.assertEqual((ended["Result"], ended["ErrorName"]), ("cancelled", ERROR + "Cancelled"))

    def test_imagectl_judges_what_was_asked(self):
        offline = self.offline()
        self.publish("moving", "new")
        everything = self.imagectl("check")
        self.assertEqual(everything.returncode, 0, everything)
        self.assertIn(f"{self.images['moving']}: there is an update, version new, ", everything.stdout)
        self.assertIn(f"{offline}: cannot be checked: ", everything.stdout)
        self.assertTrue(everything.stdout.endswith("3 images checked, 1 update\n"), everything.stdout)
        self.assertEqual(self.imagectl("check", "--exit-code").returncode, 10)
        self.assertEqual(self.imagectl("check", self.images["same"], offline).returncode, 6)
        document = json.loads(self.imagectl("--json", "check").stdout)
        self.assertEqual((document["kind"], document["all"], [entry["image"] for entry in document["updates"]]), ("check-images", True, [self.images["moving"]]))

    def test_the_timers_do_not_fail_without_a_network(self):
        self.offline()
        self.archived()
        self.layout.withdraw("gone")
        text = self.run_unit("imaged-update-check")
        self.assertIn("2 images checked, 0 updates", text)

    def test_the_update_timer_pulls_what_was_found(self):
        self.offline()
        new = self.publish("moving", "new")
        self.run_unit("imaged-update")
        listed = {image["image"]: image for image in json.loads(self.imagectl("--json", "list").stdout)["images"]}
        self.assertEqual(listed[self.images["moving"]]["digest"], new)
        self.assertEqual(listed[self.images["same"]]["digest"], self.old["same"])
        self.assertEqual([image for image in listed.values() if "update-digest" in image], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
