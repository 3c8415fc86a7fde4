"""Every knob of the service, each a command-line flag and an environment variable."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, FilePath, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.backends.tfserving import targets
from service.observability.logs import LogFormat

Port = Annotated[int, Field(ge=0, le=65535)]
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-_\[\]:]+")


class BackendName(StrEnum):
    embedded = "embedded"
    tfserving = "tfserving"
    fake = "fake"


class Switch(StrEnum):
    on = "on"
    off = "off"


class Settings(BaseSettings):
    """Serves image classifiers over HTTP and gRPC.

    Each flag is an environment variable too: --http-port is SERVICE_HTTP_PORT. Other programs, each with --help:
    `python -m service keys` makes API keys, `sync` moves models, `profile` measures one, `healthcheck` asks a service.
    """

    model_config = SettingsConfigDict(
        env_prefix="SERVICE_",
        frozen=True,
        cli_prog_name="python -m service",
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
        description="embedded runs the models in this process; tfserving asks --target; fake answers at once, without "
        "any model, so that the service itself can be measured",
    )
    foreign_models: Switch = Field(
        Switch.on,
        description="off refuses models that this project did not export, and runs nothing in TensorFlow: a SavedModel "
        "is a program (docs/security.md)",
    )
    target: str = Field(
        "",
        description="for --backend tfserving: host:port or unix:/path of each TensorFlow Serving, separated by commas; "
        "a name with several addresses is several, and is looked up again every 3 seconds",
    )
    target_connections: int = Field(2, ge=1, description="connections to each of them, opened as they are needed")
    target_patience_seconds: float = Field(
        10.0,
        gt=0,
        description="seconds without an answer after which another of them is asked; once it is known how long a model "
        "takes, eight times that",
    )
    target_tls_ca: FilePath | None = Field(
        None, description="file of certificates to trust: speaks TLS to --target; without it nothing is encrypted"
    )
    hedge_after_ms: float = Field(
        0.0, ge=0, description="milliseconds without an answer after which another is asked as well; 0 never does"
    )
    host: str = Field("0.0.0.0", description="address both servers listen on")
    http_port: Port = Field(8000, description="HTTP port; 0 takes any free one")
    grpc_port: Port = Field(8500, description="gRPC port; 0 takes any free one")
    routes: Path | None = Field(
        None,
        description="YAML file of aliases, splits, labels, shadows, fallbacks, limits and ensembles: docs/routing.md",
    )
    workers: int = Field(
        1,
        ge=1,
        le=256,
        description="processes that share the ports and the cores; limits such as --max-in-flight are each one's",
    )
    keep_versions: int = Field(2, ge=1, description="newest versions of each model to keep loaded")
    poll_seconds: float = Field(1.0, gt=0, description="seconds between looks for new versions")
    max_batch_rows: int = Field(32, ge=1, description="rows that requests may share in one batch")
    max_batch_delay_ms: float = Field(
        0.0, ge=0, description="milliseconds a request may wait for company while a slot is free"
    )
    coalesce: bool = Field(
        False, description="requests for the same image of the same model share one computation while it is under way"
    )
    max_queued_rows: int = Field(
        1024, ge=1, description="rows that may wait for one version (past it 429), and most rows of one request (413)"
    )
    max_queued_mb: int = Field(
        512, ge=1, description="megabytes that may wait for one version, or to be decoded; past it 429"
    )
    latency_slo_ms: float = Field(
        0.0,
        ge=0,
        description="deadline of requests that come without one, in milliseconds (0: none); what is not expected to be "
        "answered by its deadline is refused at once (429)",
    )
    max_in_flight: int = Field(2048, ge=1, description="requests under way in all; past it requests are refused (429)")
    max_body_bytes: int = Field(32 * 2**20, ge=1, description="largest request; past it requests are refused (413)")
    max_pixels: int = Field(50_000_000, ge=1, description="largest image, before anything is decoded (413)")
    max_image_side: int = Field(16_384, ge=1, description="most rows and most columns of an image (413)")
    max_decode_ms: float = Field(
        250.0,
        gt=0,
        description="most milliseconds that decoding an image may take on a core of 2023, judged by its header (413): "
        "larger PNG, WebP and progressive JPEG files need more",
    )
    max_decoding_mb: int = Field(
        512, ge=1, description="megabytes that images may take while they are decoded; past it they wait for each other"
    )
    api_keys: Path | None = Field(
        None,
        description="YAML file of API keys; without one everything is open (`python -m service keys` makes keys)",
    )
    open_metrics: bool = Field(True, description="/metrics needs no key where the rest does")
    tls_cert: Path | None = Field(
        None, description="PEM certificate with its chain, for HTTPS and for gRPC over TLS; read again when it changes"
    )
    tls_key: Path | None = Field(None, description="its private key, without a passphrase")
    tls_client_ca: Path | None = Field(
        None, description="PEM certificates of the authorities whose client certificates are let in, and no others"
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins whose pages may ask from a browser, such as https://app.example.com; * for all"
    )
    max_connections: int = Field(
        4096, ge=1, description="open connections of each edge; past it new ones are refused (503)"
    )
    max_header_bytes: int = Field(
        32 * 2**10, ge=1024, description="largest request line and headers (431), and largest gRPC metadata"
    )
    max_headers: int = Field(100, ge=1, description="most headers of one HTTP request (431)")
    header_seconds: float = Field(
        10.0,
        gt=0,
        description="seconds in which an HTTP request's headers have to arrive (408), and gRPC's first words",
    )
    body_seconds: float = Field(
        20.0,
        gt=0,
        description="seconds in which the body of a request has to arrive, and its answer to be taken, on each edge",
    )
    grpc_max_streams: int = Field(1024, ge=1, description="calls that one gRPC connection may have under way")
    cache: Path = Field(
        Path("~/.cache/image-model-server"),
        description="folder for what was measured of the models on this machine; it may be lost at any time",
    )
    drain_seconds: float = Field(
        5.0,
        ge=0,
        description="seconds to go on answering after SIGTERM, while load balancers notice that /readyz says no",
    )
    log_level: str = Field(
        "INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="DEBUG, INFO, WARNING or ERROR of the service's own; libraries warn and no more",
    )
    log_format: LogFormat = Field(LogFormat.text, description="text for people, or json: one event a line")
    access_log: bool = Field(False, description="a line in the log for every request, without its body")
    otlp_endpoint: str = Field(
        "",
        description="http://host:4318 of an OpenTelemetry collector, for traces; OTEL_EXPORTER_OTLP_ENDPOINT too",
    )

    @model_validator(mode="after")
    def _a_port_each(self) -> "Settings":
        if self.http_port == self.grpc_port != 0:
            raise ValueError(f"--http-port and --grpc-port are two ports, got {self.http_port} for both")
        return self

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_url(cls, value: str) -> str:
        if value and not _ORIGIN.match(value):
            raise ValueError(f"is a collector's URL, such as http://collector:4318, not {value!r}")
        return value

    @model_validator(mode="after")
    def _target_with_tfserving(self) -> "Settings":
        if (self.backend is BackendName.tfserving) != bool(self.target):
            raise ValueError("--backend tfserving and --target host:port go together")
        if self.foreign_models is Switch.off and self.backend is not BackendName.embedded:
            raise ValueError("--foreign-models off goes with --backend embedded: an upstream runs what it was given")
        if self.target:
            try:
                targets.parse(self.target)
            except ValueError as error:
                raise ValueError(f"--target {error}") from error
        return self

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _separated_by_commas(cls, given: object) -> object:
        parts = [given] if isinstance(given, str) else given
        if not isinstance(parts, list | tuple):
            return given
        return tuple(origin.strip().rstrip("/") for part in parts for origin in str(part).split(",") if origin.strip())

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin; one looks like https://app.example.com or http://host:3000")
        return origins

    @model_validator(mode="after")
    def _tls_files_together(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        return self
