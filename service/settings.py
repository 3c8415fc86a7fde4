"""Every setting of the service: a command-line flag and an environment variable each."""

import ipaddress
import re
from argparse import ArgumentParser
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import Field, FilePath, field_validator, model_validator
from pydantic_settings import BaseSettings, CliApp, CliSettingsSource, NoDecode, SettingsConfigDict, SettingsError

from service.api.http.prefix import is_path_prefix
from service.backends.tfserving import targets
from service.command_line import HelpFormatter, add_version_flag, name_program, suggest_flags

Port = Annotated[int, Field(ge=0, le=65535)]
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]+")

TOPICS = {
    "repository": ("models", "--repository models --keep-versions 1"),
    "target": ("upstreams (--backend tfserving)", "--backend tfserving --target gpu-0:8500,gpu-1:8500"),
    "host": ("addresses and processes", "--host 127.0.0.1 --http-port 8080 --workers 2"),
    "max_batch_rows": ("batching and queueing", "--latency-slo-ms 100 --max-batch-rows 16"),
    "max_body_bytes": ("limits of one request", "--max-body-bytes 10000000 --max-pixels 24000000"),
    "max_connections": ("limits of one connection", "--max-connections 1000 --body-timeout-seconds 60"),
    "api_keys": ("security", "--api-keys keys.yaml --tls-cert tls.crt --tls-key tls.key"),
    "log_level": ("observability", "--log-format json --access-log"),
}
"""The first setting of each topic, in the order of the settings -> the topic's heading in --help, and flags of it as
somebody would use them.
"""

PLACEHOLDERS = {"int": "N", "float": "X", "str": "TEXT", "Path": "FILE", "tuple[str,...]": "TEXT[,TEXT...]"}
"""A type as pydantic-settings writes it behind its flag -> what --help shows there."""

FOLDERS = ("--repository", "--cache-dir")
"""The paths that are folders; others are files."""

_NO_DEFAULT = re.compile(r" \(default: (None|\(\))?\)$")
"""How the help of a flag ends that nothing is set for."""


class BackendName(StrEnum):
    embedded = "embedded"
    tfserving = "tfserving"
    fake = "fake"


class EngineName(StrEnum):
    auto = "auto"
    litert = "litert"
    openvino = "openvino"
    tensorflow = "tensorflow"


class Precision(StrEnum):
    exported = "exported"
    exact = "exact"
    fast = "fast"


class Settings(BaseSettings):
    """Durations are in seconds unless the name says milliseconds; a megabyte is 10**6 bytes."""

    model_config = SettingsConfigDict(
        env_prefix="SERVICE_",
        frozen=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    repository: Path = Field(
        Path("model_repository"), description="folder of models: NAME/VERSION/saved_model.pb or model.tflite"
    )
    backend: BackendName = Field(
        BackendName.embedded,
        description="embedded runs the models in this process; tfserving calls --target; fake answers at once without "
        "a model, to measure the service itself",
    )
    foreign_models: bool = Field(
        True,
        description="serve models that this project did not export. Off, nothing runs in TensorFlow: a SavedModel is a "
        "program (docs/security.md)",
    )
    engine: EngineName = Field(
        EngineName.auto,
        description="what runs models in this process; auto measures what is installed and can run a version, once a "
        "version and machine, and takes the fastest",
    )
    precision: Precision = Field(
        Precision.exported,
        description="what an engine may compute in: exact is float32, fast also bfloat16, float16 and OpenVINO's int8; "
        "exported is fast for versions that were exported with --quantize, and exact for the others",
    )
    keep_versions: int = Field(2, ge=1, description="newest versions of each model to keep loaded")
    poll_interval_seconds: float = Field(1.0, gt=0, description="seconds between looks for new versions")
    routes: Path | None = Field(
        None,
        description="YAML file of aliases, splits, labels, shadows, fallbacks, limits and ensembles (docs/routing.md)",
    )
    cache_dir: Path = Field(
        Path("~/.cache/image-model-server"),
        description="folder for what was measured of the models on this machine; losing it costs a measurement",
    )

    target: str = Field(
        "",
        description="host:port or unix:/path of each TensorFlow Serving, separated by commas. A name with several "
        "addresses is several replicas, and is resolved again every 3 seconds",
    )
    target_connections: int = Field(2, ge=1, description="connections to each replica, opened as they are needed")
    target_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="seconds without an answer after which another replica is asked; once a model's usual time is "
        "known, eight times that",
    )
    target_tls_ca: FilePath | None = Field(
        None, description="PEM certificates to trust; with them --target is called over TLS, else without encryption"
    )
    hedge_delay_ms: float = Field(
        0.0, ge=0, description="milliseconds without an answer after which a second replica is asked too; 0: never"
    )

    host: str = Field("0.0.0.0", description="address of both servers")
    http_port: Port = Field(8000, description="HTTP port; 0 takes a free one")
    grpc_port: Port = Field(8500, description="gRPC port; 0 takes a free one")
    root_path: str = Field(
        "",
        description="path below which a proxy in front has the service, such as /vision (docs/security.md)",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="processes that share the ports and the cores; each has its own limits, such as --max-in-flight",
    )
    drain_seconds: float = Field(
        5.0,
        ge=0,
        description="seconds to go on answering after SIGTERM, while load balancers notice that /readyz says no",
    )

    max_batch_rows: int = Field(32, ge=1, description="most rows that requests share in one batch")
    max_batch_delay_ms: float = Field(
        0.0, ge=0, description="most milliseconds a request waits for a fuller batch while a slot is free"
    )
    coalesce: bool = Field(
        False, description="let requests for the same image of the same model share the computation under way"
    )
    latency_slo_ms: float = Field(
        0.0,
        ge=0,
        description="deadline in milliseconds of requests that come without one (0: none); a request that is not "
        "expected to meet its deadline is refused at once (429)",
    )
    max_in_flight: int = Field(2048, ge=1, description="most requests under way; past it requests are refused (429)")
    max_queued_rows: int = Field(
        1024, ge=1, description="most rows that wait for one version (past it 429), and most rows of one request (413)"
    )
    max_queued_mb: int = Field(
        512, ge=1, description="most megabytes that wait for one version, or for decoding; past it 429"
    )
    max_decoding_mb: int = Field(
        512, ge=1, description="most megabytes that images take while they are decoded; past it they wait in line"
    )

    max_body_bytes: int = Field(32 * 2**20, ge=1, description="largest body, also once decompressed (413)")
    max_pixels: int = Field(50_000_000, ge=1, description="most pixels of an image, judged by its header (413)")
    max_image_side: int = Field(16_384, ge=1, description="most rows and most columns of an image (413)")
    max_decode_ms: float = Field(
        250.0,
        gt=0,
        description="most milliseconds that decoding an image may take on a core of 2023, judged by its header (413): "
        "larger PNG, WebP and progressive JPEG files need more",
    )

    max_connections: int = Field(
        4096, ge=1, description="most open connections of each server; past it new ones are refused (503)"
    )
    max_header_bytes: int = Field(
        32 * 2**10, ge=1024, description="largest request line with its headers (431), and largest gRPC metadata"
    )
    max_headers: int = Field(100, ge=1, description="most headers of one HTTP request (431)")
    header_timeout_seconds: float = Field(
        10.0,
        gt=0,
        description="seconds in which an HTTP request's headers (408), a TLS handshake and gRPC's greeting arrive",
    )
    body_timeout_seconds: float = Field(
        20.0, gt=0, description="seconds in which a request's body arrives, and in which its answer is read"
    )
    grpc_max_streams: int = Field(1024, ge=1, description="most calls under way on one gRPC connection")

    api_keys: Path | None = Field(
        None,
        description="YAML file of API keys; without it everybody may ask (`python -m service keys` makes keys)",
    )
    open_metrics: bool = Field(True, description="serve /metrics without a key")
    tls_cert: Path | None = Field(
        None, description="PEM certificate with its chain, for HTTPS and for gRPC over TLS; read again when it changes"
    )
    tls_key: Path | None = Field(None, description="private key of --tls-cert, without a passphrase")
    tls_client_ca: Path | None = Field(
        None, description="PEM certificates of authorities; only clients with a certificate of theirs are let in"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins whose pages may ask from a browser, such as https://app.example.com; * for all"
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="addresses or networks of proxies whose X-Forwarded-Prefix is believed, such as 10.0.0.0/8",
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="level of the service's own log; libraries log warnings and errors only"
    )
    log_format: Literal["text", "json"] = Field("text", description="text for people, or one JSON object a line")
    access_log: bool = Field(False, description="log a line for every request, without its body")
    otlp_endpoint: str = Field(
        "",
        description="http://host:4318 of an OpenTelemetry collector, for traces; OTEL_EXPORTER_OTLP_ENDPOINT works too",
    )

    @model_validator(mode="after")
    def _check_ports(self) -> "Settings":
        if self.http_port == self.grpc_port != 0:
            raise ValueError(f"--http-port and --grpc-port need two ports, got {self.http_port} for both")
        return self

    @field_validator("otlp_endpoint")
    @classmethod
    def _check_url(cls, value: str) -> str:
        if value and not _ORIGIN.match(value):
            raise ValueError(f"expected a collector's URL such as http://collector:4318, got {value!r}")
        return value

    @model_validator(mode="after")
    def _check_target(self) -> "Settings":
        if (self.backend is BackendName.tfserving) != bool(self.target):
            raise ValueError("--backend tfserving and --target host:port go together")
        if not self.foreign_models and self.backend is not BackendName.embedded:
            raise ValueError("--no-foreign-models needs --backend embedded: an upstream runs what it was given")
        if self.target:
            try:
                targets.parse(self.target)
            except ValueError as error:
                raise ValueError(f"--target {error}") from error
        return self

    @field_validator("cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_list(cls, given: object) -> object:
        parts = [given] if isinstance(given, str) else given
        if not isinstance(parts, list | tuple):
            return given
        return tuple(item.strip().rstrip("/") for part in parts for item in str(part).split(",") if item.strip())

    @field_validator("root_path")
    @classmethod
    def _check_root_path(cls, given: str) -> str:
        path = given.rstrip("/")
        if path and not is_path_prefix(path):
            raise ValueError(f"expected a path such as /vision that the service does not have itself, got {given!r}")
        return path

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for network in given:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f"expected addresses or networks such as 10.0.0.0/8, got {network!r}") from error
        return given

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"expected origins such as https://app.example.com, got {origin!r}")
        return origins

    @model_validator(mode="after")
    def _check_tls_files(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        return self


def describe_exposure(settings: Settings) -> str:
    """A warning where every machine that reaches --host may ask everything; empty where not."""
    if settings.api_keys is not None or settings.tls_client_ca is not None or _is_loopback(settings.host):
        return ""
    return (
        f"--host {settings.host} takes requests from other machines, and nobody needs a key: "
        "set --api-keys (docs/security.md), or --host 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse(arguments: Sequence[str]) -> Settings:
    """Flags before environment variables before defaults. Raises ValidationError and SettingsError; --help exits."""
    program = name_program("service")
    parser = _Parser(
        program,
        usage=f"{program} [--FLAG VALUE]...\n       python -m service {{healthcheck,keys,profile,sync}} --help",
        description="Serves image classifiers over HTTP and gRPC. Each flag is an environment variable too: "
        "--http-port is SERVICE_HTTP_PORT. healthcheck asks a running service, keys makes API keys, profile measures "
        "a model, sync copies models.",
        epilog="exit codes: 0 after SIGTERM and a drain, 1 where it cannot start or go on, 2 for wrong settings, "
        "130 after Ctrl-C before it serves",
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    group: Any = parser
    topics = {f"--{name.replace('_', '-')}": topic for name, topic in TOPICS.items()}

    def add_argument(_: object, *names: str, **options: Any) -> None:
        nonlocal group
        if topic := topics.get(names[0]):
            group = parser.add_argument_group(topic[0], f"Example: {program} {topic[1]}")
        if "metavar" in options:
            kind = PLACEHOLDERS.get(options["metavar"], options["metavar"])
            options["metavar"] = "DIR" if names[0] in FOLDERS else kind
        words = _NO_DEFAULT.sub("", options.get("help", "")).replace("(default: True)", "(default: on)")
        options["help"] = words.replace("(default: False)", "(default: off)")
        action = group.add_argument(*names, **options)
        if options.get("metavar", "").startswith("{"):  # pydantic checks these values, and argparse does not know them
            values = options["metavar"].strip("{}").split(",")
            action.completer = lambda **_: values

    source = CliSettingsSource[Any](Settings, root_parser=parser, add_argument_method=add_argument)
    return CliApp.run(Settings, cli_args=list(arguments), cli_settings_source=source)


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(suggest_flags(message, self))
