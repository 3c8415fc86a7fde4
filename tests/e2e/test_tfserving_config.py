"""TensorFlow Serving's configuration files, read back as it reads them: text format, its own messages."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format

from export.tfserving import config_protos as serving_config
from export.tfserving.__main__ import BATCHING, MODELS, MONITORING, PER_MODEL
from export.tfserving.batching import Batching, for_cpu, for_gpu
from service.repository.manifest import Manifest, Profile
from tests.support.testdata import TESTDATA, needs_testdata


def config(*arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "export.tfserving", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == code, ended.stderr
    return ended.stdout if code == 0 else ended.stderr


def parsed(path: Path, message: Any) -> Any:
    return text_format.Parse(path.read_text(), message())


@pytest.fixture
def repository(lenet5_repository: Path, tmp_path: Path) -> Path:
    """`lenet5` in three versions."""
    for version in "123":
        shutil.copytree(lenet5_repository / "lenet5" / "1", tmp_path / "models" / "lenet5" / version)
    return tmp_path / "models"


def test_all_files_of_a_cpu(repository: Path) -> None:
    said = config("--repository", repository, "--latency-slo-ms", 40, "--labels", "--base-path", "/srv/models/")
    (model,) = parsed(repository / MODELS, serving_config.ModelServerConfig).model_config_list.config
    assert (model.name, model.base_path, model.model_platform) == ("lenet5", "/srv/models/lenet5", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 2 and dict(model.version_labels) == {"float32": 3}
    assert parsed(repository / MONITORING, serving_config.MonitoringConfig).prometheus_config.enable
    threads = parsed(repository / BATCHING, serving_config.BatchingParameters)
    assert threads.thread_pool_name.value and not threads.HasField("num_batch_threads"), "the server counts its cores"
    assert not (repository / "lenet5" / "1" / PER_MODEL).exists(), "it is not served"
    manifest = Manifest.read(repository / "lenet5" / "3", "lenet5", 3)
    assert manifest is not None and manifest.profile is not None
    chosen = parsed(repository / "lenet5" / "3" / PER_MODEL, serving_config.BatchingParameters)
    rows, took = chosen.max_batch_size.value, manifest.profile.milliseconds["image"][chosen.max_batch_size.value]
    assert rows > 1 and 2 * took <= 40 and not chosen.allowed_batch_sizes
    assert 2 * took + chosen.batch_timeout_micros.value / 1000 <= 40
    assert "6 requests" in said and "--model_config_file=/srv/models/models.config" in said


def test_a_gpu_gets_padded_sizes_and_two_threads(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "config"
    config("--repository", repository, "--device", "gpu", "--max-batch", 24, "--output", output, "--keep", 1)
    assert sorted(entry.name for entry in output.iterdir()) == sorted((MODELS, BATCHING, MONITORING))
    assert parsed(output / BATCHING, serving_config.BatchingParameters).num_batch_threads.value == 2
    chosen = parsed(repository / "lenet5" / "3" / PER_MODEL, serving_config.BatchingParameters)
    assert list(chosen.allowed_batch_sizes) == [1, 2, 4, 8, 16, 24] and chosen.max_batch_size.value == 24


def test_again_it_touches_nothing(repository: Path) -> None:
    config("--repository", repository)
    before = {path: path.stat().st_mtime_ns for path in repository.rglob("*")}
    config("--repository", repository)
    assert {path: path.stat().st_mtime_ns for path in repository.rglob("*")} == before


def profile(**milliseconds: float) -> Profile:
    measured = {"image": {int(rows[1:]): took for rows, took in milliseconds.items()}}
    return Profile("here", 1, 1, measured, 0.1, 10.0)


@pytest.mark.parametrize(
    ("measured", "slo", "batching"),
    [
        # Company makes nothing faster: nobody waits for any.
        (profile(b1=10, b2=20, b4=40), 100, Batching(1, 0.0, 10)),
        # The largest whose time fits twice into the SLO; half of what is left may be waited.
        (profile(b1=10, b2=12, b4=16, b8=30), 50, Batching(4, 9.0, 3)),
        # ... at most as long as a batch takes.
        (profile(b1=1, b2=1.2, b4=1.6), 100, Batching(4, 1.6, 62)),
        # Nothing fits: one at a time.
        (profile(b1=80, b2=100), 100, Batching(1, 0.0, 1)),
    ],
)
def test_batches_follow_the_profile_and_the_slo(measured: Profile, slo: float, batching: Batching) -> None:
    assert for_cpu(measured, "image", slo) == batching


def test_the_last_padded_size_is_the_largest_batch() -> None:
    """TensorFlow Serving refuses the model otherwise."""
    for largest in (1, 3, 32, 200):
        assert for_gpu(largest, 100).padded[-1] == largest


@needs_testdata
def test_anybodys_model_is_not_batched_and_the_table_says_so(repository: Path) -> None:
    assert TESTDATA is not None
    shutil.copytree(TESTDATA / "saved_model_half_plus_two_cpu", repository / "half_plus_two")
    (line,) = (line for line in config("--repository", repository).splitlines() if "half_plus_two" in line)
    assert "not batched" in line and "none: its first requests are slow" in line


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--repository", "nowhere"), 1, "nowhere cannot be read"),
        (("--repository", "empty"), 1, "empty holds no model; export one with"),
        (("--keep", "0"), 2, "--keep 0 is not above 0"),
        (("--base-path", "models"), 2, "--base-path 'models' is refused by TensorFlow Serving"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, arguments: tuple[str, str], code: int, says: str) -> None:
    (tmp_path / "empty").mkdir()
    here = [str(tmp_path / each) if each in ("nowhere", "empty") else each for each in arguments]
    said = config(*here, code=code)
    assert says in said and said.count("\n") == 1


def test_a_manifest_of_another_format_is_named(repository: Path) -> None:
    manifest = repository / "lenet5" / "3" / "assets.extra" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))
    assert f"{manifest} cannot be read" in config("--repository", repository, code=1)


def test_help_answers_at_once_and_nothing_imports_tensorflow(repository: Path) -> None:
    began = time.monotonic()
    config("--help")
    assert time.monotonic() - began < 2
    code = "import sys; sys.argv[1:] = ['--repository', %r]; import export.tfserving.__main__ as c; c.main(); " \
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", code % os.fspath(repository)], capture_output=True, text=True)
    assert ended.stdout.splitlines()[-1] == "False False"


def test_the_command_lets_tensorflow_compute_in_bfloat16_where_that_is_asked_for(repository: Path) -> None:
    plain, fast = config("--repository", repository), config("--repository", repository, "--bfloat16")
    command = "tensorflow_model_server --model_config_file="
    assert f"\n{command}" in plain
    assert f"\nTF_SET_ONEDNN_FPMATH_MODE=BF16 {command}" in fast
    assert "--device gpu" in config("--repository", repository, "--bfloat16", "--device", "gpu", code=2)
