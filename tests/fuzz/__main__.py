"""`python -m tests.fuzz`: mutated images, JSON bodies and protobufs through a live service, beside good requests.

Nothing that a client sends may be answered with a fault of the service's, end its process, change somebody else's
answer or keep memory. What does is written to build/fuzz, and sent again by `--replay FILE`.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.cases import Case, Kind
from tests.fuzz.corpus import Corpus
from tests.fuzz.traffic import Sender, Tally, send
from tests.support.exporter import demo_model
from tests.support.neighbours import Account, Neighbours
from tests.support.procfs import resident_mb
from tests.support.service_process import Service, running

_SHARES = {Kind.image: 100_000, Kind.document: 20_000, Kind.message: 20_000}
_MODEL = "lenet5"
_WARM_UP = 0.1  # of the cases, after which memory is to stay
_MOST_GROWTH = 0.2
_FOLDER = Path("build/fuzz")
_MOST_WRITTEN = 100  # files
_SAY_EVERY = 5.0  # seconds


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the 140,000 cases (default: 1, all)")
    parser.add_argument("--seed", type=int, default=1, help="the same cases for the same seed (default: 1)")
    parser.add_argument("--seconds", type=float, default=300.0, help="after which no more are sent (default: 300)")
    parser.add_argument("--replay", type=Path, nargs="+", metavar="FILE", help="sends these cases and nothing else")
    arguments = parser.parse_args()
    models = demo_model(_MODEL, Path("build/models"))
    with running("--repository", models) as service:
        service.wait_ready()
        if arguments.replay:
            return asyncio.run(_replay(service, arguments.replay))
        counts = {kind: round(share * arguments.share) for kind, share in _SHARES.items()}
        corpus = Corpus(arguments.seed, _MODEL, (_version(models) / "assets.extra/samples/7-0.png").read_bytes())
        fuzzing = _Fuzzing(service, corpus, counts, arguments.seed, arguments.seconds)
        with Neighbours(service.http_port, service.grpc_port, _version(models)) as neighbours:
            fuzzing.run()
        return fuzzing.report(neighbours.account)


class _Fuzzing:
    """One run, and what it found."""

    def __init__(self, service: Service, corpus: Corpus, counts: dict[Kind, int], seed: int, seconds: float) -> None:
        self._service, self._corpus, self._counts, self._seed, self._seconds = service, corpus, counts, seed, seconds
        self._pid, self._total = service.process.pid, sum(counts.values())
        self._tally = Tally()
        self._warm = self._highest = 0.0
        self._began = self._said = time.monotonic()

    def run(self) -> None:
        ports = self._service.http_port, self._service.grpc_port
        asyncio.run(send(self._cases(), *ports, self._tally, self._after))

    def _cases(self) -> Iterator[Case]:
        """All kinds at once, so that they meet each other in the service."""
        order = [kind for kind, count in self._counts.items() for _ in range(count)]
        random.Random(self._seed).shuffle(order)
        numbers = {kind: iter(range(count)) for kind, count in self._counts.items()}
        return (self._corpus.case(kind, next(numbers[kind])) for kind in order)

    def _after(self, done: int) -> bool:
        now = time.monotonic()
        if done >= _WARM_UP * self._total and not self._warm:
            self._warm = resident_mb(self._pid)
        if now - self._said > _SAY_EVERY:
            self._said = now
            memory = resident_mb(self._pid)
            self._highest = max(self._highest, memory)
            print(
                f"{now - self._began:4.0f} s  {done:7,} of {self._total:,} sent  {memory:6.0f} MB  "
                f"{len(self._tally.faults)} faults",
                flush=True,
            )
        return now - self._began < self._seconds and self._service.process.poll() is None

    def report(self, neighbours: Account) -> int:
        """Prints what was found, writes what failed; the exit code."""
        tally, problems = self._tally, []
        seconds, sent = time.monotonic() - self._began, sum(tally.sent.values())
        print(f"\n{sent:,} requests in {seconds:.0f} s, {sent / seconds:.0f} a second")
        for kind in Kind:
            answers = {answer: count for (of, answer), count in tally.answers.most_common() if of is kind}
            said = ", ".join(f"{answer} {count:,}" for answer, count in answers.items())
            print(f"  {kind:9} {tally.sent[kind]:7,} of {self._counts[kind]:,}: {said}")
        for taken, case in tally.slowest:
            print(f"  slow: {taken:5.2f} s for {case.kind} {case.number}, {len(case.body):,} bytes to {case.path}")
        print(f"neighbours: {neighbours.answered:,} answered", end="")
        for client in neighbours.seconds:
            print(f"; {client} p50 {neighbours.percentile(client, 50):.1f} ms, p99", end=" ")
            print(f"{neighbours.percentile(client, 99):.1f} ms", end="")
        print()
        for what, found in (("wrong", neighbours.wrong), ("failed", neighbours.failed), ("cut", neighbours.cut)):
            if found:
                problems.append(f"{len(found)} of the neighbours' requests {what}, such as {found[0]}")
        if (code := self._service.process.poll()) is not None:
            problems.append(f"the service ended with {code}: {self._service.log()[-2000:]}")
        else:
            memory = resident_mb(self._pid)
            highest = max(self._highest, memory)
            print(f"memory: {self._warm:.0f} MB after warm-up, {highest:.0f} at most, {memory:.0f} at the end")
            if memory > (1 + _MOST_GROWTH) * self._warm:
                problems.append(f"memory grew from {self._warm:.0f} to {memory:.0f} MB")
        if (tracebacks := self._service.log().count("Traceback")) > len(tally.faults):
            problems.append(f"{tracebacks} tracebacks in the log")
        (_FOLDER / "service.log").parent.mkdir(parents=True, exist_ok=True)
        (_FOLDER / "service.log").write_text(self._service.log())
        if tally.faults:
            problems.append(f"{len(tally.faults)} requests were answered with a fault of the service's")
        kinds: dict[str, list[Path]] = {}
        for case, why in tally.faults[:_MOST_WRITTEN]:
            path = _FOLDER / f"{case.kind}-{self._seed}-{case.number}.json"
            case.write(path, why)
            kinds.setdefault(f"{case.path} {why.partition('request_id')[0][:160]}", []).append(path)
        for alike, paths in kinds.items():
            print(f"{len(paths)} x {alike}\n    {' '.join(map(str, paths[:3]))}")
        for problem in problems:
            print(f"FAILED: {problem}")
        if sent < self._total and not problems:
            print(f"time is up with {sent / self._total:.0%} sent: a faster machine sends the rest")
        return 1 if problems else 0


async def _replay(service: Service, files: list[Path]) -> int:
    sender, faults = Sender(service.http_port, service.grpc_port), 0
    for path in files:
        began = time.monotonic()
        verdict = await sender.judge(Case.read(path))
        faults += bool(verdict.fault)
        print(f"{path}: {verdict.answer} in {time.monotonic() - began:.2f} s {verdict.fault}")
    await sender.close()
    if faults or service.process.poll() is not None:
        print(service.log()[-8000:])
    return 1 if faults or service.process.poll() is not None else 0


def _version(models: Path) -> Path:
    return models / _MODEL / "1"


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
