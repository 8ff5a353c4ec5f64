#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps the rule of who may include whom (docs/architecture.md), and the licence line of source files.

Usage: include-check.py SOURCE_ROOT
"""
import os
import re
import sys
import unittest

ROOT = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else os.getcwd()

SOURCE = {"lib/source", "lib/source/skopeo", "lib/source/proxy", "lib/source/archive"}
STORE = {"lib/store/" + room for room in ("files", "repository", "objects", "records", "tree", "fetch", "export", "upkeep", "import", "verify", "catalog")}


def floors(folder, rooms, others):
    """The rooms of FOLDER, from the lowest floor up: each may include itself, those below it and OTHERS. The empty name is the folder itself."""
    allowed, below = {}, set()
    for floor in rooms:
        names = [os.path.normpath(os.path.join(folder, room)) for room in floor]
        allowed.update({name: {name} | below | others for name in names})
        below = below | set(names)
    return allowed


# For each folder: the folders of ours that its files may include.
ALLOWED = {
    "lib/base": {"lib/base"},
    "lib/oci": {"lib/oci", "lib/base"},
    **floors("lib/source", [[""], ["skopeo"], ["proxy"], ["archive"]], {"lib/oci", "lib/base"}),
    "lib/layer": {"lib/layer", "lib/oci", "lib/base"},
    "lib/chunked": {"lib/chunked", "lib/layer", "lib/oci", "lib/base"},
    "lib/delta": {"lib/delta", "lib/layer", "lib/oci", "lib/base"},
    "lib/packages": {"lib/packages", "lib/base"},
    **floors("lib/store", [["files"], ["repository"], ["objects"], ["records"], ["tree"], ["fetch"], ["export", "upkeep", "import"], ["verify"], ["catalog"]],
             {*SOURCE, "lib/layer", "lib/chunked", "lib/delta", "lib/packages", "lib/oci", "lib/base"}),
    "lib/job": {"lib/job", "lib/oci", "lib/base/enum-names.hpp", "lib/base/error.hpp", "lib/base/json.hpp", "lib/base/json-fwd.hpp", "lib/base/json-nesting.hpp"},
    **floors("daemon", [["process"], ["jobs"], ["reading"], ["bus"], [""]],
             {"lib/job", "lib/oci", "lib/base", "lib/source/skopeo/signature-policy.hpp", "lib/store/catalog/image-catalog.hpp",
              "lib/store/catalog/deployments.hpp"}),
    "daemon/worker": {"daemon/worker", *STORE, *SOURCE, "lib/layer", "lib/chunked", "lib/delta", "lib/packages", "lib/job", "lib/oci", "lib/base"},
    "daemon/proxy": {"daemon/proxy", *SOURCE, "lib/base"},
    **floors("client", [["ui"], ["bus"], [""], ["commands"]], {"lib/job", "lib/base/error.hpp", "lib/base/printable.hpp", "lib/base/child-process.hpp", "lib/base/socket-message.hpp"}),
}
# For each folder: foreign headers that its files must not include.
FORBIDDEN = {
    "lib/base": r"ostree|sdbus|archive|spdlog",
    "lib/oci": r"ostree|sdbus|archive|spdlog|gio/|glib|nlohmann/json\.hpp",
    "lib/source": r"ostree|sdbus|archive\.h|spdlog|nlohmann/json\.hpp",
    "lib/layer": r"sdbus|spdlog|nlohmann/json\.hpp",
    "lib/chunked": r"ostree|sdbus|archive\.h|spdlog|gio/|glib|nlohmann/json\.hpp",
    "lib/delta": r"ostree|sdbus|archive\.h|spdlog|gio/|glib|nlohmann/json\.hpp",
    "lib/packages": r"ostree|sdbus|archive\.h|spdlog|gio/|glib|nlohmann/json\.hpp",
    "lib/store": r"sdbus|spdlog|nlohmann/json\.hpp",
    "lib/job": r"ostree|sdbus|archive|spdlog|gio/|glib|zstd|openssl|nlohmann/json\.hpp",
    "daemon": r"ostree|archive\.h|zstd|gio/|nlohmann/json\.hpp",
    "daemon/worker": r"sdbus|nlohmann/json\.hpp",
    "daemon/proxy": r"ostree|sdbus|archive\.h|spdlog|nlohmann/json\.hpp",
    "client": r"ostree|sdbus|archive\.h|spdlog|zstd|openssl",
}
# The headers that look into JSON values; all others pass them on (base/json-fwd.hpp), and so compile in a third of the time.
JSON_HEADERS = ["daemon/bus/variant.hpp", "lib/base/json.hpp", "lib/job/json-fields.hpp", "lib/source/proxy/proxy-reply.hpp"]
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
SKIP = re.compile(r"^(build.*|\..*|__pycache__|data)$")
SOURCE_FILE = re.compile(r"\.(cpp|hpp|c|h|py|js|css)$|(^|/)meson\.build$|^dev$")


def folder_of(path):
    """The folder with rules of its own that a path is in, or None."""
    while path:
        path = os.path.dirname(path)
        if path in ALLOWED:
            return path
    return None


def forbidden_in(folder):
    """Its own row, or that of the folder that it is a room of."""
    return FORBIDDEN.get(folder) or FORBIDDEN[os.path.dirname(folder)]


def sources():
    for where, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not SKIP.match(name))
        for name in sorted(files):
            path = os.path.relpath(os.path.join(where, name), ROOT)
            if SOURCE_FILE.search(path):
                yield path


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def resolve(path, name):
    """The file of ours that an include means, or None when it is foreign or generated."""
    for base in (os.path.dirname(path), "lib", "daemon", "client", ""):
        candidate = os.path.normpath(os.path.join(base, name))
        if not candidate.startswith("..") and os.path.isfile(os.path.join(ROOT, candidate)):
            return candidate
    return None


def broken_includes():
    for path in sources():
        folder = folder_of(path)
        if folder is None or not path.endswith((".cpp", ".hpp", ".c", ".h")):
            continue
        for _, name in INCLUDE.findall(text_of(path)):
            target = resolve(path, name)
            if target is None:
                if re.match(forbidden_in(folder), name):
                    yield f"{path}: <{name}> has no place in {folder}"
            elif target not in ALLOWED[folder] and folder_of(target) not in ALLOWED[folder]:
                yield f"{path}: {target} must not be known to {folder}"


class TreeTest(unittest.TestCase):
    maxDiff = None

    def test_includes_keep_to_the_folders_a_folder_may_know(self):
        self.assertEqual([], list(broken_includes()))

    def test_headers_bring_no_json_library_along(self):
        self.assertEqual(JSON_HEADERS, [path for path in sources() if path.endswith(".hpp") and path.startswith(("lib/", "daemon/", "client/"))
                                        and re.search(r'[<"](base|nlohmann)/json\.hpp[>"]', text_of(path))])

    def test_every_source_file_names_its_licence(self):
        self.assertEqual([], [path for path in sources()
                              if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(text_of(path).split("\n")[:3])])

    def test_unit_tests_use_no_name_that_one_version_of_catch2_lacks(self):
        shared = ("tests/unit/catch.hpp", "tests/unit/main.cpp")
        self.assertEqual([], [path for path in sources() if path.startswith("tests/unit/") and path not in shared
                              and re.search(r"\bCatch::|<catch2/", text_of(path))])


if __name__ == "__main__":
    unittest.main(verbosity=2)
