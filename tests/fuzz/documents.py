"""JSON documents damaged by chance: nodes first, then perhaps their text."""

import json
import random
from collections.abc import Callable
from typing import Any

from tests.fuzz import binary

_DEEPEST = 300


def damage(document: Any, chance: random.Random) -> bytes:
    """A JSON document with nodes replaced, moved, doubled or gone, and then perhaps its text damaged."""
    document = json.loads(json.dumps(document))
    for _ in range(chance.randint(1, 3)):
        document = _change_node(document, chance)
    try:
        text = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except RecursionError:
        text = b"[" * _DEEPEST
    if chance.random() < 0.1:
        text = text.replace(b"Infinity", b"1e9999").replace(b"NaN", b"-")
    if chance.random() < 0.2:
        text = chance.choice(_ON_TEXT)(text, chance)
    return text


def _change_node(document: Any, chance: random.Random) -> Any:
    containers = list(_containers(document))
    if not containers or chance.random() < 0.1:
        return _hostile(document, chance)
    holder = chance.choice(containers)
    if isinstance(holder, dict):
        key = chance.choice([*holder, "a name that nobody knows"])
        action = chance.randrange(4)
        if action == 0:
            holder.pop(key, None)
        elif action == 1:
            holder[chance.choice(STRINGS)] = holder.pop(key, None)
        else:
            holder[key] = _hostile(holder.get(key), chance)
        return document
    at = chance.randrange(len(holder))
    action = chance.randrange(4)
    if action == 0:
        del holder[at]
    elif action == 1:
        holder.insert(at, holder[at])
    elif action == 2:
        holder.insert(at, _hostile(None, chance))
    else:
        holder[at] = _hostile(holder[at], chance)
    return document


def _containers(node: Any) -> Any:
    """Every list and object that holds something; of long lists the first few."""
    if isinstance(node, dict | list) and node:
        yield node
        for child in list(node.values() if isinstance(node, dict) else node)[:8]:
            yield from _containers(child)


STRINGS = (
    *("", "x", "b64", "instances", "inputs", "data", "name", "shape", "datatype", "signature_name", "BYTES", "FP32"),
    *("\0", "\ud800", "\U0001f600", "NaN", "-1", "../..", "image_bytes", "image", "x" * 3000, "=", "AAAA", "data:,"),
)
_SCALARS = (
    *(None, True, False, 0, -1, 1, 255, 256, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400),
    *(0.5, -0.0, 1e308, float("inf"), float("-inf"), float("nan"), 1e-320),
)


def _hostile(node: Any, chance: random.Random) -> Any:
    match chance.randrange(8):
        case 0 | 1:
            return chance.choice(_SCALARS)
        case 2 | 3:
            return chance.choice(STRINGS)
        case 4:
            return [node]
        case 5:
            return chance.choice(
                ([], {}, [[]], [[], [1]], {"b64": None}, {"b64": "!"}, {"b64": "AAAA", "x": 1}, [1, "x"])
            )
        case 6:
            return [node] * chance.choice((2, 3, 50))
        case _:
            for _ in range(chance.choice((2, 10, 33, 65, 100, _DEEPEST))):
                node = [node] if chance.random() < 0.8 else {"x": node}
            return node


def _cut(text: bytes, chance: random.Random) -> bytes:
    return binary.truncate(text, (), chance)


def _damage(text: bytes, chance: random.Random) -> bytes:
    return binary.flip_bits(text, (), chance)


def _encode_otherwise(text: bytes, chance: random.Random) -> bytes:
    return text.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-32", "utf-8-sig")))


def _append(text: bytes, chance: random.Random) -> bytes:
    return text + chance.choice((b"\0", b"{}", b",", b"]", b"\xff", b"  \n"))


def _double_a_key(text: bytes, chance: random.Random) -> bytes:
    return text.replace(b"{", b'{"instances": 1, "inputs": 2, ', 1)


_ON_TEXT: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    *(_cut, _damage, _encode_otherwise, _append, _double_a_key),
)
