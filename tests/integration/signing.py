# SPDX-License-Identifier: Apache-2.0
"""Real signatures: GPG keys of a key ring of their own, container signatures in a lookaside directory."""
import os
import pathlib
import subprocess


class KeyRing:
    """GPG keys by name, without a passphrase."""

    def __init__(self, directory, names):
        self.home = pathlib.Path(directory)
        self.home.mkdir(mode=0o700)
        self.environment = {**os.environ, "GNUPGHOME": str(self.home)}
        self.fingerprints, self.files = {}, {}
        for name in names:
            user = f"{name}@keys.example"
            self.gpg("--quick-generate-key", user, "ed25519", "sign", "never")
            self.fingerprints[name] = next(line.split(":")[9] for line in self.gpg("--with-colons", "--list-keys", user).splitlines()
                                           if line.startswith("fpr:"))
            self.files[name] = self.home / f"{name}.gpg"
            self.files[name].write_bytes(subprocess.run(["gpg", "--export", user], env=self.environment, check=True,
                                                        capture_output=True).stdout)

    def gpg(self, *arguments):
        return subprocess.run(["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", *arguments],
                              env=self.environment, check=True, capture_output=True, text=True).stdout

    def sign_image(self, manifest, identity, key, signature):
        """Writes the SIGNATURE of the file MANIFEST as the image IDENTITY."""
        signature.parent.mkdir(parents=True)
        subprocess.run(["skopeo", "standalone-sign", manifest, identity, self.fingerprints[key], "-o", signature],
                       env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def close(self):
        subprocess.run(["gpgconf", "--kill", "all"], env=self.environment, check=False)
