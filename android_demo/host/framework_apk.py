#!/usr/bin/env python3
"""Writes the framework file that `aapt2 link -I` wants, from a jar with Android's classes and resources (android-all).

    framework_apk.py ANDROID_ALL.jar OUT.apk

The resource tables of Android 15 and later store their entries in three space-saving forms that Debian's aapt2 (2.19) does not know. The
table is rewritten with the plain forms, which every version reads; ids, names and values stay as they are. Layouts below are those of
AOSP's ResourceTypes.h (all little-endian):

    chunk     u16 type, u16 header size, u32 size, then header and body
    type      chunk header, u8 id, u8 flags, u16 -, u32 count, u32 start of entries, configuration; then the offsets, then the entries
    offsets   plain: u32 per resource, 0xffffffff for none | sparse: u16 index, u16 offset / 4 for those that exist | 16 bits: u16 offset / 4, 0xffff for none
    entry     u16 size, u16 flags, u32 key; then a value (u16 8, u8 0, u8 type, u32 data), or for a map: u32 parent, u32 count, 12 bytes each
              compact: u16 key, u8 flags, u8 type, u32 data
"""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections.abc import Iterator

CHUNK_PACKAGE, CHUNK_TYPE, CHUNK_TYPE_SPEC = 0x0200, 0x0201, 0x0202
TYPE_SPARSE, TYPE_OFFSET16 = 0x01, 0x02
ENTRY_MAP, ENTRY_COMPACT = 0x0001, 0x0008
NO_ENTRY = 0xFFFFFFFF

Chunk = tuple[int, int, bytes]  # type, header size, all bytes


def read_chunks(data: bytes, start: int) -> Iterator[Chunk]:
    """The chunks that follow one another from `start` to the end."""
    while start < len(data):
        kind, header_size, size = struct.unpack_from("<HHI", data, start)
        if size < header_size or header_size < 8:
            raise ValueError(
                f"a chunk must be at least as long as its header. Received: {size} bytes at offset {start}"
            )
        yield kind, header_size, data[start : start + size]
        start += size


def entry_positions(chunk: bytes, header_size: int, count: int, flags: int) -> dict[int, int]:
    """Resource index -> offset of its entry, counted from the start of the entries."""
    if flags & TYPE_SPARSE:
        pairs = struct.iter_unpack("<HH", chunk[header_size : header_size + 4 * count])
        return {index: 4 * offset for index, offset in pairs}
    if flags & TYPE_OFFSET16:
        short = struct.unpack_from(f"<{count}H", chunk, header_size)
        return {index: 4 * offset for index, offset in enumerate(short) if offset != 0xFFFF}
    plain = struct.unpack_from(f"<{count}I", chunk, header_size)
    return {index: offset for index, offset in enumerate(plain) if offset != NO_ENTRY}


def plain_entry(chunk: bytes, at: int) -> bytes:
    """The entry at this offset in its plain form."""
    first, flags, data = struct.unpack_from("<HHI", chunk, at)
    if flags & ENTRY_COMPACT:
        key, value_type = first, flags >> 8
        return struct.pack("<HHIHBBI", 8, flags & 0xFF & ~ENTRY_COMPACT, key, 8, 0, value_type, data)
    size = first
    if flags & ENTRY_MAP:
        (count,) = struct.unpack_from("<I", chunk, at + 12)
        return chunk[at : at + size + 12 * count]
    return chunk[at : at + size + 8]


def plain_type(chunk: bytes, header_size: int, counts: dict[int, int]) -> bytes:
    """A type chunk with one 32-bit offset for each resource of its type."""
    type_id, flags, reserved, count, start = struct.unpack_from("<BBHII", chunk, 8)
    entries = {
        index: plain_entry(chunk, start + offset)
        for index, offset in entry_positions(chunk, header_size, count, flags).items()
    }
    total = max([counts.get(type_id, 0), *(index + 1 for index in entries)])
    offsets, body = [NO_ENTRY] * total, bytearray()
    for index in sorted(entries):
        offsets[index] = len(body)
        body += entries[index]
    header = bytearray(chunk[:header_size])
    start = header_size + 4 * total
    struct.pack_into("<I", header, 4, start + len(body))
    struct.pack_into("<BBHII", header, 8, type_id, 0, reserved, total, start)
    return bytes(header) + struct.pack(f"<{total}I", *offsets) + bytes(body)


def with_size(header: bytes, body: bytes) -> bytes:
    """A chunk's header with the size that this body gives it, and the body."""
    return header[:4] + struct.pack("<I", len(header) + len(body)) + header[8:] + body


def plain_package(package: bytes, header_size: int) -> bytes:
    """A package chunk with plain types; everything else as it was."""
    counts: dict[int, int] = {}
    parts = []
    for kind, size, chunk in read_chunks(package, header_size):
        if kind == CHUNK_TYPE_SPEC:
            type_id, count = struct.unpack_from("<B3xI", chunk, 8)
            counts[type_id] = count
        parts.append(plain_type(chunk, size, counts) if kind == CHUNK_TYPE else chunk)
    return with_size(package[:header_size], b"".join(parts))


def plain_table(table: bytes) -> bytes:
    """A resource table (resources.arsc) whose packages hold plain types."""
    (header_size,) = struct.unpack_from("<H", table, 2)
    parts = [
        plain_package(chunk, size) if kind == CHUNK_PACKAGE else chunk
        for kind, size, chunk in read_chunks(table, header_size)
    ]
    return with_size(table[:header_size], b"".join(parts))


def main(jar: str, apk: str) -> None:
    with zipfile.ZipFile(jar) as source:
        table, manifest = source.read("resources.arsc"), source.read("AndroidManifest.xml")
    temporary = f"{apk}.new"
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as target:
        target.writestr("resources.arsc", plain_table(table))
        target.writestr("AndroidManifest.xml", manifest)
    os.replace(temporary, apk)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
