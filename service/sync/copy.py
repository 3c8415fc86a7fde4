"""One pass: copies whole versions from a source to a destination, then removes old ones there."""

import hashlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass
from fnmatch import fnmatch
from operator import add

from service.repository import checksums as contents
from service.repository.checksums import FILES, Contents, File
from service.sync.locations import Destination, Source, SyncError

_log = logging.getLogger("service.sync")
_QUIET_SECONDS = 10.0  # between two lines of progress of one version
_DAMAGED_SECONDS = 600.0  # before a damaged version is fetched again

Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which versions to copy."""

    models: tuple[str, ...] = ("*",)
    """Names or globs."""
    keep: int = 0
    """The newest so many whole versions of each model; the destination's others are removed. 0 brings all of them
    and removes none."""
    as_next: bool = False
    """The newest version alone, under the destination's next number, unless the destination's newest is the same one.
    `keep` then counts the destination's versions."""


@dataclass(frozen=True, slots=True)
class Outcome:
    brought: int = 0
    there: int = 0
    removed: int = 0
    waiting: int = 0
    """Versions of the source that are not whole."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(*map(add, astuple(self), astuple(other)))

    def __str__(self) -> str:
        waiting = f", {self.waiting} not whole yet" if self.waiting else ""
        return f"{self.brought} brought, {self.there} there already, {self.removed} removed{waiting}"


class _Damaged(SyncError):
    """The bytes of a version differ from its list of files."""


class Copier:
    """Copies versions from `source` to `destination`, a pass a `run`."""

    def __init__(self, source: Source, destination: Destination, wanted: Wanted) -> None:
        self._source, self._destination, self._wanted = source, destination, wanted
        self._warned: set[str] = set()
        self._damaged: dict[tuple[str, int], float] = {}

    def run(self) -> Outcome:
        """Raises SyncError, also where no version is whole; what was copied before that stays."""
        found, there = self._source.found(), self._destination.found()
        chosen = [name for name in sorted(found) if any(fnmatch(name, glob) for glob in self._wanted.models)]
        if not chosen:
            others = f"; models there: {', '.join(sorted(found))}" if found else ""
            raise SyncError(
                f"{self._source} has no version of {' '.join(self._wanted.models)} (NAME/NUMBER/saved_model.pb or "
                f"model.tflite){others}"
            )
        outcome = Outcome()
        for name in chosen:
            here = {number: sizes for number, sizes in there.get(name, {}).items() if self._is_whole(sizes)}
            bring = self._bring_next if self._wanted.as_next else self._bring
            outcome += bring(name, found[name], here)
        if not outcome.brought + outcome.there:
            raise SyncError(f"{self._source} has nothing that is whole, for the reasons above")
        return outcome

    def _bring(self, name: str, versions: Mapping[int, Sizes], here: Mapping[int, Sizes]) -> Outcome:
        outcome, wanted = Outcome(), set[int]()
        for version in sorted(versions, reverse=True):
            if len(wanted) == self._wanted.keep != 0:
                break
            if version in here:
                self._compare(name, version, versions[version], here[version])
                outcome += Outcome(there=1)
            elif self._bring_one(name, version, versions[version]):
                outcome += Outcome(brought=1)
            else:
                outcome += Outcome(waiting=1)
                continue
            wanted.add(version)
        # A source that holds nothing whole takes nothing away.
        gone = here.keys() - wanted if self._wanted.keep and wanted else set()
        return outcome + self._remove(name, gone)

    def _bring_one(self, name: str, version: int, sizes: Sizes) -> bool:
        if time.monotonic() - self._damaged.get((name, version), -_DAMAGED_SECONDS) < _DAMAGED_SECONDS:
            return False
        listed = self._listed(name, version, sizes)
        if listed is None:
            return False
        try:
            self._publish(name, version, version, sizes, listed)
        except _Damaged as error:  # older ones may be whole
            self._damaged[name, version] = time.monotonic()
            _log.error("%s", error)
            return False
        return True

    def _bring_next(self, name: str, versions: Mapping[int, Sizes], here: Mapping[int, Sizes]) -> Outcome:
        version = max(versions)
        listed = self._listed(name, version, versions[version])
        if listed is None:
            return Outcome(waiting=1)
        passed: dict[str, File] = {}
        for _, chunks in self._files(name, version, versions[version], listed, passed):
            for _ in chunks:
                pass
        if here and passed == self._list_of(self._destination, name, max(here), here[max(here)]):
            _log.info("%s/%d is %s's version %d already", name, version, self._destination, max(here))
            return Outcome(there=1)
        number = self._publish(name, version, None, versions[version], passed)
        kept = sorted({*here, number}, reverse=True)[: self._wanted.keep or None]
        return Outcome(brought=1) + self._remove(name, here.keys() - kept)

    def _publish(self, name: str, version: int, number: int | None, sizes: Sizes, listed: Contents) -> int:
        """Returns its number at the destination, the next free one for a `number` None."""
        began, size = time.monotonic(), sum(sizes.values())
        as_number = self._destination.publish(name, number, self._files(name, version, sizes, listed, {}))
        _log.info(
            "%s/%d brought to %s%s: %d files, %.1f MB in %.1f s",
            name,
            version,
            self._destination,
            f" as version {as_number}" if as_number != version else "",
            len(sizes),
            size / 1e6,
            time.monotonic() - began,
        )
        return as_number

    def _files(
        self, name: str, version: int, sizes: Sizes, listed: Contents, passed: dict[str, File]
    ) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Every file of a version, checked against `listed` and recorded in `passed`; the list of them comes last."""
        for path in sorted(sizes.keys() - {FILES}):
            yield path, self._checked(name, version, path, listed.get(path), passed)
        yield FILES, iter([contents.dump(passed)])

    def _checked(
        self, name: str, version: int, path: str, expected: File | None, passed: dict[str, File]
    ) -> Iterator[bytes]:
        digest, size, logged = hashlib.sha256(), 0, time.monotonic()
        for chunk in self._source.read(name, version, path):
            digest.update(chunk)
            size += len(chunk)
            if time.monotonic() - logged > _QUIET_SECONDS:
                logged = time.monotonic()
                _log.info("%s/%d/%s: %.0f MB so far", name, version, path, size / 1e6)
            yield chunk
        passed[path] = File(size, digest.hexdigest())
        if expected is not None and expected != passed[path]:
            raise _Damaged(
                f"{self._source}: {name}/{version}/{path} is not what its list says ({size} bytes of {expected.size}); "
                "it is damaged, export or upload it again"
            )

    def _listed(self, name: str, version: int, sizes: Sizes) -> Contents | None:
        """The files that a version must have, empty where it has no list; None where it is not whole."""
        listed = self._list_of(self._source, name, version, sizes)
        if listed is None:
            if self._source.vouched:
                return {}
            self._warn_once(
                f"{self._source}: {name}/{version} has no {FILES}: it is still arriving, or was uploaded by something "
                "else; `python -m service sync FOLDER URL` uploads with it"
            )
            return None
        missing = [path for path, file in listed.items() if sizes.get(path) != file.size]
        if missing:
            self._warn_once(
                f"{self._source}: {name}/{version} is not whole: {len(missing)} of its {len(listed)} files are missing "
                f"or of another size, {missing[0]} among them"
            )
            return None
        return listed

    def _list_of(self, place: Source, name: str, version: int, sizes: Sizes) -> Contents | None:
        if FILES not in sizes:
            return None
        try:
            return contents.load(b"".join(place.read(name, version, FILES)))
        except ValueError as error:
            raise SyncError(f"{place}: {name}/{version}/{FILES} cannot be read ({error}); export it again") from error

    def _is_whole(self, sizes: Sizes) -> bool:
        return self._destination.vouched or FILES in sizes

    def _compare(self, name: str, version: int, sizes: Sizes, here: Sizes) -> None:
        differ = [path for path in sizes.keys() & here.keys() - {FILES} if sizes[path] != here[path]]
        if differ:
            self._warn_once(
                f"{name}/{version} at {self._destination} is another one than at {self._source} ({min(differ)} "
                "differs) and stays: a version never changes, publish what is new under the next number"
            )

    def _remove(self, name: str, versions: set[int]) -> Outcome:
        for version in sorted(versions):
            self._destination.remove(name, version)
            _log.info("%s/%d removed from %s", name, version, self._destination)
        return Outcome(removed=len(versions))

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            _log.warning("%s", text)
