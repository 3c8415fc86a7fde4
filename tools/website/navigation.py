"""The website's navigation, read from docs/index.md: a section for each heading, an entry for each link of its list."""

import re

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_PAGE = re.compile(r"\[([^\]]+)\]\(([^)#\s]+\.md)\)")

Entry = dict[str, str]
Section = dict[str, list[Entry]]


def read_navigation(index: str) -> list[Entry | Section]:
    """As mkdocs.yml has `nav`, from the index with its links placed for the website. The index itself comes first."""
    _, *parts = _HEADING.split(index)
    sections: list[Entry | Section] = [{"Home": "index.md"}]
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        sections.append({heading: [{name[:1].upper() + name[1:]: path} for name, path in _PAGE.findall(body)]})
    return sections
