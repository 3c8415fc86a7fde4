"""What shows that transfer transfers: images to test with are of no region and no digit to learn from, and claims."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from benchmarks.transfer import __main__ as transfer
from benchmarks.transfer import digits, page, photographs, resources

EASY = {
    page.FROM_SCRATCH: {"0": 0.5, "1": 0.7},
    page.PROBE: {"0": 0.97, "1": 0.95},
    page.FINE_TUNED: {"0": 0.66, "1": 0.66},
}


@pytest.mark.parametrize("shape", [(427, 640), (512, 512), (300, 451)])
def test_crops_to_test_with_share_no_pixel_with_those_to_learn_from(shape: tuple[int, int]) -> None:
    seen = np.zeros((2, *shape), bool)
    generator = np.random.default_rng(1)
    for test in (0, 1):
        for draws in [*generator.random((300, 4)), np.zeros(4), np.full(4, 1 - 1e-9)]:
            top, left, side = photographs.choose_window(shape, bool(test), draws)
            assert min(top, left) >= 0 and top + side <= shape[0] and left + side <= shape[1]
            seen[test, top : top + side, left : left + side] = True
    assert not (seen[0] & seen[1]).any()
    assert seen.any(axis=(1, 2)).all()


def test_each_photograph_has_as_many_crops_in_every_part() -> None:
    source, parts = photographs.draw_crops(0)
    wanted = (photographs.LEARN, photographs.CHOOSE, photographs.TEST)
    for rows, count in zip((parts.train, parts.validation, parts.held_out), wanted, strict=True):
        assert np.bincount(source.classes[rows]).tolist() == [count] * len(photographs.FILES)
    assert len(np.unique(parts.order)) == len(source.classes)
    assert Image.open(io.BytesIO(source.read(int(parts.held_out[0])))).mode == "L"


@pytest.mark.parametrize("placed", [0, 3])
def test_no_digit_is_in_two_parts(placed: int) -> None:
    source, parts = digits.draw_seen(placed, 0)
    count = len(source.classes) // max(1, placed)
    found = [set((rows % count).tolist()) for rows in (parts.train, parts.validation, parts.held_out)]
    assert sum(map(len, found)) == len(set.union(*found)) == count
    assert sum(map(len, (parts.train, parts.validation, parts.held_out))) == len(source.classes)


@pytest.mark.parametrize("placed", [False, True])
def test_few_of_the_new_digits_teach_and_all_others_are_held_out(placed: bool) -> None:
    source, parts = digits.draw_new(20, 4, placed, 0)
    assert source.labels == ("5", "6", "7", "8", "9")
    assert np.bincount(source.classes[parts.train]).tolist() == [16] * 5
    assert np.bincount(source.classes[parts.validation]).tolist() == [4] * 5
    assert sorted(parts.order.tolist()) == list(range(len(source.classes)))
    pixels = np.asarray(Image.open(io.BytesIO(source.read(int(parts.train[0])))))
    assert pixels.shape[:2] == (digits.CANVAS, digits.CANVAS) and pixels.max() > 200


def test_a_claim_that_figures_do_not_bear_out_is_named() -> None:
    assert page.list_missed({"tasks": {page.PHOTOGRAPHS: EASY}}) == []
    low = EASY | {page.PROBE: {"0": 0.64, "1": 0.64}}
    assert page.list_missed({"tasks": {page.PLACED: EASY | {page.FINE_TUNED: EASY[page.PROBE]}}}) == []
    assert page.list_missed({"tasks": {page.PLACED: low}}) == [
        "Digits on photographs: linear probe gains +14.0, -6.0 points over from scratch, wanted +5",
        "Digits on photographs: fine-tuned gains +16.0, -4.0 points over from scratch, wanted +5",
    ]
    assert page.list_missed({"tasks": {page.PHOTOGRAPHS: low}}) == [
        "Photographs: the linear probe gets 0.640 right, wanted 0.95",
        "Photographs: linear probe gains +14.0, -6.0 points over from scratch, wanted +20",
    ]


def test_a_cost_that_is_higher_than_claimed_is_named() -> None:
    probe = {"training": 60.0, "alone": 1400.0}
    tuning = {"anonymous": 1000.0}
    costs = {page.PROBE_COST: probe, page.TUNE_FEW: tuning, page.TUNE_MANY: {"anonymous": 1090.0}}
    assert page.list_missed({"tasks": {}, "costs": costs}) == []
    costs = {page.PROBE_COST: {"training": 99.0, "alone": 1600.0}, page.TUNE_FEW: tuning}
    costs[page.TUNE_MANY] = {"anonymous": 1110.0}
    assert page.list_missed({"tasks": {}, "costs": costs}) == [
        "linear probe at 224x224, 1,000 images: 99 seconds, wanted 90 at most",
        "linear probe at 224x224, 1,000 images: 1600 MB, wanted 1500 at most",
        "fine-tuning at 64x64, 10,000 images: 1110 MB that cannot be given back, 1,000 take 1000",
    ]


def test_memory_of_a_process_and_its_children_is_anonymous_or_of_files(tmp_path: Path) -> None:
    """A child that holds 64 MB of its own and has read 32 MB of a mapped file."""
    file = tmp_path / "mapped"
    file.touch()
    os.truncate(file, 2**25)
    held = (
        "import mmap, sys; own = b'x' * 2**26; file = open(sys.argv[1], 'rb');"
        "mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); seen = sum(mapped[::4096]);"
        "print('ready', flush=True); sys.stdin.read()"
    )
    shell = ["sh", "-c", f'{sys.executable} -c "$0" "$1"; true', held, str(file)]
    with subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        found = resources.read_memory(process.pid)
        process.stdin.close()
    assert found.alone < 30
    assert 64 <= found.anonymous < 100
    assert 32 <= found.file_backed < 100
    assert found.resident == pytest.approx(found.anonymous + found.file_backed, abs=0.2)


def test_a_stopped_measurement_leaves_nothing_that_it_started() -> None:
    program = (
        "from benchmarks.transfer import resources; resources.stop_on_sigterm();"
        "resources.watch(['sh', '-c', 'sleep 60 & echo $$ $!; wait'])"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        started = [psutil.Process(int(number)) for number in process.stdout.readline().split()]
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
        assert psutil.wait_procs(started, 20)[1] == []
    assert len(started) == 2


def test_what_is_found_is_kept_beside_what_was_found_before(tmp_path: Path) -> None:
    file = tmp_path / "reports" / "transfer.json"
    for seed in (1, 0):
        found = {way: accuracies[str(seed)] for way, accuracies in EASY.items()}
        kept = page.keep(file, page.PLACED, seed, found, "a machine")
    assert kept == page.read(file) == {"machine": "a machine", "tasks": {page.PLACED: EASY}}
    text = page.write(kept, tmp_path / "transfer.md")
    assert "| linear probe |  0.970 |  0.950 | 0.960 |  +36.0 |" in text
    assert page.TASKS[page.PHOTOGRAPHS] not in text


def test_what_else_the_machine_did_stands_below_the_costs(tmp_path: Path) -> None:
    cost = dict.fromkeys(("training", "seconds", "cpu", "alone", "resident", "anonymous", "file_backed"), 10.0)
    kept = page.keep_cost(tmp_path / "transfer.json", page.TUNE_FEW, cost | {"note": "others computed"}, "a machine")
    text = page.write(kept, tmp_path / "transfer.md")
    assert f"- {page.COSTS[page.TUNE_FEW]}: others computed." in text.splitlines()


def test_ways_are_compared_with_the_seeds_that_both_have(tmp_path: Path) -> None:
    ways = EASY | {page.FROM_SCRATCH: {"1": 0.7}}
    text = page.write({"machine": "a machine", "tasks": {page.PLACED: ways}}, tmp_path / "transfer.md")
    assert "| from scratch |        |  0.700 | 0.700 |        |" in text
    assert "| linear probe |  0.970 |  0.950 | 0.960 |  +25.0 |" in text


def test_what_was_measured_before_an_interruption_is_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "transfer.json"
    for seed in (0, 1):
        page.keep(file, page.PHOTOGRAPHS, seed, {way: EASY[way][str(seed)] for way in EASY}, "a machine")
    before = file.read_bytes()
    flags = ["--resume", "--tasks", page.PHOTOGRAPHS, "--seeds", "0", "1", "--results", str(file)]
    assert transfer.main([*flags, "--output", str(tmp_path / "transfer.md")]) == 0
    assert file.read_bytes() == before


def test_the_page_is_written_from_what_is_kept() -> None:
    results = page.read(page.RESULTS)
    text = page.PAGE.read_text(encoding="utf-8")
    assert text == page.render(results)
    assert all(f"- {each}." in text for each in page.list_missed(results))
