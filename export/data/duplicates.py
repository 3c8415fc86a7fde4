"""Images of the same pixels: what is trained on and measured on alike says nothing about other images."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from service.plurals import format_items


def allocate_digests(rows: int) -> Any:
    """uint64 [rows, 2]: 128 bits of BLAKE2b an image, to be written."""
    return np.zeros((rows, 2), np.uint64)


def write_digest(digests: Any, row: int, pixels: Any) -> None:
    """Of uint8 pixels as the network sees them: a copy with other metadata, or saved anew without loss, is one too."""
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
    digests[row] = np.frombuffer(digest, np.uint64)


def fingerprint(digests: Any, classes: Any, labels: tuple[str, ...]) -> str:
    """Differs between datasets of other images, other labels or another order."""
    whole = hashlib.blake2b("\n".join(labels).encode(), digest_size=16)
    whole.update(np.ascontiguousarray(classes).data)
    whole.update(np.ascontiguousarray(digests).data)
    return whole.hexdigest()


def describe(digests: Any, classes: Any, trained: int, name: Callable[[int], str]) -> list[str]:
    """What a person should know; the first `trained` rows are training images, `name` names a row's file."""
    _, first, groups = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    first_of_row = first[groups.reshape(-1)]
    lines = []
    leaked = [row for row in range(trained, len(digests)) if first_of_row[row] < trained]
    if leaked:
        row = leaked[0]
        lines.append(
            f"{len(leaked)} of {len(digests) - trained} validation and held-out images "
            f"{'has' if len(leaked) == 1 else 'have'} the same pixels as a "
            f"training image (first: {name(row)} and {name(int(first_of_row[row]))}): accuracy looks better than it is"
        )
    two_classes = np.flatnonzero(classes != classes[first_of_row]).tolist()
    if two_classes:
        row = two_classes[0]
        lines.append(
            f"{format_items(len(two_classes), 'image')} {'has' if len(two_classes) == 1 else 'have'} the "
            f"same pixels as one of another class (first: {name(row)} and "
            f"{name(int(first_of_row[row]))}): one of the labels is wrong"
        )
    return lines
