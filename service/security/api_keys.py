"""API keys: what a file of them says, and `python -m service keys`, which makes one.

    - name: cats-team
      hash: sha256:9f86d0...             # of the key; the key itself is written nowhere
      models: ["cats*", lenet5]          # names as clients ask for them; all where left out
      rate: 50                           # predictions a second; unlimited where left out
      burst: 100                         # as many at once after a quiet time; the rate where left out
      expires: 2027-06-30                # midnight UTC, or a moment such as 2027-06-30T18:00:00Z

A key is 256 random bits, so that a plain hash cannot be searched back and needs no salt.
"""

import argparse
import base64
import binascii
import hashlib
import hmac
import math
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from fnmatch import fnmatchcase
from typing import Any

from service.command_line import HelpFormatter, name_program

PREFIX = "ims_"  # lets scanners find keys that somebody committed
# In a log's line, where a line break may be written as two characters; "claims_..." is somebody's model.
LIKE_A_KEY = re.compile(r"(?P<shown>ims(?:(?<![A-Za-z]ims)|(?<=\\[nrt]ims))(?:_|%5[Ff]))[\w%-]{16,}", re.ASCII)
_HASH = "sha256:"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FIELDS = ("name", "hash", "models", "rate", "burst", "expires")


class KeysError(Exception):
    """Why a file of API keys cannot be used, in one line."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`digest` is the key's SHA-256, `models` are globs, `rate` is in predictions a second (None: unlimited), and the
    bucket behind it holds `burst`. `expires` is a POSIX time.
    """

    name: str
    digest: bytes
    models: tuple[str, ...] = ("*",)
    rate: float | None = None
    burst: float = 1.0
    expires: float | None = None

    def opens(self, model: str) -> bool:
        return any(fnmatchcase(model, glob) for glob in self.models)


class KeyRing:
    """The keys of one file. Immutable."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self.keys = tuple(keys)
        self._shelves: dict[bytes, list[ApiKey]] = {}
        for key in self.keys:
            self._shelves.setdefault(key.digest[:2], []).append(key)

    def find(self, secret: bytes) -> ApiKey | None:
        return self.by_digest(hashlib.sha256(secret).digest())

    def by_digest(self, digest: bytes) -> ApiKey | None:
        """The choice of a shelf reveals 16 bits of a hash, from which no key follows; the keys on it are compared in
        constant time.
        """
        found = None
        for key in self._shelves.get(digest[:2], ()):
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def parse(text: bytes) -> KeyRing:
    """Raises KeysError, naming the entry and what is wrong with it."""
    import yaml  # 20 ms, and only those who use keys need it

    try:
        document = yaml.safe_load(text)
    except RecursionError as error:
        raise KeysError("nested too deep to be keys") from error
    except yaml.MarkedYAMLError as error:  # in whole it quotes the file, which somebody may have put a key into
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise KeysError(f"not valid YAML: line {line}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that there is not
        raise KeysError(f"not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, list):
        raise KeysError("expected a YAML list of entries with name and hash; [] holds no keys")
    keys = [_entry(number, entry) for number, entry in enumerate(document, 1)]
    by_name: dict[str, ApiKey] = {}
    by_digest: dict[bytes, ApiKey] = {}
    for key in keys:
        if key.name in by_name:
            raise KeysError(f"two entries have the name {key.name!r}; give each key its own")
        if (other := by_digest.setdefault(key.digest, key)) is not key:
            raise KeysError(f"{other.name!r} and {key.name!r} have the same hash; make a key for each")
        by_name[key.name] = key
    return KeyRing(keys)


def make(name: str, models: Iterable[str] = (), rate: float | None = None, **more: Any) -> tuple[str, str]:
    """A new key and its entry for the file. Raises KeysError for fields that no entry may have."""
    import yaml

    secret = PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
    entry = {"name": name, "hash": _HASH + hashlib.sha256(secret.encode()).hexdigest()}
    given = {"models": list(models), "rate": rate, **more}
    entry |= {field: value for field, value in given.items() if value not in (None, [])}
    _entry(1, entry)
    text = yaml.safe_dump([entry], sort_keys=False)
    parse(text.encode())  # as it will be read
    return secret, text


def _entry(number: int, entry: Any) -> ApiKey:
    if not isinstance(entry, Mapping):
        raise KeysError(f"invalid entry {number}: expected a mapping with name and hash")
    where = f"entry {number} ({_shown(entry.get('name'))})"
    if unknown := [field for field in entry if field not in _FIELDS]:
        raise KeysError(f"{where}: unknown field {_shown(unknown[0])}; expected {', '.join(_FIELDS)}")
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise KeysError(f"{where}: invalid name: expected up to 64 letters, digits, dots, dashes and underscores")
    models = entry.get("models", ["*"])
    if not isinstance(models, list) or not models or not all(isinstance(glob, str) and glob for glob in models):
        raise KeysError(f"{where}: invalid models: expected a list of globs such as ['cats*']; all where left out")
    rate = _number(where, "rate", entry.get("rate"))
    if "burst" in entry and rate is None:
        raise KeysError(f"{where}: burst needs a rate")
    burst = _number(where, "burst", entry.get("burst"))
    if burst is not None and burst < 1:
        raise KeysError(f"{where}: invalid burst: expected at least 1")
    return ApiKey(
        name,
        _digest(where, entry.get("hash")),
        tuple(models),
        rate,
        max(1.0, rate or 0.0) if burst is None else burst,
        _moment(where, entry.get("expires")),
    )


def _shown(value: Any) -> str:
    """For an error. A list is not printed: YAML's anchors can make it larger than memory."""
    return f"{type(value).__name__}" if isinstance(value, list | dict) else f"{value!r:.70}"


def _digest(where: str, text: Any) -> bytes:
    if isinstance(text, str) and text.startswith(PREFIX):
        raise KeysError(f"{where}: hash holds a key itself; replace it by a new one from `python -m service keys`")
    try:
        digest = binascii.unhexlify(text.removeprefix(_HASH)) if text.startswith(_HASH) else b""
    except (AttributeError, ValueError):
        digest = b""
    if len(digest) != 32:
        raise KeysError(f"{where}: invalid hash: expected {_HASH} and 64 hexadecimal digits (`python -m service keys`)")
    return digest


def _number(where: str, field: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise KeysError(f"{where}: invalid {field}: expected a number above 0, got {_shown(value)}")
    return float(value)


def _moment(where: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        moment: datetime = value if value.tzinfo else value.replace(tzinfo=UTC)
        return moment.timestamp()
    except (ValueError, AttributeError, OverflowError) as error:
        raise KeysError(f"{where}: invalid expires: expected 2027-06-30 or 2027-06-30T18:00:00Z") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        name_program("service keys"),
        description="Makes an API key for --api-keys.",
        epilog="Example: %(prog)s camera-7 --models 'mobilenet*' --rate 5 >> keys.yaml\n"
        "exit codes: 0 done, 2 for wrong flags",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("name", help="whose it is: in metrics and in the file")
    parser.add_argument("--models", nargs="+", default=[], metavar="GLOB", help="models it opens; all where left out")
    parser.add_argument("--rate", type=float, metavar="X", help="predictions a second; unlimited where left out")
    parser.add_argument(
        "--burst", type=float, metavar="N", help="this many at once after a quiet time; the rate where left out"
    )
    parser.add_argument("--expires", metavar="TIME", help="2027-06-30, or 2027-06-30T18:00:00Z")
    given = parser.parse_args(arguments)
    try:
        secret, entry = make(given.name, given.models, given.rate, burst=given.burst, expires=given.expires)
    except KeysError as error:
        parser.error(str(error).partition("): ")[2] or str(error))
    # The entry alone on stdout: `python -m service keys ... >> keys.yaml` adds it, and the key lands in no file.
    print(f"The key, shown this once: {secret}", file=sys.stderr)
    print("Its entry in the file that --api-keys names:", file=sys.stderr, flush=True)
    print(entry, end="")
    return 0
