# SPDX-License-Identifier: Apache-2.0
"""A file that hangs: programs wait when they read it, as on a disk that does not answer. FAULT_LAYER names the library that makes them."""
import os

FAULT_LAYER = os.environ.get("FAULT_LAYER", "")


class HangingFile:
    def __init__(self, directory, path, after=0):
        """Reading PATH waits, after AFTER reads that do not, until release() or until DIRECTORY is gone."""
        self.mark = f"{directory}/somebody-waits"
        self.settings = {"LD_PRELOAD": ":".join(filter(None, [os.environ.get("LD_PRELOAD"), FAULT_LAYER])), "FAULT_CALL": "read", "FAULT_PATH": str(path),
                         "FAULT_AFTER": str(after), "FAULT_ERRNO": "0", "FAULT_RUN": f"touch {self.mark}; while test -e {self.mark}; do sleep 0.02; done"}

    def before(self, command):
        """COMMAND, and what it starts, with a wait for this file."""
        return ["env", *(f"{name}={value}" for name, value in self.settings.items()), *command]

    def has_readers(self):
        return os.path.exists(self.mark)

    def release(self):
        os.unlink(self.mark)
