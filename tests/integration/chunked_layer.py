# SPDX-License-Identifier: Apache-2.0
"""Writes and reads layers that are zstd:chunked. They are written as skopeo of Debian 13 does: frames for the content of each file, and behind the tar a table of contents and a tar-split. A run of
zeros in a file is a frame of its own, and the file has a row for each of its frames; the zeros are in the frame all the same."""
import base64
import ctypes
import functools
import hashlib
import io
import json
import re
import struct
import subprocess
import tarfile

import oci_layout

PREFIX = "io.github.containers.zstd-chunked."
SKIPPABLE = 0x184D2A50
# PyDLL: no two threads use the context at once.
zstd, isal = ctypes.PyDLL("libzstd.so.1"), ctypes.CDLL("libisal.so.2")
for function in (zstd.ZSTD_compressBound, zstd.ZSTD_compressCCtx):
    function.restype = ctypes.c_size_t
zstd.ZSTD_createCCtx.restype = ctypes.c_void_p
# One for all: making a context takes longer than a small frame.
context = ctypes.c_void_p(zstd.ZSTD_createCCtx())
isal.crc64_iso_refl.restype = ctypes.c_uint64


def frame(data, level=1):
    size = zstd.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    packed = ctypes.create_string_buffer(size)
    count = zstd.ZSTD_compressCCtx(context, packed, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)), level)
    return ctypes.string_at(packed, count)


def skippable(data):
    return struct.pack("<II", SKIPPABLE, len(data)) + data


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def pieces_of(tar):
    """What TAR is made of: (None, bytes) for what is no content, and (entry, content) for each regular file that is not empty."""
    position = 0
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            if member.isreg() and member.size:
                yield None, tar[position:member.offset_data]
                position = member.offset_data + member.size
                yield member, tar[member.offset_data:position]
    yield None, tar[position:]


def ended_by(mark, content):
    """The parts of CONTENT that end with MARK, and what is behind the last one."""
    parts, begin = [], 0
    while begin < len(content):
        # A part has a byte at least before its mark.
        end = content.find(mark, begin + 1) + len(mark)
        if end < len(mark):
            end = len(content)
        parts.append(content[begin:end])
        begin = end
    return parts


def chunks_of(content):
    """The parts of a file that skopeo makes frames of: runs of zeros, and of long files those that end at places that their content says, about 64 KiB from each other."""
    parts = [content]
    # Asked first, since it takes a twentieth of the expression's time.
    if bytes(1024) in content:
        parts = [part for part in re.split(rb"(\x00{1024,})", content) if part]
    if len(content) < 1 << 20:
        return parts
    return [chunk for part in parts for chunk in (ended_by(b"\x42\x17", part) if part.strip(b"\0") else [part])]


@functools.lru_cache(maxsize=8)
def skopeo_chunks_of(content):
    """Those of long files without zeros where skopeo ends them."""
    if len(content) < 1 << 20:
        return chunks_of(content)
    window, total, sums, begin, parts = bytearray(64), 64 * 31, 64 * 63 * 31, 0, []
    for place, byte in enumerate(content):
        dropped = window[place % 64]
        window[place % 64] = byte
        total += byte - dropped
        sums = (sums + total - 64 * (dropped + 31)) & 0xFFFFFFFF
        if sums & 0xFFFF == 0xFFFF:
            parts.append(content[begin:place + 1])
            begin = place + 1
    return [part for part in (*parts, content[begin:]) if part]


def packed_parts(content, cut):
    """The digest of CONTENT, and of each of its parts: the frame, and what the row of a file of several parts says of it."""
    return digest(content), [(frame(part), {"chunkSize": len(part), "chunkDigest": digest(part), **({} if part.strip(b"\0") else {"chunkType": "zeros"})}) for part in cut(content)]


# Most layers of a test hold the same small files.
packed_parts_of_small = functools.lru_cache(maxsize=1024)(packed_parts)


def rows_of(member, content, offset, cut):
    """The frames of a file at OFFSET of the blob, and its rows of the table."""
    whole, frames = (packed_parts_of_small if len(content) <= 64 << 10 else packed_parts)(content, cut)
    packed, parts = b"", []
    for data, part in frames:
        parts.append({"offset": offset + len(packed), **part})
        packed += data
    row = {"type": "reg", "name": member.name, "mode": member.mode, "size": member.size, "digest": whole, "offset": offset, "endOffset": offset + len(packed)}
    if len(parts) == 1:
        return packed, [row]
    before = [0] + [part["chunkSize"] for part in parts]
    return packed, [{**row, **parts[0]}, *({"type": "chunk", "name": member.name, "chunkOffset": sum(before[:number + 1]), **part} for number, part in enumerate(parts) if number)]


KINDS = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink", tarfile.REGTYPE: "reg"}


def other_rows(tar, rows):
    """ROWS, those of each file with content, with those of all other entries of TAR, as skopeo has them."""
    files = iter(rows)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        return [next(files) if member.isreg() and member.size else
                [{"type": KINDS[member.type], "name": member.name + ("/" if member.isdir() else ""), "mode": member.mode, **({"linkName": member.linkname} if member.linkname else {})}] for member in archive]


def unpacked(data):
    return subprocess.run(["zstd", "-q", "-d", "-c"], input=data, capture_output=True, check=True).stdout


def crc64(data):
    """As Go's hash/crc64 with its table ISO."""
    return isal.crc64_iso_refl(ctypes.c_uint64(0), data, ctypes.c_uint64(len(data)))


def read(blob, annotations):
    """The table's entries and the tar of BLOB, put together from tar-split and the frames of each file. Checks all that the parts say of each other and of the tar."""
    def part(key):
        offset, packed, size = map(int, annotations[PREFIX + key].split(":")[:3])
        assert struct.unpack("<II", blob[offset - 8:offset]) == (SKIPPABLE, packed), key
        text = unpacked(blob[offset:offset + packed])
        assert len(text) == size, key
        return text, digest(blob[offset:offset + packed])
    (table_text, table_digest), (split_text, split_digest) = part("manifest-position"), part("tarsplit-position")
    table = json.loads(table_text)
    assert (table["version"], table["tarSplitDigest"], annotations[PREFIX + "manifest-checksum"]) == (1, split_digest, table_digest)
    numbers = [int(number) for key in ("manifest-position", "tarsplit-position") for number in annotations[PREFIX + key].split(":")]
    assert blob[-72:] == skippable(struct.pack("<7Q", *numbers) + b"GNUlInUx"), "footer"
    contents, chunks = {}, {}
    for row in table["entries"]:
        if "chunkSize" in row:
            chunks.setdefault(row["name"], []).append(row)
        if row["type"] == "reg" and row["size"]:
            contents[row["name"]] = unpacked(blob[row["offset"]:row["endOffset"]])
            assert (len(contents[row["name"]]), digest(contents[row["name"]])) == (row["size"], row["digest"]), row
    for name, rows in chunks.items():
        position = 0
        for row, following in zip(rows, [*rows[1:], None]):
            chunk = unpacked(blob[row["offset"]:following["offset"] if following else rows[0]["endOffset"]])
            assert (row.get("chunkOffset", 0), row["chunkSize"], row["chunkDigest"], contents[name][position:position + len(chunk)]) == (position, len(chunk), digest(chunk), chunk), row
            position += len(chunk)
        assert position == len(contents[name]) and len(rows) > 1, name
    assert sorted(chunks) == sorted(name for name, content in contents.items() if len(content) >= 1 << 20), "files in chunks"
    table["entries"] = [row for row in table["entries"] if row["type"] != "chunk"]
    tar, pieces = b"", [json.loads(line) for line in split_text.splitlines()]
    for piece in pieces:
        if piece["type"] == 2:
            tar += base64.b64decode(piece["payload"])
            continue
        content = contents.get(piece["name"], b"")
        assert len(content) == piece.get("size", 0), piece
        assert not content or base64.b64decode(piece["payload"]) == struct.pack(">Q", crc64(content)), piece
        tar += content
    assert unpacked(blob) == tar, "for readers that know nothing of the tables"
    # A piece for the headers of each entry, and one for the entry; the last is the end marker.
    assert [piece["type"] for piece in pieces] == [2, 1] * len(table["entries"]) + [2]
    assert [piece["name"] for piece in pieces if piece["type"] == 1] == [row["name"] for row in table["entries"]]
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for row, member in zip(table["entries"], archive, strict=True):
            xattrs = {key.removeprefix("SCHILY.xattr."): value for key, value in member.pax_headers.items() if key.startswith("SCHILY.xattr.")}
            assert (row["type"], row["name"].rstrip("/"), row.get("linkName", ""), row["mode"], row["size"], row["uid"], row["gid"], row["modtime"]) == \
                (KINDS[member.type], member.name, member.linkname, member.mode, member.size, member.uid, member.gid, "1970-01-01T00:00:00Z"), row
            assert {key: base64.b64decode(value).decode() for key, value in row.get("xattrs", {}).items()} == xattrs, row
    return table["entries"], tar


def layer(entries, change=None, complete=False, cut=chunks_of, **options):
    """A layer of ENTRIES (oci_layout.Entry, or a tar); its table lists what is no file with content if it is COMPLETE. CHANGE gets the parts before they are packed, a dictionary of table, split and annotations, and may change them. CUT gives the parts of a file's content that have frames of their own."""
    tar = entries if isinstance(entries, bytes) else oci_layout.tar(entries, **options)
    blob, table, split = bytearray(), [], []
    for member, data in pieces_of(tar):
        if member is None:
            blob += frame(data)
            split.append({"type": 2, "payload": base64.b64encode(data).decode()})
        else:
            packed, rows = rows_of(member, data, len(blob), cut)
            blob += packed
            table.append(rows)
            split.append({"type": 1, "name": member.name, "size": member.size, "payload": "AAAAAAAAAAA="})
    entries = [row for rows in (other_rows(tar, table) if complete else table) for row in rows]
    parts = {"table": {"version": 1, "entries": entries}, "split": split, "blob": blob, "annotations": {}}
    if change:
        change(parts)
    split_text = parts["split"] if isinstance(parts["split"], bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in parts["split"])
    packed_split = frame(split_text)
    if isinstance(parts["table"], dict):
        parts["table"].setdefault("tarSplitDigest", digest(packed_split))
        parts["table"] = json.dumps(parts["table"]).encode()
    packed_table = frame(parts["table"])
    blob = bytearray(parts["blob"])
    table_offset = len(blob) + 8
    blob += skippable(packed_table)
    split_offset = len(blob) + 8
    blob += skippable(packed_split)
    blob += skippable(struct.pack("<8Q", table_offset, len(packed_table), len(parts["table"]), 1, split_offset, len(packed_split), len(split_text), 0x784C6E4955554E47))
    annotations = {PREFIX + "manifest-checksum": digest(packed_table), PREFIX + "manifest-position": f"{table_offset}:{len(packed_table)}:{len(parts['table'])}:1",
                   PREFIX + "tarsplit-position": f"{split_offset}:{len(packed_split)}:{len(split_text)}"}
    annotations.update(parts["annotations"])
    made = oci_layout.Blob(bytes(blob), oci_layout.LAYER + "+zstd", digest(tar), {key: value for key, value in annotations.items() if value is not None})
    made.parts = {"table": parts["table"], "table_offset": table_offset, "tables": split_offset + len(packed_split) - table_offset, "table_entries": [rows[0] for rows in table]}
    return made
