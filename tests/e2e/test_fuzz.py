"""Requests that a fuzzer found a fault with once: their bytes are in `tests/fuzz/kept`."""

import asyncio
from pathlib import Path

from tests.fuzz.cases import Case
from tests.fuzz.traffic import Sender
from tests.support.exporter import ROOT
from tests.support.service_process import running

KEPT = sorted((ROOT / "tests" / "fuzz" / "kept").glob("*.json"))


def test_what_failed_once_is_answered(demo_repository: Path) -> None:
    assert KEPT
    with running("--repository", demo_repository) as service:
        service.wait_ready()

        async def ask() -> dict[str, str]:
            sender = Sender(service.http_port, service.grpc_port)
            verdicts = {path.name: await sender.judge(Case.read(path)) for path in KEPT}
            await sender.close()
            return {name: verdict.fault for name, verdict in verdicts.items() if verdict.fault}

        assert asyncio.run(ask()) == {}
        assert "Traceback" not in service.log(), service.log()[-5000:]
