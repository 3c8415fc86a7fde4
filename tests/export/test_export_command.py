"""Arguments are judged before anything heavy is imported, and a refusal is one line."""

import os
from pathlib import Path

import pytest

from export.__main__ import parse
from export.architectures import ARCHITECTURES
from export.errors import UsageError
from tests.support.exporter import run_export

HEAVY = {"tensorflow", "keras", "sklearn", "PIL", "rich"}


@pytest.mark.parametrize("arguments", [["--help"], ["--list"], ["--list", "--json"], ["--model", "no_such_model"]])
def test_answers_at_once(arguments: list[str]) -> None:
    ended = run_export(*arguments, interpreter=("-X", "importtime"))
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in ended.stderr.splitlines()}
    assert "argparse" in imported
    assert not imported & HEAVY


def test_help_names_every_flag() -> None:
    ended = run_export("--help")
    assert ended.returncode == 0
    for flag in ("--model", "--data", "--weights", "--image-size", "--epochs", "--quantize", "--name", "--force"):
        assert flag in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--model NAME is missing"),
        (["--model", "mobilenet-v3"], "did you mean mobilenet_v3_large or mobilenet_v3_small? --list shows"),
        (["--model", "ResNet50"], "did you mean resnet50 or resnet50_v2?"),
        (["--model", "zzz"], "'zzz' is unknown; --list shows what there is"),
        (["--model", "all", "--image-size", "74"], "from 75 to 2048 for inception_v3"),
        (["--model", "lenet5,"], "'' is unknown"),
        (
            ["--model", "resnet50", "--alpha", "0.5"],
            "--alpha 0.5: the width of resnet50 is fixed; that of mobilenet_v3",
        ),
        (["--model", "mobilenet_v2", "--alpha", "nan"], "Invalid --alpha: expected a number from 0.1 to 4.0, got nan"),
        (
            ["--model", "mobilenet", "--alpha", "0.3", "--weights", "imagenet"],
            "there are none for mobilenet with --alpha 0.3, only 0.25, 0.5, 0.75, 1",
        ),
        (["--model", "lenet5", "--json"], "--json goes with --list"),
        (["--list", "--family", "resnets"], "Invalid --family: expected 'ResNet' or 'ResNeXt'"),
        (["--list", "--family", ""], "Invalid --family: expected LeNet, AlexNet"),
        (["--list", "--max-parameters", "few"], "Invalid --max-parameters: expected a positive number"),
        (["--list", "--max-parameters", "0"], "Invalid --max-parameters: expected a positive number"),
        (["--model", "lenet5", "--quantize", "int4"], "--quantize: invalid choice: 'int4'"),
        (["--model", "lenet5", "--quantize", "bfloat16"], "--target cpu takes auto, int8, dynamic, float16"),
        (["--model", "lenet5", "--quantize", "int8", "--target", "gpu"], "--target gpu takes auto, float16, bfloat16"),
        (["--model", "lenet5", "--quantize", "--max-accuracy-drop", "2"], "--max-accuracy-drop 2.0: give a share"),
        (["--model", "lenet5", "--max-accuracy-drop", "0.1"], "--max-accuracy-drop judges what --quantize makes: give"),
        (
            ["--model", "efficientnet_lite0", "--weights", "imagenet", "--min-agreement", "0.8"],
            "--min-agreement judges what --quantize makes: give --quantize too, or leave --min-agreement out",
        ),
        (["lenet5"], "unrecognized arguments: lenet5; see --help"),
        (["--modle", "lenet5"], "unrecognized arguments: --modle lenet5 (did you mean --model"),
        (["--model", "lenet5", "--epochs", "many"], "--epochs: invalid int value: 'many'"),
        (["--model", "lenet5", "--epochs", "-1"], "--epochs -1: give a number from 0"),
        (["--model", "lenet5", "--batch-size", "0"], "--batch-size 0: give a number from 1"),
        (["--model", "lenet5", "--learning-rate", "nan"], "--learning-rate nan"),
        (["--model", "lenet5", "--image-size", "19"], "from 20 to 2048 for lenet5"),
        (["--model", "mobilenet_v3_small", "--image-size", "31"], "from 32 to 2048"),
        (["--model", "lenet5", "--seed", "-1"], "--seed -1"),
        (["--model", "lenet5", "--name", "../up"], "a model's name starts with"),
        (["--model", "lenet5", "--name", ""], "a model's name starts with"),
        (["--model", "lenet5,mobilenet_v3_small", "--name", "one"], "--name goes with one model"),
        (["--model", "lenet5", "--weights", "imagenet"], "there are none for lenet5"),
        (["--model", "lenet5", "--weights", "gone.keras"], "no such file"),
        (["--model", "lenet5", "--weights", "setup.cfg"], "ending in .keras or .weights.h5"),
        (["--model", "lenet5", "--data", "no/such/folder"], "no/such/folder cannot be read: No such file"),
        (["--model", "lenet5", "--repository", "/dev/null/models"], "/dev/null is no folder"),
    ],
)
def test_refuses_in_one_line(arguments: list[str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(arguments)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_refusal_exits_with_2(tmp_path: Path) -> None:
    ended = run_export("--model", "lenet5", "--data", tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        f"export: {tmp_path} needs one folder of images a class, at least two of them; it has none"
    ]


def test_a_saved_model_is_no_file_of_weights_and_is_said_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(UsageError, match=r"is the folder of a SavedModel, as Keras 2 wrote them: --from publishes it"):
        parse(["--model", "lenet5", "--data", "digits", "--weights", str(tmp_path)])


def test_defaults_are_the_architectures_own() -> None:
    specs = parse(["--model", "lenet5, mobilenet_v3_small,lenet5", "--epochs", "3"])
    assert specs is not None
    assert [spec.name for spec in specs] == ["lenet5", "mobilenet_v3_small"]
    assert [spec.image_size for spec in specs] == [28, 64]
    assert {spec.recipe.epochs for spec in specs} == {3}
    assert specs[0].recipe.batch_size == specs[0].architecture.recipe.batch_size


def test_a_width_makes_another_network_with_a_name_of_its_own() -> None:
    specs = parse(["--model", "mobilenet,mobilenet_v2", "--alpha", "0.5", "--weights", "imagenet"])
    assert specs is not None
    assert [spec.name for spec in specs] == ["mobilenet_0.5", "mobilenet_v2_0.5"]
    assert [spec.architecture.weights_by for spec in specs] == ["Keras", "Keras"]
    (odd,) = parse(["--model", "mobilenet_v2", "--alpha", "0.6"]) or ()
    assert odd.architecture.pretrained is None
    (whole,) = parse(["--model", "mobilenet_v2", "--alpha", "1"]) or ()
    assert whole.architecture is ARCHITECTURES["mobilenet_v2"]


def test_all_is_every_architecture_the_smallest_first() -> None:
    specs = parse(["--model", "all"])
    assert specs is not None
    assert {spec.name for spec in specs} == set(ARCHITECTURES)
    counts = [spec.architecture.parameters for spec in specs]
    assert counts == sorted(counts)


def test_a_whole_model_in_hdf5_is_told_from_weights(tmp_path: Path) -> None:
    file = tmp_path / "mine.h5"
    file.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(UsageError, match=r"mine\.h5 is a whole model in HDF5"):
        parse(["--model", "lenet5", "--weights", str(file)])


def test_a_repository_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"models\\xe9: its name is not UTF-8"):
        parse(["--model", "lenet5", "--repository", os.fsdecode(os.fsencode(tmp_path) + b"/models\xe9")])
