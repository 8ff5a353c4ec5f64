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
CLIENT = {"client", "client/ui", "client/bus", "client/commands"}
DAEMON = {"daemon", "daemon/process", "daemon/jobs", "daemon/reading", "daemon/bus"}


def floors(folder, rooms, others):
    """The rooms of FOLDER, from the lowest floor up: each may include itself, those below it and OTHERS. The empty name is the folder itself."""
    allowed, below = {}, set()
    for floor in rooms:
        names = [os.path.normpath(os.path.join(folder, room)) for room in floor]
        allowed.update({name: {name} | below | others for name in names})
        below = below | set(names)
    return allowed


# For each folder with source files: the folders and files of ours that its files may include.
ALLOWED = {
    "lib/pch": set(),
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
    "daemon/proxy/registry": {"daemon/proxy/registry", "lib/source/skopeo/blob-request.hpp", "lib/base"},
    "daemon/proxy": {"daemon/proxy", "daemon/proxy/registry", "lib/source/skopeo", "lib/base"},
    **floors("client", [["ui"], ["bus"], [""], ["commands"]], {"lib/job", "lib/base/error.hpp", "lib/base/file-descriptor.hpp", "lib/base/glib.hpp", "lib/base/printable.hpp", "lib/base/child-process.hpp", "lib/base/socket-message.hpp"}),
}
# For each library, by its headers and those of ours that stand for it: the folders whose files may include it.
LIBRARIES = {
    r"gio/|glib|base/glib\.hpp": {"lib/base", "lib/layer", *STORE, *CLIENT},
    r"ostree": {"lib/layer", *STORE},
    r"selinux/": {"lib/store/tree"},
    r"archive(_entry)?\.h|bzlib|isa-l|lzma|zlib": {"lib/layer"},
    r"zstd": {"lib/layer", "lib/delta"},
    r"openssl/": {"lib/base", "lib/source/skopeo"},
    r"sqlite3": {"lib/packages"},
    r"nlohmann/json\.hpp": {"lib/base", "client", "client/ui"},
    r"rapidjson/": {"client"},
    r"curl/|toml\+\+/": {"daemon/proxy/registry"},
    r"seccomp\.h": {"lib/base"},
    r"base/seccomp-filter\.hpp": {"daemon/proxy", "daemon/worker"},
    r"sdbus-c\+\+/|systemd/sd-bus|process/sdbus-shim\.hpp": {"daemon", "daemon/process", "daemon/bus"},
    r"systemd/(?!sd-bus)": {"daemon/process"},
    r"spdlog/|fmt/": DAEMON,
}
# For each header that the build makes: the folders whose files may include it.
GENERATED = {"interface-info.h": {"client/bus"}, "job-adaptor.hpp": {"daemon/bus"}, "manager-adaptor.hpp": {"daemon/bus"}, "module-stamp.hpp": {"lib/base"}, "verbs.hpp": {"client"}}
# The headers that look into JSON values; all others pass them on (base/json-fwd.hpp), and so compile in a third of the time.
JSON_HEADERS = ["daemon/bus/variant.hpp", "lib/base/json.hpp", "lib/job/json-fields.hpp"]
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)
# Whatever the compiler may take for an include: comments, macros and other spellings would hide a name.
ANY_INCLUDE = re.compile(r"^.*(?:#|%:|\?\?=)(?:\s|/\*.*?\*/|\\\n)*(?:include|import)\w*\b.*$", re.MULTILINE)
SKIP = re.compile(r"^(build.*|\..*|__pycache__|data)$")
CODE = (".cpp", ".hpp")
SOURCE_NAME = re.compile(r"\.(cpp|hpp|c|h|py|js|css)$|(^|/)meson\.build$|^dev$")


def sources():
    for where, folders, files in os.walk(ROOT):
        folders[:] = sorted(name for name in folders if not SKIP.match(name))
        for name in sorted(files):
            path = os.path.relpath(os.path.join(where, name), ROOT)
            if SOURCE_NAME.search(path):
                yield path


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def resolve(path, name):
    """The file of ours that an include means, or None when it is foreign or generated."""
    for base in (os.path.dirname(path), "lib", "daemon", "daemon/proxy", "client", ""):
        candidate = os.path.normpath(os.path.join(base, name))
        if not candidate.startswith("..") and os.path.isfile(os.path.join(ROOT, candidate)):
            return candidate
    return None


def files_of(*tops):
    """Every file below TOPS, whatever its folder is called."""
    for top in tops:
        for where, _, files in os.walk(os.path.join(ROOT, top)):
            yield from (os.path.relpath(os.path.join(where, name), ROOT) for name in sorted(files))


def code_files():
    return [path for path in files_of("lib", "daemon", "client") if path.endswith(CODE)]


def broken_includes():
    for path in code_files():
        folder = os.path.dirname(path)
        if folder not in ALLOWED:
            yield f"{path}: {folder} has no row"
            continue
        text = text_of(path)
        for line in ANY_INCLUDE.findall(text):
            if not INCLUDE.match(line):
                yield f"{path}: {line.strip()} is no plain include"
        for mark, name in INCLUDE.findall(text):
            target = resolve(path, name)
            # By whatever path a header of ours is named, its name in LIBRARIES is that from its library's folder.
            names = {name, re.sub(r"^(lib|daemon|client)/", "", target or name)}
            if any(re.match(library, other) and folder not in folders for library, folders in LIBRARIES.items() for other in names):
                yield f"{path}: {name} has no place in {folder}"
            elif target is None and folder not in GENERATED.get(name, {folder}):
                yield f"{path}: {name} has no place in {folder}"
            elif target is None and mark == '"' and name not in GENERATED:
                yield f"{path}: {name} is no file of ours"
            elif target is not None and target not in ALLOWED[folder] and os.path.dirname(target) not in ALLOWED[folder]:
                yield f"{path}: {target} must not be known to {folder}"


class TreeTest(unittest.TestCase):
    maxDiff = None

    def test_includes_keep_to_the_folders_a_folder_may_know(self):
        self.assertEqual([], list(broken_includes()))

    def test_code_is_in_files_whose_includes_are_checked(self):
        self.assertEqual([], [path for path in files_of("lib", "daemon", "client")
                              if re.search(r"\.([ch](c|h|xx|\+\+|pp\.in)?|inc|inl|ipp|tcc|ii)$", path, re.IGNORECASE) and path != "client/verbs.hpp.in"])

    def test_no_file_includes_itself_by_way_of_others(self):
        reached = {path: {resolve(path, name) for _, name in INCLUDE.findall(text_of(path))} - {None} for path in code_files()}
        for path in reached:
            seen, rest = set(), list(reached[path])
            while rest:
                other = rest.pop()
                if other not in seen:
                    seen.add(other)
                    rest += reached.get(other, ())
            self.assertNotIn(path, seen)

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
