"""What is loaded: versions are loaded, warmed and checked, then take traffic, then drain and unload.

    found ──load──> LOADING ──warm, golden check──> AVAILABLE ──drain──> UNLOADING ──> END
                       └──────── anything fails ─────────────────────────────────────> END (error)

A newer version takes traffic only once it is AVAILABLE, and an older one goes only after that, so a
broken version never replaces a working one.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial

from service.backends.base import Backend, Loaded
from service.batching import Batcher
from service.errors import InvalidInput, NotFound, NotReady
from service.messages import ModelRef
from service.metrics import Metrics
from service.servable import Servable, State, Status
from service.warming import warm

_log = logging.getLogger(__name__)
_PATIENCE = 30.0  # seconds of loading between two signs of life in the log


@dataclass(eq=False)
class _Model:
    """One name: the versions that answer, what is known of all, and the fingerprints that failed."""

    servables: dict[int, Servable] = field(default_factory=dict)
    statuses: dict[int, Status] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)


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
        shows: Callable[[str], bool] = lambda name: True,
    ) -> None:
        """`shows` tells which models' names whoever asks may read in an error."""
        self._backend, self._batcher, self._metrics = backend, batcher, metrics
        self._keep, self._needs_models, self._shows = keep, needs_models, shows
        self._models: dict[str, _Model] = {}
        self._asked: set[str] = set()
        self._looking = asyncio.Lock()
        self._following: dict[str, asyncio.Task[None]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._followed = False  # whether everything found at the start has had its turn
        self._trouble = "the models are still loading"

    @property
    def trouble(self) -> str:
        """Why nothing can be answered yet; empty where something can."""
        if not self._needs_models:
            return self._trouble
        answers = self._followed and any(model.servables for model in self._models.values())
        return "" if answers else self._trouble

    async def sync(self) -> None:
        """Makes what is loaded follow what the backend finds, and waits for the loads that takes.

        Raises NotReady, changing nothing, where the backend cannot tell.
        """
        await self._look()
        while self._following:
            _, slow = await asyncio.wait(self._following.values(), timeout=_PATIENCE)
            if slow:
                _log.warning("still loading after %.0f s: %s", _PATIENCE, ", ".join(sorted(self._following)))
        self._followed = True
        nothing = "no model could be loaded; export one with `python -m export --model mobilenet_v3_small`"
        self._trouble = nothing if self._needs_models else ""

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
                if not self._needs_models:
                    self._trouble = ""
                last = ""
            except NotReady as error:
                if error.message != last:
                    _log.error("%s; what is loaded stays", error.message)
                last = error.message
            except Exception:  # a fault of ours must not end the watch over everybody's models
                _log.exception("the look for new versions failed")

    async def look_for(self, name: str) -> None:
        """Asks the backend for a model nobody has named before, once between two looks."""
        if name in self._asked or (name in self._models and self._models[name].servables):
            return
        if await self._backend.ask(name):
            await self.look_again(name)
        self._asked.add(name)

    async def look_again(self, name: str) -> None:
        """A look between two looks, until what it found of this model is loaded. Raises NotReady like `sync`."""
        await self._look()
        if name in self._following:
            await asyncio.wait([self._following[name]])

    def lease(self, ref: ModelRef) -> AbstractContextManager[Servable]:
        """The version `ref` means, held loaded for as long as the context lasts.

        Raises NotFound, saying what there is, or NotReady while it is loading.
        """
        return self._resolve(ref).lease()

    def statuses(self, name: str) -> list[Status]:
        """Every version ever seen of a model, newest first. Raises NotFound for an unknown name."""
        if name not in self._models:
            raise self._unknown(ModelRef(name))
        return sorted(self._models[name].statuses.values(), key=lambda status: -status.version)

    def available(self) -> Mapping[str, list[int]]:
        """Model name -> versions that answer, newest first."""
        return {
            name: sorted(model.servables, reverse=True)
            for name, model in sorted(self._models.items())
            if model.servables
        }

    def index(self) -> Mapping[str, list[Status]]:
        """Model name -> every version ever seen of it, newest first."""
        return {name: self.statuses(name) for name in sorted(self._models)}

    async def close(self) -> None:
        """Stops loading, drains and unloads everything."""
        for task in self._following.values():
            task.cancel()
        for model in self._models.values():
            for version in list(model.servables):
                self._retire(model, model.servables.pop(version))
        if self._retiring:
            await asyncio.wait(self._retiring)

    def _resolve(self, ref: ModelRef) -> Servable:
        model = self._models.get(ref.name)
        if model is None:
            if self.trouble:
                raise NotReady(self.trouble)
            if ref.label is not None:
                known = self._names()
                raise InvalidInput(f"model {ref.name!r} has no version label {ref.label!r}; models here: {known}")
            raise self._unknown(ref)
        if ref.label is not None:
            return self._labelled(model, ref)
        version = ref.version if ref.version is not None else max(model.servables, default=-1)
        if version in model.servables:
            return model.servables[version]
        wanted = model.statuses.values() if ref.version is None else filter(None, [model.statuses.get(version)])
        if any(status.state is State.LOADING for status in wanted):
            raise NotReady(f"model {str(ref)!r} is still loading; ask again shortly")
        available = sorted(model.servables, reverse=True)
        reasons = [
            f"; version {s.version} failed: {s.error}"
            for s in model.statuses.values()
            if s.error and version in (-1, s.version)
        ]
        raise NotFound(
            f"Servable not found for request: {ref.as_servable()}; available versions: {available}{''.join(reasons)}",
            available_versions=available,
        )

    def _labelled(self, model: _Model, ref: ModelRef) -> Servable:
        """The newest version of a precision: every export carries its own as a label."""
        by_label = {model.servables[version].manifest.precision: version for version in sorted(model.servables)}
        if ref.label not in by_label:
            known = sorted(label for label in by_label if label)
            raise InvalidInput(
                f"model {ref.name!r} has no version label {ref.label!r}; labels here: {known}", labels=known
            )
        return model.servables[by_label[ref.label]]

    def _unknown(self, ref: ModelRef) -> NotFound:
        models = self._names()
        return NotFound(f"Servable not found for request: {ref.as_servable()}; models here: {models}", models=models)

    def _names(self) -> list[str]:
        return [name for name in self.available() if self._shows(name)]

    async def _look(self) -> None:
        async with self._looking:
            try:
                found = await self._backend.find()
            except NotReady as error:
                self._trouble = error.message
                raise
            self._asked.clear()
            for name in sorted(found.keys() | self._models.keys()):
                if name not in self._following:
                    task = asyncio.get_running_loop().create_task(self._follow(name, found.get(name, {})))
                    self._following[name] = task
                    task.add_done_callback(partial(self._followed_up, name))

    def _followed_up(self, name: str, _: asyncio.Task[None]) -> None:
        del self._following[name]

    async def _follow(self, name: str, versions: Mapping[int, str]) -> None:
        model = self._models.setdefault(name, _Model())
        model.failed = {version: mark for version, mark in model.failed.items() if version in versions}
        wanted: set[int] = set()
        for version in sorted(versions, reverse=True):
            if len(wanted) == self._keep:
                break
            current = model.servables.get(version)
            fresh = current is not None and current.fingerprint == versions[version]
            if fresh or await self._load(name, model, version, versions[version]) or current is not None:
                wanted.add(version)
        for version in model.servables.keys() - wanted:
            self._retire(model, model.servables.pop(version))

    async def _load(self, name: str, model: _Model, version: int, fingerprint: str) -> bool:
        if model.failed.get(version) == fingerprint:
            return False
        old = model.servables.get(version)
        if old is None:
            self._set(name, model, Status(version, State.LOADING))
        try:
            loaded = await self._backend.load(name, version)
            try:
                await warm(loaded)
            except BaseException:
                await loaded.runner.close()
                raise
        except Exception as error:
            if not isinstance(error, NotReady):
                model.failed[version] = fingerprint
            state = State.END if old is None else State.AVAILABLE  # the old one under this number goes on
            self._set(name, model, Status(version, state, str(error)))
            _log.error("%s/%d was not loaded: %s", name, version, error)
            return False
        servable = Servable(loaded, self._batcher(loaded), fingerprint)
        model.servables[version] = servable
        self._metrics.loaded(servable.ref, lambda: servable.batcher.queued_rows)
        self._set(name, model, Status(version, State.AVAILABLE))
        _log.info("%s/%d is available", name, version)
        if old is not None:
            self._retire(model, old)
        return True

    def _retire(self, model: _Model, servable: Servable) -> None:
        task = asyncio.get_running_loop().create_task(self._unload(model, servable))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _unload(self, model: _Model, servable: Servable) -> None:
        name, version = servable.manifest.name, servable.manifest.version
        replaced = version in model.servables
        if not replaced:
            self._set(name, model, Status(version, State.UNLOADING))
        await servable.retire()
        if not replaced and version not in model.servables:
            self._metrics.unloaded(servable.ref)
            self._set(name, model, Status(version, State.END))
        _log.info("%s/%d is unloaded", name, version)

    def _set(self, name: str, model: _Model, status: Status) -> None:
        previous = model.statuses.get(status.version)
        model.statuses[status.version] = status
        self._metrics.state(ModelRef(name, status.version), status.state, previous.state if previous else None)
