"""What is loaded: versions are loaded, warmed and checked, then take traffic, then drain and unload.

    found ──load──> LOADING ──warm, golden check──> AVAILABLE ──drain──> UNLOADING ──> END
                       └──────── anything fails ─────────────────────────────────────> END (error)

A newer version takes traffic only once it is AVAILABLE, and an older one goes only after that, so a
broken version never replaces a working one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial

from service.backends.base import Backend, Loaded
from service.batching.batcher import Batcher
from service.errors import NotReady
from service.host.processes import release_memory
from service.models.lookup import Model, build_unknown_error, explain_none, find
from service.models.version import Servable, State, Status
from service.models.warmup import Behind, check_succession, warm
from service.observability.metrics.registry import Metrics
from service.types import NOBODY, Caller, ModelRef

_log = logging.getLogger(__name__)
_REMEMBERED = 3  # versions of a model that have gone, and are still told of
_REMEMBERED_MODELS = 16  # models that have gone altogether
_PATIENCE = 30.0  # seconds: a load that takes longer keeps no place, and nobody else waiting
_MOST_TEXT = 500  # characters of a line that grows with a model's signatures


class Catalog:
    """Owns the loaded versions: the `keep` newest ones of every model the backend finds."""

    def __init__(
        self,
        backend: Backend,
        batcher: Callable[[Loaded], Batcher],
        metrics: Metrics,
        *,
        keep: int,
        needs_models: bool,
        shows: Callable[[Caller, str], bool] = lambda caller, name: True,
        passed_over: Callable[[], Mapping[str, str]] = dict,
        loads: int = 16,
    ) -> None:
        """`shows` tells whether a caller may read a model's name in an error; `passed_over` why nothing is served
        from a path where models are looked for. `loads` versions are loaded and warmed at a time.
        """
        self._backend, self._batcher, self._metrics = backend, batcher, metrics
        self._keep, self._needs_models, self._shows = keep, needs_models, shows
        self._passed_over, self._loads = passed_over, asyncio.Semaphore(loads)
        self._models: dict[str, Model] = {}
        self._gone: dict[str, None] = {}
        self._asked: set[str] = set()
        self._looking = asyncio.Lock()
        self._following: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._followed = False  # whether everything found at the start has had its turn
        self._trouble = "the models are still loading"

    def find_trouble(self, caller: Caller = NOBODY) -> str:
        """Why nothing can be answered yet, with the names that the caller may know; empty where something can."""
        if not self._needs_models:
            return self._trouble
        answers = self._followed and any(model.servables for model in self._models.values())
        if answers or self._trouble:
            return "" if answers else self._trouble
        return explain_none(self._models, partial(self._shows, caller), self.passed_over(caller))

    async def sync(self) -> None:
        """Makes what is loaded follow what the backend finds, and waits for the loads that takes. Where none of them
        ends for _PATIENCE, it waits only until something answers.

        Raises NotReady, changing nothing, where the backend cannot tell.
        """
        await self._look()
        while self._following:
            ended, _ = await asyncio.wait(
                self._following.values(), timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
            if ended:
                continue
            _log.warning(
                "no load has ended for %.0f s; still loading: %s", _PATIENCE, ", ".join(sorted(self._following))
            )
            if any(model.servables for model in self._models.values()) or not self._needs_models:
                break
            with suppress(NotReady):  # whoever repairs the only model waits for no restart
                await self._look()
        self._followed = True
        self._trouble = ""

    async def watch(self, interval: float) -> None:
        """Looks every `interval` seconds until cancelled. What goes wrong is logged once, not every time.

        A load that hangs holds up its own model only.
        """
        last = ""
        while True:
            await asyncio.sleep(interval)
            try:
                if self._followed:
                    await self._look()
                else:  # nothing could be found at the start
                    await self.sync()
                last = self._trouble = ""
            except NotReady as error:
                if error.for_log != last:
                    _log.error("%s; what is loaded stays", error.for_log)
                last = error.for_log
            except Exception:  # a fault of ours must not end the watch over everybody's models
                _log.exception("the look for new versions failed")

    async def look_for(self, name: str) -> None:
        """Asks the backend for a model nobody has named before, once between two looks."""
        if name in self._asked or (name in self._models and self._models[name].servables):
            return
        if await self._backend.look_up(name):
            await self.look_again(name)
        self._asked.add(name)

    async def look_again(self, name: str) -> None:
        """A look between two looks, until what it found of this model is loaded. Raises NotReady like `sync`."""
        await self._look()
        if name in self._following:
            await asyncio.wait([self._following[name]])

    def lease(self, ref: ModelRef, caller: Caller = NOBODY) -> AbstractContextManager[Servable]:
        """The version `ref` means, held loaded for as long as the context lasts.

        Raises NotFound, saying what there is that the caller may know, or NotReady while it is loading.
        """
        return self.find(ref, caller).lease()

    def find(self, ref: ModelRef, caller: Caller = NOBODY) -> Servable:
        """The version `ref` means, for a question that is over at once. Raises as `lease` does."""
        return find(self._models, ref, self.find_trouble(caller), partial(self._shows, caller))

    def statuses(self, name: str, caller: Caller = NOBODY) -> list[Status]:
        """Every version found of a model, and the last that went, newest first. Raises NotFound for an unknown name."""
        if name not in self._models:
            raise build_unknown_error(self._models, ModelRef(name), partial(self._shows, caller))
        return sorted(self._models[name].statuses.values(), key=lambda status: -status.version)

    def available(self) -> Mapping[str, list[int]]:
        """Model name -> versions that answer, newest first."""
        return {
            name: sorted(model.servables, reverse=True)
            for name, model in sorted(self._models.items())
            if model.servables
        }

    def index(self) -> Mapping[str, list[Status]]:
        """Model name -> every version found of it, and the last that went, newest first."""
        return {name: self.statuses(name) for name in sorted(self._models)}

    def passed_over(self, caller: Caller) -> Mapping[str, str]:
        """Path -> why nothing is served from there, of what the caller may know of."""
        return {path: why for path, why in self._passed_over().items() if self._shows(caller, path.partition("/")[0])}

    async def close(self) -> None:
        """Stops loading, drains and unloads everything."""
        for task in self._following.values():
            task.cancel()
        for model in self._models.values():
            for version in list(model.servables):
                self._retire(model, model.servables.pop(version))
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def _look(self) -> None:
        async with self._looking:
            try:
                found = await self._backend.find()
            except NotReady as error:
                self._trouble = error.message
                raise
            self._asked.clear()
            self._forget_models()
            for name in sorted(found.keys() | self._models.keys()):
                self._abandon(name, found.get(name, {}))
                if name not in self._following:
                    task = asyncio.get_running_loop().create_task(self._follow(name, found.get(name, {})))
                    self._following[name] = task
                    task.add_done_callback(partial(self._followed_up, name))

    def _followed_up(self, name: str, task: asyncio.Task[None]) -> None:
        if self._following.get(name) is task:
            del self._following[name]

    def _abandon(self, name: str, versions: Mapping[int, str]) -> None:
        """Gives up a load that hangs, once what it loads has been replaced or has gone."""
        model = self._models.get(name)
        if model is None or model.overdue is None or name not in self._following:
            return
        version, fingerprint = model.overdue
        if versions.get(version) != fingerprint:
            self._following.pop(name).cancel()
            model.overdue = None
            if version not in model.servables:
                self._set(name, model, Status(version, State.END, "its files changed while it was loading"))

    async def _follow(self, name: str, versions: Mapping[int, str]) -> None:
        model = self._models.setdefault(name, Model())
        model.found = versions.keys()
        model.failed = {version: mark for version, mark in model.failed.items() if version in versions}
        for version, before in list(model.behind.items()):
            if before not in versions or version not in versions:  # nothing holds it back any more
                del model.behind[version]
                model.failed.pop(version, None)
        for status in model.statuses.values():
            if status.error and status.version not in versions:
                self._metrics.versions.failed(ModelRef(name, status.version), False)
        wanted: set[int] = set()
        for version in sorted(versions, reverse=True):
            if len(wanted) == self._keep:
                break
            current = model.servables.get(version)
            fresh = current is not None and current.fingerprint == versions[version]
            before = max((number for number in model.servables if number <= version and number in versions), default=-1)
            if (
                fresh
                or await self._load(name, model, version, versions[version], model.servables.get(before))
                or current is not None
            ):
                wanted.add(version)
        for version in model.servables.keys() - wanted:
            self._retire(model, model.servables.pop(version))
        self._forget(name, model)

    async def _load(self, name: str, model: Model, version: int, fingerprint: str, before: Servable | None) -> bool:
        """`before` is the version in service whose clients this one would get."""
        if model.failed.get(version) == fingerprint:
            return False
        old = model.servables.get(version)
        if old is None:
            self._set(name, model, Status(version, State.LOADING))
        try:
            async with self._loads_at_a_time(model, version, fingerprint):
                loaded = await self._load_warm(name, version, before)
        except Exception as error:
            if not isinstance(error, NotReady):
                model.failed[version] = fingerprint
            if isinstance(error, Behind) and before is not None:
                model.behind[version] = before.ref.version or 0
            state = State.END if old is None else State.AVAILABLE  # the old one under this number goes on
            self._set(name, model, Status(version, state, str(error)))
            self._metrics.versions.failed(ModelRef(name, version), True)
            _log.error("%s/%d was not loaded: %s", name, version, getattr(error, "for_log", error))
            return False
        servable = Servable(loaded, self._batcher(loaded), fingerprint)
        model.servables[version] = servable
        self._metrics.versions.loaded(
            servable.ref, lambda: servable.batcher.queued_rows, loaded.engine, loaded.precision
        )
        self._set(name, model, Status(version, State.AVAILABLE))
        self._metrics.versions.failed(servable.ref, False)
        _log.info("%s/%d is available", name, version)
        if loaded.unshared:
            _log.info("%s/%d: requests do not share batches: %s", name, version, _summary(loaded.unshared))
        if old is not None:
            self._retire(model, old)
        return True

    @asynccontextmanager
    async def _loads_at_a_time(self, model: Model, version: int, fingerprint: str) -> AsyncIterator[None]:
        """A place among those that load, for _PATIENCE at most: who hangs gives it to others."""

        def overdue() -> None:
            model.overdue = version, fingerprint
            place.close()

        await self._loads.acquire()
        with ExitStack() as place:
            place.callback(self._loads.release)
            timer = asyncio.get_running_loop().call_later(_PATIENCE, overdue)
            try:
                yield
            finally:
                timer.cancel()
                if model.overdue == (version, fingerprint):
                    model.overdue = None

    async def _load_warm(self, name: str, version: int, before: Servable | None) -> Loaded:
        loaded = await self._backend.load(name, version)
        try:
            if before is not None and self._needs_models:  # an upstream has decided by itself
                check_succession(loaded.manifest, before.manifest)
            await warm(loaded)
            loaded = replace(loaded, warmup=())
            await asyncio.to_thread(release_memory)  # of engines that lost a race, and of what warmed this one
        except BaseException:
            await loaded.runner.close()
            raise
        return loaded

    def _retire(self, model: Model, servable: Servable) -> None:
        task = asyncio.get_running_loop().create_task(self._unload(model, servable))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _unload(self, model: Model, servable: Servable) -> None:
        name, version = servable.manifest.name, servable.manifest.version
        replaced = version in model.servables
        if not replaced:
            self._set(name, model, Status(version, State.UNLOADING))
        await servable.retire()
        if not replaced and version not in model.servables:
            self._set(name, model, Status(version, State.END))
            self._metrics.ended(servable.ref, State.END)
            self._forget(name, model)
        _log.info("%s/%d is unloaded", name, version)

    def _forget(self, name: str, model: Model) -> None:
        """Of what has gone, the last few stay known: whoever publishes for years publishes thousands of versions."""
        ended = [version for version, status in model.statuses.items() if status.state is State.END]
        gone = sorted(version for version in ended if version not in model.found)
        for version in gone[:-_REMEMBERED]:
            self._drop(name, model, version)
        if model.found or len(ended) < len(model.statuses):
            self._gone.pop(name, None)
        else:
            self._gone.setdefault(name)

    def _forget_models(self) -> None:
        for name in list(self._gone)[:-_REMEMBERED_MODELS]:
            if name not in self._following:
                for version in list(self._models[name].statuses):
                    self._drop(name, self._models[name], version)
                del self._gone[name], self._models[name]

    def _drop(self, name: str, model: Model, version: int) -> None:
        self._metrics.ended(ModelRef(name, version), model.statuses.pop(version).state)

    def _set(self, name: str, model: Model, status: Status) -> None:
        previous = model.statuses.get(status.version)
        model.statuses[status.version] = status
        self._metrics.versions.state(ModelRef(name, status.version), status.state, previous.state if previous else None)


def _summary(unshared: Mapping[str, str]) -> str:
    """Reasons with their signatures, cut to a line."""
    by_reason: dict[str, list[str]] = {}
    for signature, reason in unshared.items():
        by_reason.setdefault(reason, []).append(signature)
    text = "; ".join(f"{reason} ({', '.join(signatures)})" for reason, signatures in by_reason.items())
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}... (all of it at /models/<model>)"
