"""docs/architecture.md: what stands between its markers is written from the code, the rest by people."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.architecture.packages import PROGRAMS, ROOT, read_imports, read_summary, reduce_transitively
from tools.architecture.request_path import Step

PAGE = ROOT / "docs" / "architecture.md"


def write_code_parts(text: str) -> str:
    """The page with the picture, the rooms and the files as the code has them now."""
    text = replace_part(text, "picture", draw_packages(reduce_transitively(read_imports())))
    text = replace_part(text, "rooms", list_rooms())
    return replace_part(text, "files", "\n\n".join(map(list_files, PROGRAMS)))


def write_steps(text: str, steps: Sequence[Step]) -> str:
    """The page with the way of one image."""
    rows = [
        f"| {number} | [`{step.path}`](../{step.path}) | `{step.function}` | {step.form} |"
        for number, step in enumerate(steps, 1)
    ]
    head = ["| | file | first holds it | as |", "| ---: | :--- | :--- | :--- |"]
    return replace_part(text, "request", "\n".join([*head, *rows]))


def read_steps(text: str) -> list[str]:
    """The files that the page names on the way of one image, in order."""
    return re.findall(r"^\| \d+ \| \[`([^`]+)`\]", _find_part(text, "request")[0], re.MULTILINE)


def replace_part(text: str, name: str, content: str) -> str:
    found = _find_part(text, name)
    return text[: found.start(1)] + f"\n{content}\n" + text[found.end(1) :]


def _find_part(text: str, name: str) -> re.Match[str]:
    found = re.search(rf"<!-- {name}: written by tools\.architecture -->(.*?)<!-- end -->", text, re.DOTALL)
    if found is None:
        raise ValueError(f"{PAGE.name} has no part named {name!r}")
    return found


def draw_packages(imports: Mapping[str, set[str]]) -> str:
    """A Mermaid flowchart, which GitHub draws: an arrow says "imports"."""
    rooms = sorted(room for room in imports if room.startswith("service."))
    lines = ["```mermaid", "flowchart TD", "  subgraph service"]
    lines += [f'    {_identify(room)}["{room.removeprefix("service.")}"]' for room in rooms]
    lines += ["  end"]
    lines += [f"  {room}" for room in sorted(imports.keys() - set(rooms))]
    for room in sorted(imports):
        lines += [f"  {_identify(room)} --> {_identify(each)}" for each in sorted(imports[room])]
    return "\n".join([*lines, "```"])


def _identify(room: str) -> str:
    return room.replace(".", "-")


def list_rooms() -> str:
    """The rooms of the service, and the other programs."""
    service = ROOT / "service"
    rooms = [path for path in service.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()]
    rooms.remove(service / "__init__.py")
    others = [ROOT / program for program in PROGRAMS if program != service.name]
    return _table([*sorted(rooms, key=lambda path: (path.is_file(), path.name)), *others])


def list_files(program: str) -> str:
    """Every file of a program that has code; a package stands ahead of its files."""
    rows = []
    for package in sorted(path.parent for path in (ROOT / program).rglob("__init__.py")):
        rows += [package, *sorted(set(package.glob("*.py")) - {package / "__init__.py"})]
    return f"### {program}\n\n{_table(rows)}"


def _table(paths: Sequence[Path]) -> str:
    lines = ["| | |", "| :--- | :--- |"]
    for path in paths:
        summary = read_summary(path if path.is_file() else path / "__init__.py")
        link = f"[`{path.relative_to(ROOT)}{'/' if path.is_dir() else ''}`](../{path.relative_to(ROOT)})"
        lines.append(f"| {link if path.is_file() else f'**{link}**'} | {summary.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)
