"""`python -m benchmarks.autoscaling`: measures how long a pod's start takes, simulates a ten-fold step, writes
docs/autoscaling.md and its picture.
"""

import argparse
from pathlib import Path

_DOCS = Path(__file__).parents[2] / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaling", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    add("--repository", type=Path, default=Path("model_repository"), help="folder of models (model_repository)")
    add("--model", default="mobilenet_v3_small", help="whose start is measured (mobilenet_v3_small)")
    add("--docs", type=Path, default=_DOCS, help="folder to write to (docs/)")
    given = parser.parse_args()
    if not (given.repository / given.model).is_dir():
        parser.error(f"{given.repository} has no {given.model}; `make serve` exports it, or name another --repository")
    from benchmarks.autoscaling import page
    from benchmarks.autoscaling.scenarios import play, scenarios
    from benchmarks.autoscaling.starting import measure

    print("starting the service five times, each time as a new pod would ...", flush=True)
    start = measure(given.repository, given.model)
    outcomes = [play(scenario) for scenario in scenarios(start.total)]
    text = page.render(outcomes, start, given.model)
    page.draw(outcomes, given.docs / "images" / "autoscaling.png")
    (given.docs / "autoscaling.md").write_text(text, encoding="utf-8")
    print(text.split("## What comes of it")[1].split("![")[0].strip())


if __name__ == "__main__":
    main()
