"""`python -m image_model_client predict`: what it prints, what it writes, how it ends and goes on."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from threading import Event

import pytest

from tests.support.client_command import ENVIRONMENT, run_client, start_client
from tests.support.exporter import ROOT
from tests.support.scripted_http import LABEL, Answer, scripted
from tests.support.service_process import Service


@pytest.fixture
def photos(tmp_path: Path, digits: list[Path]) -> Path:
    """A folder with digits under names that people and programs give: 0,0.png is the digit 0."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    names = ["0,0.png", '1"1.png', "2\n2.png", os.fsdecode(b"3\xff.png"), "4 4.png", "more/5-ü.png"]
    for digit, name in enumerate(names):
        source = next(path for path in digits if path.name.startswith(str(digit)))
        shutil.copyfile(source, folder / name)
    return folder


def read_digit(name: str) -> str:
    return Path(name).name[0]


def read_csv(text: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(text.decode(errors="surrogateescape").splitlines(keepends=True)))


def test_a_table_for_people(service: Service, photos: Path) -> None:
    done = run_client(photos, service.url, "lenet5", ".", "--top-k", "2")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert len(lines) == 6 and r"2\n2.png" in done.stdout.decode() and r"3\udcff.png" in done.stdout.decode()
    for line in lines:
        assert re.search(r" (\d+\.\d%)  (\d)    ? *(\d+\.\d%)  (\d)$", line), line


def test_csv_and_json_hold_every_name(service: Service, photos: Path) -> None:
    done = run_client(photos, service.url, "lenet5", ".", "--format", "csv")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = read_csv(done.stdout)
    assert {row["file"] for row in rows} == {str(path.relative_to(photos)) for path in photos.rglob("*.png")}
    assert all(row["label_1"] == read_digit(row["file"]) for row in rows)
    done = run_client(photos, service.url, "lenet5", ".", "--format", "json")
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["file"] for each in documents] == [row["file"] for row in rows]
    assert [each["label"] for each in documents] == [row["label_1"] for row in rows]


def test_a_run_goes_on_where_the_last_one_was(service: Service, photos: Path, seven: Path) -> None:
    arguments = ("lenet5", ".", "./4*.png", "more", "--output", "answers.csv")
    assert run_client(photos, service.url, *arguments).returncode == 0
    before = (photos / "answers.csv").read_bytes()
    shutil.copyfile(seven, photos / "7.png")
    done = run_client(photos, service.url, *arguments)
    assert done.returncode == 0
    assert b"answers already; they are left out" in done.stderr and b"1 answered, 0 failed" in done.stderr
    after = (photos / "answers.csv").read_bytes()
    assert after.startswith(before) and b"7.png" in after[len(before) :]


def test_after_kill_9_nothing_is_lost_or_doubled(service: Service, tmp_path: Path, seven: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(300):
        (folder / f"{number}.png").symlink_to(seven)
    output = tmp_path / "answers.csv"
    killed = 0
    for wanted in (30, 150):
        with start_client(tmp_path, service.url, "lenet5", "many", "--output", output) as process:
            while process.poll() is None and _count_lines(output) < wanted:
                pass
            process.kill()
        killed += process.returncode == -signal.SIGKILL
    assert killed == 2 and 150 <= _count_lines(output) < 301
    assert run_client(tmp_path, service.url, "lenet5", "many", "--output", output).returncode == 0
    rows = read_csv(output.read_bytes())
    assert sorted(row["file"] for row in rows) == sorted(f"many/{number}.png" for number in range(300))
    assert {row["label_1"] for row in rows} == {"7"}


def test_a_second_run_on_the_same_output_is_told_so(service: Service, photos: Path) -> None:
    arguments = ("lenet5", ".", "--output", "answers.csv")
    hangs = Answer(body=b'{"models": {}}'), Answer(hold=Event())
    with scripted(*hangs) as slow, start_client(photos, slow.url, *arguments) as first:
        assert slow.arrived.acquire(timeout=60) and slow.arrived.acquire(timeout=60)  # an image is under way
        second = run_client(photos, service.url, *arguments)
        first.kill()
    assert second.returncode == 2
    assert b"another run writes answers.csv; wait until it ends, or name another --output" in second.stderr
    assert run_client(photos, service.url, *arguments).returncode == 0  # a killed run leaves no lock


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_what_fails_is_said_and_tried_again(service: Service, photos: Path, seven: Path) -> None:
    (photos / "broken.png").write_bytes(b"text")
    arguments = ("lenet5", ".", "no/such.png", "--output", "answers.csv", "--concurrency", "2")
    done = run_client(photos, service.url, *arguments)
    assert done.returncode == 1
    assert b"broken.png: this is no JPEG, PNG" in done.stderr
    assert b"no/such.png is neither a file" in done.stderr and b"6 answered, 2 failed" in done.stderr
    shutil.copyfile(seven, photos / "broken.png")
    shutil.copytree(photos / "more", photos / "no")
    shutil.copyfile(seven, photos / "no" / "such.png")
    done = run_client(photos, service.url, *arguments)
    assert done.returncode == 0 and b"0 failed" in done.stderr


def test_ctrl_c_ends_at_once_and_says_how_to_go_on(photos: Path) -> None:
    with scripted(Answer(body=b'{"models": {}}'), LABEL, Answer(hold=Event())) as service:
        arguments = ("m", ".", "--output", "answers.csv", "--concurrency", "2")
        with start_client(photos, service.url, *arguments) as process:
            for _ in range(4):  # the first request lists models, one is answered, two hang
                assert service.arrived.acquire(timeout=60)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert errors.splitlines()[-1] == b"interrupted; the same command goes on"


def test_a_reader_that_has_enough_is_no_error(service: Service, tmp_path: Path, seven: Path) -> None:
    shutil.copyfile(seven, tmp_path / "7.png")
    command = [sys.executable, "-m", "image_model_client", "predict", "lenet5", *["7.png"] * 200, "--url", service.url]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline().startswith(b"7.png")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_it_gives_up_where_no_image_could_be_answered(service: Service, photos: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = run_client(photos, nobody, "lenet5", ".")
    assert done.returncode == 3 and done.stderr.startswith(b"gave up: the service cannot be reached")
    done = run_client(photos, service.url, "no_model", ".")
    assert done.returncode == 3 and done.stderr.startswith(b"gave up at 0,0.png: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--top-k", "0"), "--top-k: expected a whole number from 1, got 0"),
        (("--concurrency", "0"), "--concurrency: expected a whole number from 1, got 0"),
        (("--output", "answers", "--format", "table"), "with --output choose csv or json"),
        (("--output", "0,0.png"), "name another --output"),
        (("--output", "no/such/folder"), "No such file or directory"),
        (("--key", "schlüssel"), "Invalid key"),
    ],
)
def test_wrong_use_is_told_apart(photos: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run_client(photos, "http://127.0.0.1:1", "lenet5", ".", *arguments)
    assert done.returncode == 2 and says in done.stderr.decode()


def test_help_names_the_exit_codes() -> None:
    command = [sys.executable, "-m", "image_model_client", "predict", "--help"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and re.findall(r"^  (\d+)  ", done.stdout, re.MULTILINE) == ["0", "1", "2", "3", "130"]


def test_the_version_is_that_of_the_distribution() -> None:
    command = [sys.executable, "-m", "image_model_client", "--version"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert done.stdout.strip() == project["version"]
