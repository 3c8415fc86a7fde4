"""`python -m tools.website`: writes docs/reference/ from the code; `--check` says whether that is needed."""

import argparse
import sys

from tools.website.reference import FOLDER, PAGES, write_page


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.website", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page is out of date")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    written = {FOLDER / name: write_page(name) for name in PAGES}
    stale = [page for page, text in written.items() if not page.exists() or page.read_text() != text]
    if options.check:
        for page in stale:
            print(f"{page.name} is out of date: run python -m tools.website", file=sys.stderr)
        return int(bool(stale))
    for page in stale:
        page.write_text(written[page])
    return 0


if __name__ == "__main__":
    sys.exit(main())
