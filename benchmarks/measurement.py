"""What every way of measuring gives back."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measurement:
    """Successful requests within `seconds`, and their latency in milliseconds."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
