#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Cockpit page in a real browser, against the real daemon and a real registry: each action clicked through, hostile names, without rights, without
imaged, without a bus, by keyboard, at three widths, light and dark, and checked by axe-core.

AXE names axe.min.js; PICTURES a directory for screenshots. Usage: test-cockpit.py [unittest's options]"""
import glob
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import unittest
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../integration"))

import page_case  # noqa: E402
import signing  # noqa: E402
import webdriver  # noqa: E402
from oci_layout import Entry, directory, layer  # noqa: E402
from page_case import PageCase  # noqa: E402

PICTURES = os.environ.get("PICTURES")
DIALOG = "//dialog[@open]"
HOSTILE = "\u202egnp.exe<img src=x onerror=window.attacked=1>\x1b[31m\u200b&amp;"
SHOWN = "\\u{202e}gnp.exe<img src=x onerror=window.attacked=1>\\x1b[31m\\u{200b}&amp;"


class Images(PageCase):
    """What is stored."""

    def three(self):
        self.base, self.middle = self.layer("base", 3000), self.layer("middle", 900)
        self.push("host/os:1", [self.base, self.middle, self.layer("os", 200)], "12.1", labels={"org.example.purpose": "tests"}, history=[
            {"created": "2024-05-06T07:08:09Z", "created_by": "ADD base.tar /"}, {"created_by": "ENV A=b", "empty_layer": True},
            {"created_by": "RUN apt-get install middle"}, {"created_by": "COPY os /usr", "comment": "by hand"}])
        self.push("host/app:1", [self.base, self.middle, self.layer("app", 500)], "1.0")
        self.push("host/tool:1", [self.base, self.layer("tool", 300)], "0.9")
        return [self.pulled(f"host/{name}:1") for name in ("app", "os", "tool")]

    def test_the_list_and_the_picture_of_layers(self):
        app, system, tool = self.three()
        self.open(text=system)
        self.step("the table has name, version, digest, size, state of each image, and the rule by which it was let in")
        rows = [self.browser.wait_text(f"//section[@id='images']//tr[.//a[.='{name}']]", name, "accepts anything") for name in (app, system, tool)]
        for row, version in zip(rows, ("1.0", "12.1", "0.9")):
            self.assertIn(version, row)
            self.assertIn("ok", row)
        listed = {image["image"]: image for image in self.root.call("ListImages", "(a{sv})", {})[0]}
        self.assertIn(listed[system]["digest"][7:19], rows[1])
        self.step("the picture has a bar for each; a shared layer has one colour in all of them, and its own are grey")
        self.browser.wait(".bar-row")
        colours = self.browser.eventually(lambda: self.browser.run("""
            const bars = [...document.querySelectorAll('.bar')];
            return bars.length === 3 && bars.map((bar) => [...bar.children].map((part) => getComputedStyle(part).backgroundColor));"""), "three bars")
        by_name = dict(zip(self.browser.text(".bar-name").splitlines(), colours))
        self.assertEqual(by_name[app][:2], by_name[system][:2])
        self.assertEqual(by_name[app][0], by_name[tool][0])
        self.assertEqual(len({by_name[app][0], by_name[app][1], by_name[app][2]}), 3)
        self.assertEqual({bar[-1] for bar in colours}, {by_name[tool][1]})
        widths = self.browser.run("return [...document.querySelector('.bar').children].map((part) => part.getBoundingClientRect().width)")
        self.assertAlmostEqual(widths[0] / widths[2], 6, delta=1)
        self.browser.click("//summary[contains(., 'Shared layers')]")
        self.browser.wait_text("table[aria-label='Shared layers']", app, tool)
        self.console_is_quiet()

    def test_details_have_history_labels_and_architecture(self):
        _, system, _ = self.three()
        self.open(text=system)
        self.step("a click on the name opens the details")
        self.browser.click(f"//section[@id='images']//a[.='{system}']")
        self.browser.wait_text("#image", "linux/amd64", "12.1", "imaged")
        self.browser.wait_text("#labels", "org.example.purpose", "tests")
        self.step("the history has the steps that made no layer, too")
        self.browser.wait_text("#history", "ADD base.tar /", "ENV A=b", "no layer", "RUN apt-get install middle", "by hand", "2024-05-06")
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.browser.wait("#images")

    def test_the_sizes_are_counted(self):
        for name in ("app", "os"):
            self.push(f"host/{name}:1", [self.layer("base", 900), self.layer(name, 300)])
        names = [self.pulled(f"host/{name}:1") for name in ("app", "os")]
        os.unlink(self.directory + "/repo/extensions/imaged/usage.json")
        self.open(text=names[1])
        self.step("no size where it is not known")
        sizes = "return [...document.querySelectorAll('#images tbody tr')].map((row) => ['Size', 'Unique'].map((name) => row.querySelector(`[data-label=${name}]`).textContent))"
        self.assertEqual(self.browser.run(sizes), [["-", "-"]] * 2)
        self.step("Disk usage counts, as imagectl df does, and lists have the sizes from then on")
        self.browser.press("Disk usage")
        self.browser.wait_text("dialog", "Prune frees")
        found = self.root.outcome(3)[3]
        shown = lambda count: f"{count / (1e6 if count >= 1e6 else 1e3):.1f} {'MB' if count >= 1e6 else 'kB'}"
        self.browser.wait_text("dialog", "Images", shown(found["images-size"]), "All objects", shown(found["disk-size"]))
        self.browser.press("Close", DIALOG)
        listed = self.root.call("ListImages", "(a{sv})", {})[0]
        self.browser.eventually(lambda: self.browser.run(sizes) == [[shown(image["disk-size"]), shown(image["unique-size"])] for image in listed], "the list has them")
        self.assertLess(listed[0]["unique-size"], listed[0]["disk-size"])

    def test_an_image_that_goes_while_it_is_looked_at(self):
        self.push("host/os:1", [self.layer("os")], "7")
        name = self.pulled("host/os:1")
        self.open(text=name)
        self.browser.click(f"//section[@id='images']//a[.='{name}']")
        self.browser.wait("#history")
        self.step("another removes the image: the page says that it is not there, and offers nothing to do with it")
        self.root.finished(self.root.call("Remove", "(asa{sv})", [name], {})[0])
        self.browser.wait_text("main", "This image cannot be read", "not in the repository")
        self.assertEqual(self.browser.find("#remove, #verify, #history"), [])
        self.step("it comes back")
        self.pulled("host/os:1")
        self.browser.wait("#history")

    def test_a_long_list_is_filtered(self):
        files = self.layer("x")
        for number in range(8):
            self.push(f"many/image{number}:1", [files])
            self.pulled(f"many/image{number}:1")
        self.open(text="image7")
        self.step("the filter leaves what contains the text")
        self.browser.type("#filter", "image5")
        self.browser.wait_text("#images", "1 of 8 images")
        self.assertEqual(len(self.browser.find("#images tbody tr")), 1)

    def test_hostile_names_are_text(self):
        """Of an image, of what it says of itself, and of what a registry answers."""
        self.push("evil/os:1", [self.layer("evil")], HOSTILE, labels={HOSTILE: HOSTILE + "2"}, history=[{"created_by": HOSTILE, "comment": HOSTILE}],
                  architecture="<b>amd64</b>\u2066")
        name = self.pulled("evil/os:1")
        local = self.directory + "/\u202e<script>window.attacked=1<"
        os.symlink(self.layout.path, local)
        odd = f"oci:{local}:it"
        job = self.root.finished(self.root.start("Pull", odd), 60)
        self.assertEqual(job["Result"], "success", job)
        self.open(text=name)
        self.step("bidirectional and control characters are visible, markup stays text")
        self.browser.wait_text("#images", SHOWN, "\\u{202e}<script>window.attacked=1<")
        self.browser.click(f"//section[@id='images']//a[contains(., 'evil/os')]")
        self.browser.wait_text("#labels", SHOWN + "2")
        self.browser.wait_text("#history", SHOWN)
        self.browser.wait_text("#image", "<b>amd64</b>\\u{2066}")
        self.step("the details of an image with such a name open, also by its address")
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.browser.click("//section[@id='images']//a[contains(., 'script')]")
        self.browser.wait_text("#image", "\\u{202e}<script>")
        self.browser.open("about:blank")
        self.open(self.url + "#/image/" + urllib.request.quote(odd, safe=""), "\\u{202e}<script>")
        self.step("nothing of it became an element, and nothing ran")
        self.assertEqual(self.browser.run("return [document.querySelectorAll('main script, main img, main b').length, window.attacked || 0]"), [0, 0])
        self.assertNotRegex(self.browser.run("return document.body.textContent"), "[\u202a-\u202e\u2066-\u2069\u200b\x1b]")
        self.assertNotRegex(self.browser.run("return [...document.querySelectorAll('*')].flatMap((node) => [...node.attributes].map((one) => one.value)).join(' ')"),
                            "[\u202a-\u202e\u2066-\u2069\u200b\x1b]")

    def test_an_image_that_says_a_lot_of_itself(self):
        layers = [self.layer("a"), self.layer("b")]
        history = [{"created_by": "RUN " + "x" * 65536}, *({"created_by": f"ENV A={number}", "empty_layer": True} for number in range(5000)), {"created_by": "RUN last"}]
        self.push("long/os:1", layers, "7" * 65536, labels={"a-long-one": "y" * 65536, **{f"label-{number}": "z" * 20 for number in range(20000)}}, history=history)
        name = self.pulled("long/os:1")
        self.open(text=name)
        self.step("20,000 labels, 5,000 steps of a history, texts of 64 KiB: their beginning, how much it is, and what prints the rest")
        self.browser.click(f"//section[@id='images']//a[.='{name}']")
        self.browser.wait_text("#labels", "a-long-one", "label-1", "and 19502 more", "imagectl show")
        self.browser.wait_text("#history", "RUN xxx", "ENV A=1", "and 4502 more", "imagectl config")
        self.assertIn("(65536 characters)", self.browser.run("return document.getElementById('labels').textContent"))
        self.assertLess(self.browser.run("return document.body.textContent.length"), 200_000)
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.browser.wait("#images")

    def test_the_browser_is_told_to_run_nothing_else(self):
        with urllib.request.urlopen(self.url) as answer:
            rules = answer.headers["Content-Security-Policy"]
        self.step("the policy of content allows no inline script or style: " + rules)
        self.assertNotIn("unsafe", rules)
        self.assertIn("script-src 'self'", rules)
        self.open()
        self.browser.run("""const script = document.createElement('script'); script.textContent = 'window.attacked = 1'; document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', '<p id="styled" style="color: rgb(1, 2, 3)">x</p>');""")
        self.assertEqual(self.browser.run("return [window.attacked || 0, getComputedStyle(document.getElementById('styled')).color === 'rgb(1, 2, 3)']"), [0, False])
        self.assertEqual(len([message for message in self.browser.messages() if "Content Security Policy" in message]), 2)


class Jobs(PageCase):
    """What changes something, and what is seen of it meanwhile."""

    def preview(self, name):
        self.browser.press("Pull an image")
        self.browser.type("#reference", name)
        self.browser.press("Preview", DIALOG)

    def test_a_pull_with_its_preview_is_watched_to_its_end(self):
        base = self.layer("base", 100)
        self.push("host/old:1", [base])
        self.pulled("host/old:1", slow=True)
        digest = self.push("host/os:1", [base, self.layer("large", 4000), self.layer("small", 50)], "12.1")
        large = self.drip(digest, 6)
        self.open()
        name = self.reference("host/os:1", slow=True)
        self.step("the preview says digest, layers, bytes, and that no signature was demanded")
        self.preview(name.removeprefix("docker://"))
        self.browser.wait_text("dialog", digest, "12.1", "1 here, 2 missing", "4.1 MB", "No signature verified", "insecureAcceptAnything (default)")
        self.assertNotIn(name, self.browser.text("#images"), "a preview stores nothing")
        self.step("the pull is confirmed, and its job is shown: phase, layers, bytes, rate, remaining time")
        self.browser.press("Pull 4.1 MB", DIALOG)
        self.browser.gone("dialog")
        self.browser.wait_text("#jobs", "Pull " + name, "fetching layers", "of 3 layers", "4.1 MB", "/s", "left")
        first = int(self.browser.run("return document.querySelector('#jobs [role=progressbar]').getAttribute('aria-valuenow')"))
        self.step("each layer is shown: reused, fetching with its bytes, done")
        self.browser.click("//summary[contains(., 'Layers:')]")
        self.browser.wait_text("table[aria-label='Layers of this job']", "reused", "fetching", "done", large[7:19])
        self.step("the journal of the job is followed")
        self.browser.press("Journal of job 3")
        self.browser.wait_text(".journal", "starts: import " + name)
        self.browser.eventually(lambda: int(self.browser.run("return document.querySelector('#jobs [role=progressbar]').getAttribute('aria-valuenow')")) > first, "it goes on")
        self.step("it ends: result, journal, announcement, the image in the table")
        self.browser.wait_text("#jobs", "finished", "3, 2 of them fetched", "4.1 MB", "insecureAcceptAnything (default)")
        self.browser.wait_text(".journal", "ended after", "success", "bytes fetched")
        self.browser.wait_text("#images", name, "12.1", digest[7:19])
        self.assertIn(f"Pull {name}: finished", self.browser.run("return document.getElementById('announcements').textContent"))
        self.browser.press("Dismiss job 3")
        self.browser.eventually(lambda: f"Pull {name}" not in self.browser.text("#jobs"), "it is dismissed")
        self.step("the same once more: it is here already, and nothing is offered")
        self.preview(name)
        self.browser.wait_text("dialog", "The image is here already")
        self.assertEqual(self.browser.find("dialog button[type=submit]"), [])
        self.browser.press("Close", DIALOG)
        self.console_is_quiet()

    def test_a_pull_is_cancelled(self):
        digest = self.push("host/os:1", [self.layer("large", 4000)])
        self.open()
        self.preview(self.reference("host/os:1", slow=True))
        self.browser.wait_text("dialog", digest)
        self.drip(digest, 60)
        self.browser.press("Pull 4.1 MB", DIALOG)
        self.browser.wait_text("#jobs", "fetching layers")
        self.step("Cancel ends the job, and nothing is stored")
        self.browser.press("Cancel job 2")
        self.browser.wait_text("#jobs", "cancelled", timeout=20)
        self.assertEqual(self.root.call("ListImages", "(a{sv})", {})[0], [])

    def test_a_preview_that_is_closed_is_cancelled(self):
        self.push("host/os:1", [self.layer("x")])
        self.slow.fault = ("/manifests/", page_case.dripping(60), None)
        self.open()
        self.preview(self.reference("host/os:1", slow=True))
        self.browser.wait_text("dialog", "Asking the registry")
        self.step("Escape closes the dialogue, and cancels the job")
        self.browser.keys(webdriver.ESCAPE)
        self.browser.gone("dialog")
        self.eventually(lambda: not [job for job in self.root.call("ListJobs")[0] if job[3] != "finished"], 20)

    def test_what_goes_wrong_is_said(self):
        self.open()
        for name, words in ((self.reference("not/there:1"), "Not found"), ("docker://127.0.0.1:1/a:b", "cannot be reached"), ("docker://x/UPPER:1", "no name of an image")):
            self.step(f"{name}: {words}")
            self.preview(name)
            self.browser.wait_text("dialog [role=alert]", words)
            self.assertEqual(self.browser.run("return document.getElementById('reference').value"), name, "what was typed stays")
            self.browser.press("Cancel", DIALOG)

    def test_the_confirmation_says_what_the_policy_proves(self):
        keys = signing.KeyRing(self.directory + "/keys", ["vendor"])
        self.addCleanup(keys.close)
        os.chmod(keys.home, 0o755)
        signed, unsigned = self.push("signed/os:1", [self.layer("a")]), self.push("signed/other:1", [self.layer("b")])
        self.push("open/os:1", [self.layer("c")])
        lookaside = pathlib.Path(self.directory, "lookaside/signed")
        keys.sign_image(self.layout.blob_path(signed), f"{self.registry.address}/signed/os:1", "vendor", lookaside / f"os@{signed.replace(':', '=')}/signature-1")
        os.mkdir(self.directory + "/registries.d")
        self.write("registries.d/all.yaml", f"docker:\n  {self.registry.address}:\n    lookaside: file://{self.directory}/lookaside\n")
        rule = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(keys.files["vendor"])}
        self.end_imaged()
        self.write("policy.json", json.dumps({"default": [{"type": "insecureAcceptAnything"}], "transports": {"docker": {self.registry.address + "/signed": [rule]}}}))
        self.write("imaged.conf", "[Daemon]\nPassEnvironment=CONTAINERS_REGISTRIES_CONF CONTAINERS_POLICY CONTAINERS_REGISTRIES_D\n")
        os.environ["CONTAINERS_REGISTRIES_D"] = self.directory + "/registries.d"
        self.addCleanup(os.environ.pop, "CONTAINERS_REGISTRIES_D")
        self.start_imaged()
        self.open()
        self.step("a signed image: the rule, and that it has passed")
        self.preview(self.reference("signed/os:1"))
        rule = f"signedBy (docker: {self.registry.address}/signed)"
        self.browser.wait_text("dialog", "Signature verified", rule)
        self.browser.click(DIALOG + "//button[@type='submit']")
        self.step("it is pulled: the list and the details have the rule, as imaged noted it, beside that of another image")
        name, other = self.reference("signed/os:1"), self.pulled("open/os:1")
        self.browser.wait_text(f"//section[@id='images']//tr[.//a[.='{name}']]", rule)
        self.browser.wait_text(f"//section[@id='images']//tr[.//a[.='{other}']]", "accepts anything")
        self.browser.click(f"//section[@id='images']//a[.='{name}']")
        self.browser.wait_text("#image", "Signature verified", rule)
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.browser.click(f"//section[@id='images']//a[.='{other}']")
        self.browser.wait_text("#image", "No signature verified", "insecureAcceptAnything (default)")
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.step("what another program names so has none")
        commit = next(image["commit"] for image in self.root.call("ListImages", "(a{sv})", {})[0] if image["image"] == name)
        ref = next(ref for ref in subprocess.run(["ostree", f"--repo={self.directory}/repo", "refs"], check=True, capture_output=True, text=True).stdout.split() if "open/os" in ref)
        subprocess.run(["ostree", f"--repo={self.directory}/repo", "refs", "--create=" + ref.replace("open", "theirs"), commit], check=True)
        self.pulled("open/os:1")
        self.browser.eventually(lambda: self.browser.run("return [...document.querySelectorAll('#images tbody tr')].map((row) => row.querySelector('[data-label=Signatures]').textContent)")
                                == ["accepts anything", rule, "-"], "three rows")
        self.step("one without a signature is rejected before anything is offered: " + unsigned[:19])
        self.preview(self.reference("signed/other:1"))
        self.browser.wait_text("dialog [role=alert]", "The containers policy rejects this image")

    @staticmethod
    def packages(version):
        """dpkg's list of what is installed; in version 2 a package more, with a file in /etc."""
        status = f"Package: systemd-boot\nStatus: install ok installed\nArchitecture: amd64\nVersion: 252-{version}\n\n"
        more = "Package: news\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n" if version == 2 else ""
        return layer([directory("usr"), directory("usr/lib"), directory("usr/lib/sysimage"), directory("usr/lib/sysimage/dpkg"), directory("usr/etc"),
                      Entry("usr/lib/sysimage/dpkg/status", content=(status + more).encode()), *([Entry("usr/etc/news.conf", content=b"x")] if version == 2 else [])])

    def test_updates_are_found_compared_and_pulled(self):
        base = self.layer("base", 500)
        for name in ("os", "app"):
            self.push(f"host/{name}:1", [base, self.layer(name, 100), self.packages(1)], "1.0")
            self.pulled(f"host/{name}:1")
        self.push("host/same:1", [base], "7")
        self.pulled("host/same:1")
        digests = [self.push(f"host/{name}:1", [base, self.layer(name, 200, 2), self.packages(2)], "1.1") for name in ("os", "app")]
        self.open(text="host/os:1")
        self.assertTrue(self.browser.find("#update-all:disabled"))
        self.step("Check for updates: a job; then badges, and buttons")
        self.browser.press("Check for updates")
        self.browser.wait_text("#jobs", "3 images checked, 2 updates", "version 1.1")
        self.browser.wait_text("#images", "Update all (2)")
        self.assertEqual(len(self.browser.find("#images .badge.info")), 2)
        self.step("what the update of one changes: versions, layers, bytes")
        self.browser.click(f"//section[@id='images']//a[contains(., 'host/os')]")
        self.browser.wait_text("#changes", "1.0", "1.1", digests[0], "Added", "2 layers, 205.5 kB", "Kept", "layer 1")
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.step("Update all asks the registries, shows each with its cost and its rule, and waits")
        self.browser.press("Update all (2)")
        self.browser.wait_text("dialog", *digests, "1.0 → 1.1", "No signature verified", "205.5 kB, 2 layers")
        self.step("and pulls those very manifests")
        self.browser.press("Update: 411.1 kB", DIALOG)
        self.browser.wait_text("#images", digests[0][7:19], digests[1][7:19], "1 earlier version")
        self.browser.eventually(lambda: not self.browser.find("#images .badge.info"), "no update is left")
        self.step("back to the earlier version, which the details list")
        self.browser.click(f"//section[@id='images']//a[contains(., 'host/os')]")
        self.browser.wait_text("#kept", "1.0")
        self.step("what changed since then: packages, kernels, files of /etc")
        self.browser.press("Changes since 1.0")
        self.browser.wait_text("dialog", "1.0", "1.1", "Packages changed (1)", "systemd-boot", "252-1 → 252-2", "Packages added (1)", "news 1", "Files of /etc added", "/etc/news.conf")
        self.browser.press("Close", DIALOG)
        self.browser.press("Roll back to 1.0")
        self.browser.wait_text("dialog", "Nothing is fetched", "1.1", "1.0")
        self.browser.press("Roll back", DIALOG)
        self.browser.wait_text("#kept", "1.1")
        self.browser.wait_text("#image", "1.0")

    def test_damage_is_found_and_repaired(self):
        self.push("host/os:1", [layer([directory("usr"), Entry("usr/file", content=b"precious content")])], "1.0")
        name = self.pulled("host/os:1")
        for path in glob.glob(self.directory + "/repo/objects/*/*.file"):
            if pathlib.Path(path).read_bytes() == b"precious content":
                os.unlink(path)
                pathlib.Path(path).write_bytes(b"something else!!")
        self.open(text=name)
        self.browser.click(f"//section[@id='images']//a[.='{name}']")
        self.step("Verify finds the file whose content is not what it was")
        self.browser.press("Verify")
        self.browser.press("Verify", DIALOG)
        self.browser.wait_text("dialog", "Problems were found", name, ".file")
        self.step("the page marks the image as damaged, and says what is wrong")
        self.browser.press("Close", DIALOG)
        self.browser.wait_text("#image", "This image is damaged")
        self.step("Repair fetches the layer again")
        self.browser.press("Repair")
        self.browser.press("Repair", DIALOG)
        self.browser.wait_text("dialog", "No problems found", "Repaired", "1 layer fetched")
        self.browser.press("Close", DIALOG)
        self.browser.eventually(lambda: "damaged" not in self.browser.text("#image"), "it is sound again")
        self.step("Verify all: no problems")
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.browser.press("Verify all")
        self.browser.press("Verify", DIALOG)
        self.browser.wait_text("dialog", "No problems found", "Checked 1 image")

    def test_an_image_is_removed_and_the_room_comes_free(self):
        self.push("host/os:1", [self.layer("large", 2000)])
        name = self.pulled("host/os:1")
        self.open(text=name)
        self.step("Prune looks first: there is nothing to remove")
        self.browser.press("Prune")
        self.browser.wait_text("dialog", "There is nothing to remove")
        self.browser.press("Close", DIALOG)
        self.browser.click(f"//section[@id='images']//a[.='{name}']")
        self.step("Remove asks, and can be left")
        self.browser.press("Remove")
        self.browser.wait_text("dialog", "Remove " + name)
        self.browser.press("Cancel", DIALOG)
        self.assertEqual(len(self.root.call("ListImages", "(a{sv})", {})[0]), 1)
        self.step("Remove removes, and goes back to the list")
        self.browser.press("Remove")
        self.browser.press("Remove", DIALOG)
        self.browser.wait_text("#images", "No image is stored")
        self.step("Prune says what would go, and does nothing before it is confirmed")
        self.browser.press("Prune")
        freed = self.browser.wait_text("dialog", "This would be removed", "Would be freed")
        self.assertRegex(freed, r"Would be freed\s+2\.1 MB")
        objects = glob.glob(self.directory + "/repo/objects/*/*.file")
        self.assertTrue(objects)
        self.browser.press("Remove, and free 2.1 MB", DIALOG)
        self.browser.wait_text("#jobs", "Freed", "2.1 MB")
        self.assertEqual(glob.glob(self.directory + "/repo/objects/*/*.file"), [])


class Rights(PageCase):
    """Another user's session: www-data's, whom polkit has to allow what it changes."""

    def setUp(self):
        super().setUp()
        self.push("host/os:1", [self.layer("os", 100)], "1.0")
        self.name = self.pulled("host/os:1")
        self.url = self.start_cockpit(page_case.PLAIN_USER)

    def test_a_plain_user_sees_everything_and_changes_nothing(self):
        self.open(text=self.name)
        self.step("it says that access is limited; images with the rule that let them in, details and a preview are there")
        self.browser.wait_text("#notices", "Limited access", "administrative access")
        self.browser.wait_text("#images", "accepts anything")
        self.browser.click(f"//section[@id='images']//a[.='{self.name}']")
        self.browser.wait_text("#history", "layer 0")
        self.step("a removal is refused with the reason, and where to turn on administrative access")
        self.browser.press("Remove")
        self.browser.press("Remove", DIALOG)
        self.browser.wait_text("dialog [role=alert]", "You are not allowed", "org.imaged1.remove", "Turn on administrative access")
        self.browser.press("Cancel", DIALOG)
        self.assertEqual(len(self.root.call("ListImages", "(a{sv})", {})[0]), 1)
        self.step("a verification that was refused does not go on")
        self.browser.press("Verify")
        self.browser.press("Verify", DIALOG)
        self.browser.wait_text("dialog [role=alert]", "You are not allowed", "org.imaged1.verify")
        self.assertNotIn("Verifying", self.browser.text("dialog form"))
        self.browser.press("Cancel", DIALOG)
        self.step("so is a check for updates, which has no dialogue of its own")
        self.browser.click("//nav[@aria-label='Breadcrumb']//a")
        self.browser.press("Check for updates")
        self.browser.wait_text("dialog", "You are not allowed", "org.imaged1.check")
        self.browser.press("Close", DIALOG)

    @unittest.skipUnless(os.path.exists(page_case.ROOT + "/usr/bin/sudo"), "sudo is not here")
    def test_administrative_access_is_turned_on_and_off_while_the_page_is_open(self):
        self.open(text=self.name)
        self.browser.wait_text("#notices", "Limited access")
        superuser = "cockpit.dbus(null, {bus: 'internal'}).call('/superuser', 'cockpit.Superuser', arguments[0], arguments[1])"
        self.step("administrative access is turned on, as the button at the top of Cockpit does it: what changes something works")
        self.browser.run(superuser, "Start", ["sudo"])
        self.browser.eventually(lambda: self.browser.find("#images") and "Limited access" not in self.browser.text("#notices"), "access is not limited")
        self.browser.press("Check for updates")
        self.browser.wait_text("#jobs", "1 image checked")
        self.step("and off again: it is refused")
        self.browser.run(superuser, "Stop", [])
        self.browser.wait_text("#notices", "Limited access")
        self.browser.press("Check for updates")
        self.browser.wait_text("dialog", "You are not allowed", "org.imaged1.check")

    def test_a_preview_needs_no_right_and_a_pull_what_polkit_says(self):
        digest = self.push("host/new:1", [self.layer("new", 100)], "2.0")
        self.open(text=self.name)
        self.browser.press("Pull an image")
        self.browser.type("#reference", self.reference("host/new:1"))
        self.browser.press("Preview", DIALOG)
        self.step("a plain user previews")
        self.browser.wait_text("dialog", digest)
        self.browser.press("Pull 102.7 kB", DIALOG)
        self.browser.wait_text("dialog [role=alert]", "You are not allowed")
        self.step("and pulls where polkit allows it")
        self.allow("org.imaged1.import", "org.imaged1.pull-unverified")
        self.browser.press("Pull 102.7 kB", DIALOG)
        self.browser.wait_text("#images", self.reference("host/new:1"))
        with open(self.directory + "/questions", encoding="utf-8") as file:
            asked = [json.loads(line) for line in file]
        self.assertEqual({one["flags"] for one in asked if one.get("action") == "org.imaged1.pull-unverified"}, {1}, "polkit may ask the person")


class Absent(PageCase):
    """Where something is missing."""

    def test_imaged_leaves_and_comes_back(self):
        self.drip(self.push("host/os:1", [self.layer("large", 4000)]), 60)
        self.open()
        self.browser.wait_text("main", "running")
        self.root.start("Pull", self.reference("host/os:1", slow=True))
        self.browser.wait_text("#jobs", "fetching layers")
        self.step("imaged is stopped: its job is said to have ended, and that it is not running")
        self.end_imaged()
        self.browser.wait_text("#jobs", "failed")
        self.browser.wait_text("main", "idle; the next call starts it")
        self.step("a call while nothing can start it says so")
        self.browser.press("Check for updates")
        self.browser.wait_text("dialog", "org.imaged1")
        self.browser.press("Close", DIALOG)
        self.step("it comes back, and is shown as running")
        self.start_imaged()
        self.browser.wait_text(".about", "running")

    def test_the_next_imaged_numbers_its_jobs_from_1(self):
        self.drip(self.push("host/os:1", [self.layer("large", 4000)]), 300)
        name = self.reference("host/os:1", slow=True)
        self.open()
        self.assertEqual(self.root.start("Pull", name), 1)
        self.browser.wait_text("#jobs", "fetching layers")
        self.end_imaged()
        self.browser.wait_text("#jobs", "failed")
        self.start_imaged()
        self.browser.wait_text(".about", "running")
        self.step("job 1 of the next imaged is another one than job 1 of the last, and has a journal of its own")
        time.sleep(1.5)  # The page looks that much longer for what the journal says of the end of a job.
        self.assertEqual(self.root.start("Pull", name), 1)
        self.browser.wait_text("#jobs", "fetching layers", "failed")
        self.assertEqual(len(self.browser.find("#jobs article")), 2)
        for at in (1, 2):
            self.browser.click(f"#jobs article:nth-of-type({at}) button[aria-expanded=false]")
        self.browser.eventually(lambda: [len([line for line in self.browser.text(f"#jobs article:nth-of-type({at}) .journal").splitlines() if "starts: pull" in line])
                                         for at in (1, 2)] == [1, 1], "each has its own journal")
        self.step("and a preview shows what it found itself, not what a job of its number ended with before")
        self.browser.press("Cancel job 1")
        self.push("host/small:1", [self.layer("small")], "7")
        self.browser.press("Pull an image")
        self.browser.type("#reference", self.reference("host/small:1"))
        self.browser.press("Preview", DIALOG)
        self.browser.wait_text("dialog", "host/small:1", "sha256:")
        self.browser.press("Cancel", DIALOG)

    def test_an_imaged_of_another_version(self):
        self.end_imaged()
        self.browser.size(400, 900)
        self.addCleanup(self.browser.size, 1280, 900)
        self.spawn([sys.executable, HERE + "/other-imaged.py", self.address])
        self.eventually(lambda: self.is_owned(self.client(), "org.imaged1"))
        self.browser.open(self.url)
        self.step("what the page understands is there; what it does not is said in its place")
        self.browser.wait_text("#images", "docker://example/a:1")
        self.browser.wait_text("#jobs", "reticulating", "0 %", "Job 2 cannot be shown")
        self.browser.wait_text("main", "The list of deployments cannot be shown")
        self.assertLessEqual(*self.browser.run("return [document.documentElement.scrollWidth, window.innerWidth]"))
        self.step("a rule that it does not know proves nothing")
        self.assertIn("demandsNothingButAName", self.browser.text("#images"))
        self.browser.click("//section[@id='images']//a")
        self.browser.wait_text("#image", "No signature verified", "does not know what the rule proves")

    def test_an_imaged_whose_texts_are_long(self):
        self.end_imaged()
        self.spawn([sys.executable, HERE + "/other-imaged.py", self.address, "65536"])
        self.eventually(lambda: self.is_owned(self.client(), "org.imaged1"))
        for width in (400, 1280):
            self.browser.size(width, 900)
            self.addCleanup(self.browser.size, 1280, 900)
            self.browser.open(self.url)
            self.step(f"64 KiB in each text, {width} wide: the page shows the beginning of each, can be used, and is not wider than the window")
            self.browser.wait("#images tbody tr")
            self.browser.wait("#jobs .progress")
            self.browser.wait("#deployments tbody tr")
            self.assertIn("(65536 characters)", self.browser.run("return document.getElementById('images').textContent"))
            self.browser.click("#images tbody tr:nth-of-type(3) a")
            self.browser.wait("#history tbody tr")
            self.browser.wait("#labels tbody tr")
            # All that is said is eight million characters.
            self.assertLess(self.browser.run("return document.body.textContent.length"), 1_000_000)
            self.assertLessEqual(*self.browser.run("return [document.documentElement.scrollWidth, window.innerWidth]"))
            self.browser.click("//nav[@aria-label='Breadcrumb']//a")
            self.browser.wait("#images tbody tr")

    def test_imaged_is_missing(self):
        self.end_imaged()
        self.browser.open(self.url)
        self.step("it says that imaged is not installed, and what to do")
        self.browser.wait_text("#notices [role=alert]", "imaged is not installed on this host", "apt install imaged")
        self.start_imaged()
        self.browser.press("Try again")
        self.browser.wait("#images")
        self.assertEqual(self.browser.text("#notices [role=alert]"), "")

    def test_the_repository_is_missing(self):
        self.end_imaged()
        os.rename(self.directory + "/repo", self.directory + "/away")
        self.start_imaged()
        self.open(text="Images")
        self.step("no repository yet: said, and that a pull makes it")
        self.browser.wait_text("#images", f"There is no repository at {self.directory}/repo yet", "The first pull makes it")

    def test_the_repository_is_broken(self):
        self.end_imaged()
        with open(self.directory + "/repo/config", "w", encoding="utf-8") as file:
            file.write("nonsense")
        self.start_imaged()
        self.open(text="Images")
        self.step("imaged's own words of what is wrong with the repository")
        self.browser.wait_text("#images [role=alert]", "cannot be read", "config")

    def test_a_configuration_that_was_refused_is_shown(self):
        self.end_imaged()
        self.write("imaged.conf", "[Pull]\nSignaturePolicy=perhaps\n")
        self.start_imaged()
        self.open(text="Images")
        self.browser.wait_text("#notices", "has not taken its configuration", "imaged.conf:2")

    def test_the_bus_is_lost_and_comes_back(self):
        self.open(text="Images")
        bus = next(process for process in self.processes if process.args[0] == "dbus-daemon")
        self.step("the bus ends: it says so")
        bus.kill()
        bus.wait(10)
        self.browser.wait_text("#notices [role=alert]", "The connection to the system bus is lost")
        self.assertTrue(self.browser.find("#images"), "what was shown stays")
        self.step("the bus comes back with imaged on it: the page is as before")
        os.unlink(self.directory + "/bus")
        self.spawn(bus.args, stderr=subprocess.DEVNULL)
        self.eventually(lambda: page_case.system_bus.bus_fixture.listens(self.directory + "/bus"))
        os.chmod(self.directory + "/bus", 0o777)
        self.daemon.wait(20)
        self.spawn([sys.executable, page_case.system_bus.HERE + "/scripted-polkit.py", self.address, self.directory + "/questions", self.directory + "/allowed"])
        self.start_imaged()
        if page_case.ROOT:
            self.browser.wait_text("#notices [role=alert]", "log out of Cockpit and in again")
            self.skipTest("the bridge of Cockpit 337 keeps to the bus that it had: the page says what to do")
        self.browser.eventually(lambda: not self.browser.text("#notices [role=alert]"), "it is connected again", 60)
        self.root = self.caller(0)
        self.push("host/os:1", [self.layer("x")])
        name = self.pulled("host/os:1")
        self.browser.wait_text("#images", name)


class Host(PageCase):
    """One with deployments."""

    def command(self):
        self.sysroot = self.directory + "/sysroot"
        if not os.path.exists(self.sysroot):
            os.mkdir(self.sysroot)
            self.ostree("admin", "init-fs", "--modern", self.sysroot)
            self.ostree("admin", "os-init", "--sysroot=" + self.sysroot, "default")
        return [*super().command(), "--repository", self.sysroot + "/ostree/repo"]

    @staticmethod
    def ostree(*arguments):
        subprocess.run(["ostree", *arguments], check=True, capture_output=True, env={**os.environ, "OSTREE_SYSROOT_DEBUG": "mutable-deployments"})

    def system(self, version, kilobytes=0):
        folders = ["usr", "usr/bin", "usr/etc", "usr/lib", "usr/lib/modules", "usr/lib/modules/6.1.0", "boot", "ostree", "sysroot", "var", "proc", "dev", "run", "tmp"]
        return layer([*(directory(name) for name in folders), *(Entry(name, "symlink", target="usr/" + name) for name in ("bin", "lib", "lib64")),
                      Entry("usr/lib/modules/6.1.0/vmlinuz", content=b"kernel"), Entry("usr/lib/modules/6.1.0/initramfs.img", content=b"initramfs"),
                      Entry("usr/lib/os-release", content=b"NAME=Test\nID=test\nVERSION=1\n"), Entry("usr/etc/issue", content=version.encode()),
                      Entry("usr/lib/large", content=random.Random(version).randbytes(kilobytes << 10))])

    def deploy(self, name):
        commit = next(image for image in self.root.call("ListImages", "(a{sv})", {})[0] if image["image"] == name)["commit"]
        origin = self.write("origin", f"[origin]\ncontainer-image-reference=ostree-unverified-image:{name}\n")
        self.ostree("admin", "deploy", "--sysroot=" + self.sysroot, "--os=default", "--retain", "--origin-file=" + origin, commit)


class Deployments(Host):
    def deploy_version(self, version):
        self.push("host/os:1", [self.system(version)], version)
        name = self.pulled("host/os:1")
        self.deploy(name)
        return name

    def test_deployments_say_which_image_they_run(self):
        self.deploy_version("12.1")
        name = self.deploy_version("12.2")
        self.open(text=name)
        self.step("each deployment with its state, image, digest, version")
        self.browser.wait_text("#deployments", "default", name, "12.1", "12.2", "ostree-unverified-image:", "an earlier version of")
        self.step("a removal says that deployments came from the image")
        self.browser.click("//section[@id='deployments']//a")
        self.browser.press("Remove")
        self.browser.wait_text("dialog", "1 deployment of this host came from it")


class Looks(Host):
    """Keyboard, widths, colours, screen readers, Cockpit's own frame around it."""

    def fill(self):
        """What a host has: images that share layers, two with an update, and deployments. Returns the digest of one more, which is in the registry."""
        self.write("registries.conf", f'[[registry]]\nprefix = "registry.example"\nlocation = "{self.slow.address}"\ninsecure = true\n')
        base, middle, name = self.system("base", 3000), self.layer("middle", 900), "docker://registry.example/host/{}:stable"

        def pull(what, version, layers):
            self.push(f"host/{what}:stable", [base, *layers], version, labels={"org.opencontainers.image.title": "Example " + what,
                                                                              "org.opencontainers.image.source": "https://source.example/" + what})
            job = self.root.finished(self.root.start("Pull", name.format(what)), 60)
            self.assertEqual(job["Result"], "success", job)
        pull("os", "12.0", [middle, self.layer("os", 280)])
        self.deploy(name.format("os"))
        pull("os", "12.1", [middle, self.layer("os", 300)])
        self.deploy(name.format("os"))
        pull("app", "1.0", [middle, self.layer("app", 500)])
        pull("edge", "3.4", [self.layer("edge", 150)])
        pull("kiosk", "2", [middle, self.layer("kiosk", 1200)])
        for what, version in (("os", "12.2"), ("app", "1.1")):
            self.push(f"host/{what}:stable", [base, middle, self.layer(what, 400, 2)], version)
        self.root.finished(self.root.call("CheckImages", "(asa{sv})", [], {})[0])
        self.root.finished(self.root.call("DiskUsage", "(a{sv})", {})[0])
        return self.push("host/next:stable", [base, middle, self.layer("next", 4000), self.layer("more", 100)], "13")

    def begin_slow_pull(self, digest):
        self.drip(digest, 300)
        self.root.start("Pull", "docker://registry.example/host/next:stable")
        self.browser.wait_text("#jobs", "fetching layers", "left")
        self.browser.click("//summary[contains(., 'Layers:')]")

    def test_by_keyboard_alone(self):
        digest = self.push("host/os:1", [self.layer("os", 100)])
        self.open()
        self.step("Tab reaches the first button, Enter opens the dialogue, the focus is in its field")
        for _ in range(12):
            self.browser.keys(webdriver.TAB)
            if self.focus() == "pull":
                break
        self.assertEqual(self.focus(), "pull")
        self.browser.keys(webdriver.ENTER)
        self.browser.wait("dialog")
        self.assertEqual(self.focus(), "reference")
        self.step("Tab stays inside; Escape closes, and the focus is where it was")
        for _ in range(6):
            self.browser.keys(webdriver.TAB)
            self.assertTrue(self.browser.run("const at = document.activeElement; return at === document.body || Boolean(at.closest('dialog'))"))
        self.browser.keys(webdriver.ESCAPE)
        self.browser.gone("dialog")
        self.assertEqual(self.focus(), "pull")
        self.step("a whole pull with the keyboard")
        self.browser.keys(webdriver.ENTER)
        self.browser.keys(*self.reference("host/os:1"), webdriver.ENTER)
        self.browser.wait_text("dialog", digest)
        self.browser.keys(webdriver.TAB)
        self.browser.keys(webdriver.ENTER)
        self.browser.wait_text("#images", digest[7:19])

    def focus(self):
        return self.browser.run("return document.activeElement.id")

    def test_widths_and_colours(self):
        digest = self.fill()
        for width, height in ((400, 800), (1280, 900), (3840, 2160)):
            for dark in (False, True):
                self.browser.size(width, height)
                self.browser.dark(dark)
                self.open(text="host/os")
                if not self.slow.fault:
                    self.begin_slow_pull(digest)
                self.browser.wait(".bar-row")
                self.browser.wait_text("#jobs", "fetching layers", "left")
                self.browser.wait_text("#images", "accepts anything")
                self.step(f"{width} wide, {'dark' if dark else 'light'}: nothing is wider than the window")
                self.shot(f"overview-{width}", dark)
                self.browser.click("//section[@id='images']//a[contains(., 'host/os')]")
                self.browser.wait("#history")
                self.shot(f"details-{width}", dark)
                self.browser.click("//nav[@aria-label='Breadcrumb']//a")
                self.browser.press("Update all (2)")
                self.browser.wait_text("dialog", "12.1 → 12.2")
                self.shot(f"update-{width}", dark, whole=False)
                self.browser.press("Cancel", DIALOG)
                self.browser.press("Pull an image")
                self.browser.type("#reference", "registry.example/host/next:stable")
                self.browser.press("Preview", DIALOG)
                self.browser.wait_text("dialog", digest)
                self.shot(f"pull-{width}", dark, whole=False)
                self.browser.press("Cancel", DIALOG)
                self.browser.press("Disk usage")
                self.browser.wait_text("dialog", "Prune frees")
                self.shot(f"usage-{width}", dark, whole=False)
        self.browser.size(1280, 900)
        self.browser.dark(False)

    def test_widths_and_colours_where_there_is_nothing(self):
        def shots(name, ready):
            for width, height in ((400, 800), (1280, 900), (3840, 2160)):
                for dark in (False, True):
                    self.browser.size(width, height)
                    self.browser.dark(dark)
                    self.browser.open(self.url)
                    ready()
                    self.shot(f"{name}-{width}", dark, whole=False)
            self.browser.size(1280, 900)
            self.browser.dark(False)
        self.step("no image, no deployment")
        shots("empty", lambda: self.browser.wait_text("main", "No image is stored", "has no deployments"))
        self.step("no imaged")
        self.end_imaged()
        shots("missing", lambda: self.browser.wait_text("#notices [role=alert]", "imaged is not installed"))

    def shot(self, name, dark, whole=True):
        self.assertLessEqual(*self.browser.run("return [document.documentElement.scrollWidth, window.innerWidth]"), name)
        background = self.browser.run("return getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
        self.assertEqual(sum(background) < 200, dark)
        if PICTURES:
            time.sleep(0.3)
            self.browser.picture(f"{PICTURES}/{name}-{'dark' if dark else 'light'}.png", whole)

    @unittest.skipUnless(os.environ.get("AXE"), "axe-core is not here: npm could not fetch it")
    def test_axe_finds_nothing(self):
        axe = pathlib.Path(os.environ["AXE"]).read_text(encoding="utf-8")
        digest = self.fill()
        checked = 0
        for dark in (False, True):
            for width in (400, 1280):
                self.browser.size(width, 900)
                self.browser.dark(dark)
                self.open(text="host/os")
                if not self.slow.fault:
                    self.begin_slow_pull(digest)
                for place, visit in (("overview", lambda: self.browser.wait(".bar-row")),
                                     ("pull", lambda: (self.browser.press("Pull an image"), self.browser.wait("#reference"))),
                                     ("update", lambda: (self.browser.press("Cancel", DIALOG), self.browser.press("Update all (2)"), self.browser.wait_text("dialog", "12.1 → 12.2"))),
                                     ("details", lambda: (self.browser.press("Cancel", DIALOG), self.browser.click("//section[@id='images']//a[contains(., 'host/os')]"),
                                                          self.browser.wait("#history")))):
                    visit()
                    # Not as a script of the page, which its policy of content forbids.
                    self.browser.run(axe + "\n;window.axe = window.axe || axe;")
                    found = self.browser.run_async("const done = arguments[arguments.length - 1]; axe.run(document).then(done, (error) => done({violations: [{id: String(error), nodes: []}]}));")
                    wrong = [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found["violations"]]
                    self.assertEqual(wrong, [], f"{place}, {width} wide, dark {dark}")
                    checked += len(found["passes"])
                    self.step(f"axe-core {found['testEngine']['version']}, {place}, {width} wide, {'dark' if dark else 'light'}: "
                              f"{len(found['passes'])} rules passed, 0 violations, {len(found['incomplete'])} for a person to look at: {[one['id'] for one in found['incomplete']]}")
        self.browser.size(1280, 900)
        self.browser.dark(False)
        self.assertGreater(checked, 100)

    def test_inside_cockpit(self):
        self.fill()
        self.browser.size(1280, 900)
        self.browser.open(self.url.split("/cockpit/")[0] + "/imaged")
        self.step("Cockpit's menu has it, and shows it in its frame")
        self.browser.wait_text("body", "System images")
        self.browser.frame("iframe[name='cockpit1:localhost/imaged']")
        self.browser.wait_text("main", "host/os:stable")
        self.step("it turns dark with Cockpit's own choice")
        self.browser.send("POST", "/frame", {"id": None})
        choose = "window.dispatchEvent(new CustomEvent('cockpit-style', {detail: {style: arguments[0]}})); localStorage.setItem('shell:style', arguments[0]);"
        self.browser.run(choose, "dark")
        self.browser.frame("iframe[name='cockpit1:localhost/imaged']")
        self.browser.eventually(lambda: self.browser.run("return document.documentElement.classList.contains('dark')"), "it is dark")
        self.browser.send("POST", "/frame", {"id": None})
        if PICTURES:
            time.sleep(0.3)
            self.browser.picture(f"{PICTURES}/in-cockpit-dark.png")
        self.browser.run(choose, "auto")
        self.browser.frame("iframe[name='cockpit1:localhost/imaged']")
        self.browser.eventually(lambda: not self.browser.run("return document.documentElement.classList.contains('dark')"), "it is light")
        self.browser.send("POST", "/frame", {"id": None})


if __name__ == "__main__":
    if lacking := page_case.missing():
        print("SKIPPED: the browser tests need " + ", ".join(lacking))
        sys.exit(77)
    unittest.main(verbosity=2)
