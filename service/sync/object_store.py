"""Versions in a bucket: S3 and what speaks like it, Google Cloud Storage, Azure's blobs.

An object appears whole, a folder of them does not: the list of a version's files is written last, and without one it
is not a version yet.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import ObjectStore, from_url

from service.repository.checksums import FILES
from service.repository.manifest import SAVED_MODEL, TFLITE
from service.repository.repository import version_number
from service.sync.locations import Found, Streams, SyncError
from service.types import is_model_name

_CLAIM = ".claimed"
_PATIENCE = datetime.timedelta(seconds=30)  # of retries, where a store is away or says no
_CHUNK = 4 * 2**20
_MACHINES = ("169.254.169.254", "metadata.google.internal")  # asked for credentials where the environment has none


def open_store(url: str) -> "Store":
    """Sends no request yet. Credentials come from the environment. Raises SyncError."""
    with _explain_failures(url):
        store: ObjectStore = from_url(
            url,
            # A whole file has to come within the timeout: the default of 30 s is too little for large ones.
            client_options={"timeout": "1h", "connect_timeout": "5s", "allow_http": True},
            retry_config={"max_retries": 3, "retry_timeout": _PATIENCE},
        )
    return Store(url, store)


class Store:
    vouched = False

    def __init__(self, url: str, store: ObjectStore) -> None:
        self._url, self._store = url, store

    def __str__(self) -> str:
        return self._url

    def found(self) -> Found:
        versions: dict[str, dict[int, dict[str, int]]] = {}
        with _explain_failures(self._url):
            for chunk in obstore.list(self._store):
                for entry in chunk:
                    name, _, rest = entry["path"].partition("/")
                    number, _, path = rest.partition("/")
                    if is_model_name(name) and version_number(number) is not None and _is_plain(path):
                        versions.setdefault(name, {}).setdefault(int(number), {})[path] = entry["size"]
        return {
            name: {number: files for number, files in numbered.items() if _holds_model(files)}
            for name, numbered in versions.items()
        }

    def read(self, name: str, version: int, path: str) -> Iterator[bytes]:
        with _explain_failures(f"{self._url}: {name}/{version}/{path}"):
            for chunk in obstore.get(self._store, f"{name}/{version}/{path}").stream(_CHUNK):
                yield bytes(chunk)

    def publish(self, name: str, version: int | None, files: Streams) -> int:
        claimed = self._claim(name) if version is None else version
        for path, chunks in files:
            with _explain_failures(f"{self._url}: {name}/{claimed}/{path}"):
                obstore.put(self._store, f"{name}/{claimed}/{path}", chunks)
        return claimed

    def remove(self, name: str, version: int) -> None:
        prefix = f"{name}/{version}"
        with _explain_failures(f"{self._url}: {prefix}"):
            paths = [entry["path"] for chunk in obstore.list(self._store, prefix) for entry in chunk]
            # The list first: without it the rest is not a version, should this end early.
            for path in sorted(paths, key=lambda path: not path.endswith(FILES)):
                obstore.delete(self._store, path)

    def _claim(self, name: str) -> int:
        """Reserves the next free number: another publisher gets the one after it."""
        with _explain_failures(f"{self._url}: {name}"):
            listed = obstore.list_with_delimiter(self._store, name)
            names = [prefix.rpartition("/")[2] for prefix in listed["common_prefixes"]]
            number = max((found for each in names if (found := version_number(each)) is not None), default=0) + 1
            while True:
                try:
                    obstore.put(self._store, f"{name}/{number}/{_CLAIM}", b"", mode="create")
                    return number
                except exceptions.AlreadyExistsError:
                    number += 1


@contextmanager
def _explain_failures(what: str) -> Iterator[None]:
    """Turns the store's errors into SyncError, one line each."""
    try:
        yield
    except FileNotFoundError as error:
        raise SyncError(f"{what}: not there ({_first(error)})") from error
    except (exceptions.BaseError, ValueError) as error:
        raise SyncError(f"{what}: {_why(error)}{_first(error)}") from error


def _why(error: Exception) -> str:
    """A refused listing is a general error of obstore; the server's answer is in its text."""
    text = str(error)
    denied = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
    if any(server in text for server in _MACHINES):
        return "no credentials in the environment, and none of this machine's own; "
    if denied or "403 Forbidden" in text or "401 Unauthorized" in text:
        return "access denied; check the credentials in the environment; "
    return "there is no such bucket; " if "404 Not Found" in text else ""


def _first(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _is_plain(path: str) -> bool:
    return all(part and not part.startswith(".") for part in path.split("/"))


def _holds_model(files: dict[str, Any]) -> bool:
    return str(SAVED_MODEL) in files or str(TFLITE) in files
