# SPDX-License-Identifier: Apache-2.0
"""Sigstore signatures (sigstoreSigned with a key, attachments in the registry): what is accepted, with skopeo as a child of the worker and as a service.

Debian 12 builds skopeo without sigstore: there each image under such a policy is refused, whatever its signature, and the refusal says why."""
import json
import pathlib
import subprocess
import sys
import unittest

import agreement
import encapsulation
import oci_layout
import ostree_repository
import registry
import sigstore
import skopeo_service
import worker

STATES = ("unsigned", "signed", "wrong-key", "other-name", "other-image")
PREFIXES = {"(none)": "docker://{}", "ostree-image-signed:": "ostree-image-signed:docker://{}",
            "ostree-unverified-image:": "ostree-unverified-image:docker://{}", "ostree-unverified-registry:": "ostree-unverified-registry:{}"}
REJECT = [{"type": "reject"}]
DISABLED = "sigstore disabled"


class Sigstore(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        scratch = agreement.Scratch(dir="/var/tmp")
        cls.addClassCleanup(scratch.cleanup)
        cls.directory = pathlib.Path(scratch.name)
        cls.directory.chmod(0o755)  # the service reads policy and keys as another user
        cls.registry = registry.Registry(cls.directory / "registry")
        cls.addClassCleanup(cls.registry.stop)
        cls.vendor, cls.stranger = (sigstore.Key(cls.directory, name) for name in ("vendor", "stranger"))
        layout = oci_layout.Layout(cls.directory / "layout")
        attachments = sigstore.Attachments(cls.registry.address)
        for state in STATES:
            layout.image(state, [oci_layout.layer([oci_layout.Entry("usr/file", content=state.encode())])])
            digest = cls.registry.push(layout.reference(state), f"shop/{state}:1")
            identity = f"{cls.registry.address}/shop/{'signed' if state == 'other-name' else state}:1"
            if state != "unsigned":
                attachments.attach(f"shop/{state}", digest, identity, cls.stranger if state == "wrong-key" else cls.vendor,
                                   signed="sha256:" + "1" * 64 if state == "other-image" else None)
        (cls.directory / "registries.d").mkdir()
        (cls.directory / "registries.d/shop.yaml").write_text(f"docker:\n  {cls.registry.address}:\n    use-sigstore-attachments: true\n")
        cls.policy = cls.directory / "policy.json"
        cls.policy.write_text(json.dumps({"default": REJECT, "transports": {"docker": {
            cls.registry.address: [{"type": "sigstoreSigned", "keyPath": str(cls.vendor.public)}]}}}))
        cls.environment = {"CONTAINERS_REGISTRIES_CONF": str(cls.registry.configuration), "CONTAINERS_REGISTRIES_D": str(cls.directory / "registries.d"),
                           "CONTAINERS_POLICY": str(cls.policy), "HOME": str(cls.directory)}
        run = subprocess.run(["skopeo", "--policy", cls.policy, "--registries.d", cls.directory / "registries.d", "copy", "--src-tls-verify=false",
                              f"docker://{cls.registry.address}/shop/signed:1", f"dir:{cls.directory}/copied"], capture_output=True, text=True)
        cls.enabled = DISABLED not in run.stderr
        cls.repository = cls.directory / "repo"
        ostree_repository.init(cls.repository, "bare-user")

    def verdict(self, image, settings=None):
        result = worker.pull(image, self.repository, env=self.environment, settings=settings).result
        self.last = result
        return "accepted" if result["outcome"] == "success" else result["error-name"]

    def matrix(self, title, prefixes, settings=None):
        print(f"\nsigstore, {title}: " + ", ".join(STATES), file=sys.stderr)
        wrong = []
        for prefix in prefixes:
            form = PREFIXES[prefix]
            cells = []
            for state in STATES:
                before = encapsulation.ostree(self.repository, "refs")
                cells.append(self.verdict(form.format(f"{self.registry.address}/shop/{state}:1"), settings))
                if cells[-1] != ("accepted" if state == "signed" and self.enabled else "PolicyRejected"):
                    wrong.append(f"{prefix} {state}: {self.last}")
                if not self.enabled and state != "unsigned" and DISABLED not in self.last["message"]:
                    wrong.append(f"{prefix} {state}: does not say that skopeo cannot verify sigstore: {self.last}")
                if cells[-1] != "accepted" and encapsulation.ostree(self.repository, "refs") != before:
                    wrong.append(f"{prefix} {state}: refs changed")
            print(f"  {prefix:28}" + ", ".join(cells), file=sys.stderr)
            for name in encapsulation.ostree(self.repository, "refs").split():
                encapsulation.ostree(self.repository, "refs", "--delete", name)
        self.assertEqual(wrong, [])

    def test_with_skopeo_as_a_child(self):
        self.matrix("skopeo as a child", PREFIXES)

    def test_with_skopeo_as_a_service(self):
        service = skopeo_service.SkopeoService(self.environment)
        self.addCleanup(service.stop)
        self.matrix("skopeo as a service", ["(none)", "ostree-image-signed:"], {"skopeo-service": service.path})
        self.assertGreater(len(service.processes), 0)

    def test_the_policy_that_applies_is_named(self):
        result = worker.pull(f"ostree-image-signed:docker://{self.registry.address}/shop/signed:1", self.repository, kind="prepare", env=self.environment).result
        if not self.enabled:
            self.assertEqual(result["error-name"], "PolicyRejected", result)
            self.assertIn(DISABLED, result["message"])
            return
        self.assertEqual(result["details"]["signature-policy"], f"sigstoreSigned (docker: {self.registry.address})")


if __name__ == "__main__":
    unittest.main(verbosity=2)
