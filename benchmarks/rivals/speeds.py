"""Each rival beside this service: the same file, the same photo, both running, under wrk in turns.

What is measured is kept in one JSON file, so that one rival may be measured again.
"""

import json
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks import wrk
from benchmarks.measurement import Measurement, Served
from benchmarks.networks import CACHE, UNTRAINED, exported
from benchmarks.rivals import servers
from loadtest.markdown import markdown
from loadtest.target import machine, processes
from loadtest.target.process import ServerProcess

RESULTS = Path("docs/reports/rivals.json")
NETWORK = "mobilenet_v3_small"
CONNECTIONS = (1, 8, 32)
_WARM_UP_SECONDS = 1.0
_SETTLE_SECONDS = 1.0  # Ray Serve is never idle
_FIRST_ANSWER_SECONDS = 60.0
_AHEAD = 1.05
"""A rival is ahead where it is better by this factor: less is within what a repetition changes."""
_DISTURBED = 0.8
"""A share of this service's median rate over all pairs: below it, something else ran on the machine."""
_LAST = 300  # characters of what failed

NOT_MEASURED = {
    "Triton": "pip installs it as nvidia-pytriton 0.7.0, whose Python backend does not start under Python 3.11.7",
    "TensorFlow Serving": "pip has no such package",
}


@dataclass(frozen=True)
class Beside:
    """One rival and this service, measured in turns on `machine` (with the date): by connections, medians over the
    rounds. Memory in MB after the load; CPU time of a request in ms, empty where it was not measured.
    """

    name: str
    version: str
    sends: str
    theirs: Mapping[int, Served]
    ours: Mapping[int, Served]
    theirs_mb: float
    ours_mb: float
    machine: str
    theirs_cpu_ms: Mapping[int, float] = field(default_factory=dict)
    ours_cpu_ms: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Speeds:
    """`rows` and `failed` (why) by the names of `servers.RIVALS`. A load takes `seconds`, in each of `rounds`.
    `workers` and `engine` are this service's flags.
    """

    network: str = NETWORK
    photo_bytes: int = 0
    seconds: float = 0.0
    rounds: int = 0
    workers: int = 0
    engine: str = "litert"
    rows: Mapping[str, Beside] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a results file; empty where there is none. Raises ValueError where it has another form."""
        if not path.exists():
            return cls()
        try:
            return cls.parse(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} was not written by `python -m benchmarks.comparison`: {error!r}") from error

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Self:
        """From what `asdict` and JSON made of it. Raises KeyError, TypeError, AttributeError or ValueError."""
        return cls(**{**found, "rows": {name: _parse_row(row) for name, row in found["rows"].items()}})


def _parse_row(row: dict[str, Any]) -> Beside:
    served = {
        who: {int(connections): Served(**each) for connections, each in row[who].items()} for who in ("theirs", "ours")
    }
    cpu_ms = {
        key: {int(connections): each for connections, each in row.get(key, {}).items()}
        for key in ("theirs_cpu_ms", "ours_cpu_ms")
    }
    return Beside(**row | served | cpu_ms)


def measure(names: list[str], before: Speeds) -> Speeds:
    """`before` with `names` measured anew; pairs of which one cannot be installed or does not run are in `failed`.

    Raises RuntimeError where wrk is missing.
    """
    if shutil.which("wrk") is None:
        raise RuntimeError("the load generator wrk is missing; apt-get install wrk")
    repository = CACHE / before.network / "repository"
    version, _ = exported(repository, before.network, UNTRAINED)
    rows, failed = dict(before.rows), dict(before.failed)
    for name in names:
        print(f"{before.network}: {servers.RIVALS[name].name} beside this service ...", flush=True)
        rows.pop(name, None), failed.pop(name, None)
        try:
            rows[name] = _measure_beside(name, repository, version, before)
        except (servers.NotInstallable, RuntimeError, OSError) as error:
            failed[name] = " ".join(str(error).split())[-_LAST:]
    return replace(before, photo_bytes=machine.photo_bytes(), rows=rows, failed=failed)


def _measure_beside(name: str, repository: Path, version: Path, settings: Speeds) -> Beside:
    rival, python = servers.RIVALS[name], servers.install(name)
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        photo = machine.write_photo(folder / "photo.jpg")
        body, empty = folder / "body", folder / "empty"
        body.write_bytes(rival.body(photo.read_bytes()))
        empty.mkdir()
        theirs = running.enter_context(servers.start(name, python, version, empty))
        flags = ("--workers", str(settings.workers), "--engine", settings.engine)
        ours = running.enter_context(ServerProcess.service(repository, settings.network, *flags))
        await_answer(theirs, body.read_bytes(), rival.headers)
        sent: dict[str, tuple[ServerProcess, Path, Mapping[str, str]]] = {
            "theirs": (theirs, body, rival.headers),
            "ours": (ours, photo, wrk.JPEG),
        }
        for server, file, headers in sent.values():
            wrk.measure(server.url, file, max(CONNECTIONS), _WARM_UP_SECONDS, headers=headers)
            server.settle(_SETTLE_SECONDS)
        ours.settle()  # engines may still race
        taken: dict[tuple[str, int], list[Measurement]] = {}
        cpu: dict[tuple[str, int], list[float]] = {}
        for _ in range(settings.rounds):
            for connections in CONNECTIONS:
                for who, (server, file, headers) in sent.items():
                    before = processes.cpu_seconds(server.pid)
                    load = wrk.measure(server.url, file, connections, settings.seconds, headers=headers)
                    spent = 1000 * (processes.cpu_seconds(server.pid) - before) / load.requests
                    cpu.setdefault((who, connections), []).append(spent)
                    taken.setdefault((who, connections), []).append(load)
                    server.settle(_SETTLE_SECONDS)
        served = {who: {count: Served.take_medians(taken[who, count]) for count in CONNECTIONS} for who in sent}
        cpu_ms = {who: {count: median(cpu[who, count]) for count in CONNECTIONS} for who in sent}
        memory = theirs.memory_mb(), ours.memory_mb()
    return Beside(
        rival.name,
        servers.find_version(name, python),
        rival.sends,
        served["theirs"],
        served["ours"],
        *memory,
        machine.describe(),
        cpu_ms["theirs"],
        cpu_ms["ours"],
    )


def await_answer(server: ServerProcess, body: bytes, headers: Mapping[str, str]) -> bytes:
    """The first answer: some say that they are ready before they are. Raises RuntimeError with the server's log."""
    until = time.monotonic() + _FIRST_ANSWER_SECONDS
    while True:
        request = urllib.request.Request(server.url, data=body, headers=dict(headers))
        try:
            with urllib.request.urlopen(request, timeout=_FIRST_ANSWER_SECONDS) as reply:
                return bytes(reply.read())
        except OSError as error:
            if time.monotonic() > until or server.death():
                raise RuntimeError(f"{error}: {server.log()}") from error
            time.sleep(0.1)


def render(speeds: Speeds) -> str:
    """The table, what was not measured and why, and where rivals are ahead."""
    if not speeds.rows:
        return "Nothing was measured yet."
    rows = sorted(speeds.rows.values(), key=lambda row: -row.theirs[8].requests_per_second)
    head = ("server", "photo sent as", "requests/s", "of this service's", "p50 ms", "p99 ms", "MB")
    own = _pool_ours(rows)
    ours = ("this service", "bytes", *_render_served(own, "1 / 1 / 1"), f"{median(row.ours_mb for row in rows):.0f}")
    others = [
        (
            f"{row.name} {row.version}{'*' if any(_is_disturbed(row, count, own) for count in CONNECTIONS) else ''}",
            row.sends,
            *_render_served(row.theirs, " / ".join(f"{_compare(row, count):.2f}" for count in CONNECTIONS)),
            f"{row.theirs_mb:.0f}",
        )
        for row in rows
    ]
    never = dict.fromkeys(servers.RIVALS.keys() - speeds.rows.keys(), "not yet") | dict(speeds.failed)
    unmeasured = {servers.RIVALS[name].name: never[name] for name in servers.RIVALS if name in never} | NOT_MEASURED
    return "\n".join(
        [
            markdown(head, [ours, *others], text=(0, 1)),
            "",
            f"\\* In its minute this service itself was below {_DISTURBED:.0%} of its usual rate: something else ran.",
            "",
            "Not measured:",
            "",
            *(f"- {name}: {why}." for name, why in unmeasured.items()),
            "",
            f"Where others are faster or smaller, by {_AHEAD - 1:.0%} and more:",
            "",
            *_render_ahead(rows, own),
        ]
    )


def _pool_ours(rows: list[Beside]) -> dict[int, Served]:
    """This service in all the pairs: medians."""
    return {
        count: Served(
            median(row.ours[count].requests_per_second for row in rows),
            median(row.ours[count].p50_ms for row in rows),
            median(row.ours[count].p99_ms for row in rows),
        )
        for count in CONNECTIONS
    }


def _render_served(served: Mapping[int, Served], share: str) -> Iterator[str]:
    yield " / ".join(f"{served[count].requests_per_second:.0f}" for count in CONNECTIONS)
    yield share
    yield " / ".join(f"{served[count].p50_ms:.1f}" for count in CONNECTIONS)
    yield " / ".join(f"{served[count].p99_ms:.1f}" for count in CONNECTIONS)


def _compare(row: Beside, connections: int) -> float:
    return row.theirs[connections].requests_per_second / row.ours[connections].requests_per_second


def _is_disturbed(row: Beside, connections: int, own: Mapping[int, Served]) -> bool:
    return row.ours[connections].requests_per_second < _DISTURBED * own[connections].requests_per_second


def _render_ahead(rows: list[Beside], own: Mapping[int, Served]) -> Iterator[str]:
    ahead = False
    for row in rows:
        said = []
        for count in CONNECTIONS:
            if _is_disturbed(row, count, own):
                continue
            theirs, ours = row.theirs[count], row.ours[count]
            if _compare(row, count) >= _AHEAD:
                said.append(f"{_compare(row, count):.2f} times the requests/s with {count} in flight")
            if theirs.p99_ms * _AHEAD <= ours.p99_ms:
                said.append(f"p99 {theirs.p99_ms:.1f} ms, not {ours.p99_ms:.1f}, with {count} in flight")
        if row.theirs_mb * _AHEAD <= row.ours_mb:
            said.append(f"{row.theirs_mb:.0f} MB, not {row.ours_mb:.0f}")
        if said:
            ahead = True
            yield f"- **{row.name}**: {'; '.join(said)}."
    if not ahead:
        yield "- None of these."
