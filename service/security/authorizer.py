"""Who may ask what, and how often: API keys, the models they open, and each key's rate.

An edge identifies who asks (`identify`), once for every request, whatever its route, and hands the caller down in the
request's context. `Predictor` asks the gate whether that one may (`authorise`) and may now (`charge`). While keys are
needed, `NOBODY` may do nothing: an edge that forgets answers UNAUTHENTICATED and never a prediction.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from service.errors import Forbidden, RateLimited, Unauthenticated
from service.observability.metrics.registry import Metrics
from service.security.api_keys import ApiKey, KeyRing
from service.security.rate_limit import Bucket, OwnBucket, SharedBucket
from service.types import NOBODY, Caller

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"

_HOW = "send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'"


class Gate:
    """Owns the keys in force and their buckets. Open, without keys, it lets everybody do everything.

    Buckets are files in `shared` where other processes count the same requests.
    """

    def __init__(self, metrics: Metrics, shared: Path | None = None) -> None:
        self._metrics, self._shared = metrics, shared
        self._ring: KeyRing | None = None
        self._buckets: dict[ApiKey, Bucket] = {}

    def replace(self, ring: KeyRing) -> None:
        """From now on these keys and no others. Entries that stay as they were keep what is in their buckets."""
        limited = [key for key in ring.keys if key.rate is not None]
        self._buckets = {key: self._buckets.get(key) or self._bucket(key) for key in limited}
        self._ring = ring

    @property
    def needs_keys(self) -> bool:
        return self._ring is not None

    def identify(self, headers: Mapping[str, str], protocol: str, needed: bool = True) -> Caller:
        """Who asks, by a request's headers or metadata (lower-case names).

        Raises Unauthenticated, unless `needed` is False, for a request without a valid key.
        """
        if self._ring is None:
            return NOBODY
        try:
            secret = _read_secret(headers)
            if not secret:
                raise Unauthenticated(f"this server needs an API key; {_HOW}")
            key = self._ring.find(secret.encode("utf-8", "surrogateescape"))
            return Caller(_check_key(key).digest)
        except Unauthenticated:
            if needed:
                self._metrics.guards.unauthenticated(protocol)
                raise
            return NOBODY

    def authorise(self, caller: Caller, model: str) -> None:
        """Raises Unauthenticated, or Forbidden where the caller's key does not open `model` (a name as asked for)."""
        key = self._find_key(caller)
        if key is not None and not key.opens(model):
            raise Forbidden(
                f"the key {key.name!r} does not open model {model!r:.140}; it opens {list(key.models)}",
                key=key.name,
                models=list(key.models),
            )

    def authorise_all(self, caller: Caller) -> None:
        """For what tells of every model. Raises Unauthenticated or Forbidden."""
        key = self._find_key(caller)
        if key is not None and "*" not in key.models:
            raise Forbidden(f"the key {key.name!r} does not open every model, which this page tells of", key=key.name)

    def charge(self, caller: Caller) -> None:
        """Takes one prediction from the bucket of the caller's key. Raises RateLimited."""
        key = self._find_key(caller)
        if key is None:
            return
        bucket = self._buckets.get(key)
        wait = bucket.take() if bucket is not None else 0.0
        self._metrics.guards.asked(key.name, limited=wait > 0)
        if wait > 0:
            raise RateLimited(
                f"the key {key.name!r} may ask {key.rate:g} predictions a second; ask again in {_format_wait(wait)} s",
                retry_after=wait,
                key=key.name,
            )

    def shows(self, caller: Caller, model: str) -> bool:
        """Whether the caller may know that this model is here."""
        if self._ring is None:
            return True
        key = self._ring.by_digest(caller.digest)
        return key is not None and not _is_expired(key) and key.opens(model)

    def _bucket(self, key: ApiKey) -> Bucket:
        assert key.rate is not None
        if self._shared is None:
            return OwnBucket(key.rate, key.burst)
        path = self._shared / f"{key.digest.hex()}-{key.rate:g}-{key.burst:g}.bucket"
        return SharedBucket(path, key.rate, key.burst)

    def _find_key(self, caller: Caller) -> ApiKey | None:
        """The caller's key, looked up again: it may have gone during a stream. None where none is needed."""
        return None if self._ring is None else _check_key(self._ring.by_digest(caller.digest))


def _format_wait(seconds: float) -> str:
    return f"{seconds:.3g}" if seconds < 100 else f"{seconds:.0f}"


def _read_secret(headers: Mapping[str, str]) -> str:
    scheme, _, credentials = headers.get(AUTHORIZATION, "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else headers.get(API_KEY, "").strip()


def _check_key(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise Unauthenticated(f"the API key is not one of those in force here; {_HOW}", invalid=True)
    if _is_expired(key):
        moment = datetime.fromtimestamp(key.expires or 0, UTC)
        raise Unauthenticated(f"the API key {key.name!r} expired at {moment:%Y-%m-%d %H:%M} UTC", invalid=True)
    return key


def _is_expired(key: ApiKey) -> bool:
    return key.expires is not None and time.time() >= key.expires
