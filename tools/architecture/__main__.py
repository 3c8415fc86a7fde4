"""`python -m tools.architecture`: writes docs/architecture.md anew; `--check` says whether that is needed."""

import argparse
import sys
from pathlib import Path

from tools.architecture.page import PAGE, write_code_parts, write_steps
from tools.architecture.request_path import record_steps


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.architecture", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where the page is out of date")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), help="where --model is published")
    parser.add_argument("--model", default="lenet5", help="whose request is followed through the service (%(default)s)")
    options = parser.parse_args()
    page = PAGE.read_text()
    written = write_code_parts(page)
    if options.check:
        if written != page:
            print("docs/architecture.md is out of date: run python -m tools.architecture", file=sys.stderr)
        return int(written != page)
    if not (options.repository / options.model).is_dir():
        parser.error(f"{options.repository} has no {options.model}: run python -m export --model {options.model}")
    PAGE.write_text(write_steps(written, record_steps(options.repository, options.model)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
