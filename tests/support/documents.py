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
    mark: str
    """What a comment right before it says: `run`, `run slow`, `needs a cluster`, ... or empty."""

    @property
    def run(self) -> bool:
        """A test runs it as printed, in the default suite."""
        return self.mark == "run"


def find_pages() -> list[Path]:
    return [README, CONTRIBUTING, CLIENT_README, *sorted(DOCS.rglob("*.md"))]


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read_blocks(page: Path) -> list[Block]:
    found = re.findall(r"(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [Block(page, kind, code, mark) for mark, kind, code in found]


def read_commands(page: Path) -> list[list[str]]:
    """The words of every line of its bash blocks."""
    return [words for block in read_blocks(page) if block.kind == "bash" for words in split_lines(block.code)]


def split_commands(code: str) -> list[str]:
    """The lines of bash; those that a backslash joins are one."""
    return [line for line in code.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]


def split_lines(code: str) -> list[list[str]]:
    """The words of each line of bash."""
    return [words for line in split_commands(code) if (words := _split(line))]


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quotation that goes on in the next line
        return []


def read_prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
