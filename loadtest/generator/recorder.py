"""What became of every request that was meant to start once the warm-up was over."""

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import gevent

from loadtest.generator.dispatcher import Turn
from loadtest.generator.jobs import GAVE_UP, Job, Outcome
from loadtest.results import Latencies

_STAGE = re.compile(r"([\w-]+);dur=([\d.]+)")
_TOTAL = "total"
_CPU_WINDOW = 1.0
STRETCHES = 10
_ENOUGH_FAILURES = 20
"""Connections refused or broken in a row, without one answer, after which nobody is thought to be there."""


class Recorder:
    """Counts turns from `begin`, a `time.monotonic()`, when the warm-up is over. `on_hopeless` is called once."""

    def __init__(self, job: Job, begin: float, on_hopeless: Callable[[str], None]) -> None:
        self._job, self.begin = job, begin
        self._on_hopeless = on_hopeless
        self._latencies, self._late, self._prompt = Latencies(), Latencies(), Latencies()
        self._stretches = [Latencies() for _ in range(STRETCHES)]
        self._errors: Counter[str] = Counter()
        self._stages: defaultdict[str, float] = defaultdict(float)
        self._asked: Counter[int] = Counter()
        self._good: Counter[int] = Counter()
        self._staged = self._unreached = self._over = 0
        self._last = begin
        self._cpu = 0.0

    def given(self, turn: Turn) -> None:
        if turn.intended >= self.begin:
            self._asked[int(turn.intended - self.begin)] += 1

    def done(self, turn: Turn) -> None:
        self._watch(turn)
        if turn.intended < self.begin:
            return
        self._last = max(self._last, turn.ended)
        self._late.add(turn.late)
        taken = turn.ended - turn.intended
        if turn.failure:
            self._errors[turn.failure] += 1
        else:
            self._latencies.add(taken)
            self._prompt.add(taken - turn.late)
            tenth = int((turn.intended - self.begin) / self._job.load.seconds * STRETCHES)
            self._stretches[min(tenth, STRETCHES - 1)].add(taken)
            self._add_stages(turn.stages, taken)
        if not turn.failure and taken <= self._job.slo:
            self._good[int(turn.intended - self.begin)] += 1
            return
        self._over += 1
        if self._job.give_up_over is not None and self._over > self._job.give_up_over:
            self._on_hopeless(GAVE_UP)

    @property
    def answered(self) -> int:
        return len(self._latencies)

    def outcome(self, until: float, ended: str | None) -> Outcome:
        """`until`: when the last start was meant, or would have been."""
        answers = max(1, self._staged)
        return Outcome(
            seconds=max(until, self._last) - self.begin,
            requests=sum(self._asked.values()),
            latencies=self._latencies,
            late=self._late,
            prompt=self._prompt,
            errors=dict(self._errors),
            stages={stage: total / answers for stage, total in self._stages.items()},
            blocks=[(asked, asked - self._good[second]) for second, asked in sorted(self._asked.items())],
            stretches=self._stretches,
            cpu_share=self._cpu,
            ended=ended,
        )

    def watch_cpu(self) -> None:
        """Runs for ever, in a greenlet: the share of one core that this process takes, at worst."""
        gevent.sleep(max(0.0, self.begin - time.monotonic()))
        while True:
            wall, cpu = time.monotonic(), time.process_time()
            gevent.sleep(_CPU_WINDOW)
            self._cpu = max(self._cpu, (time.process_time() - cpu) / (time.monotonic() - wall))

    def _add_stages(self, header: str, taken: float) -> None:
        """`transport` is what the service does not account for: network, both HTTP stacks, waiting to be sent."""
        found = {stage: float(duration) for stage, duration in _STAGE.findall(header)}
        if (total := found.pop(_TOTAL, None)) is None:
            return
        self._staged += 1
        for stage, duration in found.items():
            self._stages[stage] += duration
        self._stages["transport"] += 1000 * taken - total

    def _watch(self, turn: Turn) -> None:
        if not turn.failure or turn.failure.isdigit() or turn.failure in _GRPC_ANSWERS:
            self._unreached = 0
            return
        self._unreached += 1
        if self._unreached == _ENOUGH_FAILURES:
            self._on_hopeless(f"nobody answers at {self._job.url}: {turn.failure}")


_GRPC_ANSWERS = {"RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "NOT_FOUND", "INTERNAL", "UNAUTHENTICATED", "UNIMPLEMENTED"}
