"""`python -m image_model_client predict MODEL FILES...`: labels of files, folders and patterns."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from image_model_client.bulk import Csv, Form, JsonLines, Output, find_files
from image_model_client.client import Client
from image_model_client.errors import Forbidden, NotFound, Unauthenticated, Unreachable, UnreadableImage
from image_model_client.results import Outcome

OK, SOME_FAILED, WRONG_USE, GAVE_UP, INTERRUPTED = 0, 1, 2, 3, 130
_EPILOG = """\
examples:
  %(prog)s efficientnet_lite0 cat.jpg dog.png
  %(prog)s efficientnet_lite0 photos/ 'more/**/*.jpg' --format csv --output answers.csv

With --output a run that was ended goes on where it was: files that the output has are left out.

exit codes:
  0    every file is answered
  1    some files failed; they are named on stderr, and the next run tries them again
  2    wrong use: flags, or an output file of another form
  3    gave up: the service cannot be reached, knows no such model, or does not know the key
  130  interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="image-model-client", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    predict = commands.add_parser(
        "predict",
        help="ask a model about images",
        description="Asks a model about images: files, folders, patterns, addresses of files.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    predict.add_argument("model", metavar="MODEL")
    predict.add_argument("files", nargs="+", metavar="FILES")
    predict.add_argument("--url", default=os.environ.get("IMAGE_MODEL_URL", "http://localhost:8000"), metavar="ADDRESS")
    predict.add_argument("--key", default=os.environ.get("IMAGE_MODEL_KEY"), help="API key; better in IMAGE_MODEL_KEY")
    predict.add_argument("--version", type=int, metavar="N", help="of the model (the newest)")
    predict.add_argument("--top-k", type=int, default=1, metavar="N", help="labels an image (1)")
    predict.add_argument(
        "--format", choices=("table", "json", "csv"), help="json: a line an image (table; csv with --output)"
    )
    predict.add_argument(
        "--output", type=Path, metavar="FILE", help="add answers to this file, and leave out what it has"
    )
    predict.add_argument("--concurrency", type=int, default=16, metavar="N", help="requests under way (16)")
    predict.add_argument("--shrink", action="store_true", help="send large images no larger than the model needs")
    predict.add_argument("--quiet", action="store_true", help="no progress bar")
    chosen = parser.parse_args(arguments)
    for name in ("top_k", "concurrency"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected a whole number from 1, got {getattr(chosen, name)}")
    try:
        return _predict(chosen)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on" if chosen.output else "interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `| head`: nobody reads on, and Python's own flush at the end would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _predict(chosen: argparse.Namespace) -> int:
    kind = chosen.format or ("csv" if chosen.output else "table")
    if chosen.output and kind == "table":
        print("--format table is for people; with --output choose csv or json", file=sys.stderr)
        return WRONG_USE
    form: Form = JsonLines() if kind == "json" else Csv(chosen.top_k)
    output = None
    if chosen.output:
        try:
            output = Output(chosen.output, form)
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return WRONG_USE
        if output.done:
            print(f"{chosen.output} has {output.done:,} answers already; they are left out", file=sys.stderr)
    answered = failed = 0
    missing: list[str] = []
    if not output and kind == "csv":
        print(form.head(), end="")
    shown = not chosen.quiet and (output is not None or not sys.stdout.isatty()) and sys.stderr.isatty()
    with Client(chosen.url, key=chosen.key, connections=chosen.concurrency) as client:
        files = (file for file in _find(chosen.files, missing) if output is None or not output.has(file))
        for outcome in client.predict_many(
            chosen.model, files, progress=shown, shrink=chosen.shrink, version=chosen.version, top_k=chosen.top_k
        ):
            if outcome.prediction is None:
                if isinstance(outcome.error, Unreachable | NotFound | Unauthenticated | Forbidden):
                    print(f"gave up at {outcome.source}: {outcome.error}", file=sys.stderr)
                    return GAVE_UP
                failed += 1
                print(f"{outcome.source}: {outcome.error}", file=sys.stderr)
                continue
            answered += 1
            if output is not None:
                output.add(outcome.source, outcome.prediction)
            elif kind == "table":
                print(_render_row(outcome))
            else:
                print(form.line(outcome.source, outcome.prediction), end="")
    if output is not None:
        output.close()
    for problem in missing:
        print(problem, file=sys.stderr)
    failed += len(missing)
    if output is not None or failed:
        print(f"{answered:,} answered, {failed:,} failed", file=sys.stderr)
    return SOME_FAILED if failed else OK


def _find(names: Sequence[str], missing: list[str]) -> Iterator[str]:
    """Each file once for each time that it is named; what is not there goes to `missing`."""
    for name in names:
        try:
            yield from find_files([name])
        except UnreadableImage as error:
            missing.append(str(error))


def _render_row(outcome: Outcome) -> str:
    assert outcome.prediction is not None
    top = "   ".join(f"{one.probability:6.1%}  {one.label}" for one in outcome.prediction.top_k)
    return f"{outcome.source:<40}  {top or outcome.prediction.outputs}"


if __name__ == "__main__":
    sys.exit(main())
