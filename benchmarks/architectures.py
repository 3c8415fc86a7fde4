"""`make report`: twenty architectures, untrained and quantized, under load; writes docs/reports/architectures/.

Exports are kept in build/ and made once, a minute or two each. Their speed, size and memory are real. What untrained
networks get right means nothing: their accuracies are those published with the weights that anybody would begin from.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import page
from benchmarks.networks import NETWORKS, exported
from service.repository.manifest import MANIFEST

REPORT = Path("docs/reports/architectures")
MORE = (
    "densenet169",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_v2_b1",
    "efficientnet_v2_b2",
    "efficientnet_v2_b3",
    "resnet50_v2",
    "xception",
)
_LARGE = frozenset({"efficientnet_b2", "efficientnet_v2_b3", "xception"})
"""Without calibration, which at their sizes takes more than ten gigabytes."""
_UNTRAINED = ("--epochs", "0", "--force", "--max-accuracy-drop", "1", "--quantize")
_BENCH, _CACHE, _OUTPUT = Path("build/bench"), Path("build/report/repository"), Path("build/report/output")
_SCENARIOS = "single_stream,offline,steps,search,server"
_PRICE = 0.10
_FILES = ("report.html", "report.png", "report.csv", "results.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each load (default: 1)")
    parser.add_argument(
        "--networks",
        default=",".join((*NETWORKS, *MORE)),
        metavar="NAME,...",
        help="which to measure (default: twenty)",
    )
    parser.add_argument("--slo-ms", type=float, default=100.0, help="what p99 has to stay within (default: 100)")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"the report (default: {REPORT})")
    arguments = parser.parse_args()
    from loadtest.__main__ import main as measure

    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks.split(","):
            _link(_version(name), Path(folder, "models", name, "1"))
        code = measure(
            [
                *("--repository", f"{folder}/models", "--scenario", _SCENARIOS, "--seconds", str(arguments.seconds)),
                *("--slo-ms", str(arguments.slo_ms), "--price-per-hour", str(_PRICE), "--output", str(_OUTPUT)),
                *("--", "--cache-dir", f"{folder}/profiles"),
            ]
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in _FILES:  # LoadGen's logs, megabytes of them, stay in build/
        shutil.copy(_OUTPUT / name, arguments.output / name)
    print(f"copied to {arguments.output}")
    if arguments.output == REPORT and page.BENCH.is_file():  # docs/benchmarks.md has a table of what was measured here
        page.write(page.BENCH, page.PAGE)
        print(f"written to {page.PAGE}")
    return code


def _version(name: str) -> Path:
    """Its folder: `make bench`'s where that has exported it, else ours, made where it is missing."""
    bench = _BENCH / name / "repository"
    kind = "dynamic" if name in _LARGE else "auto"
    return exported(bench if (bench / name).is_dir() else _CACHE, name, (*_UNTRAINED, kind))[0]


def _link(version: Path, folder: Path) -> None:
    """The version's files below `folder`, without its profile: that was measured while the export kept the machine
    busy, and a service that finds none measures anew.
    """
    for path in version.rglob("*"):
        if path.is_file():
            linked = folder / path.relative_to(version)
            linked.parent.mkdir(parents=True, exist_ok=True)
            linked.symlink_to(path.resolve())
    manifest = folder / MANIFEST
    document = json.loads(manifest.read_text(encoding="utf-8"))
    manifest.unlink()
    manifest.write_text(json.dumps(document | {"profile": None}), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
