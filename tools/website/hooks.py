"""What mkdocs calls while it builds: navigation, pages from outside of docs/, links, drawn diagrams.

Without mkdocs nothing imports this.
"""

import re
from pathlib import Path
from typing import Any

import mermaidx
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.website.links import PAGES, place_links
from tools.website.navigation import read_navigation

_ROOT = Path(__file__).parents[2]
_SOURCES = {placed: path for path, placed in PAGES.items()}
_DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```", re.DOTALL | re.MULTILINE)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    index = (Path(config.docs_dir) / "index.md").read_text()
    config.nav = read_navigation(place_links(index, "docs/index.md", ""))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path, placed in PAGES.items():
        files.append(File.generated(config, placed, content=(_ROOT / path).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    source = _SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    drawn = _DIAGRAM.sub(lambda match: _draw(match[1]), markdown)
    return place_links(drawn, source, config.extra["source_url"])


def _draw(diagram: str) -> str:
    """As SVG in the page: a browser would have to fetch mermaid.js, which is 3 MB."""
    return f'<figure class="diagram" markdown="0">{mermaidx.render(diagram).svg()}</figure>'
