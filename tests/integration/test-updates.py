# SPDX-License-Identifier: Apache-2.0
"""Check finds an update and remembers it, list and show tell of it, diff compares with it, pull makes it go; over a real bus, with the real worker
and imagectl."""
import json
import os
import pathlib
import subprocess
import unittest
import unittest.mock

from gi.repository import GLib

import bus_fixture
import encapsulation
import oci_layout
import ostree_repository
from bus_fixture import MANAGER
from oci_layout import Entry, directory, whiteout

bus_fixture.WORKER = os.environ["IMAGED_WORKER"]
IMAGECTL = os.environ["IMAGECTL"]
KEYS = ("ostree-ext.cached.manifest-digest", "ostree-ext.cached.manifest", "ostree-ext.cached.config")


class Updates(bus_fixture.Case):
    options = ["--idle-timeout", "0", "--pass-environment", "CONTAINERS_POLICY"]

    def setUp(self):
        super().setUp()
        self.repository = self.directory + "/repo"
        self.base = oci_layout.layer([directory("usr"), Entry("usr/kept", content=b"kept"), Entry("usr/changed", content=b"old"),
                                      Entry("usr/removed", content=b"removed"), directory("usr/gone"), Entry("usr/gone/file", content=b"x")])
        self.old = oci_layout.layer([Entry("usr/old", content=b"old layer")])
        self.new = oci_layout.layer([Entry("usr/new", content=b"new layer"), Entry("usr/changed", content=b"new"), whiteout("usr/removed"),
                                     whiteout("usr/gone"), directory("usr/fresh"), Entry("usr/fresh/file", content=b"y")])
        self.layout = oci_layout.Layout(self.directory + "/layout")
        self.first = self.publish("it", [self.base, self.old], "1")
        self.image = self.layout.reference("it")
        self.bus_client = self.client()
        self.job("Pull", self.image)

    def publish(self, tag, layers, version):
        """Makes the tag lead to an image of LAYERS, and nowhere else."""
        self.layout.manifests = [manifest for manifest in self.layout.manifests
                                 if manifest["annotations"]["org.opencontainers.image.ref.name"] != tag]
        return self.layout.image(tag, layers, config={"config": {"Labels": {"org.opencontainers.image.version": version}}})

    def job(self, method, image, **options):
        job = self.bus_client.start(method, image, **options)[0]
        properties = self.bus_client.finished(job, 60)
        self.assertEqual(properties["Result"], "success", properties)
        return properties["Outcome"]

    def failed(self, method, image, **options):
        return self.bus_client.finished(self.bus_client.start(method, image, **options)[0], 60)["ErrorName"].removeprefix(bus_fixture.ERROR)

    def listed(self):
        images, document = [self.bus_client.call(MANAGER, method, GLib.Variant("(a{sv})", ({},)))[0] for method in ("ListImages", "DescribeImages")]
        self.assertEqual(json.loads(document), {"images": images})
        return images

    def shown(self):
        return self.bus_client.call(MANAGER, "GetImage", GLib.Variant("(s)", (self.image,)))[0]

    def diff(self, first, second="", **options):
        return self.bus_client.call(MANAGER, "Diff", GLib.Variant("(ssa{sv})", (first, second, options)))[0]

    def imagectl(self, *words):
        done = subprocess.run([IMAGECTL, *words], capture_output=True, text=True, env={**os.environ, "IMAGED_BUS_ADDRESS": self.address})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def metadata(self, commit):
        """The detached metadata of COMMIT."""
        try:
            with open(f"{self.repository}/objects/{commit[:2]}/{commit[2:]}.commitmeta", "rb") as file:
                return GLib.Variant.new_from_bytes(GLib.VariantType("a{sv}"), GLib.Bytes(file.read()), False).unpack()
        except FileNotFoundError:
            return {}

    def test_without_an_update_nothing_is_remembered(self):
        outcome = self.job("Check", self.image)
        self.assertEqual((outcome["update-available"], outcome["digest"]), (False, self.first))
        self.assertNotIn("update-digest", outcome)
        self.assertEqual(self.metadata(self.shown()["merge-commit"]), {})
        self.refused("NotFound", self.diff, self.image)

    def test_an_update_is_remembered_until_it_is_pulled(self):
        merge = self.shown()["merge-commit"]
        second = self.publish("it", [self.base, self.new], "2")
        self.assertNotIn("update-digest", self.listed()[0])
        outcome = self.job("Check", self.image)
        self.assertEqual((outcome["update-available"], outcome["update-digest"], outcome["update-version"]), (True, second, "2"))
        self.assertEqual((outcome["layers-missing"], outcome["bytes-to-fetch"]), (1, len(self.new.data)))
        metadata = self.metadata(merge)
        self.assertEqual(metadata[KEYS[0]], second)
        self.assertEqual(oci_layout.digest(metadata[KEYS[1]].encode()), second)
        self.assertEqual(json.loads(metadata[KEYS[2]])["config"]["Labels"]["org.opencontainers.image.version"], "2")
        self.assertEqual([entry["update-digest"] for entry in self.listed()], [second])
        self.assertEqual(self.shown()["update-digest"], second)
        encapsulation.ostree(self.repository, "fsck")

        self.job("Pull", self.image)
        self.assertEqual(self.shown()["digest"], second)
        self.assertNotIn("update-digest", self.listed()[0])
        self.assertFalse(set(KEYS) & self.metadata(merge).keys())
        self.refused("NotFound", self.diff, self.image)

    def test_an_update_that_the_source_has_no_more_is_forgotten(self):
        merge = self.shown()["merge-commit"]
        self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        self.publish("it", [self.base, self.old], "1")
        self.assertFalse(self.job("Check", self.image)["update-available"])
        self.assertFalse(set(KEYS) & self.metadata(merge).keys())
        self.assertNotIn("update-digest", self.listed()[0])
        self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        self.publish("other", [self.base], "3")
        self.layout.manifests = self.layout.manifests[-1:]
        (self.layout.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.layout.manifests}))
        self.assertEqual(self.failed("Check", self.image), "NotFound")
        self.assertFalse(set(KEYS) & self.metadata(merge).keys())

    def test_other_detached_metadata_stays(self):
        merge = self.shown()["merge-commit"]
        signatures = GLib.Variant("a{sv}", {"ostree.gpgsigs": GLib.Variant("aay", [[1, 2, 3]]), "note": GLib.Variant("s", "mine")})
        with open(f"{self.repository}/objects/{merge[:2]}/{merge[2:]}.commitmeta", "wb") as file:
            file.write(signatures.get_data_as_bytes().get_data())
        self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        self.assertEqual(set(self.metadata(merge)), {*KEYS, "imaged.updates", "ostree.gpgsigs", "note"})
        self.publish("it", [self.base, self.old], "1")
        self.job("Check", self.image)
        self.assertEqual(self.metadata(merge), signatures.unpack())

    def test_an_update_that_the_policy_rejects_is_not_remembered(self):
        self.publish("it", [self.base, self.new], "2")
        self.assertEqual(self.failed("Check", "ostree-image-signed:" + self.image), "PolicyRejected")
        self.assertNotIn("update-digest", self.listed()[0])

    def test_an_image_under_another_name_is_checked_there(self):
        self.job("Pull", self.image, target=GLib.Variant("s", "docker://example.org/mine:1"))
        second = self.publish("it", [self.base, self.new], "2")
        outcome = self.job("Check", self.image, target=GLib.Variant("s", "docker://example.org/mine:1"))
        self.assertEqual((outcome["image"], outcome["update-digest"]), ("docker://example.org/mine:1", second))
        # Both references name one commit; what was found is the one's that was asked about.
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], [second, None])
        self.refused("NotFound", self.diff, self.image)
        third = self.publish("it", [self.base, self.new], "3")
        self.assertEqual(self.job("Check", self.image)["update-digest"], third)
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], [second, third])
        self.assertEqual([self.diff(image)["to-version"] for image in ("docker://example.org/mine:1", self.image)], ["2", "3"])
        self.assertEqual(self.metadata(self.shown()["merge-commit"])[KEYS[0]], third)
        # "none" takes it from the one that was asked about, and leaves the other's.
        self.publish("it", [self.base, self.old], "1")
        self.assertFalse(self.job("Check", self.image)["update-available"])
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], [second, None])
        self.assertEqual(self.diff("docker://example.org/mine:1")["to-version"], "2")
        self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        self.job("Pull", self.image)
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], [second, None])

    def test_what_another_program_found_is_told_of_every_name_of_the_commit(self):
        self.job("Pull", self.image, target=GLib.Variant("s", "docker://example.org/mine:1"))
        merge = self.shown()["merge-commit"]
        found = GLib.Variant("a{sv}", {key: GLib.Variant("s", "sha256:" + "a" * 64) for key in KEYS})
        with open(f"{self.repository}/objects/{merge[:2]}/{merge[2:]}.commitmeta", "wb") as file:
            file.write(found.get_data_as_bytes().get_data())
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], ["sha256:" + "a" * 64] * 2)
        self.job("Check", self.image)
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], [None] * 2)

    def test_an_image_that_is_removed_and_comes_back_has_no_update(self):
        self.job("Pull", self.image, target=GLib.Variant("s", "docker://example.org/mine:1"))
        self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        number = self.bus_client.call(MANAGER, "Remove", GLib.Variant("(asa{sv})", ([self.image], {})))[0]
        self.assertEqual(self.bus_client.finished(number, 60)["Result"], "success")
        self.publish("it", [self.base, self.old], "1")
        self.job("Pull", self.image)
        self.assertEqual([entry.get("update-digest") for entry in self.listed()], [None] * 2)

    def imagectl_sources(self):
        return {image["image"]: image.get("source") for image in self.listed()}

    def test_an_image_remembers_where_it_came_from_and_is_asked_for_there(self):
        tested = "docker://example.org/tested:1"
        self.imagectl("pull", self.image, "--target", tested)
        self.assertEqual(self.imagectl_sources(), {self.image: None, tested: self.image})
        self.assertEqual(json.loads(self.imagectl("show", tested, "--json"))["source"], self.image)
        second = self.publish("it", [self.base, self.new], "2")
        self.assertEqual(json.loads(self.imagectl("check", tested, "--json"))["update-digest"], second)
        self.assertEqual({image["image"]: image.get("update-digest") for image in self.listed()}, {self.image: None, tested: second})
        # Another one under the same name, though with the same content.
        other = self.layout.reference("other")
        self.publish("other", [self.base, self.old], "1")
        self.imagectl("pull", other, "--target", tested)
        self.assertEqual(self.imagectl_sources()[tested], other)
        # To another repository and back, under a third name.
        ostree_repository.init(self.directory + "/stick")
        self.imagectl("copy", tested, self.directory + "/stick")
        self.imagectl("copy", "--from", tested, self.directory + "/stick", "--target", "docker://example.org/back:1")
        self.assertEqual(self.imagectl_sources()["docker://example.org/back:1"], tested)
        self.imagectl("remove", tested)
        self.imagectl("copy", "--from", tested, self.directory + "/stick")
        self.assertEqual(self.imagectl_sources()[tested], None)

    def rules(self):
        rules = {image["image"]: image.get("signature-policy") for image in self.listed()}
        for image, rule in rules.items():
            self.assertEqual(self.bus_client.call(MANAGER, "GetImage", GLib.Variant("(s)", (image,)))[0].get("signature-policy"), rule)
        return rules

    def test_lists_tell_which_rule_let_an_image_in(self):
        first, scoped = "insecureAcceptAnything (default)", "insecureAcceptAnything (oci: any)"
        self.assertEqual(self.rules(), {self.image: first})
        self.assertRegex(self.imagectl("show", self.image), r"(?m)^Signatures: +insecureAcceptAnything \(default\)$")
        # An update by another rule; the version before it keeps its own.
        self.publish("it", [self.base, self.new], "2")
        with open(self.directory + "/policy.json", "w", encoding="utf-8") as file:
            json.dump({"default": [{"type": "reject"}], "transports": {"oci": {"": [{"type": "insecureAcceptAnything"}]}}}, file)
        self.daemon.terminate()
        self.daemon.wait()
        with unittest.mock.patch.dict(os.environ, {"CONTAINERS_POLICY": self.directory + "/policy.json"}):
            self.start_daemon()
        self.assertEqual(self.job("Pull", self.image)["signature-policy"], scoped)
        self.assertEqual(self.rules(), {self.image: scoped})
        self.imagectl("rollback", self.image)
        self.assertEqual(self.rules(), {self.image: first})
        self.imagectl("rollback", self.image)
        self.assertEqual(self.rules(), {self.image: scoped})
        # A copy is the claim of another repository, and a ref that of another program.
        ostree_repository.init(self.directory + "/stick")
        self.imagectl("copy", self.image, self.directory + "/stick")
        self.imagectl("copy", "--from", self.image, self.directory + "/stick", "--target", "docker://example.org/back:1")
        copied = next(ref for ref in encapsulation.ostree(self.repository, "refs").split() if "back" in ref)
        encapsulation.ostree(self.repository, "refs", "--create=" + copied.replace("back", "theirs"), self.listed()[0]["merge-commit"])
        self.assertEqual(self.rules(), {self.image: scoped, "docker://example.org/back:1": None, "docker://example.org/theirs:1": None})
        # Nothing of it stays with the name.
        self.imagectl("remove", self.image)
        for path in pathlib.Path(self.repository, "extensions/imaged/rules").iterdir():
            self.assertEqual(json.loads(path.read_text()), {})
        self.imagectl("copy", "--from", self.image, self.directory + "/stick")
        self.assertEqual(self.rules()[self.image], None)

    def test_a_record_of_rules_with_nonsense_tells_nothing(self):
        (path,) = map(str, pathlib.Path(self.repository, "extensions/imaged/rules").iterdir())
        commit = self.listed()[0]["merge-commit"]
        for text, rule in (("", None), ("[]", None), ('{"x": 7}', None), (json.dumps({self.image: {"0" * 64: "signedBy"}}), None), (json.dumps({self.image: {commit: "x" * 300}}), "x" * 256 + "…")):
            with self.subTest(text[:30]):
                with open(path + ".new", "w", encoding="utf-8") as file:
                    file.write(text)
                os.rename(path + ".new", path)
                self.assertEqual(self.rules(), {self.image: rule})
        os.chmod(path, 0o666)
        self.job("Pull", self.image)
        self.assertEqual(self.rules(), {self.image: "insecureAcceptAnything (default)"})

    def test_an_image_out_of_an_archive_is_left_out_with_a_word(self):
        subprocess.run(["tar", "-C", self.layout.path, "-cf", self.directory + "/it.tar", "."], check=True)
        archived = "docker://example.org/archived:1"
        self.imagectl("import-archive", self.directory + "/it.tar", archived)
        self.assertEqual(self.imagectl_sources()[archived], "archive")
        run = subprocess.run([IMAGECTL, "check", archived], capture_output=True, text=True, env={**os.environ, "IMAGED_BUS_ADDRESS": self.address})
        self.assertEqual((run.returncode, "was imported from an archive" in run.stderr), (3, True), run.stderr)
        self.publish("it", [self.base, self.new], "2")
        said = self.imagectl("check").splitlines()
        self.assertIn(f"{archived}: cannot be checked: it was imported from an archive, so it has no source to check", said)
        self.assertEqual(said[-1], "1 image checked, 1 update")
        # It comes from where its name says from then on.
        self.imagectl("pull", self.image, "--target", archived)
        self.assertEqual(self.imagectl_sources()[archived], self.image)

    def test_what_is_not_stored_cannot_be_checked(self):
        self.publish("never", [self.base], "1")
        self.assertEqual(self.failed("Check", self.layout.reference("never")), "NotFound")

    def test_an_update_is_announced_once_and_counted(self):
        self.bus_client.listen()
        self.eventually(lambda: self.available() == 0)
        second = self.publish("it", [self.base, self.new], "2")
        for _ in range(2):
            self.job("Check", self.image)
        self.eventually(lambda: self.available() == 1)
        self.eventually(lambda: {"UpdatesAvailable": 1} in [values[1] for _, _, _, _, values in self.bus_client.heard("PropertiesChanged")])
        self.assertEqual([values for _, _, _, _, values in self.bus_client.heard("UpdateFound")], [(self.image, self.first, second, "2")])
        self.job("Pull", self.image)
        self.eventually(lambda: self.available() == 0)
        # The next imaged counts what is remembered.
        self.publish("it", [self.base, self.old], "3")
        self.job("Check", self.image)
        self.daemon.terminate()
        self.daemon.wait()
        self.start_daemon()
        self.eventually(lambda: self.available() == 1)

    def available(self):
        return self.bus_client.call("org.freedesktop.DBus.Properties", "Get", GLib.Variant("(ss)", (MANAGER, "UpdatesAvailable")))[0]

    def test_list_shows_that_an_update_waits(self):
        self.assertNotIn("update", self.imagectl("list"))
        self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        self.assertRegex(self.imagectl("list"), r"(?m)^oci:\S+ .* update$")

    def test_a_difference_counts_layers_and_bytes(self):
        second = self.publish("it", [self.base, self.new], "2")
        self.job("Check", self.image)
        difference = self.diff(self.image)
        self.assertEqual((difference["pending"], difference["from-digest"], difference["to-digest"]), (True, self.first, second))
        self.assertEqual((difference["from-version"], difference["to-version"]), ("1", "2"))
        digests = {key: [layer["digest"] for layer in difference["layers-" + key]] for key in ("added", "removed", "kept")}
        self.assertEqual(digests, {"added": [oci_layout.digest(self.new.data)], "removed": [oci_layout.digest(self.old.data)],
                                   "kept": [oci_layout.digest(self.base.data)]})
        self.assertEqual([difference["bytes-" + key] for key in ("added", "removed", "kept")],
                         [len(self.new.data), len(self.old.data), len(self.base.data)])
        self.assertFalse(difference["layers-added"][0]["present"])
        self.assertNotIn("files-added", difference)
        self.refused("InvalidArgument", self.diff, self.image, files=GLib.Variant("b", True))

    def test_a_difference_names_files_on_request(self):
        self.publish("next", [self.base, self.new], "2")
        self.job("Pull", self.layout.reference("next"))
        difference = self.diff(self.image, self.layout.reference("next"), files=GLib.Variant("b", True))
        self.assertEqual({key: difference[key] for key in ("files-added", "files-removed", "files-changed", "truncated")},
                         {"files-added": ["/usr/fresh", "/usr/fresh/file", "/usr/new"],
                          "files-removed": ["/usr/gone", "/usr/gone/file", "/usr/old", "/usr/removed"],
                          "files-changed": ["/usr/changed"], "truncated": False})
        self.assertEqual(self.diff(self.image, self.image, files=GLib.Variant("b", True))["files-changed"], [])

    def test_a_difference_of_too_many_files_is_cut(self):
        many = oci_layout.layer([Entry(f"usr/many/{number}") for number in range(10_001)])
        self.publish("many", [many], "1")
        self.job("Pull", self.layout.reference("many"))
        difference = self.diff(self.image, self.layout.reference("many"), files=GLib.Variant("b", True))
        paths = sum(len(difference[key]) for key in ("files-added", "files-removed", "files-changed"))
        self.assertEqual((paths, difference["truncated"]), (10_000, True))

    def test_options_are_strict(self):
        self.assertIn('"file"', self.refused("InvalidArgument", self.diff, self.image, file=GLib.Variant("b", True)))
        self.assertIn('"files"', self.refused("InvalidArgument", self.diff, self.image, files=GLib.Variant("s", "yes")))
        self.assertIn('"digest"', self.refused("InvalidArgument", self.bus_client.start, "Check", self.image, digest=GLib.Variant("s", self.first)))

    def test_imagectl_checks_and_compares(self):
        second = self.publish("it", [self.base, self.new], "2")
        checked = json.loads(self.imagectl("check", self.image, "--json"))
        self.assertEqual((checked["update-available"], checked["update-digest"], checked["kind"]), (True, second, "check"))
        self.assertEqual(json.loads(self.imagectl("list", "--json"))["images"][0]["update-digest"], second)
        compared = json.loads(self.imagectl("diff", self.image, "--json"))
        self.assertEqual((compared["to-digest"], compared["pending"], len(compared["layers-added"])), (second, True, 1))
        print("\n$ imagectl check IMAGE; imagectl diff IMAGE")
        print(self.imagectl("check", self.image) + "\n" + self.imagectl("diff", self.image))
        self.imagectl("pull", self.image)
        self.publish("it", [self.base, self.old], "1")
        self.imagectl("pull", self.image, "--target", "docker://example.org/old:1")
        text = self.imagectl("diff", "docker://example.org/old:1", self.image, "--files")
        print("$ imagectl diff OLD IMAGE --files\n" + text)
        for line in ("+ /usr/new", "- /usr/removed", "~ /usr/changed"):
            self.assertIn(line, text.splitlines())


if __name__ == "__main__":
    unittest.main(verbosity=2)
