"""Client and AsyncClient: how flows are carried out over HTTP."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any, Self, Unpack

import httpx

from image_model_client import exchange, images
from image_model_client.connections import AsyncConnections, Connections, share_tls
from image_model_client.errors import ClientError, NotFound, UnreadableImage
from image_model_client.exchange import Options, PredictOptions, Send, VersionOptions
from image_model_client.images import Source
from image_model_client.many import AHEAD, ask_many, make_bar
from image_model_client.results import Embedding, Model, Outcome, Prediction
from image_model_client.retry import Flow, T, Wait, drive

VERSION = "0.1.0"
_CONNECT_SECONDS = 5.0
_TIMEOUT = httpx.Timeout(60.0, connect=_CONNECT_SECONDS)


class _Sizes:
    """Model -> (width, height) of its input, asked once; None where it takes no images or nobody says."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None, str | None], tuple[int, int] | None] = {}

    def find(self, model: str, options: Options) -> Flow[tuple[int, int] | None]:
        key = model, options.version, options.version_label
        if key not in self._known:
            try:
                described = yield from exchange.describe(model, options)
            except NotFound:  # a route has no description of its own; that a model is missing, predict says
                return None
            recipe = described.get("manifest", {}).get("preprocessing")
            self._known[key] = (recipe["width"], recipe["height"]) if recipe else None
        return self._known[key]


class _HttpClient(ABC):
    """What `Client` and `AsyncClient` are made with."""

    def __init__(
        self,
        url: str = "http://localhost:8000",
        *,
        key: str | None = None,
        connections: int = 16,
        retries: int = 4,
        **httpx_options: Any,
    ) -> None:
        """`retries` is how often a call is made again that found nobody, or a service that had too much to do or was
        not ready. `httpx_options` go to httpx' own client: `verify`, `cert`, `proxy`, `timeout`, `transport`.

        Raises ValueError for what is no address or no key.
        """
        configured = _configure(url, key, connections, httpx_options)
        self._open(configured, connections)
        self._url, self._patience = url, httpx.Timeout(configured["timeout"]).pool
        self._connections, self._retries = connections, retries
        self._sizes = _Sizes()

    @abstractmethod
    def _open(self, configured: Mapping[str, Any], connections: int) -> None: ...


class Client(_HttpClient):
    """One service, over HTTP. Threads may share it; its connections stay open until it is closed.

    with Client("http://localhost:8000", key="...") as client:
        answer = client.predict("efficientnet_lite0", "cat.jpg")
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def predict(self, model: str, image: Source, **options: Unpack[PredictOptions]) -> Prediction:
        """What `model` says of one image: its most probable labels. Raises ClientError.

        `top_k` is how many labels (5). `version` or `version_label` (a route's, or a precision) ask another version
        than the newest. `calibrated` makes probabilities mean what they say. `shrink` sends a large image no larger
        than the model needs. `deadline` is in seconds from now, retries included.
        """
        return self._predict(model, Options.choose(PredictOptions, options, self._retries), image)

    def predict_many(
        self,
        model: str,
        sources: Iterable[Source],
        *,
        concurrency: int | None = None,
        progress: bool = False,
        **options: Unpack[PredictOptions],
    ) -> Iterator[Outcome]:
        """An outcome for each source, in their order, as they come: what fails is in its outcome, and the others go on.
        `sources` may be endless; only twice as many are in hand as are under way.

        `concurrency` images are under way at a time, by default as many as the client has connections. `deadline` is
        for each image; `progress` draws a bar on stderr. A loop that is left early waits for what is under way.
        """
        ask = partial(self._predict, model, Options.choose(PredictOptions, options, self._retries))
        return ask_many(ask, sources, concurrency or self._connections, progress)

    def embed(
        self, model: str, image: Source, *, normalize: bool = False, **options: Unpack[VersionOptions]
    ) -> Embedding:
        """The image's features. `normalize` scales them to length 1, so that the product of two is the cosine of their
        angle. Raises ClientError.
        """
        chosen = Options.choose(VersionOptions, options, self._retries)
        return self._run(exchange.embed(model, read(image), chosen, normalize))

    def models(self) -> list[Model]:
        """Those that answer. Raises ClientError."""
        return self._run(exchange.list_models(Options(retries=self._retries)))

    def describe(self, model: str, *, version: int | None = None) -> Mapping[str, Any]:
        """What the service says of one model: states of its versions, manifest, batching. Raises ClientError."""
        return self._run(exchange.describe(model, Options(version, retries=self._retries)))

    def _open(self, configured: Mapping[str, Any], connections: int) -> None:
        self._http = Connections(lambda: httpx.Client(**configured), connections)

    def _predict(
        self, model: str, options: Options, image: Source, stopped: threading.Event | None = None
    ) -> Prediction:
        data = read(image)
        if options.shrink:
            data = _shrink(data, self._run(self._sizes.find(model, options), stopped))
        return self._run(exchange.predict(model, data, options), stopped)

    def _run(self, flow: Flow[T], stopped: threading.Event | None = None) -> T:
        return drive(flow, self._send, stopped)

    def _send(self, step: Send) -> httpx.Response | httpx.RequestError:
        try:
            return self._http.request(step.seconds or self._patience, **_build(self._url, step))
        except httpx.RequestError as error:
            return error


class AsyncClient(_HttpClient):
    """The same for asyncio.

    async with AsyncClient("http://localhost:8000") as client:
        answer = await client.predict("efficientnet_lite0", "cat.jpg")
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def predict(self, model: str, image: Source, **options: Unpack[PredictOptions]) -> Prediction:
        """As `Client.predict`."""
        return await self._predict(model, image, Options.choose(PredictOptions, options, self._retries))

    async def predict_many(
        self,
        model: str,
        sources: Iterable[Source],
        *,
        concurrency: int | None = None,
        progress: bool = False,
        **options: Unpack[PredictOptions],
    ) -> AsyncIterator[Outcome]:
        """As `Client.predict_many`. A loop that is left early is closed by `contextlib.aclosing`."""
        chosen = Options.choose(PredictOptions, options, self._retries)
        workers = concurrency or self._connections
        turns = asyncio.Semaphore(workers)

        async def ask(source: Source) -> Outcome:
            async with turns:
                try:
                    return Outcome(source, await self._predict(model, source, chosen))
                except ClientError as error:
                    return Outcome(source, error=error)

        waiting: deque[asyncio.Task[Outcome]] = deque()
        with make_bar(sources, progress) as bar:
            try:
                for source in sources:
                    waiting.append(asyncio.create_task(ask(source)))
                    if len(waiting) >= AHEAD * workers:
                        outcome = await waiting.popleft()
                        bar.update()
                        yield outcome
                while waiting:
                    outcome = await waiting.popleft()
                    bar.update()
                    yield outcome
            finally:
                for task in waiting:
                    task.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)

    async def embed(
        self, model: str, image: Source, *, normalize: bool = False, **options: Unpack[VersionOptions]
    ) -> Embedding:
        """As `Client.embed`."""
        chosen = Options.choose(VersionOptions, options, self._retries)
        return await self._run(exchange.embed(model, await self._read(image), chosen, normalize))

    async def models(self) -> list[Model]:
        """As `Client.models`."""
        return await self._run(exchange.list_models(Options(retries=self._retries)))

    async def describe(self, model: str, *, version: int | None = None) -> Mapping[str, Any]:
        """As `Client.describe`."""
        return await self._run(exchange.describe(model, Options(version, retries=self._retries)))

    def _open(self, configured: Mapping[str, Any], connections: int) -> None:
        self._http = AsyncConnections(lambda: httpx.AsyncClient(**configured), connections)

    async def _predict(self, model: str, image: Source, options: Options) -> Prediction:
        data = await self._read(image)
        if options.shrink:
            data = await asyncio.to_thread(_shrink, data, await self._run(self._sizes.find(model, options)))
        return await self._run(exchange.predict(model, data, options))

    async def _read(self, image: Source) -> bytes:
        if isinstance(image, bytes):
            return image
        if not images.is_address(image):
            return await asyncio.to_thread(images.read, image)
        try:
            async with httpx.AsyncClient(follow_redirects=True, timeout=_TIMEOUT) as elsewhere:
                return _check_file(image, await elsewhere.get(image))
        except (httpx.RequestError, httpx.InvalidURL, ValueError) as error:
            raise UnreadableImage(f"{image} cannot be fetched: {error}") from error

    async def _run(self, flow: Flow[T]) -> T:
        reply: httpx.Response | httpx.RequestError | None = None
        try:
            while True:
                step = flow.send(reply)
                if isinstance(step, Wait):
                    await asyncio.sleep(step.seconds)
                    reply = None
                    continue
                try:
                    reply = await self._http.request(step.seconds or self._patience, **_build(self._url, step))
                except httpx.RequestError as error:
                    reply = error
        except StopIteration as end:
            result: T = end.value
            return result


def _configure(url: str, key: str | None, connections: int, options: Mapping[str, Any]) -> dict[str, Any]:
    if connections < 1:
        raise ValueError(f"Invalid connections: expected a whole number from 1, got {connections}")
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"Invalid url {url!r}: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"Invalid url: expected an address such as http://localhost:8000, got {url!r}")
    headers = {"User-Agent": f"image-model-client/{VERSION}"}
    if key:
        headers["Authorization"] = f"Bearer {check_key(key)}"
    return {"headers": headers, "timeout": _TIMEOUT, **share_tls(options)}


def check_key(key: str) -> str:
    """Raises ValueError for what no header can hold."""
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("Invalid key: expected printable ASCII without spaces; is a line's end in it?")
    return key


@lru_cache(maxsize=256)
def _join(url: str, path: str, params: tuple[tuple[str, str], ...]) -> httpx.URL:
    """An address, parsed once for many requests: it is a tenth of what a request costs."""
    base = httpx.URL(url)
    joined = base.copy_with(raw_path=base.raw_path.rstrip(b"/") + path.encode())
    return joined.copy_merge_params(dict(params)) if params else joined


def _build(url: str, step: Send) -> dict[str, Any]:
    """httpx' arguments. A deadline of the caller's replaces the client's timeouts."""
    address = _join(url, step.path, tuple(step.params.items()))
    made: dict[str, Any] = {"method": step.method, "url": address, "headers": step.headers}
    if step.content:
        made["content"] = step.content
    if step.seconds is not None:
        seconds = step.seconds + 0.1  # the service answers 504 first
        made["timeout"] = httpx.Timeout(seconds, connect=min(seconds, _CONNECT_SECONDS))
    return made


def read(image: Source) -> bytes:
    """An encoded image, which is fetched where it is an address. Raises UnreadableImage."""
    if not images.is_address(image):
        return images.read(image)
    try:
        return _check_file(image, httpx.get(image, follow_redirects=True, timeout=_TIMEOUT))
    except (httpx.RequestError, httpx.InvalidURL, ValueError) as error:
        raise UnreadableImage(f"{image} cannot be fetched: {error}") from error


def _check_file(address: str, reply: httpx.Response) -> bytes:
    if reply.is_success:
        return reply.content
    raise UnreadableImage(f"{address} was answered with {reply.status_code} {reply.reason_phrase}")


def _shrink(data: bytes, size: tuple[int, int] | None) -> bytes:
    return data if size is None else images.shrink(data, *size)
