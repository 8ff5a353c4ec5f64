# SPDX-License-Identifier: Apache-2.0
"""Tar streams that no tar program writes: headers field by field, right ones and wrong ones."""

BLOCK = 512
END = b"\0" * 1024


def octal(value, width):
    """A number as tar writes it; in base 256 when octal has no room for it or it is negative."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return bytes([0xff if value < 0 else 0x80]) + (value % 256 ** (width - 1)).to_bytes(width - 1, "big")


def header(name, size=0, kind=b"0", mode=0o644, uid=0, gid=0, mtime=0, link=b"", magic=b"ustar\x0000", prefix=b"", checksum=None,
           raw_size=None, tail=None):
    """One header block; what does not fit into its field is cut. TAIL replaces what follows the owner's names."""
    fields = name[:100].ljust(100, b"\0") + octal(mode, 8) + octal(uid, 8) + octal(gid, 8)
    fields += (raw_size if raw_size is not None else octal(size, 12)) + octal(mtime, 12) + b" " * 8 + kind
    fields += link[:100].ljust(100, b"\0") + magic + b"\0" * 64 + octal(0, 8) + octal(0, 8)
    fields = (fields + (tail if tail is not None else prefix)).ljust(BLOCK, b"\0")[:BLOCK]
    total = sum(fields) if checksum is None else checksum
    return fields[:148] + b"%06o\0 " % total + fields[156:]


def padded(content):
    return content + b"\0" * (-len(content) % BLOCK)


def entry(name, content=b"", **fields):
    return header(name, len(content), **fields) + padded(content)


def pax_record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length = len(b"%d" % length) + len(body)
    return b"%d" % length + body


def pax(records, **fields):
    """An extended header for the entry that follows."""
    return entry(b"PaxHeaders/x", records if isinstance(records, bytes) else b"".join(pax_record(*pair) for pair in records),
                 kind=b"x", **fields)


def gnu_long(name, kind=b"L"):
    return entry(b"././@LongLink", name + b"\0", kind=kind, magic=b"ustar  \0")


def gnu_sparse(name, holes, real_size, content=b""):
    """The old GNU form; HOLES are (offset, size) of the pieces that CONTENT holds."""
    pieces = b"".join(octal(offset, 12) + octal(size, 12) for offset, size in holes[:4]).ljust(96, b"\0")
    tail = b"\0" * 41 + pieces + b"\0" + octal(real_size, 12)
    return header(name, len(content), kind=b"S", magic=b"ustar  \0", tail=tail) + padded(content)
