"""`python -m image_model_client predict MODEL FILES...`: labels of files, folders and patterns."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from image_model_client.bulk import Csv, Form, JsonLines, Output, find_files
from image_model_client.client import VERSION, Client
from image_model_client.errors import ClientError, Forbidden, NotFound, Unauthenticated, Unreachable, UnreadableImage
from image_model_client.results import Outcome

OK, SOME_FAILED, WRONG_USE, GAVE_UP, INTERRUPTED = 0, 1, 2, 3, 130
_RETRIES = 8  # some 16 seconds: as long as a service takes to start anew
_EPILOG = """\
examples:
  %(prog)s efficientnet_lite0 cat.jpg dog.png
  %(prog)s efficientnet_lite0 photos/ 'more/**/*.jpg' --format csv --output answers.csv

With --output a run that was ended goes on where it was: files that the output has are left out.

exit codes:
  0    every file is answered
  1    some files failed; they are named on stderr, and the next run tries them again
  2    wrong use: flags, an output file of another form, or one that another run writes
  3    gave up: the service cannot be reached, knows no such model, or does not know the key
  130  interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _build_parser()
    chosen = parser.parse_args(arguments)
    for name in ("top_k", "concurrency"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')}: expected a whole number from 1, got {getattr(chosen, name)}")
    try:
        client = Client(chosen.url, key=chosen.key, connections=chosen.concurrency, retries=_RETRIES)
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.reconfigure(errors="surrogateescape")  # type: ignore[union-attr] # names have the bytes they have on disk
    try:
        with client:
            code = _predict(chosen, client)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _complain("interrupted; the same command goes on" if chosen.output else "interrupted", INTERRUPTED)
    except BrokenPipeError:  # `| head` closed the pipe; Python's flush at exit would fail too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="image-model-client", description=__doc__)
    parser.add_argument("--version", action="version", version=VERSION)
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
    url = os.environ.get("IMAGE_MODEL_URL", "http://localhost:8000")
    predict.add_argument("--url", default=url, metavar="ADDRESS", help="or in IMAGE_MODEL_URL (%(default)s)")
    predict.add_argument(
        "--key", default=os.environ.get("IMAGE_MODEL_KEY"), metavar="KEY", help="API key; better in IMAGE_MODEL_KEY"
    )
    predict.add_argument("--version", type=int, metavar="N", help="of the model (the newest)")
    predict.add_argument("--top-k", type=int, default=1, metavar="N", help="labels an image (%(default)s)")
    predict.add_argument(
        "--format", choices=("table", "json", "csv"), help="json: a line an image (table; csv with --output)"
    )
    predict.add_argument(
        "--output", type=Path, metavar="FILE", help="add answers to this file, and leave out what it has"
    )
    predict.add_argument("--concurrency", type=int, default=16, metavar="N", help="concurrent requests (%(default)s)")
    predict.add_argument("--shrink", action="store_true", help="send large images no larger than the model needs")
    predict.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def _predict(chosen: argparse.Namespace, client: Client) -> int:
    kind = chosen.format or ("csv" if chosen.output else "table")
    if chosen.output and kind == "table":
        return _complain("--format table is for people; with --output choose csv or json", WRONG_USE)
    form: Form = JsonLines() if kind == "json" else Csv(chosen.top_k)
    output = None
    if chosen.output:
        try:
            output = Output(chosen.output, form)
        except (OSError, ValueError) as error:
            return _complain(str(error), WRONG_USE)
        if output.done:
            _complain(f"{chosen.output} has {output.done:,} answers already; they are left out")
    elif kind == "csv":
        print(form.start(), end="")
    try:
        with Client(chosen.url, key=chosen.key, retries=0) as first:
            first.models()  # a wrong address is said at once, and not after all retries
    except Unreachable as error:
        return _complain(f"gave up: {error}", GAVE_UP)
    except ClientError:  # whatever it is, the images are told in more detail
        pass
    answered, failed = 0, 0
    missing: list[str] = []
    shown = not chosen.quiet and (output is not None or not sys.stdout.isatty()) and sys.stderr.isatty()
    files = (file for file in find_files(chosen.files, missing.append) if output is None or output.claim(file))
    outcomes = client.predict_many(
        chosen.model, files, progress=shown, shrink=chosen.shrink, version=chosen.version, top_k=chosen.top_k
    )
    for outcome in outcomes:
        if outcome.prediction is None:
            if isinstance(outcome.error, Unreachable | NotFound | Unauthenticated | Forbidden):
                return _complain(f"gave up at {_escape(outcome.source)}: {outcome.error}", GAVE_UP)
            failed += 1
            named = isinstance(outcome.error, UnreadableImage)  # it says which file
            _complain(_escape(str(outcome.error) if named else f"{outcome.source}: {outcome.error}"))
            continue
        answered += 1
        if output is not None:
            output.add(outcome.source, outcome.prediction)
        else:
            row = _render_row(outcome) if kind == "table" else form.write(outcome.source, outcome.prediction)
            print(row, end="", flush=True)
    if output is not None:
        output.close()
    for problem in missing:
        _complain(_escape(problem))
    failed += len(missing)
    if output is not None or failed:
        _complain(f"{answered:,} answered, {failed:,} failed")
    return SOME_FAILED if failed else OK


def _complain(sentence: str, code: int = OK) -> int:
    print(sentence, file=sys.stderr)
    return code


def _render_row(outcome: Outcome) -> str:
    assert outcome.prediction is not None
    top = "   ".join(f"{one.probability:6.1%}  {_escape(one.label)}" for one in outcome.prediction.top_k)
    return f"{_escape(outcome.source):<40}  {top or outcome.prediction.outputs}\n"


def _escape(name: str) -> str:
    """On one line, and nothing that a terminal takes for a command."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)


if __name__ == "__main__":
    sys.exit(main())
