"""`python -m loadtest`: measures served models under load and writes a report of them.

Where Ctrl-C ends it early, the report has what was measured until then and says why. A model whose service dies under
load, or answers no more, is reported as collapsed; the others are measured all the same, and the exit status is 1.
"""

import signal
import sys
from collections.abc import Sequence

from loadtest import options as arguments
from loadtest.options import Options, UsageError

INTERRUPTED = 130


def main(given: Sequence[str] | None = None) -> int:
    try:
        options = arguments.parse(sys.argv[1:] if given is None else given)
        return _run(options)
    except UsageError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("loadtest: Ctrl-C before anything was measured", file=sys.stderr)
        return INTERRUPTED


def _run(options: Options) -> int:
    from loadtest import report  # --help and mistakes need none of it
    from loadtest import session as sitting
    from loadtest.generator.parent import GeneratorError
    from loadtest.measure import Ended
    from loadtest.target.target import TargetError

    try:
        run = sitting.measure(options)
    except (TargetError, GeneratorError, Ended, ModuleNotFoundError, ValueError) as error:
        hint = "; pip install 'image-model-server[loadtest]'" if isinstance(error, ModuleNotFoundError) else ""
        print(f"loadtest: {error}{hint}", file=sys.stderr)
        return 1
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a second Ctrl-C must not cost the report that the first one asked for
    if not any(subject.points for subject in run.subjects):
        print(f"loadtest: nothing was measured: {run.interrupted or 'no model could be'}", file=sys.stderr)
        return INTERRUPTED if run.interrupted == "Ctrl-C" else 1
    code = report.conclude(run, options.output, options.baseline, options.budgets)
    collapsed = [subject for subject in run.subjects if subject.collapsed]
    for subject in collapsed:
        print(f"loadtest: {subject.model} {subject.problem}", file=sys.stderr)
    if run.interrupted is None:
        return 1 if collapsed else code
    print(f"loadtest: ended early: {run.interrupted}", file=sys.stderr)
    return INTERRUPTED if run.interrupted.startswith("Ctrl-C") else 1


if __name__ == "__main__":
    sys.exit(main())
