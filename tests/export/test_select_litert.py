"""The choice among forms is that of an exhaustive examination, whatever their times, sizes and errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.data.dataset import Dataset, Split
from export.progress import Stage
from export.quantize import evaluate, select_litert
from export.quantize.candidates import Candidate, choose_fastest
from export.quantize.evaluate import Judge
from export.quantize.schemes import FLOAT32
from export.quantize.select_litert import _Contest
from export.verify.answers import Answers

IMAGES, CLASSES, FORMS, BUDGET = 400, 10, 7, 0.02


def make_dataset() -> Dataset:
    """Images whose first two channels are their number: what answers them is a table."""
    numbers = np.arange(IMAGES)
    images = np.stack([numbers % 256, numbers // 256, numbers * 0], axis=-1).astype(np.uint8)[:, None, None]
    split = Split(images, (numbers % CLASSES).astype(np.int32))
    return Dataset("numbers", tuple("abcdefghij"), split, split, split, ())


def answer(table: Any, images: Any) -> Any:
    """Probabilities, float32 [n, C], of the classes that `table`, int [N], gives these images."""
    numbers = images[:, 0, 0].astype(int) @ (1, 256, 0)
    return np.eye(CLASSES, dtype=np.float32)[table[numbers]]


def make_contest(dataset: Dataset, float32: Any) -> _Contest:
    """Without candidates yet; `float32` are the classes that float32 answers, int [N]."""
    reference = Answers(float32, answer(float32, dataset.held_out.images))
    judge = Judge(dataset, BUDGET, lambda images: answer(float32, images), reference)
    nothing: Any = None  # it builds no candidates here
    return _Contest(Path(), nothing, judge, nothing, or_float=True, stage=Stage("test", lambda text: None))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> dict[Path, tuple[Any, float]]:
    """By file: the classes that it answers, and its milliseconds, which differ by 1 % from round to round."""
    forms: dict[Path, tuple[Any, float]] = {}
    noise = np.random.default_rng(5)

    def time_round(candidates: list[Candidate], images: Any) -> None:
        for each in candidates:
            each.rounds.append({1: forms[each.file][1] * noise.uniform(1, 1.01)})

    monkeypatch.setattr(evaluate, "time_round", time_round)
    monkeypatch.setattr(evaluate, "open_model", lambda file: lambda images: answer(forms[file][0], images))
    return forms


@pytest.mark.parametrize("seed", range(15))
def test_the_choice_is_the_exhaustive_one(seed: int, engine: dict[Path, tuple[Any, float]]) -> None:
    """Forms as fast as each other and twice as slow, of few sizes, that lose nothing, some, or nearly everything."""
    generator = np.random.default_rng(seed)
    dataset = make_dataset()
    classes = dataset.held_out.classes
    right = np.where(generator.random(IMAGES) < 0.9, classes, (classes + 1) % CLASSES)
    contest = make_contest(dataset, right)
    losses = {}
    for number in range(FORMS):
        file = Path(str(number))
        lost = generator.choice([0, 3, 6, 10, 40, 350]) if number else 0
        given = right.copy()
        rows = generator.permutation(IMAGES)[:lost]
        given[rows] = (given[rows] + 2) % CLASSES
        losses[number] = (right == classes).sum() - (given == classes).sum()
        engine[file] = given, generator.choice([10, 10.15, 10.4, 11, 14, 25])
        kind = FLOAT32 if number == 0 else "int8"
        contest.candidates.append(Candidate(file.name, kind, file, int(generator.choice([30, 31, 50]))))
    contest.candidates[0].quality = contest._judge.examine_float32()
    contest.time_all()
    best = contest.settle()
    accurate = [each for number, each in enumerate(contest.candidates) if losses[number] <= BUDGET * IMAGES]
    for each in accurate:
        contest.time([each], select_litert._ROUNDS if best and each.cost <= best.cost * select_litert._CLOSE else 1)
    assert best is choose_fastest(sorted(accurate, key=lambda each: each.cost))
    assert best.quality is not None and best.quality.answers is not None and best.quality.images == IMAGES
    np.testing.assert_array_equal(best.quality.answers.classes, engine[best.file][0])
    np.testing.assert_array_equal(best.quality.answers.probabilities.argmax(-1), engine[best.file][0])
    hopeless = [each for number, each in enumerate(contest.candidates) if losses[number] > 200 and each.quality]
    assert all(each.quality is not None and each.quality.images < IMAGES / 2 for each in hopeless)


def test_of_forms_as_fast_as_each_other_the_smallest_alone_is_examined(engine: dict[Path, tuple[Any, float]]) -> None:
    dataset = make_dataset()
    classes = dataset.held_out.classes
    contest = make_contest(dataset, classes)
    for number, size in enumerate((31, 30, 32, 29)):
        engine[Path(str(number))] = classes, (10.0, 10.1, 10.1, 20.0)[number]
        contest.candidates.append(Candidate(str(number), "int8", Path(str(number)), size))
    contest.time_all()
    assert contest.settle() is contest.candidates[1]
    assert [each.quality is not None for each in contest.candidates] == [False, True, False, False]
    assert [len(each.rounds) for each in contest.candidates] == [5, 5, 5, 2], "20 is twice 10, and no more"


@pytest.mark.parametrize(("lost", "chosen"), [(0, 1), (12, 2)])
def test_what_counts_as_fast_depends_on_whether_the_fastest_is_accurate(
    lost: int, chosen: int, engine: dict[Path, tuple[Any, float]]
) -> None:
    """The last form takes 4 % longer than the first, and 2 % longer than the second."""
    dataset = make_dataset()
    classes = dataset.held_out.classes
    contest = make_contest(dataset, classes)
    worse = np.where(np.arange(IMAGES) % (IMAGES // max(lost, 1)) == 9, (classes + 1) % CLASSES, classes)
    for number, (size, milliseconds) in enumerate(((50, 10.0), (31, 10.2), (30, 10.41))):
        engine[Path(str(number))] = (classes if number or not lost else worse), milliseconds
        contest.candidates.append(Candidate(str(number), "int8", Path(str(number)), size))
    contest.time_all()
    assert contest.settle() is contest.candidates[chosen]
