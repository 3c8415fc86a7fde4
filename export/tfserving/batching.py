"""How TensorFlow Serving should batch a version: from its measured profile, or from what GPUs ask for."""

from dataclasses import dataclass

from service.repository.manifest import Profile

_WORTH = 1.05  # a larger batch is taken where it does this much more a second than a smaller one
_PADDED = (1, 2, 4, 8, 16, 32, 64, 128)
_GPU_QUEUE = 4  # batches


@dataclass(frozen=True, slots=True)
class Batching:
    """One version's. `padded` sizes are those that batches are filled up to; none where they run as they are."""

    largest: int
    timeout_ms: float
    waiting: int
    """Batches that may wait; past them TensorFlow Serving refuses (UNAVAILABLE)."""
    padded: tuple[int, ...] = ()


def for_cpu(profile: Profile, signature: str, slo_ms: float) -> Batching:
    """From what batches cost where the version was measured.

    A request may find a batch under way, so it waits for that one and its own: twice the largest batch's time has to
    fit into the SLO. Half of what then is left, at most a batch's time, may be waited for company, and nothing where
    company does not make a CPU faster. Batches are not padded: on a CPU a row of padding costs what a row costs.
    """
    measured = profile.milliseconds[signature]
    fitting = {rows: took for rows, took in measured.items() if 2 * took <= slo_ms} or {1: measured[min(measured)]}
    best = min(fitting)
    for rows in sorted(fitting):
        if rows / fitting[rows] > _WORTH * best / fitting[best]:
            best = rows
    took = fitting[best]
    slack = max(0.0, slo_ms - 2 * took)
    return Batching(best, min(slack / 2, took) if best > min(fitting) else 0.0, max(1, int(slo_ms / took)))


def for_gpu(largest: int, slo_ms: float) -> Batching:
    """A GPU's times are known to nobody before it runs there: powers of two up to `largest`, to which batches are
    padded so that few shapes ever run, and a tenth of the SLO for company.
    """
    sizes = (*(size for size in _PADDED if size < largest), largest)
    return Batching(largest, slo_ms / 10, _GPU_QUEUE, sizes)
