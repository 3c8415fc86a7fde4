"""Every decision says when, why, what it rests on and what would reverse it; its evidence is there."""

import re
from pathlib import Path

import pytest

from tests.support.documents import DOCS, name_page, read_commands
from tests.support.exporter import ROOT

RECORDS = sorted((DOCS / "decisions").glob("[0-9]*.md"))
_HEADINGS = ["Context", "Decision", "Evidence", "What would reverse it"]


def test_numbers_are_unique() -> None:
    numbers = [record.name[:4] for record in RECORDS]
    assert len(RECORDS) >= 30 and len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("record", RECORDS, ids=name_page)
def test_a_record_has_every_part(record: Path) -> None:
    text = record.read_text()
    assert re.match(rf"# {record.name[:4]}\. \S", text)
    assert re.search(r"^Date: \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    assert parts[::2] == _HEADINGS and all(part.strip() for part in parts[1::2])


@pytest.mark.parametrize("record", RECORDS, ids=name_page)
def test_its_evidence_is_there(record: Path) -> None:
    commands = read_commands(record)
    assert commands
    for words in commands:
        for path in (word for word in words if word.startswith("tests/")):
            assert (ROOT / path.partition("::")[0]).exists(), path
