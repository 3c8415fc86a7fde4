"""`python -m benchmarks.batching`: the sweep, then docs/batching.md and its pictures."""

import argparse
from pathlib import Path

from benchmarks.batching import machines, page
from benchmarks.batching.arrivals import PATTERNS
from benchmarks.batching.sweep import LOADS, settings, sweep

_DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batching", description=__doc__)
    parser.add_argument("--requests", type=int, default=4000, help="requests at each point (4000)")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="folder to write to (docs/)")
    arguments = parser.parse_args()
    from rich.progress import track

    cases = machines.cases()
    total = len(cases) * len(PATTERNS) * len(LOADS)
    points = list(track(sweep(cases, arguments.requests), "simulating", total=total))
    images = arguments.docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    pictures = page.draw(points, images)
    most = max(len(settings(case)) for case in cases)
    text = page.render(points, pictures, arguments.requests, most)
    (arguments.docs / "batching.md").write_text(text, encoding="utf-8")
    print(text.split("## Over all")[0])


if __name__ == "__main__":
    main()
