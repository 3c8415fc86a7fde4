"""`--coalesce` with real requests: one computation for many, counted, and no answer that is not the caller's own."""

import asyncio
from pathlib import Path

import httpx

from tests.support.images import encode, photo
from tests.support.service_process import Service, running

SLOW = encode(photo())  # a PNG: some 10 ms of decoding


def test_identical_images_are_computed_once(lenet5_repository: Path) -> None:
    samples = sorted((lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples").glob("*.png"))
    digits = {path.name[0]: path.read_bytes() for path in samples}

    async def storm(service: Service) -> dict[str, list[httpx.Response]]:
        bodies = {"photo": SLOW} | digits
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
            asked = {
                name: [client.post("/predict/lenet5", content=body) for _ in range(12)] for name, body in bodies.items()
            }
            return {name: await asyncio.gather(*calls) for name, calls in asked.items()}

    with running("--repository", lenet5_repository, "--coalesce") as service:
        service.wait_ready()
        replies = asyncio.run(storm(service))
        for name, of_one in replies.items():
            assert {reply.status_code for reply in of_one} == {200}
            assert len({reply.text for reply in of_one}) == 1
            if name != "photo":
                assert of_one[0].json()["predictions"][0]["label"] == name
        coalesced = service.metric('model_server_coalesced_requests_total{model="lenet5",version="1"}')
        computed = service.metric('model_server_batch_rows_sum{model="lenet5",version="1"}')
        assert coalesced > 0 and coalesced + computed == 12 * len(replies)
        assert service.stop() == 0


def test_a_client_that_leaves_does_not_take_the_others_along(lenet5_repository: Path) -> None:
    files = [("image", ("photo.png", SLOW, "image/png"))] * 40

    async def scenario(service: Service) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:

            async def leave() -> None:
                try:
                    await client.post("/predict/lenet5", files=files, timeout=0.1)
                except httpx.TimeoutException:
                    return
                raise AssertionError("too quick for this test")

            leaving = [asyncio.create_task(leave()) for _ in range(4)]
            await asyncio.sleep(0.02)
            staying = [asyncio.create_task(client.post("/predict/lenet5", files=files)) for _ in range(4)]
            await asyncio.gather(*leaving)
            return list(await asyncio.gather(*staying))

    with running("--repository", lenet5_repository, "--coalesce") as service:
        service.wait_ready()
        replies = asyncio.run(scenario(service))
        assert {reply.status_code for reply in replies} == {200} and len({reply.text for reply in replies}) == 1
        assert service.metric("model_server_requests_in_flight") == 0
