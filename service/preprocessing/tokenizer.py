"""Text -> tokens of CLIP: byte pair encoding over lower-case words (Radford et al., 2021, arXiv:2103.00020).

What a version's `merges.txt` holds is all that is needed: tokens 0 to 511 are the bytes inside and at the end of a
word, then each merge is one, then come the start and the end of a text.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise

from service.errors import InvalidInput
from service.repository.vocabulary import Merges

LONGEST = 500
"""Characters of a text: an English one of 77 tokens has some 350, and what cannot fit costs no merging."""

_END_OF_WORD = "</w>"
_CONTRACTION = re.compile("'(?:s|t|re|ve|m|ll|d)")
_STRAIGHT = str.maketrans(
    dict.fromkeys("\u2018\u2019\u201a\u201b", "'") | dict.fromkeys("\u201c\u201d\u201e\u201f", '"')
)
_CACHED_WORDS = 4096


class Tokenizer:
    """Owns the vocabulary of one version. Safe to call from several threads."""

    def __init__(self, merges: Merges) -> None:
        self._alphabet = _make_alphabet()
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        letters = list(self._alphabet.values())
        symbols = [*letters, *(letter + _END_OF_WORD for letter in letters), *map("".join, merges)]
        self._tokens = {symbol: token for token, symbol in enumerate(symbols)}
        self.start = len(symbols)
        self.end = self.start + 1
        self._encode_word = lru_cache(_CACHED_WORDS)(self._merge_word)

    def encode(self, text: str, context: int) -> list[int]:
        """`context` tokens: the start, the text, the end, then zeros. Raises InvalidInput where it is too long."""
        cleaned, tokens = clean(text), [self.start]
        if len(cleaned) <= LONGEST:
            for word in split_words(cleaned):
                tokens += self._encode_word(word)
                if len(tokens) >= context:
                    break
            else:
                return [*tokens, self.end] + [0] * (context - len(tokens) - 1)
        raise InvalidInput(
            f"{text[:40]!r}... is too long: expected at most {context} tokens, start and end among them, and {LONGEST} "
            "characters"
        )

    def _merge_word(self, word: str) -> tuple[int, ...]:
        parts = [self._alphabet[byte] for byte in word.encode("utf-8", "replace")]
        parts[-1] += _END_OF_WORD
        while len(parts) > 1:
            best = min(pairwise(parts), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            parts = list(_join(parts, best))
        return tuple(self._tokens[part] for part in parts)


def clean(text: str) -> str:
    """HTML's entities resolved, composed characters, straight quotes, single spaces, lower case. Text that was decoded
    wrongly before it came here is not repaired.
    """
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text.translate(_STRAIGHT))))
    return " ".join(text.split()).lower()


def split_words(text: str) -> Iterator[str]:
    """Runs of letters, single digits, runs of anything else that is no space, and English contractions."""
    at = 0
    while at < len(text):
        if contraction := _CONTRACTION.match(text, at):
            yield contraction[0]
            at = contraction.end()
            continue
        kind, end = _classify(text[at]), at + 1
        while kind != "N" and end < len(text) and _classify(text[end]) == kind:
            end += 1
        if kind != " ":
            yield text[at:end]
        at = end


def _classify(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)[0]
    return category if category in "LN" else "other"


def _join(parts: list[str], pair: tuple[str, str]) -> Iterator[str]:
    at = 0
    while at < len(parts):
        if tuple(parts[at : at + 2]) == pair:
            yield parts[at] + parts[at + 1]
            at += 2
        else:
            yield parts[at]
            at += 1


def _make_alphabet() -> Mapping[int, str]:
    """A printable character for each byte, in the order of their tokens: those that print stand for themselves."""
    printing = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(256 + place) for place, byte in enumerate(others)}
