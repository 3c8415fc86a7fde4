"""A service with API keys, for both kinds of clients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Keys:
    """`slow` has one request at once, and another four a second."""

    url: str
    grpc: str
    good: str
    cats_only: str
    slow: str
