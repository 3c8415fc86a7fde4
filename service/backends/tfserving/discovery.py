"""Which versions each replica has, and whether it lives: by status calls, which cost an upstream nothing."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from grpc import StatusCode

from service.backends.tfserving.channel import CallFailed
from service.backends.tfserving.load_balancer import State, eject_slow
from service.backends.tfserving.replicas import Replica, Replicas
from service.protobuf.stubs import get_model_status_pb2

_log = logging.getLogger("service.upstreams")
_PATH = "/tensorflow.serving.ModelService/GetModelStatus"
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
# A replica that wants a key would refuse every call too, and there is none to send.
_NO_ANSWER = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAUTHENTICATED}
_TIMEOUT = 5.0  # seconds for a status while no replica has answered
_LAGGARDS = 1.0  # seconds after the others
_LOOK = 0.25  # seconds between looks for ejected and slow replicas
_RESOLVE = 3.0  # seconds between DNS queries


class Survey:
    """Keeps every replica's `versions` up to date, of the models in `names`."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.names: set[str] = set()
        self._watching: list[asyncio.Task[None]] = []
        self._probing: dict[Replica, asyncio.Task[None]] = {}
        self._logged: dict[str, str] = {}

    async def start(self) -> None:
        """Starts to follow DNS and to probe ejected replicas. A second call does nothing."""
        if not self._watching:
            self._watching = [asyncio.create_task(self._follow_dns()), asyncio.create_task(self._watch_standing())]
            await self._replicas.refresh()

    async def query(self, names: Sequence[str]) -> None:
        """Reads every replica's versions of `names`. Raises the first CallFailed where no replica answers."""
        tasks = {asyncio.create_task(self._read_versions(replica, names)): replica for replica in self._replicas}
        if not tasks:
            raise CallFailed(StatusCode.UNAVAILABLE, self._replicas.trouble or "there is no replica")
        try:
            pending, answered = set(tasks), False
            while pending:
                timeout = _LAGGARDS if answered else None
                done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    for task in pending:
                        self._record_lag(tasks[task])
                    break
                answered = answered or any(task.exception() is None for task in done)
        finally:
            for task in tasks:
                task.cancel()
        if not answered:
            await next(iter(tasks))

    def list_versions(self) -> Mapping[str, frozenset[int]]:
        """Model name -> the versions that replicas in good standing have; no name without any."""
        found: dict[str, frozenset[int]] = {}
        for replica in self._replicas:
            if replica.standing.state is not State.EJECTED:
                for name, versions in replica.versions.items():
                    found[name] = found.get(name, frozenset()) | versions
        return {name: versions for name, versions in found.items() if versions}

    async def close(self) -> None:
        tasks = [*self._watching, *self._probing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._replicas.close()

    async def _read_versions(self, replica: Replica, names: Sequence[str]) -> None:
        try:
            versions = await asyncio.gather(*(self._read_status(replica, name) for name in names))
        except CallFailed as failure:
            if failure.lost:
                self._log_once(replica, f"cannot be reached ({failure.details})")
                replica.standing.eject(lasting=False)
            else:
                self._log_once(replica, f"does not list its versions ({failure})")
            raise
        replica.versions |= dict(zip(names, versions, strict=True))
        if replica.standing.probe_due:
            self._log_once(replica, "answers again; it gets one request on trial")
            replica.standing.probed(answered=True)

    def _record_lag(self, replica: Replica) -> None:
        self._log_once(replica, "lists its versions more slowly than the others")
        replica.standing.failed(replica.standing.begin(), spare=self._replicas.spare)

    async def _read_status(self, replica: Replica, name: str) -> frozenset[int]:
        """The AVAILABLE versions. Raises CallFailed."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            async with asyncio.timeout(_TIMEOUT):
                data = await replica.start(_PATH, request.SerializeToString(), _TIMEOUT)
        except TimeoutError as error:
            failure = CallFailed(StatusCode.DEADLINE_EXCEEDED, f"no answer in {_TIMEOUT:.0f} s")
            failure.peer = replica.name
            raise failure from error
        except CallFailed as failure:
            failure.peer = replica.name
            if failure.lost or failure.status in _NO_ANSWER:
                raise
            return frozenset()  # NOT_FOUND, or trouble with one name, which must not stop the others
        reply = get_model_status_pb2.GetModelStatusResponse.FromString(data)
        return frozenset(int(status.version) for status in reply.model_version_status if status.state == _AVAILABLE)

    async def _follow_dns(self) -> None:
        while True:
            await asyncio.sleep(_RESOLVE)
            try:
                for replica in await self._replicas.refresh():
                    self._log_once(replica, "is new")
                    self._probe(replica)
            except Exception:  # a fault of ours must not end the watch
                _log.exception("following DNS failed")

    async def _watch_standing(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if slow := eject_slow(list(self._replicas)):
                self._log_once(slow, "is much slower than the others: ejected for now")
            for replica in self._replicas:
                if replica.standing.probe_due and replica not in self._probing:
                    self._probe(replica)

    def _probe(self, replica: Replica) -> None:
        task = asyncio.create_task(self._probe_once(replica))
        self._probing[replica] = task
        task.add_done_callback(lambda _: self._probing.pop(replica, None))

    async def _probe_once(self, replica: Replica) -> None:
        try:
            async with asyncio.timeout(_LAGGARDS):
                await self._read_versions(replica, list(self.names) or [""])
        except (CallFailed, TimeoutError) as error:
            lost = isinstance(error, CallFailed) and error.lost
            replica.standing.probed(answered=False, lasting=not lost)

    def _log_once(self, replica: Replica, what: str) -> None:
        """Logs `what` of a replica unless it was the last thing logged of it."""
        if self._logged.get(replica.name) != what:
            self._logged[replica.name] = what
            _log.warning("replica %s %s", replica.name, what)
