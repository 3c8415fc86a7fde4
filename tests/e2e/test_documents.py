"""The commands of all documents run as printed but for ports, beside a service as `make serve` has it.

What stands behind `<!-- run with routes.yaml -->`, docs/cluster.md and client/README.md have tests of their own.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from service.settings import Settings
from tests.support import synthetic_runs
from tests.support.certificates import Authority
from tests.support.documents import CLIENT_README, DOCS, README, Block, find_pages, read_blocks, split_commands
from tests.support.exporter import ROOT
from tests.support.service_process import Service, running

_BLOCKS = [block for page in find_pages() if page != CLIENT_README for block in read_blocks(page)]
_EXAMPLES = [block for block in _BLOCKS if block.run]
_SHOWN = {
    "/predict/efficientnet_lite0": r'"label": "espresso"',
    "/similar/": r'(?s)("label":"7".*){3}',
    ":predict": r'"classes": \[',
    "/predict/lenet5?version=1": r'(?s)"label": "3".*"label": "5"',
    "--list": r"MobileNet|resnet",
    "service profile": r'"threads"',
    "lenet5/1/assets.extra/samples/7-0.png -H 'X-Request-Deadline-Ms": r'"label": "7"',
    "json.tool | grep -E": r'"engine": "litert"',
    "predict my_photos": r"% +coffee",
    "predict my_network": r"/7-0\.png +[\d.]+% +7",
}
"""Part of an example -> what it prints."""
_WRITTEN = {
    "--output answers.csv": ("answers.csv", r"\Afile,model,version,label_1,probability_1\n.*/7-0.png,lenet5,1,7,"),
    "service keys": ("keys.yaml", "name: cats-team"),
    "model.savedmodel": ("models/lenet5/1/saved_model.pb", ""),
    "explain": ("explanation.png", ""),
    "export augment": ("sheet.png", ""),
    "--name my_photos": ("model_repository/my_photos/1/assets.extra/report/index.html", ""),
    "--name my_network": ("model_repository/my_network/1/model.tflite", ""),
    "--output bulk.csv": ("bulk.csv", "label_3"),
    "--from network.tflite": ("model_repository/my_torch_network/1/model.tflite", ""),
    "--weights mine.keras": ("model_repository/mobilenet_v3_small/1/model.tflite", ""),
    "--model efficientnet_lite2": ("model_repository/efficientnet_lite2/1/model.tflite", ""),
    "export.tfserving": ("model_repository/models.config", "lenet5"),
}
"""Part of an example -> a file that it leaves, and what is in it."""


def _find_slow() -> dict[str, Path]:
    """Each command once -> the page that has it first."""
    found: dict[str, Path] = {}
    for block in _BLOCKS:
        for command in split_commands(block.code) if block.mark == "run slow" else ():
            found.setdefault(command.partition(" #")[0].strip(), block.page)
    return found


_SLOW = _find_slow()
_CONVERT = """
import keras, tensorflow as tf
inner = keras.models.load_model("lenet5.keras")
network = keras.Sequential([keras.layers.Input(inner.input_shape[1:]), keras.layers.Rescaling(1 / 255), inner])
network.save("network.keras")
layers = keras.layers.Conv2D(4, 3, strides=4), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")
network = keras.Sequential([keras.layers.Input((32, 32, 3)), *layers])
open("network.tflite", "wb").write(tf.lite.TFLiteConverter.from_keras_model(network).convert())
"""


@pytest.fixture(scope="module")
def service(serve_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    """A service, and a folder with the `model_repository/` that it serves and whatever documents take as given."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(serve_repository, folder / "model_repository")
    shutil.copytree(serve_repository / "lenet5" / "1", folder / "triton" / "lenet5" / "1" / "model.savedmodel")
    shutil.copytree(serve_repository, folder / "somewhere" / "models")
    for block in _BLOCKS:
        if block.mark.endswith(".yaml") and block.kind == "yaml":
            (folder / block.mark).write_text(block.code)
    for name in ("old.json", "build/loadtest/results.json"):
        synthetic_runs.run(networks=4, seconds=2).write(folder / name)
    pair = Authority("documents").signs("here")
    (folder / "cert.pem").write_bytes(pair.certificate)
    (folder / "key.pem").write_bytes(pair.key)
    with running("--repository", folder / "model_repository") as service:
        service.wait_ready()
        yield service, folder


@pytest.fixture(scope="module")
def given(service: tuple[Service, Path], demo_repository: Path) -> Path:
    """The folder, with what people export: photos of three things, and networks of their own."""
    from skimage import data

    _, folder = service
    generator = np.random.default_rng(0)
    for name in ("coffee", "astronaut", "chelsea"):
        (folder / "photos" / name).mkdir(parents=True)
        picture = Image.fromarray(getattr(data, name)())
        for number in range(20):
            left, top = generator.integers(0, 100, 2)
            picture.crop((left, top, left + 200, top + 200)).save(folder / "photos" / name / f"{number}.jpg")
    shutil.copytree(folder / "photos" / "coffee", folder / "more" / "coffee")
    shutil.copyfile(folder / "photos" / "coffee" / "0.jpg", folder / "coffee.jpg")
    shutil.copyfile(demo_repository / "lenet5" / "1" / "assets.extra" / "network.keras", folder / "lenet5.keras")
    network = demo_repository / "mobilenet_v3_small" / "1"
    shutil.copyfile(network / "assets.extra" / "network.keras", folder / "mine.keras")
    shutil.copyfile(network / "assets" / "labels.txt", folder / "names.txt")
    return folder


def run(code: str, kind: str, service: tuple[Service, Path], timeout: float) -> str:
    """What it prints, and what it writes to stderr. Checks its exit code, and what is known of such an example."""
    process, folder = service
    if "service keys" in code:
        (folder / "keys.yaml").unlink(missing_ok=True)  # documents make the same key
    ports = {"8000": process.http_port, "8500": process.grpc_port}
    code = re.sub(r"(?<=localhost:)\d+", lambda port: str(ports[port[0]]), code)
    command = [sys.executable, "-c", code]
    if kind == "bash":
        code = code.replace(".venv/bin/", "").replace("--repository /models", "--repository somewhere/models")
        code = re.sub(r"python -m service(?= --(?!help)|$)", "python -m tests.support.brief_service", code)
        command = ["bash", "-euo", "pipefail", "-c", code]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}",
        "IMAGE_MODEL_URL": process.url,  # of the client's program, whose default is :8000
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{code}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    for expected in re.findall(r"print\(.*\)  # (\d+)$", code, re.MULTILINE):
        assert expected in done.stdout.split(), done.stdout
    for part, shown in _SHOWN.items():
        assert part not in code or re.search(shown, done.stdout), (part, done.stdout)
    for part, (file, text) in _WRITTEN.items():
        assert part not in code or re.search(text, (folder / file).read_text(errors="replace"), re.DOTALL), part
    return done.stdout + done.stderr


def test_there_are_examples_of_every_kind() -> None:
    assert {block.kind for block in _EXAMPLES} == {"bash", "python"} and len(_EXAMPLES) >= 15 and len(_SLOW) >= 25
    assert {block.page for block in _EXAMPLES} >= {README, DOCS / "clients.md", DOCS / "bulk.md"}
    assert {*_SLOW.values()} >= {README, DOCS / "migrating.md", DOCS / "canary.md"}


def test_the_ports_in_them_are_the_defaults() -> None:
    fields = Settings.model_fields
    assert (fields["http_port"].default, fields["grpc_port"].default) == (8000, 8500)
    assert {port for block in _EXAMPLES for port in re.findall(r"localhost:(\d+)", block.code)} == {"8000", "8500"}


@pytest.mark.parametrize(
    "block", _EXAMPLES, ids=[f"{block.page.stem} {block.kind} {number}" for number, block in enumerate(_EXAMPLES, 1)]
)
def test_examples_run_as_printed(block: Block, service: tuple[Service, Path]) -> None:
    run(block.code, block.kind, service, 120)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [pytest.param(command, id=f"{page.stem}: {command[-60:]}") for command, page in _SLOW.items()]
)
def test_slow_examples_run_as_printed(command: str, service: tuple[Service, Path], given: Path) -> None:
    if "--from network." in command and not (given / "network.keras").exists():
        subprocess.run([sys.executable, "-c", _CONVERT], cwd=given, check=True, capture_output=True, timeout=120)
    run(command, "bash", service, 280)


def test_the_layout_is_what_an_export_looks_like(demo_repository: Path) -> None:
    text = (DOCS / "models.md").read_text()
    for path in (demo_repository / "lenet5" / "1").iterdir():
        assert path.name in text
