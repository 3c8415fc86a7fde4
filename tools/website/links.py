"""Links of Markdown pages, from where they lead in the repository to where they lead on the website."""

import posixpath
import re

PAGES = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md"}
"""A page outside of docs/ -> its place on the website."""

_FENCED = re.compile(r"(^```.*?^```)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*)\]\(([^)\s]+)\)")


def place_links(markdown: str, source: str, repository_url: str) -> str:
    """The text of a page with its links for the website. `source` is its path in the repository: `docs/clients.md`.

    A link to a page or a file in docs/ leads there. A link to another file leads to `repository_url`; where that is
    empty, it is its text alone.
    """

    def place(match: re.Match[str]) -> str:
        mark, text, target = match.groups()
        text = _LINK.sub(place, text)
        placed = _place_target(target, source, repository_url)
        return f"{mark}[{text}]({placed})" if placed else text

    parts = _FENCED.split(markdown)
    return "".join(part if index % 2 else _LINK.sub(place, part) for index, part in enumerate(parts))


def _place_target(target: str, source: str, repository_url: str) -> str:
    if "://" in target or target.startswith(("#", "mailto:")):
        return target
    path, mark, anchor = target.partition("#")
    there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if there in PAGES or there.startswith("docs/"):
        here = posixpath.dirname(_place_page(source))
        return posixpath.relpath(_place_page(there), here or ".") + mark + anchor
    return f"{repository_url.rstrip('/')}/blob/HEAD/{there}{mark}{anchor}" if repository_url else ""


def _place_page(path: str) -> str:
    return PAGES.get(path) or path.removeprefix("docs/")
