"""One version's answer: leased, the body read, images decoded, rows batched, outputs completed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

from service.batching.admission import Ticket
from service.errors import Overloaded, ServiceError, Unloaded
from service.models.registry import Catalog
from service.models.singleflight import Coalescing, identity
from service.models.version import Servable
from service.preprocessing.preprocessor import Preparation, complete
from service.repository.manifest import Manifest
from service.types import DEFAULT_SIGNATURE, ModelRef, PredictRequest, PredictResult, Tensors, Timings

Read = Callable[[Manifest], Awaitable[PredictRequest]]
"""How an edge turns its wire format into a request, once it is known which version will answer."""

Computed = tuple[Tensors, Timings]
"""A model's outputs, and what they took."""


Turned = tuple[Overloaded, ModelRef | None]
"""Why a request is refused, and the version that would have answered it, where one was found."""


class Question:
    """What a call asks: its body is read once, by the first version that is found, whoever else answers it too.

    `resolved` is the version found last: the one to name where the call fails. `reading` took that many seconds.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._reading = asyncio.Lock()
        self._outcome: PredictRequest | Exception | None = None
        self.resolved: ModelRef | None = None
        self.reading = 0.0

    async def request(self, manifest: Manifest) -> PredictRequest:
        """Raises what reading raised, every time."""
        async with self._reading:
            if self._outcome is None:
                began = time.monotonic()
                try:
                    self._outcome = await self._read(manifest)
                except ServiceError as error:
                    self._outcome = error.with_traceback(None)
                except Exception as error:
                    self._outcome = error
                self.reading = time.monotonic() - began
        if isinstance(self._outcome, ServiceError):
            # Not what is kept here: its traceback would lead back here, and the body would stay until a collection.
            raise self._outcome.copy()
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


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

    async def answer(
        self, ref: ModelRef, question: Question, deadline: float | None, alone: bool = False
    ) -> PredictResult:
        """`deadline` is a `time.monotonic()`; the caller ends what outlasts it. An `alone` one shares no batch.

        Raises ServiceError.
        """
        await self._catalog.look_for(ref.name)
        try:
            return await self._once(ref, question, deadline, alone)
        except Unloaded:
            if ref.version is not None:
                raise
        # An upstream replaced the version between two looks: who asked for the newest one gets that which is now.
        await self._catalog.look_again(ref.name)
        return await self._once(ref, question, deadline, alone)

    def overloaded(self, ref: ModelRef, deadline: float | None) -> Turned | None:
        """Why `answer` would refuse a request that comes now, and the version that would; None where it would not, or
        would say something else.
        """
        try:
            servable = self._catalog.find(ref)
        except ServiceError:
            return None
        error = servable.batcher.overloaded(deadline, self._preparation.ahead)
        return None if error is None else (error, servable.ref)

    async def _once(self, ref: ModelRef, question: Question, deadline: float | None, alone: bool) -> PredictResult:
        with self._catalog.lease(ref) as servable:
            question.resolved = servable.ref
            # Refused here, a request has cost next to nothing: its body is not parsed and its image not decoded.
            with servable.batcher.admit(deadline, self._preparation.ahead) as ticket:
                request = await question.request(servable.manifest)
                ticket.reading = question.reading
                return await self._ask(servable, request, deadline, ticket, alone)

    async def _ask(
        self, servable: Servable, request: PredictRequest, deadline: float | None, ticket: Ticket, alone: bool
    ) -> PredictResult:
        manifest = servable.manifest
        if self._coalescing is None:
            outputs, timings = await self._compute(servable, request, deadline, ticket, alone)
        else:
            outputs, timings = await self._share(self._coalescing, servable, request, deadline, ticket, alone)
        outputs = complete(manifest, request, outputs)
        signature = request.signature or DEFAULT_SIGNATURE
        return PredictResult(servable.ref, signature, outputs, manifest.labels, timings, (servable.ref,))

    async def _compute(
        self, servable: Servable, request: PredictRequest, deadline: float | None, ticket: Ticket, alone: bool
    ) -> Computed:
        run = await self._preparation.prepare(servable.manifest, request)
        answer = await servable.batcher.submit(
            run.signature,
            run.inputs,
            run.outputs,
            shared=run.shared,
            alone=alone,
            deadline=deadline,
            ticket=ticket,
        )
        return answer.outputs, Timings(
            decode=run.decode, queue=answer.queue, batch=answer.batch, compute=answer.compute
        )

    async def _share(
        self,
        coalescing: Coalescing[Computed],
        servable: Servable,
        request: PredictRequest,
        deadline: float | None,
        ticket: Ticket,
        alone: bool,
    ) -> Computed:
        began = time.monotonic()
        key = id(servable), alone, identity(request)  # a version that replaced another under its number is not the same
        if coalescing.under_way(key):
            servable.batcher.arrived(ticket)
        run = partial(self._compute, servable, request, deadline, ticket, alone)
        computed, joined = await coalescing.share(key, deadline, run)
        if not joined:
            return computed
        self._coalesced(servable.ref)
        return computed[0], Timings(queue=time.monotonic() - began)  # it only waited
