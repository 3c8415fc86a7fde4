"""`make report`: more than twenty architectures, exported untrained and quantized, under load; writes docs/reports/.

Exports are kept in build/ and made once, a minute or two each. What untrained networks get right means nothing, so the
report has no accuracy of theirs; their speed, size and memory are real.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from loadtest.bench.networks import NETWORKS, exported

REPORT = Path("docs/reports")
MORE = (
    "densenet169",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_v2_b1",
    "efficientnet_v2_b2",
    "resnet50_v2",
    "resnet101",
    "xception",
)
_UNTRAINED = ("--epochs", "0", "--quantize", "--max-accuracy-drop", "1")
_BENCH, _CACHE, _OUTPUT = Path("build/bench"), Path("build/report/repository"), Path("build/report/output")
_SCENARIOS = "single_stream,offline,steps,search,server"
_PRICE = 0.10
_FILES = ("report.html", "report.png", "report.csv", "results.json")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtest.zoo_report", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.5, help="length of each load (default: 1.5)")
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
            Path(folder, name).symlink_to(_model(name).resolve())
        code = measure(
            [
                *("--repository", folder, "--scenario", _SCENARIOS, "--seconds", str(arguments.seconds)),
                *("--slo-ms", str(arguments.slo_ms), "--price-per-hour", str(_PRICE), "--output", str(_OUTPUT)),
            ]
        )
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in _FILES:  # LoadGen's logs, megabytes of them, stay in build/
        shutil.copy(_OUTPUT / name, arguments.output / name)
    print(f"copied to {arguments.output}")
    return code


def _model(name: str) -> Path:
    """The folder of its versions: `make bench`'s where that has exported it, else ours, made where it is missing."""
    bench = _BENCH / name / "repository"
    version, _ = exported(bench if (bench / name).is_dir() else _CACHE, name, _UNTRAINED)
    return version.parent


if __name__ == "__main__":
    sys.exit(main())
