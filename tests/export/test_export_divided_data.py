"""Data that people have divided already, in folders or in a table: their division is kept, what it lacks is taken."""

from pathlib import Path

import numpy as np
import pytest

from export.data import dataset as data
from export.data import sources
from export.errors import UsageError
from export.progress import Stage
from tests.support.images import encode, photo


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    top, left = number % 300, 7 * number % 500
    path.write_bytes(encode(photo()[top : top + 40, left : left + 40]))


def folders(root: Path, **counts: int) -> Path:
    """So many images a class in each of these folders."""
    number = 0
    for part, count in counts.items():
        for label in ("cat", "dog"):
            for index in range(count):
                write(root / part / label / f"{part}{index}.png", number := number + 1)
    return root


def load(source: str | Path) -> data.Dataset:
    return data.load(sources.find(str(source)), 16, Stage("test", lambda text: None))


def sizes(loaded: data.Dataset) -> tuple[int, int, int]:
    return len(loaded.train.classes), len(loaded.validation.classes), len(loaded.held_out.classes)


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        pytest.param({"train": 10, "val": 3, "test": 4}, (20, 6, 8), id="as it is"),
        pytest.param({"Training": 10, "valid": 3, "Test": 4}, (20, 6, 8), id="by other names"),
        pytest.param({"train": 10, "test": 4}, (18, 2, 8), id="a tenth of the training images validates"),
        pytest.param({"train": 10, "val": 4}, (18, 2, 8), id="a lone validation folder is held out"),
    ],
)
def test_folders_train_val_and_test_are_kept(
    tmp_path: Path, counts: dict[str, int], wanted: tuple[int, int, int]
) -> None:
    loaded = load(folders(tmp_path, **counts))
    assert loaded.labels == ("cat", "dog")
    assert sizes(loaded) == wanted
    measured = list(counts)[-1]
    assert {Path(each.origin).relative_to(tmp_path).parts[0] for each in loaded.examples} == {measured}
    assert [each.label for each in loaded.examples][:4] == ["cat", "dog"] * 2


def test_classes_that_are_called_so_are_classes(tmp_path: Path) -> None:
    for label in ("train", "bus"):
        for index in range(5):
            write(tmp_path / label / f"{index}.png", index + 9 * len(label))
    assert load(tmp_path).labels == ("bus", "train")
    for index in range(5):
        write(tmp_path / "vehicles" / "train" / f"{index}.png", index)
        write(tmp_path / "vehicles" / "test" / f"{index}.png", 50 + index)
    assert load(tmp_path / "vehicles").labels == ("test", "train")


def test_a_class_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    folders(tmp_path, train=5, test=2)
    write(tmp_path / "test" / "bird" / "0.png", 90)
    with pytest.raises(UsageError, match="class 'bird' has 0 images to train on and 1 held out; it needs at least 2"):
        sources.find(str(tmp_path))


def table(folder: Path, head: str, count: int = 10, line: str = "{path},{label}") -> Path:
    lines = [head] if head else []
    for index in range(2 * count):
        label = ("cat", "dog")[index % 2]
        write(folder / "all" / f"{index}.png", index)
        part = ("train", "train", "val", "TEST")[index // 2 % 4]
        lines.append(line.format(path=f"all/{index}.png", label=label, part=part))
    file = folder / "photos.csv"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("path,label", "{path},{label}"),
        ("\ufeffLabel;width;Filename", "{label};40;{path}"),
        ("image\tclass", "{path}\t{label}"),
        ("", "{path},{label}"),
        ('"path","label"', '"{path}","{label}"'),
    ],
)
def test_a_table_of_paths_and_labels_is_a_dataset(tmp_path: Path, head: str, line: str) -> None:
    loaded = load(table(tmp_path, head, line=line))
    assert loaded.name == "photos" and loaded.labels == ("cat", "dog")
    assert sizes(loaded) == (14, 2, 4)
    for each in loaded.examples:
        assert each.label == ("cat", "dog")[int(Path(each.origin).stem) % 2]


@pytest.mark.parametrize("head", ["path,label,split", ""])
def test_a_table_may_divide_its_images(tmp_path: Path, head: str) -> None:
    loaded = load(table(tmp_path, head, 12, "{path},{label},{part}"))
    assert sizes(loaded) == (12, 6, 6)
    assert {int(Path(each.origin).stem) // 2 % 4 for each in loaded.examples} == {3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "needs a header that names a column of paths"),
        ("path,label\nx.png,\ny.png,cat\n,dog\n", "line 2: it has no label; line 4: it has no path"),
        ("path,label\nx.png,cat\nx.png,dog\n", "line 3: .*x.png has another label or part than above"),
        ("path,label,split\nx.png,cat,later\n", "line 2: expected train, training, val, .*, got 'later'"),
        ("path,label\nx.png,cat\n", "at least two classes; it has 1"),
        ("path,label\nx.png,cat\ny.png,dog\n", "class 'cat' has 1 image; a class needs at least 5"),
        ('path,label\n"x.png,cat\n', "is no CSV"),
        ("path,label\nx\0.png,cat\n", r"line 2: its path has a control character: 'x\\x00\.png'"),
        ("path,label\nx.png,\x1b[2Jcat\n", r"line 2: its label has .* control character: '\\x1b\[2Jcat'"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "photos.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as refused:
        sources.find(str(file))
    assert "\n" not in str(refused.value)


def test_a_table_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"photos\.csv cannot be read: No such file"):
        sources.find(str(tmp_path / "photos.csv"))
    (tmp_path / "photos.csv").write_bytes(b"path,label\ncaf\xe9.png,cat\n")
    with pytest.raises(UsageError, match="is not UTF-8"):
        sources.find(str(tmp_path / "photos.csv"))


def test_missing_and_unsupported_files_of_a_table_are_listed_as_bad(tmp_path: Path) -> None:
    file = table(tmp_path, "path,label")
    with file.open("a") as more:
        more.write("all/gone.png,cat\nall/phone.heic,dog\n")
    heard: list[str] = []
    loaded = data.load(sources.find(str(file)), 16, Stage("test", heard.append), max_bad_files=0.1)
    assert sizes(loaded) == (14, 2, 4)
    listed = [line for line in "".join(heard).splitlines() if "left out" in line]
    assert "gone.png: cannot be read: No such file" in listed[0] and "phone.heic: .heic files are not" in listed[1]
    assert np.asarray(loaded.train.images).shape == (14, 16, 16, 3)
