"""Bytes damaged by chance that a seed repeats; of PNG also what is behind the checksums."""

import random
import struct
import zlib
from collections.abc import Sequence

from tests.support.images import png_chunk

_MOST = 4  # mutations of one thing
_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
_NUMBERS = (0, 1, 2, 255, 256, 16383, 16384, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_HEAD = 64  # bytes, where most formats have their sizes
_LONGEST_PIECE = 64  # bytes


def damage(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """`others` are what it may be spliced with."""
    for _ in range(chance.randint(1, _MOST)):
        data = chance.choice(_ON_BYTES)(data, others, chance)
    return data


def flip_bits(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 32)) if changed else 0):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _set_bytes(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4) if changed else 0):
        changed[chance.randrange(len(changed))] = chance.choice(_BYTES)
    return bytes(changed)


def truncate(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randint(0, len(data))]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: chance.randint(0, len(data))] + other[chance.randint(0, len(other)) :]


def _repeat(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randint(0, len(data))
    piece = data[start : start + chance.randint(1, _LONGEST_PIECE)]
    return data[:start] + piece * chance.choice((2, 3, 16, 64)) + data[start + len(piece) :]


def _remove(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randint(0, len(data))
    return data[:start] + data[start + chance.randint(1, _LONGEST_PIECE) :]


def _insert(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    start = chance.randint(0, len(data))
    return data[:start] + chance.randbytes(chance.randint(1, _LONGEST_PIECE)) + data[start:]


def _extreme_field(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A size, count or offset in the head that says something else."""
    form = chance.choice((">I", "<I", ">H", "<H"))
    size = struct.calcsize(form)
    at = chance.randint(0, min(len(data), _HEAD))
    return data[:at] + struct.pack(form, chance.choice(_NUMBERS) % 256**size) + data[at + size :]


_ON_BYTES = (flip_bits, _set_bytes, truncate, _splice, _repeat, _remove, _insert, _extreme_field)


def damage_png(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """A chunk with other content and the right CRC, or chunks in another order: what is behind the checksum."""
    chunks = _chunks(data)
    if not chunks:
        return damage(data, others, chance)
    for _ in range(chance.randint(1, 2)):
        at = chance.randrange(len(chunks))
        name, content = chunks[at]
        match chance.randrange(4):
            case 0:
                chunks.insert(chance.randint(0, len(chunks)), chunks[at])
            case 1:
                del chunks[at]
            case 2:
                chunks[at] = name, zlib.compress(damage(_inflated(content), [content], chance))
            case _:
                chunks[at] = name, damage(content, [content], chance)
        if not chunks:
            break
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def _inflated(content: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, 2**16)
    except zlib.error:
        return content
