"""Files of API keys: what they may say, and what a wrong one is told."""

import hashlib
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from service.security.api_keys import LIKE_A_KEY, ApiKey, KeysError, make, parse

SECRET = "ims_of-a-test"
HASH = "sha256:" + hashlib.sha256(SECRET.encode()).hexdigest()


def only(text: str) -> ApiKey:
    (key,) = parse(text.encode()).keys
    return key


def test_an_entry_is_read_whole() -> None:
    key = only(f"- {{name: a, hash: '{HASH}', models: [cats*, lenet5], rate: 5, burst: 20, expires: 2027-06-30}}")
    assert (key.name, key.rate, key.burst) == ("a", 5.0, 20.0)
    assert key.expires == datetime(2027, 6, 30, tzinfo=UTC).timestamp()
    assert key.opens("cats-v2") and key.opens("lenet5") and not key.opens("dogs") and not key.opens("Cats")


def test_what_is_left_out_opens_everything_for_ever() -> None:
    key = only(f"- {{name: a, hash: '{HASH}'}}")
    assert key.opens("anything") and key.rate is None and key.expires is None
    assert only(f"- {{name: a, hash: '{HASH}', rate: 0.2}}").burst == 1, "a burst below one would never let a call in"


@pytest.mark.parametrize("moment", ["2027-06-30T18:00:00Z", "2027-06-30 20:00:00+02:00", "'2027-06-30T18:00:00'"])
def test_a_moment_without_a_zone_is_utc(moment: str) -> None:
    wanted = datetime(2027, 6, 30, 18, tzinfo=UTC).timestamp()
    assert only(f"- {{name: a, hash: '{HASH}', expires: {moment}}}").expires == wanted


def test_only_the_key_itself_is_found() -> None:
    ring = parse(f"- {{name: a, hash: '{HASH}'}}".encode())
    assert ring.find(SECRET.encode()) is ring.keys[0]
    for wrong in ("", SECRET[:-1], SECRET + "x", HASH, HASH.removeprefix("sha256:")):
        assert ring.find(wrong.encode()) is None
    assert ring.by_digest(b"") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a YAML list"),  # also a file that is about to be written
        ("name: a", "a YAML list"),
        ("- [", "not valid YAML"),
        ("- !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("- a", "invalid entry 1: expected a mapping"),
        (f"- {{hash: '{HASH}'}}", "invalid name: expected"),
        (f"- {{name: 'a b', hash: '{HASH}'}}", "invalid name: expected"),
        ("- {name: a}", "invalid hash: expected sha256: and 64"),
        ("- {name: a, hash: 'sha256:beef'}", "invalid hash: expected sha256: and 64"),
        (f"- {{name: a, hash: {SECRET}}}", "holds a key itself"),
        (f"- {{name: a, hash: '{HASH}', model: x}}", "unknown field 'model'"),
        (f"- {{name: a, hash: '{HASH}', models: x}}", "invalid models: expected a list"),
        (f"- {{name: a, hash: '{HASH}', models: []}}", "invalid models: expected a list"),
        (f"- {{name: a, hash: '{HASH}', rate: 0}}", "invalid rate: expected a number above 0"),
        (f"- {{name: a, hash: '{HASH}', rate: .inf}}", "invalid rate: expected a number above 0"),
        (f"- {{name: a, hash: '{HASH}', rate: true}}", "invalid rate: expected a number above 0"),
        (f"- {{name: a, hash: '{HASH}', burst: 5}}", "burst needs a rate"),
        (f"- {{name: a, hash: '{HASH}', rate: 1, burst: 0.5}}", "invalid burst: expected at least 1"),
        (f"- {{name: a, hash: '{HASH}', expires: tomorrow}}", "invalid expires: expected 2027"),
        (f"- {{name: a, hash: '{HASH}'}}\n- {{name: a, hash: '{HASH[:-1]}0'}}", "two entries have the name 'a'"),
        (f"- {{name: a, hash: '{HASH}'}}\n- {{name: b, hash: '{HASH}'}}", "'a' and 'b' have the same hash"),
    ],
)
def test_a_wrong_file_says_where_and_what(text: str, says: str) -> None:
    with pytest.raises(KeysError) as refused:
        parse(text.encode())
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_a_made_key_fits_its_entry_and_is_never_the_same() -> None:
    secret, entry = make("a", ["cats*"], 50, expires="2027-06-30")
    ring = parse(entry.encode())
    found = ring.find(secret.encode())
    assert found is not None and found.rate == 50 and found.models == ("cats*",) and found.expires is not None
    assert secret not in entry and len(secret) == 4 + 43 and make("a")[0] != secret


def test_the_command_prints_the_entry_alone_on_stdout() -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "service", "keys", *arguments], capture_output=True, text=True, timeout=60
        )

    done = run("cats", "--models", "cats*", "lenet5", "--rate", "50")
    assert done.returncode == 0
    secret = done.stderr.split("shown this once: ")[1].split()[0]
    (key,) = parse(done.stdout.encode()).keys
    assert parse(done.stdout.encode()).find(secret.encode()) is not None
    assert key.models == ("cats*", "lenet5") and secret not in done.stdout
    for wrong in (["two words"], ["a", "--rate", "nan"], ["a", "--expires", "tomorrow"], []):
        refused = run(*wrong)
        assert refused.returncode == 2 and not refused.stdout and "Traceback" not in refused.stderr


def test_what_looks_like_a_key_is_found_in_a_line() -> None:
    secret = make("a")[0]
    for line in (f"GET /predict/{secret} 404", f"key={secret},", f'"two\\n{secret}"', secret.replace("_", "%5F", 1)):
        assert secret[4:20] not in LIKE_A_KEY.sub("", line)
    for name in ("claims_document_classifier_v2", "ims_small", "image-model-server"):
        assert not LIKE_A_KEY.search(name)
