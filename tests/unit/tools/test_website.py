"""The documentation as a website: where links lead, what the navigation has, and what the built pages fetch."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import service.errors
from service.errors import Code
from tests.support.chromium import browser
from tests.support.documents import DOCS
from tests.support.exporter import ROOT
from tools.website.flags import PROGRAMS, escape, read_parser
from tools.website.links import place_links
from tools.website.navigation import read_navigation
from tools.website.reference import FOLDER, PAGES, read_causes, write_page


@pytest.mark.parametrize(
    ("source", "link", "placed"),
    [
        ("README.md", "[a](docs/clients.md#images)", "[a](clients.md#images)"),
        ("README.md", "[![a](docs/images/a.png)](docs/b.html)", "[![a](images/a.png)](b.html)"),
        ("docs/index.md", "[a](../README.md#start)", "[a](readme.md#start)"),
        ("docs/decisions/index.md", "[a](../../CONTRIBUTING.md)", "[a](../contributing.md)"),
        ("docs/decisions/0001.md", "[a](../models.md)", "[a](../models.md)"),
        ("docs/alerts.md", "[`a`](../k8s/rules.yaml)", "`a`"),
        ("docs/alerts.md", "[a](#b) [c](https://example.com/d)", "[a](#b) [c](https://example.com/d)"),
        ("docs/alerts.md", "```\n[a](../b.py)\n```\n", "```\n[a](../b.py)\n```\n"),
    ],
)
def test_links_are_placed(source: str, link: str, placed: str) -> None:
    assert place_links(link, source, "") == placed


def test_links_to_source_files_lead_to_the_repository_where_it_is_named() -> None:
    placed = place_links("[`a`](../service/a.py#L3)", "docs/b.md", "https://example.com/owner/name/")
    assert placed == "[`a`](https://example.com/owner/name/blob/HEAD/service/a.py#L3)"


def test_the_navigation_is_the_index() -> None:
    index = "# Title\n\n## Start\n\n- [first page](a.md), and [numbers](b.csv)\n\n## Run\n\n- [c](d/e.md): text\n"
    assert read_navigation(index) == [
        {"Home": "index.md"},
        {"Start": [{"First page": "a.md"}]},
        {"Run": [{"C": "d/e.md"}]},
    ]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_reference_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == write_page(name), "run python -m tools.website"


def test_every_program_that_has_flags_is_in_the_reference() -> None:
    assert {program.partition(" ")[0] for program in PROGRAMS} >= {"service", "export", "loadtest"}
    for command, subcommand in re.findall(r"python -m (service|export) (\w+) --help", _read_own_helps()):
        assert f"{command} {subcommand}" in PROGRAMS


def _read_own_helps() -> str:
    return " ".join(read_parser(program).format_help() for program in ("service", "export"))


def test_a_program_without_a_parser_is_refused() -> None:
    with pytest.raises(RuntimeError, match="expected a parser of argparse"):
        read_parser("this")


def test_every_error_has_a_cause() -> None:
    causes = read_causes(service.errors.__doc__ or "")
    assert set(causes) == set(Code) and all(causes.values())


def test_help_texts_fit_into_a_table() -> None:
    assert escape("a|b for `x*` or cats* (docs/routing.md)") == r"a\|b for `x*` or cats\* ([routing.md](../routing.md))"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("material", reason="the documentation's own extra, [docs], is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = _build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    yield folder


def _build(config: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(config), "--site-dir", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


_FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*?\bsrc=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*?href=["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|(?:url\(|@import )\s*["']?((?:https?:)?//[^)"']+)"""
)


def find_outside_requests(text: str) -> list[str]:
    """Addresses on other hosts that a browser fetches for a page or a stylesheet."""
    return ["".join(groups) for groups in _FETCHED.findall(text)]


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://cdn.example/a.js">',
        "<img alt=a src=//cdn.example/a.png>",
        '<link href="https://fonts.example/css" rel="stylesheet">',
        '<link rel="preconnect" href="https://fonts.example">',
        "a { background: url(https://cdn.example/a.png) }",
    ],
)
def test_outside_requests_are_found(text: str) -> None:
    assert len(find_outside_requests(text)) == 1
    assert find_outside_requests(re.sub(r"(https:)?//[\w.]+/?", "local/", text)) == []


@pytest.mark.slow
def test_a_page_for_each_document_and_none_fetches_from_another_host(site: Path) -> None:
    expected = {page.relative_to(DOCS).with_suffix(".html").as_posix() for page in DOCS.rglob("*.md")}
    assert expected | {"readme.html", "contributing.html"} <= {p.relative_to(site).as_posix() for p in site.rglob("*")}
    for file in (*site.rglob("*.html"), *site.rglob("*.css")):
        assert find_outside_requests(file.read_text()) == [], file
        assert 'class="mermaid"' not in file.read_text(), "Material fetches mermaid.js from a CDN"
    assert '<figure class="diagram"' in (site / "architecture.html").read_text()


@pytest.mark.slow
def test_a_browser_fetches_from_the_site_alone_and_nothing_overflows(site: Path) -> None:
    with browser() as tab:
        for width in (390, 1280):
            for name in ("index", "readme", "architecture", "zoo", "clients", "decisions/index"):
                tab.open(site / f"{name}.html", width)
                assert [url for url in tab.requests if not url.startswith(site.as_uri())] == [], name
                assert tab.evaluate("document.documentElement.scrollWidth") <= width, name


@pytest.mark.slow
def test_a_link_that_leads_nowhere_fails_the_build(site: Path, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Index\n\n[there](nowhere.md)\n")
    config = (ROOT / "mkdocs.yml").read_text().replace("tools/website", str(ROOT / "tools/website"))
    (tmp_path / "mkdocs.yml").write_text(config)
    done = _build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode != 0 and "nowhere.md" in done.stderr
