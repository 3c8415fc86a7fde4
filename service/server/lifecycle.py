"""A process from start to drain: ports first, then models, then traffic, then an orderly end.

bind ports ─> HTTP answers (not ready) ─> models load ─> gRPC opens, ready ─> ... ─> SIGTERM
─> not ready, still answering for `drain_seconds` ─> listeners close ─> requests under way finish ─> unload
"""

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import sys
from typing import NoReturn

import uvloop

from service.api.grpc_app import GrpcLimits, GrpcServer
from service.api.http.connection import ConnectionLimits, ConnectionSetup
from service.api.http.door import Door
from service.api.http.server import HttpServer
from service.api.http_app import APIS, HttpGuards, create_app
from service.api.page.route import Facts
from service.command_line import name_program
from service.errors import NotReady
from service.host import sockets as ports
from service.host.sockets import StartError
from service.models.registry import Catalog
from service.observability import logs
from service.server.app import Core, build
from service.server.worker import Worker
from service.settings import Settings, describe_exposure

_log = logging.getLogger("service")
GRACE = 30.0  # seconds that requests under way may take to finish once the listeners are closed
_REPORT = 0.25  # seconds between a worker's reports to the others
UNLOAD = 5.0  # seconds for the models to unload after that


class _Stop:
    """Set by the first SIGTERM or SIGINT. A second one ends the process at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.by = ""
        self.orphaned = False
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.asked.is_set():
            _log.warning("%s again: leaving without waiting", number.name)
            os._exit(128 + number)
        self.by = number.name
        self.asked.set()

    def on_orphaned(self) -> None:
        self.by = self.by or "the parent process is gone"
        self.orphaned = True
        self.asked.set()


def run(settings: Settings, worker: Worker | None = None) -> NoReturn:
    """Serves until a signal, then ends this process, which may be one of several workers."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(serve(settings, worker))
            code = 0
        except StartError as error:
            logs.report_end(f"{name_program('service')}: {error}")
            code = 1
        logging.shutdown()
        sys.stderr.flush()
        # Threads inside a model's loader cannot be interrupted and need not be waited for.
        os._exit(code)


async def serve(settings: Settings, worker: Worker | None = None) -> None:
    """Runs both edges until SIGTERM or SIGINT and returns after the drain. Raises StartError.

    A `worker` ends with its parent too. It borrows its ports; one that replaces a dead worker opens them when it is
    ready, and until then the others answer.
    """
    stop = _Stop()
    if worker is not None:
        worker.on_orphaned(stop.on_orphaned)
    ports.make_room(settings.max_connections)
    bind = ports.own if worker is None else ports.borrow
    listener = bind(settings.host, settings.http_port, "--http-port")
    # TensorFlow Serving's clients take an open port for ready: this one does not listen, gRPC opens beside it later.
    reservation = bind(settings.host, settings.grpc_port, "--grpc-port")
    ports.lend(reservation)
    core = build(settings, worker)
    grpc_port = reservation.getsockname()[1]
    facts = Facts(core.files, grpc_port, core.tls is not None)
    app = create_app(core.predictor, core.metrics, core.access, core.gate, _http_guards(settings), facts)
    refused = core.metrics.guards.refused_connection
    http_tls = core.tls.for_http() if core.tls is not None else None
    door = Door(core.predictor, core.gate, core.access, APIS, cors=bool(settings.cors_origins))
    connections = ConnectionSetup(_connection_limits(settings), door, refused, grpc_port)
    http = HttpServer(app, connections, listener, GRACE, http_tls)
    limits = _grpc_limits(settings)
    rpc = GrpcServer(core.predictor, core.access, core.gate, ports.address_of(reservation), limits, core.tls)
    gc.freeze()  # objects made before any model live to the end: collections skip them
    reloading: set[asyncio.Task[None]] = set()  # referred to while they run

    def reload() -> None:
        task = asyncio.create_task(_reload(core))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    rereading = [asyncio.create_task(watcher.watch()) for watcher in core.watchers]
    if worker is None and (warning := describe_exposure(settings)):
        _log.warning(warning)
    at_once = worker is None or not worker.again
    if worker is not None and worker.orphaned:  # before the event loop could see it
        raise StartError("the parent process is gone")
    if at_once:
        _log.info("HTTP on port %d; loading models", listener.getsockname()[1])
        await http.start()
    watching = asyncio.create_task(_follow_models(core.catalog, None if at_once else http, rpc, settings))
    reporting = asyncio.create_task(_report(worker, core)) if worker is not None else None
    stopping = asyncio.create_task(stop.asked.wait())
    await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
    if watching.done():  # it only ends by failing
        watching.result()
    known = not core.predictor.find_trouble()  # to load balancers
    core.predictor.drain()
    watching.cancel()  # no new versions from here on, and no gRPC port where it is not open yet
    await asyncio.wait((watching,))
    wait = settings.drain_seconds if stop.by == "SIGTERM" and known else 0.0
    _log.info("%s: not ready any more; answering for %.0f s, then finishing what is under way", stop.by, wait)
    await asyncio.sleep(wait)
    if not stop.orphaned:  # a service that takes the place of a killed one waits for its ports
        with ports.listeners_on(grpc_port) as of_grpc:
            await ports.empty_backlogs((listener, *of_grpc))
    await asyncio.gather(http.stop(), rpc.stop(GRACE))
    reservation.close()
    for task in rereading:
        task.cancel()
    if reporting is not None:
        reporting.cancel()
    core.preparation.close()
    try:
        await asyncio.wait_for(core.catalog.close(), UNLOAD)
    except TimeoutError:
        _log.error("a model did not unload within %.0f s; leaving without it", UNLOAD)
    if core.tracing is not None:
        await asyncio.to_thread(core.tracing.close)
    _log.info("drained")


async def _follow_models(catalog: Catalog, http: HttpServer | None, rpc: GrpcServer, settings: Settings) -> None:
    """Loads models, opens the servers that are not open yet, then follows changes."""
    try:
        await catalog.sync()
    except NotReady as error:
        _log.error("%s; waiting for it", error.for_log)
    if http is not None:
        await http.start()
    port = await rpc.start()
    if trouble := catalog.find_trouble():
        _log.warning("gRPC on port %d; not ready: %s", port, trouble)
    else:
        _log.info("gRPC on port %d; ready, serving %s; /docs on the HTTP port has more", port, _listing(catalog))
    await catalog.watch(settings.poll_interval_seconds)


async def _reload(core: Core) -> None:
    """On SIGHUP. Puts in force what the files hold now: their writer says that they are whole."""
    _log.info("SIGHUP: looking at the files of routes, keys and certificates")
    for watcher in core.watchers:
        await watcher.look()
        await watcher.look()  # as if some time had passed


async def _report(worker: Worker, core: Core) -> None:
    """Shares with the other workers what /readyz and /metrics say of this one."""
    ready = False
    while True:
        core.metrics.refresh()
        if not ready and not core.catalog.find_trouble():
            ready = True
            worker.report_ready()
        await asyncio.sleep(_REPORT)


def _http_guards(settings: Settings) -> HttpGuards:
    return HttpGuards(
        settings.max_body_bytes,
        settings.body_timeout_seconds,
        settings.cors_origins,
        open_metrics=settings.open_metrics,
        root_path=settings.root_path,
        trusted_proxies=tuple(map(ipaddress.ip_network, settings.trusted_proxies)),
    )


def _connection_limits(settings: Settings) -> ConnectionLimits:
    return ConnectionLimits(
        settings.max_connections,
        settings.max_header_bytes,
        settings.max_headers,
        settings.header_timeout_seconds,
        settings.body_timeout_seconds,
    )


def _grpc_limits(settings: Settings) -> GrpcLimits:
    return GrpcLimits(
        settings.max_body_bytes,
        settings.max_header_bytes,
        settings.grpc_max_streams,
        settings.max_connections,
        settings.header_timeout_seconds,
    )


def _listing(catalog: Catalog) -> str:
    models = catalog.available()
    return ", ".join(f"{name} {versions}" for name, versions in models.items()) or "what the upstream has"
