"""What people read about candidates: a column for what was measured, none for what nobody could."""

from pathlib import Path

from export import candidates_table
from export.quantize.candidates import Candidate, Choice
from export.quantize.evaluate import Quality


def draw(quality: Quality) -> list[str]:
    """The lines of a table of float32 and an int8 form of `quality`, which is published."""
    float32 = Candidate("float32", "float32", Path("0"), 1000, None, [{1: 4.0, 8: 3.0}])
    int8 = Candidate("int8", "int8", Path("1"), 250, quality, [{1: 2.0, 8: 1.5}])
    return candidates_table.candidates(Choice(int8, (float32, int8), {"dynamic": "no kernel"})).splitlines()


def test_what_was_measured_stands_below_its_heading() -> None:
    assert draw(Quality(0.9, {"a": 0.8, "b": 1.0}, 0.95, "", 40)) == [
        "    candidate  ms of 1  ms of 8  size  accuracy  agrees  worst class  images",
        "    float32          4        3  100%         -       -            -       0  takes 2.00 times as long",
        "->  int8             2      1.5   25%    0.9000  0.9500       0.8000      40  published",
        "not built: dynamic: no kernel",
    ]


def test_images_without_labels_have_no_column_of_accuracy() -> None:
    assert draw(Quality(None, {}, 0.95, "", 40))[0] == "    candidate  ms of 1  ms of 8  size  agrees  images"
