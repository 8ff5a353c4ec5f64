#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a job tells on the bus while it runs, by the real worker: of each of many layers, in which unit it counts, and which images it is about."""
import os
import unittest

from gi.repository import GLib

import bus_fixture
import oci_layout
import ostree_repository
from bus_fixture import MANAGER

bus_fixture.WORKER = os.environ["IMAGED_WORKER"]
# More messages than a socket between two processes takes at once (some 280).
MANY = 500


class Announcements(bus_fixture.Case):
    options = ["--idle-timeout", "0", "--pass-environment", "CONTAINERS_POLICY"]

    def setUp(self):
        super().setUp()
        ostree_repository.init(self.directory + "/repo")
        self.layout = oci_layout.Layout(self.directory + "/layout")
        self.bus_client = self.client()

    def publish(self, tag, *contents):
        self.layout.image(tag, [oci_layout.layer([oci_layout.Entry(f"usr/{content}", content=content.encode())]) for content in contents])
        return self.layout.reference(tag)

    def ended(self, method, *arguments, timeout=120):
        types = {str: "s", list: "as", dict: "a{sv}"}
        kind = "(" + "".join(types[type(argument)] for argument in arguments) + ")"
        return self.bus_client.finished(self.bus_client.call(MANAGER, method, GLib.Variant(kind, arguments))[0], timeout)

    def pulled(self, reference):
        properties = self.ended("Pull", reference, {})
        self.assertEqual(properties["Result"], "success", properties)
        return properties

    def test_the_last_state_of_each_of_many_layers(self):
        contents = [f"file-{number}" for number in range(MANY)]
        first, second = self.publish("first", *contents), self.publish("second", *contents, "more")
        self.bus_client.listen()
        for reference, expected in ((first, ["done"] * MANY), (second, ["reused"] * MANY + ["done"])):
            with self.subTest(reference):
                self.bus_client.signals.clear()
                properties = self.pulled(reference)
                states = {values[0]: values[2] for _, _, _, _, values in self.bus_client.heard("LayerProgress")}
                missing = [index for index, state in enumerate(expected) if states.get(index) != state]
                self.assertEqual(missing, [])
                self.assertEqual(properties["Layers"], (len(expected), len(expected)))

    def test_what_counts_no_bytes_says_what_it_counts(self):
        self.pulled(self.publish("it", "a", "b"))
        verified = self.ended("Verify", [], {})
        self.assertEqual((verified["Bytes"], verified["Steps"], verified["Unit"]), ((0, 0), (1, 1), "images"))
        pruned = self.ended("Prune", {})
        self.assertEqual((pruned["Bytes"], pruned["Steps"], pruned["Unit"]), ((0, 0), (256, 256), "directories"))
        pulled = self.pulled(self.publish("other", "c"))
        self.assertEqual((pulled["Bytes"][0], pulled["Steps"], pulled["Unit"]), (pulled["Bytes"][1], (0, 0), ""))
        self.assertGreater(pulled["Bytes"][0], 0)

    def test_a_job_says_which_images_it_is_about(self):
        images = [self.publish(tag, tag) for tag in ("a", "b", "c")]
        pulled = [self.pulled(image) for image in images]
        self.assertEqual((pulled[0]["Image"], pulled[0]["Images"]), (images[0], images[:1]))
        removed = self.ended("Remove", images[:2], {})
        self.assertEqual((removed["Image"], removed["Images"]), ("", images[:2]))
        removed = self.ended("Remove", images[2:], {})
        self.assertEqual((removed["Image"], removed["Images"]), (images[2], images[2:]))
        self.assertEqual(self.ended("Prepare", images[0], {})["Images"], [])

    def test_the_fraction_of_a_job_that_fails_is_less_than_1(self):
        broken = self.publish("broken", "broken")
        for blob in os.listdir(self.directory + "/layout/blobs/sha256"):
            path = f"{self.directory}/layout/blobs/sha256/{blob}"
            with open(path, "rb") as file:
                data = file.read()
            if data[:2] == b"\x1f\x8b":
                with open(path, "wb") as file:
                    file.write(data[:-1] + bytes([data[-1] ^ 1]))
        self.bus_client.listen()
        properties = self.ended("Pull", broken, {})
        self.assertEqual(properties["Result"], "failed")
        self.assertLess(properties["Fraction"], 1)
        self.assertEqual([values[1]["Fraction"] for _, _, _, _, values in self.bus_client.heard("PropertiesChanged") if values[1].get("Fraction", 0) >= 1], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
