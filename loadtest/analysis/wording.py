"""Numbers and names as the report words them."""

from collections import Counter
from collections.abc import Callable

from loadtest.results import Point, Run, Subject
from service.plurals import format_items

_SCENARIOS = {
    "steps": "open loop",
    "burst": "bursts",
    "soak": "soak",
    "search": "search",
    "single_stream": "SingleStream",
    "multi_stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
    "overhead": "overhead",
}
_TOOLS = {"locust": "Locust", "loadgen": "LoadGen"}
_SHORT = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def number(value: float) -> str:
    """Three significant digits, never an exponent: 0.0123, 1.23, 12.3, 1,230."""
    if value == 0:
        return "0"
    size = abs(value)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2 if size >= 0.9995 else 3 if size >= 0.09995 else 4
    return f"{value:,.{decimals}f}"


def milliseconds(seconds: float) -> str:
    """Without the unit."""
    return number(1000 * seconds)


def tick(value: float) -> str:
    """As on an axis: no digit more than it takes."""
    return f"{value:,.6g}"


def duration(seconds: float) -> str:
    """With a unit that fits: 850 µs, 12.3 ms, 1.50 s."""
    return _with_unit(seconds, number)


def duration_tick(seconds: float) -> str:
    return _with_unit(seconds, tick)


def _with_unit(seconds: float, words: Callable[[float], str]) -> str:
    if seconds >= 0.9995:
        return f"{words(seconds)} s"
    return f"{words(1000 * seconds)} ms" if seconds >= 0.9995e-3 else f"{words(1e6 * seconds)} µs"


def compact(value: float) -> str:
    """25.6 M, 138 M, 62 k."""
    return _with_prefix(value, number)


def compact_tick(value: float) -> str:
    return _with_prefix(value, tick)


def _with_prefix(value: float, words: Callable[[float], str]) -> str:
    for size, prefix in _PREFIXES:
        if value >= size:
            return f"{words(value / size)} {prefix}"
    return words(value)


def title(run: Run) -> str:
    return f"{'Interrupted: ' if run.interrupted else ''}{format_items(len(run.subjects), 'architecture')} under load"


def dollars(value: float) -> str:
    decimals = 2 if value >= 0.0995 else 3 if value >= 0.00995 else 4
    return f"${value:,.{decimals}f}"


def share(part: float, whole: float) -> str:
    """A percentage; what is not nothing is never shown as nothing."""
    if not whole or not part:
        return "0 %"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"


def percent_name(percent: float) -> str:
    return f"p{percent:g}"


def scenario(point: Point) -> str:
    return _SCENARIOS.get(point.scenario, point.scenario.replace("_", " "))


def tool(name: str) -> str:
    return _TOOLS.get(name, name)


def load(point: Point) -> str:
    """What was offered: `120/s` in an open loop, `8 at a time` in a closed one."""
    if point.offered is not None:
        return f"{number(point.offered)}/s"
    return f"{point.concurrency} at a time" if point.concurrency else "all at once"


def engine(subject: Subject) -> str:
    """`litert`; `openvino bf16` where it computes in another precision than the export has."""
    computes_in = subject.engine_precision
    if computes_in in ("", subject.precision):
        return subject.engine
    return f"{subject.engine} {_SHORT.get(computes_in, computes_in)}"


def machine(run: Run) -> str:
    """Processor, cores and memory, as far as they are known."""
    cores = run.machine.get("cores", "")
    parts = (run.machine.get("processor"), f"{cores} cores" if cores.isdigit() else cores, run.machine.get("memory"))
    return ", ".join(part for part in parts if part)


def names(run: Run) -> list[str]:
    """A name for each subject, as short as tells them apart: model, then its precision, then its version."""
    ways: list[Callable[[Subject], str]] = [
        lambda one: one.model,
        lambda one: f"{one.model} {one.precision}",
        lambda one: f"{one.model}/{one.version} {one.precision}",
    ]
    taken = [Counter(map(way, run.subjects)) for way in ways]
    return [
        next((way(one) for way, counts in zip(ways, taken, strict=True) if counts[way(one)] == 1), ways[-1](one))
        for one in run.subjects
    ]
