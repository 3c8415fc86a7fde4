"""Every link of a page leads somewhere, and every page is found from the index."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.documents import CONTRIBUTING, DOCS, README, find_pages, name_page, read_prose
from tests.support.exporter import ROOT

_PATH = re.compile(r"(?:service|export|loadtest|benchmarks|tools|tests|k8s|containers|docs)/[\w./*-]+")


def _anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", read_prose(page), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in plain}


def _links(page: Path) -> list[tuple[str, str]]:
    """Path and anchor of every link into this repository."""
    found = re.findall(r"\]\(([^)\s#]*)(?:#([\w-]+))?\)", read_prose(page))
    return [(unquote(target), anchor) for target, anchor in found if "://" not in target]


@pytest.mark.parametrize("page", find_pages(), ids=name_page)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in _links(page):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in _anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", find_pages(), ids=name_page)
def test_paths_that_the_text_names_are_there(page: Path) -> None:
    for span in re.findall(r"`([^`\s]+)`", read_prose(page)):
        if _PATH.fullmatch(span):
            assert [*ROOT.glob(span.rstrip("/"))], span


@pytest.mark.parametrize("index", [DOCS / "index.md", DOCS / "decisions" / "index.md"], ids=name_page)
def test_an_index_lists_every_page_of_its_folder_once(index: Path) -> None:
    targets = [(index.parent / target).resolve() for target, _ in _links(index)]
    pages = [page for page in sorted(index.parent.glob("*.md")) if page != index]
    assert [page.name for page in pages if targets.count(page) != 1] == []


def test_the_readme_leads_to_the_index() -> None:
    targets = {(README.parent / target).resolve() for target, _ in _links(README)}
    assert {DOCS / "index.md", CONTRIBUTING} <= targets


@pytest.mark.parametrize(("page", "most"), [(README, 150), (CONTRIBUTING, 80)], ids=["README", "CONTRIBUTING"])
def test_a_first_page_is_short(page: Path, most: int) -> None:
    assert len(page.read_text().splitlines()) <= most
