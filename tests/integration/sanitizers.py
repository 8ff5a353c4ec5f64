# SPDX-License-Identifier: Apache-2.0
"""What a build with sanitizers cannot be asked for. SANITIZERS says which it has: none, thread, or address,undefined.

They take many times the memory and the time, so what a program needs of either says nothing there; what it does is tried all the same.
"""
import os
import unittest

SANITIZED = os.environ.get("SANITIZERS", "none") != "none"
# For limits of time that tell a fault from slowness.
SLOWER = 10 if SANITIZED else 1

measures_the_program = unittest.skipIf(SANITIZED, "a sanitizer takes memory and time of its own: there is nothing to measure")
