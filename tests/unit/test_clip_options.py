"""The flags that go with CLIP, and those that do not."""

from pathlib import Path

import pytest

from export.__main__ import _parser
from export.clip.options import ClipSpec, read
from export.errors import UsageError


def parse(*arguments: object) -> ClipSpec | None:
    parser = _parser()
    return read(parser.parse_args([str(each) for each in arguments]), parser.get_default)


def test_random_weights_are_published_only_by_force(tmp_path: Path) -> None:
    spec = parse("--model", "clip_vit_b32", "--force", "--head", "sigmoid", "--repository", tmp_path)
    assert spec is not None and (spec.name, spec.weights, spec.head) == ("clip_vit_b32", "none", "sigmoid")
    with pytest.raises(UsageError, match="give --weights FILE, or --force"):
        parse("--model", "clip_vit_b32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "digits"], "--data does not go with"),
        (["--quantize"], "its precision stays float32"),
        (["--epochs", 3], "it learns from no images"),
        (["--report", "full"], "--report does not go with"),
        (["--labels", "labels.txt"], "--labels does not go with"),
        (["--image-size", 96], "--image-size does not go with"),
        (["--weights", "clip.bin"], "no such file"),
        (["--weights", "imagenet"], "no such file"),
        (["--vocabulary", "nowhere.gz"], "--vocabulary nowhere.gz: there is no such file"),
        (["--name", "a/b"], "Invalid --name"),
        (["--seed", -1], "Invalid --seed"),
    ],
)
def test_what_does_not_go_with_it_is_refused(arguments: list[object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse("--model", "clip_vit_b32", "--force", *arguments)


def test_weights_are_of_a_format_that_is_read(tmp_path: Path) -> None:
    (tmp_path / "clip.pt").write_bytes(b"")
    with pytest.raises(UsageError, match=r"expected none or a file ending in .safetensors, .npz, .keras"):
        parse("--model", "clip_vit_b32", "--weights", tmp_path / "clip.pt")


def test_other_networks_are_left_alone_and_have_no_head() -> None:
    assert parse("--model", "lenet5") is None
    with pytest.raises(UsageError, match="--head goes with --model clip_vit_b32"):
        parse("--model", "lenet5", "--head", "softmax")
    with pytest.raises(UsageError, match="is exported by itself"):
        parse("--model", "lenet5,clip_vit_b32", "--force")
