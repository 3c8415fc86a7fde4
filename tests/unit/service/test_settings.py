"""What settings are called, and how --help shows them."""

import re
import shlex

import pytest

from service.settings import TOPICS, Settings, describe_exposure, parse

NAMES = list(Settings.model_fields)


def test_a_name_ends_in_its_unit() -> None:
    durations = {name for name in NAMES if "seconds" in name or name.endswith("_ms")}
    assert {name for name in durations if not re.search("_(timeout|interval)_seconds$|_ms$", name)} == {"drain_seconds"}
    for name, field in Settings.model_fields.items():
        description = field.description or ""
        if description.startswith(("seconds", "most seconds")):
            assert name.endswith("_seconds"), name
        if re.search("^(most )?milliseconds", description):
            assert name.endswith("_ms"), name
        if re.search("^(most )?megabytes", description):
            assert name.endswith("_mb"), name


def test_help_lists_every_setting_under_its_topic(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = capsys.readouterr().out
    headings = [heading for heading, _ in TOPICS.values()]
    assert re.findall(r"^(\w.*):$", shown, re.MULTILINE) == ["options", *headings]
    assert re.findall(r"^(\w.*):\n  Example: python -m service --", shown, re.MULTILINE) == headings
    assert re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE)[1:] == [name.replace("_", "-") for name in NAMES]
    assert list(TOPICS) == [name for name in NAMES if name in TOPICS], "topics stand in the order of the settings"
    assert NAMES[0] in TOPICS


def test_help_has_no_words_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert set(re.findall(r"--[a-z-]+ ([A-Za-z][\w,.\[\]]*) ", shown)) >= {"N", "X", "TEXT", "FILE", "DIR"}
    assert re.findall(r"--[a-z-]+ (?:int|float|str|tuple|Path)\b|default: (?:None|True|False|\(\))?\)", shown) == []


@pytest.mark.parametrize("first", TOPICS)
def test_the_example_of_a_topic_is_taken_and_uses_a_flag_of_it(first: str) -> None:
    example = shlex.split(TOPICS[first][1])
    parse(example)
    starts = [*map(NAMES.index, TOPICS), len(NAMES)]
    start = NAMES.index(first)
    topic = NAMES[start : min(each for each in starts if each > start)]
    assert {word[2:].replace("-", "_") for word in example if word.startswith("--")} & set(topic)


def test_folders_and_files_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = dict(re.findall(r"^  --([a-z-]+) (DIR|FILE)\b", capsys.readouterr().out, re.MULTILINE))
    assert {name for name, kind in shown.items() if kind == "DIR"} == {"repository", "cache-dir"}
    paths = {name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)}
    assert set(shown) == {name.replace("_", "-") for name in paths}


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_HTTP_PORT", "1")
    monkeypatch.setenv("SERVICE_GRPC_PORT", "2")
    settings = parse(["--http-port", "3", "--no-foreign-models"])
    assert (settings.http_port, settings.grpc_port, settings.foreign_models) == (3, 2, False)


def test_a_service_open_to_other_machines_is_described_and_no_other() -> None:
    assert "nobody needs a key" in describe_exposure(parse(["--host", "0.0.0.0"]))
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        assert describe_exposure(parse(["--host", host])) == ""
    assert describe_exposure(parse(["--host", "0.0.0.0", "--api-keys", __file__])) == ""
