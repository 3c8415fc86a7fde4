"""The embedded backend: versions of a repository folder, run inside this process."""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from service.backends import row_probe
from service.backends.base import CannotLoad, Found, Golden, Loaded, Runner
from service.backends.embedded.deferred import DeferredRunner
from service.backends.embedded.engines import Engines, describe_engine
from service.backends.embedded.profile_store import ProfileStore
from service.backends.embedded.race import LITERT, TENSORFLOW
from service.backends.embedded.threads import run_in_thread
from service.errors import NotReady
from service.host.cpu import machine
from service.protobuf.warmup import read_warmup
from service.repository import checksums as contents
from service.repository import layouts
from service.repository.image_index import ImageIndex
from service.repository.manifest import (
    GOLDEN,
    IMAGE_EMBEDDING,
    IMAGE_FEATURES,
    PROBABILITIES,
    SAVED_MODEL,
    TFLITE,
    WARMUP,
    Manifest,
    Profile,
    Signature,
    read_labels,
)
from service.repository.repository import Repository, check_regular
from service.repository.vocabulary import read_merges
from service.types import Tensors

if TYPE_CHECKING:  # LiteRT is loaded with the first model that it runs
    from service.backends.embedded.litert import LiteRTRunner

_log = logging.getLogger(__name__)
_MOST_NOTES = 20  # lines in the log for one look


@dataclass(frozen=True, slots=True)
class EmbeddedRunner:
    """Several runners of one version: each signature runs on the one that has it."""

    by_signature: Mapping[str, Runner]
    runners: tuple[Runner, ...]

    @property
    def slots(self) -> int:
        return max(runner.slots for runner in self.runners)

    async def run(self, signature: str, inputs: Tensors, outputs: tuple[str, ...], timeout: float | None) -> Tensors:
        return await self.by_signature[signature].run(signature, inputs, outputs, timeout)

    async def close(self) -> None:
        for runner in self.runners:
            await runner.close()


class EmbeddedBackend:
    """LiteRT or OpenVINO run the signatures of `model.tflite`, TensorFlow the others."""

    def __init__(
        self, repository: Repository, profiles: ProfileStore, engines: Engines | None = None, *, foreign: bool = True
    ) -> None:
        """Without `engines`, LiteRT runs what it can. Without `foreign`, models without a manifest are refused, and so
        is everything that needs TensorFlow.
        """
        self._repository, self._profiles, self._foreign_too = repository, profiles, foreign
        self._engines = engines or Engines(LITERT)
        self._measuring = threading.Lock()
        self._last: Found | None = None  # as it was on disk at the last look
        self._found: dict[tuple[str, int], str] = {}
        self._decided: dict[tuple[str, int], int] = {}  # version -> races that have ended while it was served
        self._last_notes: Mapping[str, str] = {}
        self.passed_over: Mapping[str, str] = {}
        """Path below the repository -> why nothing is served from there."""

    async def find(self) -> Found:
        """What is on disk. A folder that has changed since the last look is still being copied: it is found as it was
        before, or not yet. Folders of the first look count as whole. A version whose engine has been decided in the
        background has changed too.
        """
        try:
            now = await asyncio.to_thread(self._repository.scan)
        except NotReady:
            self._last = self._last or {}
            raise
        if self._last is None:
            await asyncio.to_thread(self._profiles.remove_orphans)
        self._note(await asyncio.to_thread(layouts.passed_over, self._repository.root), first=self._last is None)
        found = {}
        for name, versions in now.items():
            for version, fingerprint in versions.items():
                key = (name, version)
                if self._last is None or self._last.get(name, {}).get(version) == fingerprint:
                    found[key] = fingerprint
                elif key in self._found:
                    found[key] = self._found[key]
        self._last, self._found = now, found
        return {
            name: {
                version: f"{found[key]}, {races} races" if (races := self._decided.get(key)) else found[key]
                for version in versions
                if (key := (name, version)) in found
            }
            for name, versions in now.items()
        }

    def _count_race(self, name: str, version: int) -> None:
        self._decided[name, version] = self._decided.get((name, version), 0) + 1

    def _note(self, notes: Mapping[str, str], *, first: bool) -> None:
        """Logs each path that is passed over, once. A path counts when two looks agree, or at the `first` look."""
        still = {path: why for path, why in notes.items() if first or self._last_notes.get(path) == why}
        fresh = [f"{path} {why}" for path, why in still.items() if self.passed_over.get(path) != why]
        for line in fresh[:_MOST_NOTES]:
            _log.warning("not served: %s", line)
        if len(fresh) > _MOST_NOTES:
            _log.warning("not served: %d more; /models lists them", len(fresh) - _MOST_NOTES)
        self._last_notes, self.passed_over = notes, still

    async def look_up(self, name: str) -> bool:
        return False  # `find` sees every folder already

    async def load(self, name: str, version: int) -> Loaded:
        try:
            loaded, lite = await run_in_thread(self._load, name, version)
        except Exception as error:
            raise CannotLoad(_strip_root(self._repository.root, str(error)), str(error)) from error
        profile, signatures = loaded.manifest.profile, loaded.manifest.signatures
        if profile is None:
            loaded = replace(loaded, engine=TENSORFLOW)
        else:
            loaded = replace(loaded, engine=profile.engine, precision=profile.precision)
        _log.info("%s/%d runs on %s", name, version, TENSORFLOW if profile is None else describe_engine(profile))
        if loaded.manifest.checked:  # exported networks answer row for row
            return replace(loaded, unshared=row_probe.find_declared(signatures))
        try:
            here = {each: signature for each, signature in signatures.items() if each not in loaded.unshared}
            unshared = {**loaded.unshared, **await row_probe.probe_rows(loaded.runner, here, loaded.warmup)}
        except BaseException:
            await loaded.runner.close()
            raise
        if lite is not None:
            lite.keep_whole(unshared)
        return replace(loaded, unshared=unshared)

    def _load(self, name: str, version: int) -> "tuple[Loaded, LiteRTRunner | None]":
        """A version, and its runner where that is a foreign `model.tflite`."""
        folder = self._repository.folder(name, version)
        check_regular(folder)
        contents.check(folder)
        if missing := self._repository.missing(name, version):
            path, older = next(iter(missing.items()))
            raise ValueError(
                f"{folder} has no {path}, which version {older} has: it is still being copied, or something else made "
                f"it; copy the rest, bring it with `python -m service sync`, or remove "
                f"version {older} to serve it as it is"
            )
        manifest = Manifest.read(folder, name, version)
        warmup = tuple(read_warmup(folder / WARMUP)) if (folder / WARMUP).is_file() else ()
        if manifest is None and not self._foreign_too:
            raise ValueError(f"{folder} was not exported by this project, and --foreign-models is off")
        if manifest is None:
            if (folder / SAVED_MODEL).is_file():
                from service.backends.embedded import foreign

                report = partial(self._count_race, name, version)
                found = foreign.load(folder, name, version, self._engines, self._profiles, report)
                manifest = Manifest(
                    name,
                    version,
                    found.signatures,
                    read_labels(folder),
                    profile=found.profile,
                    definitions=found.definitions,
                )
                warmup = tuple(each for each in warmup if each[0] not in found.deferred)
                return Loaded(manifest, _join(found.runners), warmup, unshared=found.deferred), None
            lite, profile = self._litert(folder / TFLITE, None)
            manifest = Manifest(name, version, lite.signatures, read_labels(folder), profile=profile)
            return Loaded(manifest, lite, warmup), lite
        golden = _read_golden(folder, manifest)  # before anything that would have to be closed again
        index, merges = ImageIndex.read(folder), read_merges(folder, manifest)
        runner, own_profile, twins, deferred, checked = self._load_own(folder, manifest, golden)
        manifest = replace(manifest, profile=own_profile, twins=twins)
        golden = None if checked else golden
        warmup = tuple(each for each in warmup if each[0] not in deferred)
        return Loaded(manifest, runner, warmup, golden, index=index, merges=merges), None

    def _load_own(
        self, folder: Path, manifest: Manifest, golden: Golden | None
    ) -> tuple[Runner, Profile | None, Mapping[str, str], set[str], bool]:
        """A runner of every signature, the profile, `Manifest.twins`, the signatures that load when called, and whether
        the golden answers have been given.
        """
        by_signature: dict[str, Runner] = {}
        profile, twins, checked = None, dict[str, str](), False
        if (folder / TFLITE).is_file() and self._engines.name != TENSORFLOW:
            chosen = self._engines.load(
                folder,
                manifest,
                golden,
                self._profiles,
                lambda: self._litert(folder / TFLITE, manifest.profile),
                partial(self._count_race, manifest.name, manifest.version),
            )
            profile, checked = chosen.profile, chosen.checked
            by_signature |= chosen.runners
            twins = _find_twins(manifest, chosen.given)
            by_signature |= {name: by_signature[twin] for name, twin in twins.items() if twin in by_signature}
        deferred = {name for name, runner in by_signature.items() if isinstance(runner, DeferredRunner)}
        # A signature that takes encoded images needs no graph where the service decodes them itself.
        decoded = {
            name
            for name in manifest.signatures
            if (recipe := manifest.decodes(name)) and recipe.image_signature in by_signature
        }
        missing = set(manifest.signatures) - set(by_signature) - decoded
        if missing and not self._foreign_too:
            names = ", ".join(sorted(missing))
            raise ValueError(
                f"{folder} needs TensorFlow for {names}, and --foreign-models is off: a graph is a program"
            )
        if missing:
            from service.backends.embedded.saved_model import SavedModelRunner

            by_signature |= dict.fromkeys(missing, SavedModelRunner(folder))
        return _join(by_signature), profile, twins, deferred, checked

    def _litert(self, path: Path, shipped: Profile | None) -> "tuple[LiteRTRunner, Profile]":
        """A runner of `path` and its profile: `shipped` if it is this machine's, else the kept one, else measured."""
        from service.backends.embedded import autotune

        profile = shipped if shipped is not None and shipped.machine == machine() else self._profiles.read(path)
        if profile is not None:
            return autotune.load_tuned(path, profile), profile
        with self._measuring, self._profiles.one_at_a_time():  # two measurements would slow each other down
            if (profile := self._profiles.read(path)) is not None:  # another worker's
                return autotune.load_tuned(path, profile), profile
            began = time.monotonic()
            runner, profile = autotune.tune(path)
            self._profiles.write(path, profile)
        took = time.monotonic() - began
        _log.info("%s: measured on this machine in %.1f s: %s", path, took, autotune.describe_profile(profile))
        return runner, profile


def _join(by_signature: Mapping[str, Runner]) -> Runner:
    runners = tuple(dict.fromkeys(by_signature.values()))
    return runners[0] if len(runners) == 1 else EmbeddedRunner(by_signature, runners)


def _find_twins(manifest: Manifest, given: Mapping[str, Signature]) -> dict[str, str]:
    """IMAGE_FEATURES -> the signature of `model.tflite` whose run gives the features anyway, where there is one."""
    recipe, declared = manifest.preprocessing, manifest.signatures.get(IMAGE_FEATURES)
    if recipe is None or declared is None or (twin := given.get(recipe.image_signature)) is None:
        return {}
    return {IMAGE_FEATURES: recipe.image_signature} if declared.outputs.keys() <= twin.outputs.keys() else {}


def _strip_root(root: Path, text: str) -> str:
    """`text` with paths below `root` named from there on: clients read it."""
    for place in sorted({str(root), str(root.absolute()), str(root.resolve())}, key=len, reverse=True):
        text = re.sub(rf"(?<![\w./-]){re.escape(place)}/", "", text)
    return text


def _read_golden(folder: Path, manifest: Manifest) -> Golden | None:
    if manifest.preprocessing is None or not (folder / GOLDEN).is_file():
        return None
    output = PROBABILITIES if manifest.zero_shot is None else IMAGE_EMBEDDING
    with np.load(folder / GOLDEN) as arrays:
        return Golden(manifest.preprocessing.image_signature, {"image": arrays["images"]}, {output: arrays[output]})
