"""Client and AsyncClient: how the flows of `exchange` are carried out."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import httpx
from tqdm import tqdm

from image_model_client import exchange, images
from image_model_client.errors import ClientError, UnreadableImage
from image_model_client.exchange import Flow, Options, Send, T, Wait
from image_model_client.images import Source
from image_model_client.results import Embedding, Model, Outcome, Prediction

_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
_AHEAD = 2  # images in hand, for each one under way
_USER_AGENT = "image-model-client/0.1.0"


class _Sizes:
    """Model -> (width, height) of its input, asked once; None where it takes no images."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], tuple[int, int] | None] = {}

    def find(self, model: str, options: Options) -> Flow[tuple[int, int] | None]:
        key = model, options.version
        if key not in self._known:
            described = yield from exchange.describe(model, options)
            recipe = described["manifest"].get("preprocessing")
            self._known[key] = (recipe["width"], recipe["height"]) if recipe else None
        return self._known[key]


class Client:
    """One service. Threads may share it; its connections stay open until it is closed.

    with Client("http://localhost:8000", key="...") as client:
        answer = client.predict("efficientnet_lite0", "cat.jpg")
    """

    def __init__(
        self, url: str = "http://localhost:8000", *, key: str | None = None, connections: int = 16, **httpx_options: Any
    ) -> None:
        """`httpx_options` go to httpx.Client: `verify`, `cert`, `proxy`, `timeout`, `transport`."""
        self._http = httpx.Client(**_configure(url, key, connections, httpx_options))
        self._connections = connections
        self._sizes = _Sizes()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def predict(self, model: str, image: Source, *, shrink: bool = False, **options: Any) -> Prediction:
        """What `model` says of one image. Further options: those of `Options`.

        `shrink` sends a large image no larger than the model needs. Raises ClientError.
        """
        chosen = Options(**options)
        data = self._read(image)
        if shrink:
            data = _shrink(data, self._run(self._sizes.find(model, chosen)))
        return self._run(exchange.predict(model, data, chosen))

    def predict_many(
        self,
        model: str,
        sources: Iterable[Source],
        *,
        concurrency: int | None = None,
        progress: bool = False,
        shrink: bool = False,
        **options: Any,
    ) -> Iterator[Outcome]:
        """An outcome for each source, in their order, as they come: what fails is in its outcome, and the others go on.
        `sources` may be endless; only as many are in hand as are under way, and a few more.
        """

        def ask(source: Source) -> Outcome:
            try:
                return Outcome(source, self.predict(model, source, shrink=shrink, **options))
            except ClientError as error:
                return Outcome(source, error=error)

        workers = concurrency or self._connections
        waiting: deque[Future[Outcome]] = deque()
        with ThreadPoolExecutor(workers, "predict") as pool, _Bar(sources, progress) as advance:
            try:
                for source in sources:
                    waiting.append(pool.submit(ask, source))
                    if len(waiting) >= _AHEAD * workers:
                        yield advance(waiting.popleft().result())
                while waiting:
                    yield advance(waiting.popleft().result())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def embed(self, model: str, image: Source, *, normalize: bool = False, **options: Any) -> Embedding:
        """The image's features. `normalize` scales them to length 1. Raises ClientError."""
        return self._run(exchange.embed(model, self._read(image), Options(**options), normalize))

    def models(self) -> list[Model]:
        """Those that answer. Raises ClientError."""
        return self._run(exchange.list_models(Options()))

    def describe(self, model: str, **options: Any) -> Mapping[str, Any]:
        """What the service says of one model. Raises ClientError."""
        return self._run(exchange.describe(model, Options(**options)))

    def _read(self, image: Source) -> bytes:
        if not images.is_address(image):
            return images.read(image)
        try:
            return httpx.get(image, follow_redirects=True, timeout=_TIMEOUT).raise_for_status().content
        except httpx.HTTPError as error:
            raise UnreadableImage(f"{image} cannot be fetched: {error}") from error

    def _run(self, flow: Flow[T]) -> T:
        reply: exchange.Reply | None = None
        try:
            while True:
                step = flow.send(reply)
                if isinstance(step, Wait):
                    time.sleep(step.seconds)
                    reply = None
                    continue
                try:
                    reply = self._http.request(**_build(step))
                except httpx.TransportError as error:
                    reply = error
        except StopIteration as end:
            result: T = end.value
            return result


class AsyncClient:
    """The same for asyncio.

    async with AsyncClient("http://localhost:8000") as client:
        answer = await client.predict("efficientnet_lite0", "cat.jpg")
    """

    def __init__(
        self, url: str = "http://localhost:8000", *, key: str | None = None, connections: int = 16, **httpx_options: Any
    ) -> None:
        """As `Client`."""
        self._http = httpx.AsyncClient(**_configure(url, key, connections, httpx_options))
        self._connections = connections
        self._sizes = _Sizes()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def predict(self, model: str, image: Source, *, shrink: bool = False, **options: Any) -> Prediction:
        """As `Client.predict`."""
        chosen = Options(**options)
        data = await self._read(image)
        if shrink:
            data = await asyncio.to_thread(_shrink, data, await self._run(self._sizes.find(model, chosen)))
        return await self._run(exchange.predict(model, data, chosen))

    async def predict_many(
        self,
        model: str,
        sources: Iterable[Source],
        *,
        concurrency: int | None = None,
        progress: bool = False,
        shrink: bool = False,
        **options: Any,
    ) -> AsyncIterator[Outcome]:
        """As `Client.predict_many`."""
        turns = asyncio.Semaphore(concurrency or self._connections)

        async def ask(source: Source) -> Outcome:
            async with turns:
                try:
                    return Outcome(source, await self.predict(model, source, shrink=shrink, **options))
                except ClientError as error:
                    return Outcome(source, error=error)

        waiting: deque[asyncio.Task[Outcome]] = deque()
        with _Bar(sources, progress) as advance:
            try:
                for source in sources:
                    waiting.append(asyncio.create_task(ask(source)))
                    if len(waiting) >= _AHEAD * (concurrency or self._connections):
                        yield advance(await waiting.popleft())
                while waiting:
                    yield advance(await waiting.popleft())
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)

    async def embed(self, model: str, image: Source, *, normalize: bool = False, **options: Any) -> Embedding:
        """As `Client.embed`."""
        return await self._run(exchange.embed(model, await self._read(image), Options(**options), normalize))

    async def models(self) -> list[Model]:
        """As `Client.models`."""
        return await self._run(exchange.list_models(Options()))

    async def describe(self, model: str, **options: Any) -> Mapping[str, Any]:
        """As `Client.describe`."""
        return await self._run(exchange.describe(model, Options(**options)))

    async def _read(self, image: Source) -> bytes:
        if not images.is_address(image):
            return await asyncio.to_thread(images.read, image)
        try:
            async with httpx.AsyncClient(follow_redirects=True, timeout=_TIMEOUT) as elsewhere:
                return (await elsewhere.get(image)).raise_for_status().content
        except httpx.HTTPError as error:
            raise UnreadableImage(f"{image} cannot be fetched: {error}") from error

    async def _run(self, flow: Flow[T]) -> T:
        reply: exchange.Reply | None = None
        try:
            while True:
                step = flow.send(reply)
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    reply = None
                    continue
                try:
                    reply = await self._http.request(**_build(step))
                except httpx.TransportError as error:
                    reply = error
        except StopIteration as end:
            result: T = end.value
            return result


class _Bar:
    """A progress bar on stderr, or nothing; entered, it gives what passes an outcome on and counts it."""

    def __init__(self, sources: Iterable[Source], shown: bool) -> None:
        total = len(sources) if hasattr(sources, "__len__") else None
        self._bar = tqdm(total=total, unit=" images", disable=not shown)

    def __enter__(self) -> Callable[[Outcome], Outcome]:
        return self._pass

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def _pass(self, outcome: Outcome) -> Outcome:
        self._bar.update()
        return outcome


def _configure(url: str, key: str | None, connections: int, options: Mapping[str, Any]) -> dict[str, Any]:
    headers = {"User-Agent": _USER_AGENT} | ({"Authorization": f"Bearer {key}"} if key else {})
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return {"base_url": url, "headers": headers, "limits": limits, "timeout": _TIMEOUT, **options}


def _build(step: Send) -> dict[str, Any]:
    """httpx' arguments. A deadline of the caller's replaces the client's timeouts."""
    made: dict[str, Any] = {"method": step.method, "url": step.path, "params": step.params, "headers": step.headers}
    if step.content:
        made["content"] = step.content
    if step.seconds is not None:
        made["timeout"] = httpx.Timeout(step.seconds + 0.1)  # the service answers 504 first
    return made


def _shrink(data: bytes, size: tuple[int, int] | None) -> bytes:
    return data if size is None else images.shrink(data, *size)
