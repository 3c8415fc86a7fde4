"""docs/benchmarks.md, from what was measured and is kept in docs/reports: `python -m benchmarks.page`.

Every number of the page is one of `make bench` (bench.json; peak.json is also made by `python -m benchmarks.peak`), of
`python -m benchmarks.race` (race.json), or of the newest load test of the architectures (results.json in a folder
beside them).
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import choices, peak
from benchmarks.choices import Races
from benchmarks.decoding import TARGET, Decoding
from benchmarks.model_formats import FLOAT32, FROZEN, PUBLISHED, STOCK
from benchmarks.peak import Peak
from benchmarks.results import Bench, Comparison
from benchmarks.rivals.speeds import Speeds
from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding, findings
from loadtest.markdown import markdown
from loadtest.results import Run
from loadtest.target.ceiling import PRODUCT

PAGE = Path("docs/benchmarks.md")
REPORTS = Path("docs/reports")
BENCH, PEAK = REPORTS / "bench.json", peak.RESULTS
RIVAL = "mosec"

_INTRODUCTION = """# Benchmarks

Written by `make bench`, and by `python -m benchmarks.page` from what is kept in `docs/reports`; do not edit.
"""


def write(results: Path, page: Path) -> str:
    """Writes what `make` makes and returns it. Raises as that does."""
    text = make(results)
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return text


def make(results: Path) -> str:
    """The page of `results` and of what lies beside them. Raises OSError and ValueError as reading does."""
    peaks = Peak.read(path) if (path := results.parent / PEAK.name).is_file() else None
    races = Races.read(path) if (path := results.parent / choices.RESULTS.name).is_file() else None
    return render(Bench.read(results), newest(results.parent), peaks, races)


def newest(reports: Path) -> tuple[str, Run] | None:
    """The load test that began last, and the name of its folder in `reports`; None without any."""
    runs = [(path.parent.name, Run.read(path)) for path in sorted(reports.glob("*/results.json"))]
    return max(runs, key=lambda each: each[1].started, default=None)


def render(
    bench: Bench, zoo: tuple[str, Run] | None = None, peaks: Peak | None = None, races: Races | None = None
) -> str:
    """`zoo`: a load test of the architectures, and its folder's name."""
    lines = [
        _INTRODUCTION,
        f"- {bench.machine}",
        f"- everything in one run, in {bench.rounds} rounds that take turns; medians. Loads of {bench.seconds:g} s by "
        "wrk, closed loop, from the same machine",
        "- networks at their published sizes, untrained: their speed is real, their accuracy is not measured here",
        "",
        *_goals(bench.costs, bench.int8_size, bench.comparisons),
        *(line for comparison in bench.comparisons for line in _comparison(comparison, bench.photo_bytes)),
        *_rivals(bench.rivals),
        *_costs(bench.costs, bench.sizes),
        *(_races(races) if races else ()),
        *(_peaks(peaks) if peaks else ()),
        *_decoding(bench.decoded),
        *(_architectures(*zoo) if zoo else ()),
    ]
    return "\n".join(lines) + "\n"


def _goals(
    costs: Mapping[str, Mapping[str, float]], int8_size: float, comparisons: Sequence[Comparison]
) -> Iterator[str]:
    rows = [_goal(*each) for each in (*_network_goals(costs, int8_size), *_service_goals(comparisons))]
    yield from ("## What it holds itself to", "", markdown(("goal", "wanted", "measured", ""), rows, text=(0, 3)), "")


def _goal(what: str, wanted: float, measured: float, at_least: bool = True) -> tuple[str, ...]:
    met = measured >= wanted if at_least else measured <= wanted
    sign = "at least " if at_least else "at most "
    return what, f"{sign}{wanted:.2f}", f"{measured:.2f}", "met" if met else "not met"


def _network_goals(
    costs: Mapping[str, Mapping[str, float]], int8_size: float
) -> Iterator[tuple[str, float, float] | tuple[str, float, float, bool]]:
    ratios = [forms[STOCK] / forms[PUBLISHED] for forms in costs.values()]
    yield f"published over stock SavedModel, one image, median of {len(costs)} networks", 5.0, median(ratios)
    yield "the same, slowest network", 1.0, min(ratios)
    yield "networks where a quantized form beats float32 by 5 %, of all", 8 / 12, _won(costs) / len(costs)
    if "resnet50" in costs:
        yield "resnet50 with --quantize over stock", 4.0, costs["resnet50"][STOCK] / costs["resnet50"][PUBLISHED]
    yield "int8 file over float32's, largest", 0.3, int8_size, False


def _won(costs: Mapping[str, Mapping[str, float]]) -> int:
    return sum(forms[FLOAT32] / forms[PUBLISHED] > 1.05 for forms in costs.values())


def _service_goals(
    comparisons: Sequence[Comparison],
) -> Iterator[tuple[str, float, float] | tuple[str, float, float, bool]]:
    for one in comparisons:
        wanted = {1: 2.5, 8: 2.5, 32: 2.7} if one.network == "mobilenet_v3_small" else dict.fromkeys(one.ours, 3.0)
        for concurrency, ours in one.ours.items():
            plain = one.plain[concurrency]
            name = f"{one.network} over HTTP, concurrency {concurrency}"
            ratio = ours.requests_per_second / plain.requests_per_second
            yield f"{name}: requests/s over the plain app's", wanted[concurrency], ratio
            yield f"{name}: p99 over the plain app's", 0.5, ours.p99_ms / plain.p99_ms, False
        best = max(ours.requests_per_second for ours in one.ours.values())
        yield f"{one.network}: share of what decoding and LiteRT reach in process", 0.7, best / one.in_process
        yield f"{one.network}: memory over the plain app's", 0.25, one.ours_mb / one.plain_mb, False


def _comparison(one: Comparison, photo_bytes: int) -> Iterator[str]:
    rows = [
        (name, str(concurrency), f"{each.requests_per_second:.0f}", f"{each.p50_ms:.1f}", f"{each.p99_ms:.1f}")
        for name, served in (("plain FastAPI", one.plain), ("this service", one.ours))
        for concurrency, each in served.items()
    ]
    yield from (
        f"## {one.network} over HTTP",
        "",
        f"A 640x427 JPEG of {photo_bytes:,} bytes a request. The plain app (`benchmarks/plain_app.py`) calls",
        f"the stock SavedModel for each, in two uvicorn workers: {one.plain_mb:.0f} MB after the load. This service",
        f"runs what `--quantize` published, with `--workers {one.workers}`: {one.ours_mb:.0f} MB after the load, ready "
        f"{one.ready_seconds:.2f} s after its start.",
        f"Decoding and LiteRT alone, in process on every core, do {one.in_process:.0f} images/s.",
        "",
        markdown(("server", "concurrency", "requests/s", "p50 ms", "p99 ms"), rows),
        "",
    )


_WANTED = {"mobilenet_v3_small": {1: 1.25, 8: 1.4, 32: 1.4}}
_WANTED_ELSEWHERE = 1.1


def _rivals(rivals: Mapping[str, Speeds]) -> Iterator[str]:
    if not rivals:
        return
    yield from (
        "## mosec beside this service",
        "",
        "mosec's web layer is in Rust. Its worker processes, one a core, are given the file that this service runs",
        "and this service's decoder (`benchmarks/rivals/mosec_server.py`). Both servers take turns with the same",
        "photograph in one run. The ratio is this service's requests/s over mosec's.",
        "",
    )
    found = {network: speeds.rows[RIVAL] for network, speeds in rivals.items() if RIVAL in speeds.rows}
    rows = [
        (
            name,
            str(count),
            f"{one.theirs[count].requests_per_second:.0f}",
            f"{ours.requests_per_second:.0f}",
            f"{(ratio := ours.requests_per_second / one.theirs[count].requests_per_second):.2f}",
            f"{(wanted := _WANTED.get(name, {}).get(count, _WANTED_ELSEWHERE)):.2f}",
            "met" if ratio >= wanted else "not met",
            f"{one.theirs[count].p99_ms:.1f}",
            f"{ours.p99_ms:.1f}",
            f"{one.theirs_cpu_ms[count]:.2f}",
            f"{one.ours_cpu_ms[count]:.2f}",
        )
        for name, one in found.items()
        for count, ours in one.ours.items()
    ]
    heads = ("network", "connections", "mosec/s", "ours/s", "ratio", "wanted", "", "mosec p99 ms", "ours p99 ms")
    yield from (markdown((*heads, "mosec CPU ms", "ours CPU ms"), rows, text=(0, 6)), "")
    for name, speeds in rivals.items():
        if RIVAL in speeds.failed:
            yield f"- {name}: not measured: {speeds.failed[RIVAL]}."
            continue
        one = found[name]
        met = "met" if one.ours_mb <= one.theirs_mb else "not met"
        yield (
            f"- {name}: {speeds.workers} workers, {one.ours_mb:.0f} MB after the load, mosec {one.theirs_mb:.0f} MB "
            f"(wanted: at most its; {met}). {speeds.rounds} rounds of {speeds.seconds:g} s each. {one.machine}"
        )
    yield from (
        "",
        "CPU is processor time a request. Decoding and the network take most of it in both servers; the rest is this",
        "service's HTTP stack in Python, no part of which stands out in a profile.",
        "",
    )


def _costs(costs: Mapping[str, Mapping[str, float]], sizes: Mapping[str, float]) -> Iterator[str]:
    rows = [
        (
            name,
            *(f"{forms[form]:.3g}" for form in (STOCK, FROZEN, FLOAT32, PUBLISHED)),
            f"{forms[STOCK] / forms[PUBLISHED]:.1f}x",
            f"{sizes[name]:.0%}",
        )
        for name, forms in costs.items()
    ]
    yield from (
        "## One image, milliseconds",
        "",
        "Each form as its server runs it here: TensorFlow on all cores, LiteRT in the service's arrangement.",
        f"The last columns: `{PUBLISHED}` against the stock SavedModel, and its file against LiteRT float32's.",
        "",
        markdown(("network", STOCK, FROZEN, FLOAT32, PUBLISHED, "faster", "size"), rows),
        "",
    )


def _races(races: Races) -> Iterator[str]:
    found = races.networks
    rows = [
        (
            name,
            str(one.litert),
            *(f"{each:.3g}" for each in one.costs[one.litert]),
            str(one.worst),
            *(f"{each:.3g}" for each in one.costs[one.worst]),
            f"{one.compare(one.worst, one.cheapest):.2f}",
            "met" if one.is_good(one.worst) else "not met",
            f"{one.gain:.2f}",
        )
        for name, one in found.items()
    ]
    least = min(found, key=lambda name: found[name].gain)
    met = "met" if found[least].gain >= choices.LEAST else "not met"
    heads = ("network", "LiteRT alone", "ms", "ms in 8s", "the race's choice", "ms", "ms in 8s", "of the cheapest", "")
    yield from (
        "## The race's choice",
        "",
        "The fastest form that `--quantize` makes, on every engine, in every precision and arrangement (lanes x",
        "threads), in turns: milliseconds of a lone image, and of an image where all lanes run batches of 8. A choice",
        f"costs the geometric mean of both. It may be {choices.ALLOWED:g} times the cheapest, and LiteRT "
        f"{choices.ALLOWED_LITERT:g} times: that stays unless",
        "another is faster by a tenth. `python -m benchmarks.race choice --record` measures this.",
        "",
        markdown((*heads, "faster than LiteRT"), rows, text=(0, 1, 4, 8)),
        "",
        f"{choices.find_mean_gain(found):.2f} times as fast as LiteRT alone in the geometric mean. The least is",
        f"{found[least].gain:.2f} of {least} (wanted: at least {choices.LEAST:g}, {met}).",
        "",
        *(f"- {machine}" for machine in dict.fromkeys(one.machine for one in found.values())),
        "",
    )


def _peaks(found: Peak) -> Iterator[str]:
    keys = [key for key in found.ceilings if any(key in each for each in found.networks.values())]
    heads = ["network", "GMACs", *(f"{engine} {precision}" for engine, precision in keys)]
    rows = [
        (
            name,
            f"{found.macs[name]:.3g}",
            *("-" if (share := found.share(name, key)) is None else _write_share(each[key], share) for key in keys),
        )
        for name, each in found.networks.items()
    ]
    ceilings = ", ".join(f"{' '.join(key)} {ceiling:.0f}" for key, ceiling in found.ceilings.items())
    yield from (
        "## Share of a core's ceiling",
        "",
        f"{found.machine}. The ceiling is what a matrix product of {PRODUCT} does on one thread, in 10^9",
        f"multiply-adds a second: {ceilings}.",
        "",
        "Images a second on one thread, one at a time, and their multiply-adds as a share of the ceiling of the engine",
        "and precision. GMACs are those of the files that were measured. A share above 100% says that an engine's",
        "convolutions are faster than its matrix product.",
        "",
        markdown(heads, rows),
        "",
    )


def _write_share(rate: float, share: float) -> str:
    return f"{rate:,.0f}/s, {share:.0%}" if rate >= 1000 else f"{rate:.3g}/s, {share:.0%}"


def _decoding(decoded: Sequence[Decoding]) -> Iterator[str]:
    rows = [
        (f"{one.width}x{one.height}", f"{one.whole_ms:.2f}", f"{one.service_ms:.2f}", f"{one.ratio:.1f}x")
        for one in decoded
    ]
    yield from (
        "## Decoding",
        "",
        f"A JPEG to {TARGET}x{TARGET}, one thread: decoded whole and resized by Pillow, and as the service does it.",
        "",
        markdown(("size", "whole, ms", "the service, ms", "faster"), rows),
    )


def _architectures(folder: str, run: Run) -> Iterator[str]:
    found = findings(run)
    slos = ", ".join(sorted({f"{one.capacity.slo_ms:g} ms" for one in found if one.capacity}))
    machine = wording.machine(run)
    ended = f" It was interrupted: {run.interrupted}." if run.interrupted else ""
    yield from (
        "",
        "## Architectures under load",
        "",
        f"{len(found)} of them on {run.started:%Y-%m-%d}, one after another ({machine}). Every load and the method:",
        f"[the report](reports/{folder}/report.html).{ended} Latencies count from the intended start, at the lightest",
        f"steady load of each. The highest rate is the one whose p99 stays within {slos or 'the SLO'}, with its 95 %",
        "interval. A dash stands for too few answers.",
        "",
        markdown(
            ("architecture", "p50 ms", "p95 ms", "p99 ms", "requests/s within SLO", "interval", "MB"),
            list(map(_row, found)),
        ),
    )


def _row(one: Finding) -> tuple[str, ...]:
    latencies = [one.light and samples.percentile(one.light.latencies, percent) for percent in (50, 95, 99)]
    rate = wording.number(one.capacity.rate) if one.capacity else "-"
    interval = f"{wording.number(one.capacity.low)} - {wording.number(one.capacity.high)}" if one.capacity else "-"
    times = (wording.milliseconds(seconds) if seconds else "-" for seconds in latencies)
    return one.name, *times, rate, interval, f"{one.memory_mb:.0f}" if one.memory_mb is not None else "-"


def main() -> int:
    try:
        write(BENCH, PAGE)
    except FileNotFoundError:
        print(f"page: there is no {BENCH}; make bench measures it", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"page: {error}", file=sys.stderr)
        return 1
    print(f"written to {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
