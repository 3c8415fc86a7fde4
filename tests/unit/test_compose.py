"""`compose.yaml`, as far as it can be checked without a container engine."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import CliApp

from service.settings import Settings
from tests.support.exporter import ROOT

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_every_service_is_pinned_confined_and_logs_where_it_belongs() -> None:
    for name, service in SERVICES.items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name


def test_what_is_mounted_is_here() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service["volumes"]]
    files = [path for path in mounted if path.startswith("./")]
    assert len(files) > 4 and all((ROOT / path).exists() for path in files), files


def test_the_gateway_takes_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES["gateway"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = CliApp.run(Settings, [])
    assert settings.target == "tensorflow-serving:8500" and "tensorflow-serving" in SERVICES
    grace = float(SERVICES["gateway"]["stop_grace_period"].removesuffix("s"))
    assert grace >= settings.drain_seconds + 35, "or SIGKILL comes before the end of the drain"


def test_tensorflow_serving_reads_what_the_command_writes() -> None:
    from export.tfserving.__main__ import BATCHING, MODELS, MONITORING

    flags = dict(flag.partition("=")[::2] for flag in SERVICES["tensorflow-serving"]["command"])
    named = {flags[f"--{flag}"] for flag in ("model_config_file", "batching_parameters_file", "monitoring_config_file")}
    assert named == {f"/models/{name}" for name in (MODELS, BATCHING, MONITORING)}
    assert flags["--port"] == "8500" and "--enable_per_model_batching_parameters" in flags


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Debian's prometheus")
def test_prometheus_reads_its_configuration_and_our_rules(tmp_path: Path) -> None:
    for volume in SERVICES["prometheus"]["volumes"]:
        source, target = volume.split(":")[:2]
        if source.startswith("./"):
            shutil.copy(ROOT / source, tmp_path / Path(target).name)
    ended = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert ended.returncode == 0 and "rules found" in ended.stdout, ended.stdout + ended.stderr
