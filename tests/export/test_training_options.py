"""Flags of training: refused in one line that names what is near; sizes that fit the images."""

from pathlib import Path

import pytest

from export.__main__ import parse
from export.architectures import ARCHITECTURES
from export.data import image_size
from export.errors import UsageError
from export.training.options import count_unfrozen
from tests.support.images import photo


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--strategy", "linear-prob"], "got 'linear-prob'; did you mean linear_probe?"),
        (["--strategy", "zzz"], "expected one of auto, linear_probe, fine_tune, full, none, got 'zzz'"),
        (["--strategy", "linear_probe"], "builds on given weights, and --weights none gives none"),
        (["--strategy", "full", "--epochs", "0"], "--epochs 0 trains nothing"),
        (["--strategy", "full", "--unfreeze", "3"], "--unfreeze goes with --strategy fine_tune, not full"),
        (["--unfreeze", "-1"], "Invalid --unfreeze: expected all, a number of blocks or a share below 1, got '-1'"),
        (["--unfreeze", "1.5"], "got '1.5'"),
        (["--unfreeze", "some"], "got 'some'"),
        (["--optimizer", "Adam W"], "did you mean adamw or adam?"),
        (["--schedule", "cosin"], "did you mean cosine?"),
        (["--class-weights", "balance"], "did you mean balanced?"),
        (["--train-precision", "bfloat16"], "did you mean mixed_bfloat16"),
        (["--warmup", "1"], "Invalid --warmup: expected a number from 0 to 0.9, got 1.0"),
        (["--layer-decay", "0"], "Invalid --layer-decay"),
        (["--label-smoothing", "nan"], "Invalid --label-smoothing"),
        (["--dropout", "1"], "Invalid --dropout"),
        (["--weight-decay", "-1"], "Invalid --weight-decay"),
        (["--log-dir", "pyproject.toml"], "Invalid --log-dir: expected a folder, got the file pyproject.toml"),
        (["--patience", "-1"], "Invalid --patience: expected a number of epochs, 0 or more, got -1"),
    ],
)
def test_refuses_in_one_line(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(["--model", "lenet5", *arguments])
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("text", "count"), [("all", 10), ("1", 1), ("3", 3), ("99", 10), ("0.25", 2), ("0.01", 1)])
def test_blocks_are_unfrozen_by_number_or_share(text: str, count: int) -> None:
    assert count_unfrozen(text, 10) == count


def test_no_epochs_leave_weights_as_they_are() -> None:
    specs = parse(["--model", "lenet5", "--epochs", "0"])
    assert specs is not None
    assert specs[0].training.strategy == "none"


def test_a_network_without_weights_is_trained_at_a_size_its_images_have(tmp_path: Path) -> None:
    from PIL import Image

    mobilenet, inception = ARCHITECTURES["mobilenet_v3_small"], ARCHITECTURES["inception_v3"]
    assert image_size.choose(mobilenet, "digits") == 64
    assert image_size.choose(inception, "digits") == 75
    assert image_size.choose(ARCHITECTURES["lenet5"], "digits") == 28
    for side, size in ((100, 128), (400, 224)):
        root = tmp_path / str(side)
        for label in ("a", "b"):
            (root / label).mkdir(parents=True)
            for number in range(5):
                Image.fromarray(photo()[:side, : side + 9]).save(root / label / f"{number}.jpg")
        assert image_size.choose(mobilenet, str(root)) == size
    assert "--image-size 224" in image_size.describe(mobilenet, 64)
    assert image_size.describe(mobilenet, 224) == ""


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ([], 64),
        (["--image-size", "96"], 96),
        (["--epochs", "0"], 224),
        (["--weights", "imagenet", "--data", "digits"], 224),
    ],
)
def test_weights_and_flags_choose_the_size(arguments: list[str], size: int) -> None:
    specs = parse(["--model", "mobilenet_v3_small", *arguments])
    assert specs is not None
    assert specs[0].image_size == size
