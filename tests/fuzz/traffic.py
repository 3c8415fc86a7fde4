"""Sends cases to a live service and judges what comes back."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc

from tests.fuzz.cases import Case, Kind
from tests.support.plain_http import Connection

_PATIENCE = 20.0  # seconds for an answer: much less than that is a small request that costs much
_CONNECTIONS = 12
_OURS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS)
"""What no request may be answered with; clients' mistakes have other codes."""
_NO_MESSAGE = ("the request is no message of its method", "Exception deserializing request!")
"""Bytes that are no protobuf: INTERNAL is gRPC's own word for them, and no fault."""


@dataclass(frozen=True)
class Verdict:
    """`answer` is a status or a code; `fault` says why it is one of the service's, empty where it is none."""

    answer: str
    fault: str = ""


@dataclass
class Tally:
    """Of every kind: how many were sent, what they were answered, the slowest answers (seconds), and the faults."""

    sent: Counter[Kind] = field(default_factory=Counter)
    answers: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    slowest: list[tuple[float, Case]] = field(default_factory=list)
    faults: list[tuple[Case, str]] = field(default_factory=list)


class Sender:
    def __init__(self, http_port: int, grpc_port: int) -> None:
        self._http = Connection("127.0.0.1", http_port, again=True)
        options = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]
        self._grpc = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=options)

    async def judge(self, case: Case) -> Verdict:
        try:
            async with asyncio.timeout(_PATIENCE):
                return await (self._call(case) if case.kind is Kind.message else self._post(case))
        except TimeoutError:
            self._http.close()
            return Verdict("nothing", f"no answer within {_PATIENCE:.0f} s")

    async def close(self) -> None:
        self._http.close()
        await self._grpc.close()

    async def _post(self, case: Case) -> Verdict:
        try:
            reply = await self._http.post(case.path, case.body, case.headers)
        except (OSError, EOFError, ValueError) as error:
            return Verdict("nothing", f"no answer: {error!r}")
        fault = f"{reply.status}: {reply.body[:300]!r}" if reply.status >= 500 and reply.status != 501 else ""
        return Verdict(str(reply.status), fault)

    async def _call(self, case: Case) -> Verdict:
        call = self._grpc.unary_unary(case.path, _as_it_is, _as_it_is)
        try:
            await call(case.body, timeout=_PATIENCE)
        except grpc.aio.AioRpcError as error:
            if error.details() in _NO_MESSAGE:
                return Verdict("no message")
            fault = f"{error.code().name}: {error.details()}" if error.code() in _OURS else ""
            return Verdict(error.code().name, fault)
        return Verdict("OK")


async def send(
    cases: Iterator[Case], http_port: int, grpc_port: int, tally: Tally, after: Callable[[int], bool]
) -> None:
    """All `cases`, several at once. `after` hears how many are done and says whether to go on."""
    done, going_on = 0, True

    async def work() -> None:
        nonlocal done, going_on
        sender = Sender(http_port, grpc_port)
        for case in cases:
            began = time.monotonic()
            verdict = await sender.judge(case)
            taken = time.monotonic() - began
            tally.sent[case.kind] += 1
            tally.answers[case.kind, verdict.answer] += 1
            if len(tally.slowest) < 5 or taken > tally.slowest[-1][0]:
                tally.slowest = sorted([*tally.slowest, (taken, case)], key=lambda one: -one[0])[:5]
            if verdict.fault:
                tally.faults.append((case, verdict.fault))
            done += 1
            going_on = going_on and after(done)
            if not going_on:
                break
        await sender.close()

    await asyncio.gather(*(work() for _ in range(_CONNECTIONS)))


def _as_it_is(message: bytes) -> bytes:
    return message
