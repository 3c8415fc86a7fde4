"""Every knob of the service, each a command-line flag and an environment variable."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import Field, FilePath, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.backends.upstream import targets
from service.logs import LogFormat

Port = Annotated[int, Field(ge=0, le=65535)]


class BackendName(StrEnum):
    embedded = "embedded"
    tfserving = "tfserving"


class Settings(BaseSettings):
    """Serves image classifiers over HTTP and gRPC.

    Each flag is an environment variable too: --http-port is SERVICE_HTTP_PORT.
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
        BackendName.embedded, description="embedded runs the models in this process; tfserving asks --target"
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
    max_queued_rows: int = Field(
        1024, ge=1, description="rows that may wait for one version (past it 429), and most rows of one request (413)"
    )
    max_in_flight: int = Field(2048, ge=1, description="requests under way in all; past it requests are refused (429)")
    max_body_bytes: int = Field(32 * 2**20, ge=1, description="largest request; past it requests are refused (413)")
    max_pixels: int = Field(50_000_000, ge=1, description="largest image, before anything is decoded (413)")
    cache: Path = Field(
        Path("~/.cache/image-model-server"),
        description="folder for what was measured of the models on this machine; it may be lost at any time",
    )
    drain_seconds: float = Field(
        5.0,
        ge=0,
        description="seconds to go on answering after SIGTERM, while load balancers notice that /readyz says no",
    )
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR")
    log_format: LogFormat = Field(LogFormat.text, description="text for people, or json: one event a line")
    access_log: bool = Field(False, description="a line in the log for every request, without its body")
    otlp_endpoint: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description="http://host:4318 of an OpenTelemetry collector, for traces; OTEL_EXPORTER_OTLP_ENDPOINT too",
    )

    @model_validator(mode="after")
    def _target_with_tfserving(self) -> "Settings":
        if (self.backend is BackendName.tfserving) != bool(self.target):
            raise ValueError("--backend tfserving and --target host:port go together")
        if self.target:
            try:
                targets.parse(self.target)
            except ValueError as error:
                raise ValueError(f"--target {error}") from error
        return self
