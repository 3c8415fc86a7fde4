"""One version's part in a request: leased, let in by its batcher, images decoded, rows batched, outputs completed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from service.batching.admission import Ticket
from service.errors import InvalidInput, Overloaded, ServiceError, Unloaded
from service.models.registry import Catalog
from service.models.singleflight import Coalescing, identity
from service.models.version import Servable
from service.observability.context import RequestContext
from service.preprocessing.preprocessor import Preparation, complete
from service.repository.manifest import IMAGE_EMBEDDING, PROBABILITIES, TEXT_EMBEDDING, TOKENS, Manifest
from service.types import DEFAULT_SIGNATURE, Array, ModelRef, PredictRequest, PredictResult, Tensors, Timings

Computed = tuple[Tensors, Timings]
"""A model's outputs, and what they took."""


class Admission(Protocol):
    """Whoever has let a request in, before its body is parsed. It is predicted or released, once."""

    @property
    def manifest(self) -> Manifest:
        """What the body is parsed against."""

    async def predict(self, request: PredictRequest) -> PredictResult:
        """Raises ServiceError, and TimeoutError where a route's own deadline ends it."""

    def release(self, error: BaseException) -> None:
        """Gives up its places because of `error`; does nothing after a prediction."""


@dataclass(frozen=True, slots=True)
class Turned:
    """Why a request would be refused, the version that would refuse it, where one was found, and what counts it."""

    error: Overloaded
    ref: ModelRef | None = None
    count: Callable[[], None] = lambda: None


@dataclass(eq=False, slots=True)
class HeldVersion:
    """A version that has let a request in: leased, and expecting it, until it answers or is released."""

    answering: "Answering"
    context: RequestContext
    ref: ModelRef
    alone: bool
    servable: Servable
    ticket: Ticket
    place: ExitStack

    @property
    def manifest(self) -> Manifest:
        return self.servable.manifest

    async def predict(self, request: PredictRequest) -> PredictResult:
        """Raises ServiceError."""
        return await self.answering.predict(self, request)

    def release(self, error: BaseException) -> None:
        self.place.__exit__(type(error), error, error.__traceback__)


class Answering:
    """Asks one version and nothing else: no retries, no routes."""

    def __init__(
        self,
        catalog: Catalog,
        preparation: Preparation,
        coalescing: Coalescing[Computed] | None = None,
        coalesced: Callable[[ModelRef], object] = lambda ref: None,
    ) -> None:
        """`coalesced` is told of each call that was answered by an identical one's run."""
        self._catalog, self._preparation = catalog, preparation
        self._coalescing, self._coalesced = coalescing, coalesced

    async def admit(self, context: RequestContext, ref: ModelRef, alone: bool = False) -> HeldVersion:
        """The version that `ref` means, once it has let the request in. An `alone` request shares no batch.

        Whoever calls ends what outlasts the deadline. Raises ServiceError.
        """
        await self._catalog.look_for(ref.name)
        return self._hold(context, ref, alone)

    def find_overload(self, context: RequestContext, ref: ModelRef) -> Turned | None:
        """Why `admit` would refuse a request that comes now; None where it would not, or would say something else."""
        try:
            servable = self._catalog.find(ref)
        except ServiceError:
            return None
        error = servable.batcher.overloaded(context.deadline, self._preparation.ahead)
        return None if error is None else Turned(error, servable.ref, servable.batcher.count_refused)

    def _hold(self, context: RequestContext, ref: ModelRef, alone: bool) -> HeldVersion:
        with ExitStack() as place:
            servable = place.enter_context(self._catalog.lease(ref, context.caller))
            context.trace.ref = servable.ref
            # Refused here, a request has cost next to nothing: its body is not parsed and its image not decoded.
            ticket = place.enter_context(servable.batcher.admit(context.deadline, self._preparation.ahead))
            return HeldVersion(self, context, ref, alone, servable, ticket, place.pop_all())

    async def predict(self, held: HeldVersion, request: PredictRequest) -> PredictResult:
        """What `held` answers. Raises ServiceError."""
        try:
            return await self._ask(held, request)
        except Unloaded:
            if held.ref.version is not None:
                raise
        # An upstream replaced the version between two looks: who asked for the newest one gets that which is now.
        await self._catalog.look_again(held.ref.name)
        return await self._ask(self._hold(held.context, held.ref, held.alone), request)

    async def _ask(self, held: HeldVersion, request: PredictRequest) -> PredictResult:
        with held.place:
            held.ticket.reading = time.monotonic() - held.ticket.since
            if self._coalescing is None:
                outputs, timings = await self._compute(held, request)
            else:
                outputs, timings = await self._share(self._coalescing, held, request)
            manifest, ref = held.manifest, held.servable.ref
            signature = request.signature or DEFAULT_SIGNATURE
            if request.candidates is not None:
                return PredictResult(ref, signature, outputs, request.candidates.names, timings, (ref,))
            return PredictResult(
                ref,
                signature,
                complete(manifest, request, outputs),
                manifest.labels,
                timings,
                (ref,),
                manifest.temperature,
                manifest.known_threshold,
                held.servable.index,
            )

    async def _compute(self, held: HeldVersion, request: PredictRequest) -> Computed:
        if request.candidates is None:
            return await self._run(held, request, held.ticket)
        manifest, embeddings = held.manifest, held.servable.label_embeddings
        zero_shot = manifest.zero_shot
        if zero_shot is None or embeddings is None:
            raise InvalidInput(f"model {held.ref.name!r} has labels of its own; leave labels out")
        if IMAGE_EMBEDDING not in manifest.signature(request.signature).outputs:
            raise InvalidInput(f"signature {request.signature!r} takes no images that labels could be compared with")

        async def embed_texts(tokens: Array) -> Array:
            texts = PredictRequest({TOKENS: tokens}, zero_shot.text_signature, (TEXT_EMBEDDING,))
            return (await self._run(held, texts))[0][TEXT_EMBEDDING]

        labels = await embeddings.embed(request.candidates, embed_texts)
        images = replace(request, outputs=(IMAGE_EMBEDDING,), candidates=None)
        outputs, timings = await self._run(held, images, held.ticket)
        return {PROBABILITIES: embeddings.compare(outputs[IMAGE_EMBEDDING], labels)}, timings

    async def _run(self, held: HeldVersion, request: PredictRequest, ticket: Ticket | None = None) -> Computed:
        run = await self._preparation.prepare(held.manifest, request)
        answer = await held.servable.batcher.submit(
            run.signature,
            run.inputs,
            run.outputs,
            shared=run.shared,
            alone=held.alone,
            deadline=held.context.deadline,
            ticket=ticket,
        )
        return answer.outputs, Timings(
            decode=run.decode, queue=answer.queue, batch=answer.batch, compute=answer.compute
        )

    async def _share(self, coalescing: Coalescing[Computed], held: HeldVersion, request: PredictRequest) -> Computed:
        began = time.monotonic()
        servable = held.servable
        key = id(servable), held.alone, identity(request)  # one that replaced it under its number is not the same
        if coalescing.under_way(key):
            servable.batcher.arrived(held.ticket)
        computed, joined = await coalescing.share(key, held.context.deadline, partial(self._compute, held, request))
        if not joined:
            return computed
        self._coalesced(servable.ref)
        return computed[0], Timings(queue=time.monotonic() - began)  # it only waited
