# SPDX-License-Identifier: Apache-2.0
"""What each Python client does, whatever its D-Bus library is: CLIENT ADDRESS IMAGE ARCHIVE AUTHFILE. Prints a line for each thing it did."""
import sys


class CallFailed(Exception):
    """With the D-Bus name of the error."""


def run(stack, passes_files=True):
    """STACK(address) has pull(image, authfile), a file or None, and archive(file, image), which return a job's path or raise CallFailed,
    follow(path), which waits for the end and returns result, error name and whether a signal or property said how far it is, and images(), their number."""
    address, image, archive, authfile = sys.argv[1:]
    stack = stack(address)

    def tell(what, start):
        try:
            result, error, progress = stack.follow(start())
        except CallFailed as failure:
            print(f"{what}: {failure}")
        else:
            print(f"{what}: {result} {error}{'progress' if progress else ''}")
    tell("pull", lambda: stack.pull(image, None))
    tell("error", lambda: stack.pull("oci:/nonexistent:x", None))
    if passes_files:
        with open(authfile, "rb") as file:
            tell("authfile", lambda: stack.pull(image, file))
        with open(archive, "rb") as file:
            tell("archive", lambda: stack.archive(file, "docker://example.org/archive:1"))
    print(f"list: {stack.images()}")


def main_loop_follow(connect, read):
    """follow() of a library that runs GLib's main loop: CONNECT(on_finished, on_changed) subscribes, READ(name) is a property."""
    from gi.repository import GLib
    loop, end, seen = GLib.MainLoop(), [], []

    def on_finished(result, error, *_):
        end[:] = result, error
        loop.quit()
    connect(on_finished, lambda _interface, changed, _invalidated: seen.append(float(changed["Fraction"]) > 0) if "Fraction" in changed else None)
    seen.append(read("Fraction") > 0)
    if read("State") != "finished":
        loop.run()
    if not end:
        end[:] = read("Result"), read("ErrorName")
    return str(end[0]), str(end[1]), any(seen)
