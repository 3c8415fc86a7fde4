"""Every YAML and JSON file that the service reads, holding what nobody should write: its reader's own error refuses it
in one line.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.backends.embedded.profile_store import ProfileStore
from service.host.file_watcher import ReloadError
from service.repository import checksums as contents
from service.repository.manifest import LABELS, MANIFEST, Manifest, Profile
from service.routing import routes_file
from service.security import api_keys as keys
from service.security.api_keys import KeysError

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = {
    "lists 5,000 deep": "[" * 5000,
    "lists 5,000 deep and closed": "[" * 5000 + "]" * 5000,
    "objects 5,000 deep": '{"a":' * 5000 + "1" + "}" * 5000,
    "another kind of value": "[1, 2]",
    "null": "null",
    "text": '"text"',
    "a number of 5,000 digits": "9" * 5000,
    "a mapping to such a number": '{"routes": {"a": {"target": ' + "9" * 5000 + "}}}",
    "a day that there is not": "- {name: a, expires: 2027-13-45}",
    "a day that there is not, on its own": "2027-13-45",
    "not UTF-8": "[\udcff\udcfe]",
    "a zero byte": "[\0]",
    "aliases that stand for millions": ALIASES,
    "aliases that stand for millions, as a name": ALIASES.replace("a: ", "- {name: ", 1).replace("]\n", "]}\n", 1),
    "a list that holds itself": "&a [*a]",
    "an entry that holds itself": "- &a {name: *a}",
    "a list as a key": "? [a]\n: b",
    "a Python object": "!!python/object/apply:os.system ['true']",
    "nothing but half a quote": '"',
}


def a_manifest(path: Path) -> object:
    (path / MANIFEST).parent.mkdir(parents=True)
    (path / LABELS).parent.mkdir(parents=True)
    (path / LABELS).write_text("a\n")
    (path / MANIFEST).write_bytes((path / "text").read_bytes())
    return Manifest.read(path, "m", 1)


READERS: dict[str, tuple[type[Exception], Callable[[Path], object]]] = {
    "keys": (KeysError, lambda path: keys.parse((path / "text").read_bytes())),
    "routes": (ReloadError, lambda path: routes_file.parse(path / "text", (path / "text").read_bytes())),
    "manifest": (ValueError, a_manifest),
    "contents": (ValueError, lambda path: contents.load((path / "text").read_bytes())),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_broken_file_is_refused_by_its_readers_own_error(text: str, reader: str, tmp_path: Path) -> None:
    error, read = READERS[reader]
    (tmp_path / "text").write_bytes(TEXTS[text].encode(errors="surrogateescape"))
    with pytest.raises(error) as refused:
        read(tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 2000


@pytest.mark.parametrize(
    "document",
    [
        *TEXTS.values(),
        '{"milliseconds": {"image": {"1": 1' + "0" * 400 + "}}}",
        '{"milliseconds": []}',
        '{"milliseconds": {"image": [1]}}',
    ],
)
def test_a_broken_profile_is_measured_anew(document: str, tmp_path: Path) -> None:
    store, model = ProfileStore(tmp_path / "profiles"), tmp_path / "model.tflite"
    model.write_bytes(b"model")
    store.write(model, Profile("here", 1, 1, {"image": {1: 1.0}}, 1.0, 1.0))
    (kept,) = (tmp_path / "profiles").iterdir()
    kept.write_bytes(document.encode(errors="surrogateescape"))
    assert store.read(model) is None


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("signatures", [1]),
        ("signatures", {"a": {"inputs": [], "outputs": {}, "method": ""}}),
        ("signatures", {"a": {"inputs": {"x": {"dtype": "float32", "shape": 1}}, "outputs": {}, "method": ""}}),
        ("preprocessing", [1]),
        ("preprocessing", {"height": 1}),
        ("profile", {"milliseconds": {"image": {"1": 10**400}}}),
        ("format", "1"),
    ],
)
def test_a_manifest_of_other_parts_is_refused_by_name(part: str, value: Any, tmp_path: Path) -> None:
    whole = {"format": 1, "signatures": {}, "preprocessing": None, "architecture": "", "precision": "", "facts": {}}
    (tmp_path / "text").write_text(json.dumps(whole | {part: value}))
    with pytest.raises(ValueError, match=r"manifest\.json cannot be read"):
        a_manifest(tmp_path)


def test_a_key_in_a_file_that_cannot_be_read_is_not_quoted() -> None:
    secret, _ = keys.make("a")
    for text in (
        f"- {{name: a, hash: {secret}",
        f"- name: a\n  hash: {secret}\n b: [",
        f"- {{name: a, hash: {secret}}}",
    ):
        with pytest.raises(KeysError) as refused:
            keys.parse(text.encode())
        assert secret not in str(refused.value)
