"""What is tried, what came of it, and which one is to be recommended."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.plurals import format_items

SCRATCH, LINEAR_PROBE, FINE_TUNE = "scratch", "linear_probe", "fine_tune"
WAYS = (SCRATCH, LINEAR_PROBE, FINE_TUNE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One network, adapted in one of WAYS."""

    model: str
    way: str

    @property
    def name(self) -> str:
        return f"{self.model}-{self.way}"


@dataclass(frozen=True, slots=True)
class Result:
    """`accuracy` is that of `images` held-out images, `interval` Wilson's 95 % one; `seconds` is training alone.

    `size` is bytes of model.tflite; `milliseconds` is one image on this machine.
    """

    candidate: Candidate
    accuracy: float
    interval: tuple[float, float]
    images: int
    seconds: float
    parameters: int
    size: int
    milliseconds: float
    better_than_guessing: bool = True
    """As an export judges it."""


@dataclass(frozen=True, slots=True)
class Failure:
    candidate: Candidate
    reason: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is too slow or too large is not recommended; None bounds nothing."""

    milliseconds: float | None = None
    megabytes: float | None = None

    def describe_excess(self, result: Result) -> str:
        """Why `result` is not recommended, whatever the others are; empty where it may be."""
        said = [] if result.better_than_guessing else ["not shown to be better than guessing"]
        if self.milliseconds is not None and result.milliseconds > self.milliseconds:
            said.append("too slow")
        if self.megabytes is not None and result.size > self.megabytes * 1e6:
            said.append("too large")
        return ", ".join(said)


@dataclass(frozen=True, slots=True)
class Advice:
    """`chosen` is None where nothing is within the bounds; `reason` is one sentence for a person."""

    chosen: Result | None
    reason: str


def recommend(results: Sequence[Result], bounds: Bounds) -> Advice:
    """The fastest of those within `bounds` that these images cannot tell from the most accurate of them.

    They cannot where an accuracy is not below the interval of the most accurate one. Of two equally fast ones the
    smaller is taken.
    """
    within = [each for each in results if not bounds.describe_excess(each)]
    if not results:
        return Advice(None, "nothing could be tried")
    if not any(each.better_than_guessing for each in results):
        return Advice(None, "nothing that was tried is shown to be better than guessing: give more images, or --epochs")
    if not within:
        return Advice(None, "nothing that was tried and is better than guessing is within the bounds")
    best = max(within, key=lambda each: (each.accuracy, -each.milliseconds))
    alike = [each for each in within if each.accuracy >= best.interval[0]]
    chosen = min(alike, key=lambda each: (each.milliseconds, each.size, -each.accuracy, each.seconds))
    if len(within) == 1:
        return Advice(chosen, "it is the only one " + ("within the bounds" if len(results) > 1 else "that was tried"))
    if chosen is best:
        return Advice(chosen, "it is the most accurate within the bounds, and nothing faster comes close")
    return Advice(
        chosen,
        f"{format_items(best.images, 'image')} cannot tell its {chosen.accuracy:.1%} from the {best.accuracy:.1%} of "
        f"{best.candidate.name} (95 % interval from {best.interval[0]:.1%}), and an image takes "
        f"{chosen.milliseconds:.3g} ms instead of {best.milliseconds:.3g}",
    )
