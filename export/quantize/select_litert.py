"""The form of `model.tflite` to publish: the fastest accurate one, found without measuring what cannot be it.

Every candidate is timed, briefly, and those whose times lie close together for long. Then those are examined that would
be published if they are accurate, the fastest first, each until it is certain that it is not (`sequential_test`); the
first that is ends it, for what is slower would not be published anyway.
"""

import filecmp
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.architectures.architecture import Architecture
from export.data.dataset import Dataset, Split
from export.errors import ExportError
from export.progress import Stage
from export.quantize import evaluate, overflow
from export.quantize import mixed_precision as mixed
from export.quantize.candidates import Candidate, Choice, list_rivals
from export.quantize.convert import Convertible
from export.quantize.evaluate import Judge, Quality
from export.quantize.schemes import FLOAT32, INT8, Scheme
from service.plurals import format_items

CALIBRATION_IMAGES = 128
RANKING_IMAGES = 32

_TIMED_IMAGES = 8

_BRIEF_ROUNDS, _ROUNDS = 2, 5
_FAR, _CLOSE = 2.0, 1.25
"""Times of a single round that are further apart than the first are in the right order, of a few rounds the second."""

_FEW_IMAGES = 64
"""They show whether a candidate loses most of its accuracy, ahead of timing it for long."""


def choose(
    file: Path,
    architecture: Architecture,
    schemes: Sequence[Scheme],
    dataset: Dataset,
    judge: Judge,
    or_float: bool,
    stage: Stage,
) -> Choice:
    """Measures `schemes` of `file`, a `model.tflite` with float32 weights, and puts the chosen in its place.

    Where an int8 candidate is faster than whatever may be published but loses too much for `judge`, who asks `file`
    for float32, mixed forms of it are tried too. `or_float` says that float32 may be what is published.

    Raises ExportError where no candidate may be published.
    """
    images = spread(dataset.train, CALIBRATION_IMAGES)
    stage.advance(0, len(schemes) + 1, f"calibrating on {format_items(len(images), 'image')}")
    try:
        convertible = Convertible(file.read_bytes(), images, architecture)
    except (ValueError, RuntimeError) as error:
        raise ExportError(
            f"refused to publish: the quantizer cannot calibrate this network ({error}); export it without --quantize"
        ) from error
    with tempfile.TemporaryDirectory(dir=file.parent) as scratch:
        contest = _Contest(Path(scratch), convertible, judge, images[:_TIMED_IMAGES], or_float, stage)
        float32 = Candidate(FLOAT32, FLOAT32, file, file.stat().st_size, judge.examine_float32())
        contest.candidates.append(float32)
        for scheme in schemes:
            stage.advance(len(contest.candidates), len(schemes) + 1, scheme.name)
            contest.build(scheme)
        contest.time_all()
        best = contest.settle()
        if tempting := contest.find_tempting():
            rejected = next(scheme for scheme in schemes if scheme.name == tempting.name)
            for form in mixed.forms(rejected, convertible, file, images[:RANKING_IMAGES]):
                if contest.try_mixed(form, best):
                    best = contest.settle()
                    break
        if best is None:
            raise ExportError(_nothing_left(contest.candidates[1:], contest.failed, judge.remedy))
        if best is not float32:
            best.file.replace(file)  # not written into: who maps the old one keeps it
    return Choice(best, tuple(contest.candidates), contest.failed)


class _Contest:
    """Owns what is known of the candidates so far: those that were built, why others have no file."""

    def __init__(
        self, folder: Path, convertible: Convertible, judge: Judge, images: Any, or_float: bool, stage: Stage
    ) -> None:
        """`images`, uint8 [n, H, W, 3], are what candidates are timed on."""
        self.candidates: list[Candidate] = []
        self.failed: dict[str, str] = {}
        self._folder, self._convertible, self._judge = folder, convertible, judge
        self._images, self._or_float, self._stage = images, or_float, stage
        self._glanced_at: set[str] = set()

    def build(self, scheme: Scheme) -> Candidate | None:
        """Writes its file, where the quantizer knows how, and no other scheme gives the same."""
        file = self._folder / f"{len(self.candidates)}.tflite"
        try:
            file.write_bytes(self._convertible.under(scheme))
            evaluate.answers(file, self._images[:1])
        except (ValueError, RuntimeError) as error:
            self.failed[scheme.name] = str(error).partition("\n")[0]
            return None
        if same := next((each for each in self.candidates if filecmp.cmp(each.file, file, shallow=False)), None):
            self.failed[scheme.name] = f"gives the same file as {same.name}"
            file.unlink()
            return None
        self.candidates.append(Candidate(scheme.name, scheme.precision, file, file.stat().st_size))
        return self.candidates[-1]

    def time_all(self) -> None:
        """Briefly, and what is far behind but once."""
        self.time(self.candidates, 1)
        limit = _FAR * min(each.cost for each in self.candidates)
        self.time([each for each in self.candidates if each.cost <= limit], _BRIEF_ROUNDS)

    def time(self, candidates: Sequence[Candidate], rounds: int) -> None:
        """Until each has so many rounds, in turns."""
        while late := [each for each in candidates if len(each.rounds) < rounds]:
            what = f"timing {format_items(len(late), 'candidate')} in turns"
            self._stage.advance(len(self.candidates), len(self.candidates) + 1, what)
            evaluate.time_round(late, self._images)

    def settle(self) -> Candidate | None:
        """The one that would be chosen if all had been examined on all images; None where none is accurate enough."""
        while rivals := self._list_open():
            first = rivals[0]
            if first.name not in self._glanced_at:
                self._glance_at(first)
                continue
            close = [each for each in rivals if each.cost <= first.cost * _CLOSE]
            if len(close) > 1 and any(len(each.rounds) < _ROUNDS for each in close):
                self.time(close, _ROUNDS)
                continue
            best = next(iter(list_rivals(first, rivals)), first)
            if list_rivals(best, rivals) and not first.accepted:
                # Without the first one, slower and smaller ones would count as fast as the fastest.
                self._examine(first)
            elif self._examine(best, whole=True):  # chance has no part in what is published
                return best
        return None

    def find_tempting(self) -> Candidate | None:
        """The fastest int8 candidate that is faster than all accepted ones, and refused."""
        limit = min((each.cost for each in self._list_open() if each.accepted), default=float("inf"))
        lossy = [each for each in self.candidates if each.refusal and each.precision == INT8 and each.cost < limit]
        return min(lossy, key=lambda each: each.cost, default=None)

    def try_mixed(self, scheme: Scheme, best: Candidate | None) -> bool:
        """Whether a form under `scheme` is accurate enough, and not certainly slower than `best`."""
        form = self.build(scheme)
        if form is None:
            return False
        self.time([form], _BRIEF_ROUNDS)
        if best is not None and form.cost > best.cost * _CLOSE:
            return False
        return self._examine(form)

    def _list_open(self) -> list[Candidate]:
        """Those that may be published as far as is known, the fastest first."""
        allowed = [each for each in self.candidates if self._or_float or each.precision != FLOAT32]
        return sorted((each for each in allowed if not each.refusal), key=lambda each: each.cost)

    def _glance_at(self, candidate: Candidate) -> None:
        """Refuses it where a few images are enough for that."""
        self._glanced_at.add(candidate.name)
        if candidate.quality is None:
            quality = self._ask_judge(candidate, most=_FEW_IMAGES)
            candidate.quality = quality if quality.refused else None

    def _examine(self, candidate: Candidate, whole: bool = False) -> bool:
        """Whether it is accurate enough."""
        if candidate.precision != FLOAT32:
            candidate.quality = self._ask_judge(candidate, whole=whole)
        return candidate.accepted

    def _ask_judge(self, candidate: Candidate, whole: bool = False, most: int | None = None) -> Quality:
        self._stage.advance(len(self.candidates), len(self.candidates) + 1, f"examining {candidate.name}")
        ask = evaluate.open_model(candidate.file)
        explain = partial(overflow.explain_lite, candidate.file, self.candidates[0].file)
        return self._judge.examine(candidate.name, ask, explain, whole, most)


def _nothing_left(candidates: Sequence[Candidate], failed: Mapping[str, str], remedy: str) -> str:
    if not candidates:
        return "refused to publish: " + "; ".join(f"{name}: {why}" for name, why in failed.items())
    found = [(each, each.quality) for each in candidates if each.quality is not None]
    best, quality = max(found, key=lambda each: (each[1].accuracy or 0.0, each[1].agreement))
    return (
        f"refused to publish: even the best candidate, {best.name}, {quality.refused}; {remedy}, or --quantize "
        "auto, which keeps float32 where nothing else will do"
    )


def spread(split: Split, count: int) -> Any:
    """Up to `count` images of `split`, evenly spread over it (it lies class by class)."""
    chosen = np.linspace(0, len(split.images) - 1, min(count, len(split.images))).astype(int)
    return np.asarray(split.images[chosen])
