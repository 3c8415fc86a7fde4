"""`python -m service.profiling MODEL.tflite`: what a model file costs on this machine, as JSON.

A process of its own, so that the memory it counts is the model's alone. The exporter runs it.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

_SECONDS = 10.0


def main() -> int:
    from service.backends import arranging
    from service.profiles import resident_mb

    if len(sys.argv) != 2:
        print("usage: python -m service.profiling MODEL.tflite", file=sys.stderr)
        return 2
    before = resident_mb()
    try:
        _, profile = arranging.measured(Path(sys.argv[1]), _SECONDS)
    except ValueError as error:
        print(f"service.profiling: {error}", file=sys.stderr)
        return 1
    print(json.dumps(asdict(replace(profile, peak_mb=round(resident_mb("VmHWM") - before, 1)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
