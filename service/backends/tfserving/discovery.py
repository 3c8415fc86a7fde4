"""What each replica has and whether it lives: status calls, which cost an upstream nothing."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from grpc import StatusCode

from service.backends.tfserving.channel import CallFailed
from service.backends.tfserving.load_balancer import State
from service.backends.tfserving.replicas import Replica, Replicas
from service.protobuf.stubs import get_model_status_pb2

_log = logging.getLogger("service.upstreams")
_PATH = "/tensorflow.serving.ModelService/GetModelStatus"
_AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE
# Who wants a key would refuse every call too, and we have none to send.
_NO_ANSWER = {StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAUTHENTICATED}
_TIMEOUT = 5.0  # seconds for a status where nobody has answered yet
_LAGGARDS = 1.0  # seconds after the others
_LOOK = 0.25  # seconds between looks at who is out, and who is slow
_RESOLVE = 3.0  # seconds between questions to DNS


class Survey:
    """Writes every replica's `versions`, of the models in `names`."""

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        self.names: set[str] = set()
        self._watching: list[asyncio.Task[None]] = []
        self._probing: dict[Replica, asyncio.Task[None]] = {}
        self._said: dict[str, str] = {}

    async def start(self) -> None:
        """From now on DNS is followed, and whoever is out is probed. Once is enough; more often does no harm."""
        if not self._watching:
            self._watching = [asyncio.create_task(self._follow_dns()), asyncio.create_task(self._look_after())]
            await self._replicas.refresh()

    async def ask(self, names: Sequence[str]) -> None:
        """Asks every replica for its versions of `names`. Raises CallFailed where none of them answers: the first
        one's failure.
        """
        tasks = {asyncio.create_task(self._ask(replica, names)): replica for replica in self._replicas}
        if not tasks:
            raise CallFailed(StatusCode.UNAVAILABLE, self._replicas.trouble or "there is no replica")
        try:
            pending, answered = set(tasks), False
            while pending:
                timeout = _LAGGARDS if answered else None
                done, pending = await asyncio.wait(pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    for task in pending:
                        self._lags(tasks[task])
                    break
                answered = answered or any(task.exception() is None for task in done)
        finally:
            for task in tasks:
                task.cancel()
        if not answered:
            await next(iter(tasks))

    def found(self) -> Mapping[str, frozenset[int]]:
        """Model name -> the versions that a replica in good standing has."""
        found: dict[str, frozenset[int]] = {}
        for replica in self._replicas:
            if replica.standing.state is not State.EJECTED:
                for name, versions in replica.versions.items():
                    found[name] = found.get(name, frozenset()) | versions
        return found

    async def close(self) -> None:
        tasks = [*self._watching, *self._probing.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._replicas.close()

    async def _ask(self, replica: Replica, names: Sequence[str]) -> None:
        try:
            told = await asyncio.gather(*(self._status(replica, name) for name in names))
        except CallFailed as failure:
            if failure.lost:
                self._say(replica, f"cannot be reached ({failure.details})")
                replica.standing.eject(lasting=False)
            else:
                self._say(replica, f"does not tell its versions ({failure})")
            raise
        replica.versions |= dict(zip(names, told, strict=True))
        if replica.standing.probe_due:
            self._say(replica, "answers again; it gets one request on trial")
            replica.standing.probed(answered=True)

    def _lags(self, replica: Replica) -> None:
        self._say(replica, "tells its versions more slowly than the others")
        replica.standing.failed(replica.standing.begin(), spare=self._replicas.spare)

    async def _status(self, replica: Replica, name: str) -> frozenset[int]:
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
            if failure.lost or failure.status in (
                StatusCode.UNAVAILABLE,
                StatusCode.DEADLINE_EXCEEDED,
                StatusCode.UNAUTHENTICATED,
            ):
                raise
            return frozenset()  # NOT_FOUND, or trouble with this one name, which must not stop the others
        reply = get_model_status_pb2.GetModelStatusResponse.FromString(data)
        return frozenset(int(status.version) for status in reply.model_version_status if status.state == _AVAILABLE)

    async def _follow_dns(self) -> None:
        while True:
            await asyncio.sleep(_RESOLVE)
            try:
                for replica in await self._replicas.refresh():
                    self._say(replica, "is new")
                    self._probe(replica)
            except Exception:  # a fault of ours must not end the watch
                _log.exception("following DNS failed")

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            if slow := self._replicas.eject_slow():
                self._say(slow, "is much slower than the others: out for now")
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
                await self._ask(replica, list(self.names) or [""])
        except (CallFailed, TimeoutError) as error:
            lost = isinstance(error, CallFailed) and error.lost
            replica.standing.probed(answered=False, lasting=not lost)

    def _say(self, replica: Replica, what: str) -> None:
        """Once, not every time."""
        if self._said.get(replica.name) != what:
            self._said[replica.name] = what
            _log.warning("replica %s %s", replica.name, what)
