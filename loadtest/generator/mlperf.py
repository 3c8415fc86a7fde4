"""MLPerf's own LoadGen: it decides when a request starts, Locust's users send it, and its log says how long it took.

LoadGen calls from a thread of its own. Greenlets live in another, so that all it does there is to leave the ids of its
samples and ring a bell.
"""

import re
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gevent
import mlperf_loadgen as loadgen

from loadtest.generator.dispatcher import Turn, Turns
from loadtest.generator.jobs import MLPerf, Outcome
from loadtest.generator.recorder import STRETCHES, Recorder
from loadtest.results import Latencies

PREFIX = "mlperf_log_"
PER_QUERY = 8  # of MultiStream, as MLPerf has it
_TRACE = f"{PREFIX}trace.json"
_SUMMARY = f"{PREFIX}summary.txt"
_SAMPLE = re.compile(
    r'"name":"Sample".*?"ts":([\d.]+),"args":\{"sample_seq":(\d+),"query_seq":(\d+),'
    r'"sample_idx":\d+,"issue_start_ns":(\d+),"complete_ns":(\d+)'
)


def run(load: MLPerf, photos: int, turns: Turns, recorder: Recorder) -> Outcome:
    """One scenario, from begin to end. Leaves LoadGen's logs in `load.folder`."""
    failed: dict[int, str] = {}
    handed: dict[int, float] = {}

    def done(turn: Turn) -> None:
        recorder.done(turn)
        handed[turn.number] = turn.late
        if turn.failure:
            failed[turn.number] = turn.failure
        loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(turn.token, 0, 0)])

    turns.on_done = done
    issued: deque[tuple[float, Sequence[int]]] = deque()
    number = 0

    def give() -> None:
        nonlocal number
        while issued:
            at, tokens = issued.popleft()
            for token in tokens:
                turns.give(Turn(number, at, token))
                number += 1

    bell = gevent.get_hub().loop.async_()
    bell.start(give)

    def issue(samples: Sequence[Any]) -> None:
        issued.append((time.monotonic(), [sample.id for sample in samples]))
        bell.send()

    try:
        gevent.get_hub().threadpool.apply(_start, (load, photos, issue))
    finally:
        bell.stop()
        bell.close()
    found = recorder.outcome(time.monotonic(), None)
    found.blocks = []
    _read_logs(load, failed, handed, found)
    return found


def _start(load: MLPerf, photos: int, issue: Any) -> None:
    """Blocks until the scenario is over, away from the greenlets' thread."""
    folder = Path(load.folder)
    folder.mkdir(parents=True, exist_ok=True)
    logs = loadgen.LogSettings()
    logs.log_output.outdir, logs.log_output.prefix = str(folder), PREFIX
    logs.enable_trace = True
    sut = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(photos, photos, lambda samples: None, lambda samples: None)
    try:
        loadgen.StartTestWithLogSettings(sut, library, _settings(load), logs, "")
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)


def _settings(load: MLPerf) -> Any:
    settings = loadgen.TestSettings()
    settings.scenario = getattr(loadgen.TestScenario, load.scenario)
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.min_duration_ms = int(1000 * load.seconds)
    settings.min_query_count = load.least_queries
    settings.server_target_qps = settings.offline_expected_qps = load.rate
    settings.server_target_latency_ns = int(1e9 * load.slo)
    settings.server_target_latency_percentile = 0.99
    settings.single_stream_expected_latency_ns = settings.multi_stream_expected_latency_ns = int(1e9 / load.rate)
    settings.multi_stream_samples_per_query = PER_QUERY
    return settings


def _read_logs(load: MLPerf, failed: dict[int, str], handed: dict[int, float], found: Outcome) -> None:
    """Times from its trace, where each sample's times count from when LoadGen meant to issue it. MultiStream's are a
    query's: answered when all of its samples are. `handed`: how late each sample came from LoadGen's thread to a user.
    """
    folder = Path(load.folder)
    trace = folder / _TRACE
    taken: dict[int, float] = defaultdict(float)
    late: dict[int, float] = defaultdict(float)
    meant: dict[int, float] = {}
    wrong: dict[int, str] = {}
    begin, end = float("inf"), 0.0
    for text in _SAMPLE.findall(trace.read_text(encoding="utf-8")):
        intended = float(text[0]) / 1e6
        sample, query, issued, complete = map(int, text[1:])
        asked = query if load.scenario == "MultiStream" else sample
        taken[asked] = max(taken[asked], complete / 1e9)
        late[asked] = max(late[asked], issued / 1e9 + handed.get(sample, 0.0))
        meant[asked] = intended
        if sample in failed:
            wrong[asked] = failed[sample]
        begin, end = min(begin, intended), max(end, intended + complete / 1e9)
    trace.unlink()  # a thousand bytes a request, and nothing that compliance asks for
    found.seconds, found.requests = end - begin, len(taken)
    found.latencies, found.late, found.prompt, found.errors = Latencies(), Latencies(), Latencies(), {}
    found.stretches = [Latencies() for _ in range(STRETCHES)]
    for asked, seconds in taken.items():
        found.late.add(late[asked])
        if asked in wrong:
            found.errors[wrong[asked]] = found.errors.get(wrong[asked], 0) + 1
        else:
            found.latencies.add(seconds)
            found.prompt.add(seconds - late[asked])
            tenth = int((meant[asked] - begin) / (end - begin) * STRETCHES)
            found.stretches[min(tenth, STRETCHES - 1)].add(seconds)
    found.verdict = verdict((folder / _SUMMARY).read_text(encoding="utf-8"))


def verdict(summary: str) -> str:
    """VALID, or INVALID and the conditions that were not met."""
    said = re.search(r"^Result is : (\w+)", summary, re.MULTILINE)
    unmet = re.findall(r"^\s*(.+?)\s*: NO$", summary, re.MULTILINE)
    return ": ".join(part for part in (said[1] if said else "unknown", ", ".join(unmet)) if part)
