"""READMEs, CONTRIBUTING and docs/ as tests read them: pages, their code blocks, their commands."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.support.exporter import ROOT

README, CONTRIBUTING, DOCS = ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs"
CLIENT_README = ROOT / "client" / "README.md"


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    kind: str
    """bash, python, yaml, ... or empty."""
    code: str
    run: bool
    """It stands behind `<!-- run -->`: a test runs it as printed."""


def find_pages() -> list[Path]:
    return [README, CONTRIBUTING, CLIENT_README, *sorted(DOCS.rglob("*.md"))]


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read_blocks(page: Path) -> list[Block]:
    found = re.findall(r"(<!-- run -->\n)?^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [Block(page, kind, code, bool(run)) for run, kind, code in found]


def read_commands(page: Path) -> list[list[str]]:
    """The words of every line of its bash blocks; lines that a backslash joins are one."""
    lines = [
        line
        for block in read_blocks(page)
        if block.kind == "bash"
        for line in block.code.replace("\\\n", " ").splitlines()
    ]
    return [words for line in lines if (words := _split(line))]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        return []


def read_prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
