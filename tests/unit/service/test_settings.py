"""What settings are called, and how --help shows them."""

import re

import pytest

from service.settings import TOPICS, Settings, parse

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
    assert re.findall(r"^(\w.*):$", shown, re.MULTILINE) == ["options", *TOPICS.values()]
    assert re.findall(r"^  --([a-z-]+)", shown, re.MULTILINE) == [name.replace("_", "-") for name in NAMES]
    assert list(TOPICS) == [name for name in NAMES if name in TOPICS], "topics stand in the order of the settings"
    assert NAMES[0] in TOPICS


def test_help_has_no_words_of_python(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert set(re.findall(r"--[a-z-]+ ([A-Za-z][\w,.\[\]]*) ", shown)) >= {"N", "X", "TEXT", "PATH"}
    assert re.findall(r"--[a-z-]+ (?:int|float|str|tuple|Path)\b|default: (?:None|\(\))?\)", shown) == []


def test_flags_go_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_HTTP_PORT", "1")
    monkeypatch.setenv("SERVICE_GRPC_PORT", "2")
    settings = parse(["--http-port", "3", "--no-foreign-models"])
    assert (settings.http_port, settings.grpc_port, settings.foreign_models) == (3, 2, False)
