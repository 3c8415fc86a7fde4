"""A report as one HTML file that needs no network, for a phone and a desktop, on light and dark screens."""

import re
from collections.abc import Iterable
from html import escape
from pathlib import Path

from drawing.canvas import Canvas
from drawing.chart import NARROW, Chart

_HERE = Path(__file__).parent
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself holds the page to needing no network."""


def render(title: str, body: Iterable[str]) -> str:
    """The whole file; `title` is text, `body` HTML, whose empty parts are left out."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n'
        f"<style>\n{read_asset('style.css')}{read_asset('charts.css')}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + f"\n</main>\n<script>\n{read_asset('page.js')}</script>\n</body>\n</html>\n"
    )


def render_chart(chart: Chart) -> str:
    least = f' style="min-width:{chart.narrow.width:g}px"' if chart.narrow.width > NARROW else ""
    return (
        f'<figure id="{escape(chart.key)}"><figcaption><h3>{escape(chart.title)}</h3><p>{escape(chart.words)}</p>'
        f'</figcaption><div class="wide">{chart.wide.svg(chart.title)}</div>'
        f'<div class="narrow"><div{least}>{chart.narrow.svg(chart.title)}</div></div></figure>'
    )


def render_list(facts: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(key)}</dt><dd>{escape(value)}</dd>' for key, value in facts.items())}</dl>"


def render_svg(canvas: Canvas, title: str) -> str:
    """A drawing as a file of its own, dark on white: a page that shows it as an image brings no style sheet."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {canvas.width:g} {canvas.height:g}" '
        f'width="{canvas.width:g}" height="{canvas.height:g}" role="img" aria-label="{escape(title)}">'
        f'<style>{read_light_looks()}</style><rect width="100%" height="100%" fill="#ffffff"/>{canvas.inside()}</svg>\n'
    )


def read_light_looks() -> str:
    """The drawings' style sheet with the light scheme's colours in place of the page's variables."""
    light = read_asset("style.css").partition("@media")[0]
    colours = dict(re.findall(r"(--[\w-]+): (#\w+);", light))
    return re.sub(r"var\((--[\w-]+)\)", lambda found: colours[found[1]], read_asset("charts.css"))


def read_asset(name: str) -> str:
    """A style sheet or script of this package, as text."""
    return (_HERE / name).read_text(encoding="utf-8")
