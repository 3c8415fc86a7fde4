"""Files of answers: every name comes back, a record that was cut off is taken away, other files are left alone."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_model_client import Label, Prediction
from image_model_client.bulk import Csv, Form, JsonLines, Output, find_files

CAT = Prediction("m", 3, (Label("tabby, tabby cat", 0.75), Label('a "dog"', 0.25)))
FORMS: dict[str, Form] = {"csv": Csv(2), "json": JsonLines()}
NAMES = ["a.jpg", "a,b.jpg", 'a"b.jpg', "a\nb.jpg", "a\\nb.jpg", "a\rb.jpg", "ü.jpg", os.fsdecode(b"\xff.jpg"), " .jpg"]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_output_knows_what_it_has(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "answers"
    for again in range(2):
        output = Output(path, form)
        assert output.done == again * len(NAMES)
        claimed = [name for name in [*NAMES, *NAMES] if output.claim(name)]
        assert claimed == ([] if again else NAMES)
        for name in claimed:
            output.add(name, CAT)
        output.close()


def test_csv_is_what_other_programs_read(tmp_path: Path) -> None:
    output = Output(tmp_path / "answers.csv", Csv(3))
    for name in NAMES:
        output.add(name, CAT)
    output.close()
    with (tmp_path / "answers.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == NAMES
    last = rows[-1]
    assert (last["model"], last["version"], last["label_1"], last["probability_1"]) == ("m", "3", CAT.label, "0.75")
    assert (last["label_2"], last["label_3"], last["probability_3"]) == ('a "dog"', "", "")


def test_json_is_a_document_a_line(tmp_path: Path) -> None:
    output = Output(tmp_path / "answers.jsonl", JsonLines())
    for name in NAMES:
        output.add(name, CAT)
    output.add("plain", Prediction("m", 1, (), outputs={"y": [2.5]}))
    output.add("nan", Prediction("m", 1, (Label("cat", float("nan")),)))
    output.close()
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text("utf-8").splitlines()]
    assert [row["file"] for row in rows] == [*NAMES, "plain", "nan"]
    assert rows[0]["label"] == CAT.label and rows[0]["top_k"][1] == {"label": 'a "dog"', "probability": 0.25}
    assert rows[-2]["outputs"] == {"y": [2.5]} and rows[-1]["probability"] is None


@given(names=st.lists(st.text().filter(lambda name: "\0" not in name and _can_be_written(name)), max_size=5))
@pytest.mark.parametrize("kind", FORMS)
def test_whatever_the_name_it_comes_back(kind: str, names: list[str]) -> None:
    form = FORMS[kind]
    for name in names:
        record = form.write(name, CAT)
        assert form.read_file(record) == name
        lines = io.StringIO(record, newline="\n").readlines()
        whole = ["".join(lines[: end + 1]) for end in range(len(lines))]
        assert [form.is_whole(each) for each in whole] == [False] * (len(lines) - 1) + [True]


def _can_be_written(name: str) -> bool:
    try:
        name.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_wherever_a_run_was_killed_the_next_one_goes_on(tmp_path: Path, form: Form) -> None:
    path = tmp_path / "answers"
    output = Output(path, form)
    for name in NAMES:
        output.add(name, CAT)
    output.close()
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        output = Output(path, form)
        for name in NAMES:
            if output.claim(name):
                output.add(name, CAT)
        output.close()
        assert path.read_bytes() == whole, length


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    "content", [b"one line", b"\xff\xd8\xff\xe0 a photograph", b"lines\nof text\n", b"[1]\n", b'"', b'"a\n', b"\n"]
)
def test_what_is_no_file_of_answers_is_left_alone(tmp_path: Path, form: Form, content: bytes) -> None:
    path = tmp_path / "mine"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="name another --output"):
        Output(path, form)
    assert path.read_bytes() == content


def test_a_table_that_somebody_broke_loses_no_line(tmp_path: Path) -> None:
    output = Output(tmp_path / "answers", Csv(2))
    for number in range(300):
        output.add(f"{number}.jpg", CAT)
    output.close()
    broken = (tmp_path / "answers").read_bytes().replace(b"7.jpg", b'"7.jpg', 1)
    (tmp_path / "answers").write_bytes(broken)
    with pytest.raises(ValueError, match="is not of this form"):
        Output(tmp_path / "answers", Csv(2))
    assert (tmp_path / "answers").read_bytes() == broken


def test_other_columns_are_another_file(tmp_path: Path) -> None:
    Output(tmp_path / "answers", Csv(1)).close()
    with pytest.raises(ValueError, match="other columns"):
        Output(tmp_path / "answers", Csv(2))
    with pytest.raises(ValueError, match="is not of this form"):
        Output(tmp_path / "answers", JsonLines())


def test_folders_files_and_patterns_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.JPG", "b/1.png", "b/c/3.webp", "b/notes.txt", "a[1].gif", "x/1.jpg"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    reported: list[str] = []
    names = ["b", "a[1].gif", "b/**/*.txt", "x/*.jpg", "x/*.png", "no.jpg", "http://host/a.jpg"]
    assert list(find_files(names, reported.append)) == [
        "b/1.png",
        "b/2.JPG",
        "b/c/3.webp",
        "a[1].gif",
        "b/notes.txt",
        "x/1.jpg",
        "http://host/a.jpg",
    ]
    assert reported == [
        "no file matches x/*.png",
        "no.jpg is neither a file, a folder nor a pattern that matches any file",
    ]


def test_an_output_is_of_one_run_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    first = Output(path, Csv(2))
    first.add("a.jpg", CAT)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="another run writes"):
        Output(path, Csv(2))
    assert path.read_bytes() == content
    first.close()
    assert Output(path, Csv(2)).done == 1
