"""The fuzzer itself: the same cases for the same seed, and faults are seen."""

import asyncio
from pathlib import Path

import pytest

from tests.fuzz.cases import Case, Kind
from tests.fuzz.corpus import Corpus
from tests.fuzz.traffic import Sender, Tally, send
from tests.support.images import encode, photo

DIGIT = encode(photo()[:28, :28])


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus(1, "lenet5", DIGIT)


@pytest.mark.parametrize("kind", Kind)
def test_a_seed_gives_the_same_cases_whichever_are_made(corpus: Corpus, kind: Kind) -> None:
    again = Corpus(1, "lenet5", DIGIT)
    cases = [corpus.case(kind, number) for number in range(200)]
    assert cases[150] == again.case(kind, 150) and cases[3] == again.case(kind, 3)
    assert Corpus(2, "lenet5", DIGIT).case(kind, 3) != cases[3]
    assert len({case.body for case in cases}) > 150, "they differ from each other"


def test_a_case_comes_back_from_its_file(tmp_path: Path) -> None:
    case = Case(Kind.document, 7, "/predict/lenet5", bytes(range(256)), {"content-type": "application/json"})
    case.write(tmp_path / "deep" / "case.json", "500")
    assert Case.read(tmp_path / "deep" / "case.json") == case


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno", ""),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", "500: b'oops'"),
        (b"HTTP/1.1 503 Oops\r\ncontent-length: 4\r\nconnection: close\r\n\r\noops", "503: b'oops'"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", "no answer"),
        (b"", "no answer"),
    ],
)
async def test_what_is_no_answer_to_a_client_is_a_fault(answer: bytes, fault: str) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"body")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(reply, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cases = [Case(Kind.document, number, "/predict/lenet5", b"body") for number in range(20)]
    tally = Tally()
    await send(iter(cases), port, 1, tally, lambda done: True)
    server.close()
    assert tally.sent[Kind.document] == 20
    assert all(fault in why for _, why in tally.faults) and len(tally.faults) == (20 if fault else 0)


async def test_nobody_at_grpcs_port_is_a_fault() -> None:
    sender = Sender(1, 1)
    verdict = await sender.judge(Case(Kind.message, 0, "/a.Service/Method", b""))
    await sender.close()
    assert verdict.answer == "UNAVAILABLE" and verdict.fault
