"""The vocabulary of a version that takes texts: the merges of its byte pair encoding, a pair a line, the first to be
merged first.
"""

from pathlib import Path

from service.repository.manifest import MERGES, Manifest

Merges = tuple[tuple[str, str], ...]


def read_merges(folder: Path, manifest: Manifest) -> Merges:
    """Those of a version; none where it takes no texts. Raises ValueError, naming the file, where it is unreadable."""
    if manifest.zero_shot is None:
        return ()
    path = folder / MERGES
    try:
        return parse_merges(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); export the model again") from error


def parse_merges(text: str) -> Merges:
    """Raises ValueError."""
    pairs = []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        first, _, second = line.partition(" ")
        if not first or not second or " " in second:
            raise ValueError(f"line {number}: expected two parts, got {line[:40]!r}")
        pairs.append((first, second))
    return tuple(pairs)
