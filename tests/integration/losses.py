# SPDX-License-Identifier: Apache-2.0
"""Entries of an image's last layer that are neither in the merged tree, nor hidden by a later entry, nor counted in the outcome of the pull.

It knows of no rule of merging: where symbolic links may lead an entry, it may be at any of those places, whichever links of the image were followed."""
import hashlib
import os

import tree

MAX_LINKS = 6  # that are followed for one path


def is_special(entry):
    return entry.kind in ("fifo", "char", "block")


def is_whiteout(entry):
    return entry.path.split("/")[-1].startswith(".wh.")


def is_utf8(path):
    return not any(0xdc80 <= ord(letter) <= 0xdcff for letter in path)


def is_outside(path):
    return path.startswith(tuple(name + "/" for name in tree.DROPPED_CHILDREN))


def places(links, path):
    """Where an entry PATH may be, with LINKS, path → targets."""
    found, seen, rest = set(), set(), [((), tuple(path.split("/")), 0)]
    while rest:
        at, (first, *parts), followed = rest.pop()
        parts = tuple(parts)
        if (at, first, parts) in seen or len(seen) > 300:
            continue
        seen.add((at, first, parts))
        here = at[:-1] if first == ".." else at if first in ("", ".") else (*at, first)
        if not parts:
            found.add("/".join(here))
            continue
        rest.append((here, parts, followed))
        for target in links.get("/".join(here), ()) if followed < MAX_LINKS else ():
            rest.append((() if target.startswith("/") else at, (*target.split("/"), *parts), followed + 1))
    return found


def links_of(stack):
    """Path → targets of all symbolic links that any layer may have there, hard links to them too."""
    links = {}
    for _ in range(4):  # a link may be reached through others
        for entry in sum(stack, []):
            targets = {entry.target} if entry.kind == "symlink" else set()
            if entry.kind == "hardlink":
                targets = set().union(*(links.get(place, ()) for place in places(links, entry.target)))
            for place in places(links, entry.path) if targets else ():
                links.setdefault(place, set()).update(targets)
    return links


def is_there(entry, place, actual):
    kind, _, owner, *_, content = actual.get(place, ("none", 0, 0, ""))
    if entry.kind == "hardlink":
        return kind not in ("none", "dir")
    if entry.kind == "file":
        return kind == "file" and content == hashlib.sha256(entry.content).hexdigest()
    return kind == entry.kind and owner == entry.uid


def is_hidden(entry, where, later):
    """Whether one of LATER, pairs of an entry and its places, may have taken the place of ENTRY."""
    def inside(path, other):
        return path.startswith(other + "/")
    for other, places_of_other in later:
        for mine in where:
            for theirs in places_of_other:
                if mine == theirs or (entry.kind != "dir" and inside(theirs, mine)) or (other.kind != "dir" and inside(mine, theirs)):
                    return True
    return False


def adds_nothing(entry, where, links):
    """Of the directories that a commit has one of: a directory, or a link to the other."""
    for name, place in tree.MOVED.items():
        if entry.kind == "dir" and any((path + "/").startswith(place + "/") for path in where):
            return True
        for path in where:
            other = place + path[len(name):] if (path + "/").startswith(name + "/") else path[len(place) - len(name):] if (path + "/").startswith(place + "/") else None
            if entry.kind in ("symlink", "hardlink") and any(os.path.normpath(os.path.join("/" + os.path.dirname(path), target)) == f"/{other}" for target in links.get(path, ())):
                return True
    return False


def uncounted(stack, actual, outcome):
    """What is lost of the last layer of STACK, lists of entries, in the tree ACTUAL; nothing if OUTCOME counts as many."""
    links = links_of(stack)
    last = [entry for entry in stack[-1] if not is_whiteout(entry)]
    wheres = [places(links, entry.path) for entry in last]
    lost = []
    for number, (entry, where) in enumerate(zip(last, wheres)):
        if is_special(entry) or not is_utf8(entry.path) or is_outside(entry.path) or adds_nothing(entry, where, links):
            continue
        if entry.kind == "hardlink" and places(links, entry.target) & where:
            continue
        if any(is_there(entry, place, actual) for path in where for place in (path, tree.place(path))):
            continue
        if not is_hidden(entry, where, list(zip(last, wheres))[number + 1:]):
            lost.append(entry)
    every = sum(stack, [])
    counted = sum(sum(counts.values()) for counts in outcome["filtered"].values()) + outcome["special-files-dropped"] + outcome["names-dropped"]
    # What is counted whatever becomes of it; a whiteout with a name that is not UTF-8 only for that.
    known = sum(is_special(entry) + (not is_utf8(entry.path)) + (is_outside(entry.path) and (is_utf8(entry.path) or not is_whiteout(entry))) for entry in every)
    more = max(counted - known, 0)
    return [f"{len(lost)} entries are lost, and {more} are counted: {lost}"] if more < len(lost) else []
