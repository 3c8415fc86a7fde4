"""Models' way between export jobs, object stores and nodes: real processes, a real folder, a server that speaks S3."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import obstore
import pytest
from obstore.store import S3Store

from service.repository import checksums as contents
from service.repository.repository import Repository
from tests.support.image_sandbox import needs_root
from tests.support.s3_server import Bucket, bucket
from tests.support.service_process import running


@pytest.fixture(scope="module")
def shared() -> Iterator[Bucket]:
    with bucket() as made:
        yield made


@pytest.fixture
def remote(shared: Bucket, request: pytest.FixtureRequest) -> Bucket:
    """A prefix of this test's own."""
    return Bucket(f"s3://models/{request.node.name}", shared.env)


@pytest.fixture
def source(lenet5_repository: Path, tmp_path: Path) -> Path:
    """`lenet5/1` and a `lenet5/2` that is the same."""
    repository = tmp_path / "source"
    for version in "12":
        shutil.copytree(lenet5_repository / "lenet5" / "1", repository / "lenet5" / version)
    return repository


def start(*arguments: object, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "service", "sync", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env={**os.environ, **(env or {})}, stderr=pipe, stdout=pipe, text=True)


def sync(*arguments: object, env: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Runs to its end, and returns what it said."""
    process = start(*arguments, env=env)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    return said


def versions(folder: Path) -> dict[str, list[int]]:
    return {name: sorted(numbers) for name, numbers in Repository(folder).scan().items()}


def is_whole(version: Path) -> bool:
    listed = contents.load((version / contents.FILES).read_bytes())
    contents.write(version)
    return contents.load((version / contents.FILES).read_bytes()) == listed


def store(remote: Bucket) -> S3Store:
    return S3Store.from_url(
        remote.url,
        access_key_id="test",
        secret_access_key="test",
        region="us-east-1",
        endpoint=remote.env["AWS_ENDPOINT_URL"],
        client_options={"allow_http": True},
    )


def test_from_an_export_to_a_bucket_to_a_node_that_serves_it(source: Path, remote: Bucket, tmp_path: Path) -> None:
    (source / "lenet5" / "2" / "batching_params.pbtxt").write_text("max_batch_size { value: 8 }\n")  # came later
    assert "2 brought" in sync(source, remote.url, env=remote.env)
    node = tmp_path / "node"
    assert "2 brought" in sync(remote.url, node, env=remote.env)
    assert versions(node) == {"lenet5": [1, 2]}
    for number in (1, 2):
        here, there = (repository / "lenet5" / str(number) for repository in (source, node))
        assert contents.paths(here) == contents.paths(there) and is_whole(there)
        assert all(
            (here / path).read_bytes() == (there / path).read_bytes()
            for path in contents.paths(here) - {contents.FILES}
        )
    assert "2 there already" in sync(remote.url, node, env=remote.env)
    with running("--repository", node) as service:
        service.wait_ready()
        assert httpx.get(f"{service.url}/models").json()["models"] == {"lenet5": [2, 1]}


def test_a_job_publishes_under_the_next_number_and_not_twice(source: Path, remote: Bucket, tmp_path: Path) -> None:
    for destination in (remote.url, tmp_path / "volume"):
        job = tmp_path / "job"  # each job exports to an empty folder: its version is number 1 again
        shutil.copytree(source / "lenet5" / "1", job / "lenet5" / "1")
        assert "as version" not in sync(job, destination, "--as-next", env=remote.env)
        assert "is" in (said := sync(job, destination, "--as-next", env=remote.env)) and "1 there already" in said
        (job / "lenet5" / "1" / "assets.extra" / "note").write_text("another export")
        assert "as version 2" in sync(job, destination, "--as-next", env=remote.env)
        shutil.rmtree(job)
    assert "2 brought" in sync(remote.url, tmp_path / "node", env=remote.env)
    assert versions(tmp_path / "node") == versions(tmp_path / "volume") == {"lenet5": [1, 2]}


def test_jobs_that_publish_at_once_take_different_numbers(source: Path, remote: Bucket, tmp_path: Path) -> None:
    jobs = []
    for number in range(4):
        job = tmp_path / f"job{number}"
        shutil.copytree(source / "lenet5" / "1", job / "lenet5" / "1")
        (job / "lenet5" / "1" / "assets.extra" / "note").write_text(str(number))
        jobs.append(start(job, remote.url, "--as-next", env=remote.env))
    assert [job.communicate(timeout=60) and job.returncode for job in jobs] == [0] * 4
    sync(remote.url, tmp_path / "node", env=remote.env)
    assert versions(tmp_path / "node") == {"lenet5": [1, 2, 3, 4]}
    notes = {
        (tmp_path / "node" / "lenet5" / str(number) / "assets.extra" / "note").read_text() for number in range(1, 5)
    }
    assert notes == {"0", "1", "2", "3"}


def test_old_versions_leave_and_a_withdrawn_one_does_too(source: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    assert "1 brought" in sync(source, node, "--keep", 1) and versions(node) == {"lenet5": [2]}
    shutil.copytree(source / "lenet5" / "1", source / "lenet5" / "3")
    assert "1 brought, 1 there already, 0 removed" in sync(source, node, "--keep", 2)
    shutil.rmtree(source / "lenet5" / "3")  # rolled back
    assert "1 brought, 1 there already, 1 removed" in sync(source, node, "--keep", 2)
    assert versions(node) == {"lenet5": [1, 2]}
    assert [entry.name for entry in (node / "lenet5").iterdir() if entry.name.startswith(".")] == []


def test_what_is_half_uploaded_is_waited_for(source: Path, remote: Bucket, tmp_path: Path) -> None:
    sync(source, remote.url, env=remote.env)
    node, bucket_store = tmp_path / "node", store(remote)
    listing = obstore.get(bucket_store, f"lenet5/2/{contents.FILES}").bytes()
    model = obstore.get(bucket_store, "lenet5/2/model.tflite").bytes()
    obstore.delete(bucket_store, f"lenet5/2/{contents.FILES}")
    said = sync(remote.url, node, env=remote.env)
    assert "lenet5/2 has no assets.extra/files.json" in said and "1 not whole yet" in said
    obstore.put(bucket_store, f"lenet5/2/{contents.FILES}", bytes(listing))
    obstore.put(bucket_store, "lenet5/2/model.tflite", bytes(model)[:1000])
    assert "model.tflite among them" in sync(remote.url, node, env=remote.env)
    damaged = bytes(model)[:-1] + bytes([model[-1] ^ 0xFF])  # of the right size
    obstore.put(bucket_store, "lenet5/2/model.tflite", damaged)
    assert "it is damaged" in sync(remote.url, node, env=remote.env)
    assert versions(node) == {"lenet5": [1]}
    obstore.put(bucket_store, "lenet5/2/model.tflite", bytes(model))
    sync(remote.url, node, env=remote.env)
    assert versions(node) == {"lenet5": [1, 2]} and is_whole(node / "lenet5" / "2")


def kill_later_and_later(
    origin: Path | str, destination: Path | str, elsewhere: Path | str, env: Mapping[str, str]
) -> Iterator[bool]:
    """Starts the same work again and again, and kills it between 0.2 and 0.9 of the time it takes: was it killed?"""
    began = time.monotonic()
    sync(origin, elsewhere, env=env)
    undisturbed = time.monotonic() - began
    for share in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        process = start(origin, destination, env=env)
        try:
            process.communicate(timeout=share * undisturbed)
            yield False
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            yield True


def seen_whole(node: Path) -> list[int]:
    """The versions that a server would load from this folder, each of them checked."""
    found = versions(node).get("lenet5", []) if node.is_dir() else []
    assert all(is_whole(node / "lenet5" / str(number)) for number in found)
    return found


@pytest.fixture
def large(source: Path) -> Path:
    """A version that takes a while, so that a kill finds it under way."""
    (source / "lenet5" / "1" / "assets.extra" / "large").write_bytes(os.urandom(24 << 20))
    contents.write(source / "lenet5" / "1")
    return source


def test_killed_on_its_way_to_a_node_it_leaves_whole_versions(large: Path, remote: Bucket, tmp_path: Path) -> None:
    sync(large, remote.url, env=remote.env)
    node, killed = tmp_path / "node", 0
    for was_killed in kill_later_and_later(remote.url, node, tmp_path / "elsewhere", remote.env):
        killed += was_killed
        seen_whole(node)
    sync(remote.url, node, env=remote.env)
    assert killed >= 2 and seen_whole(node) == [1, 2]
    assert not list(node.glob("lenet5/.staging-*"))


@pytest.mark.slow
def test_killed_on_its_way_to_a_bucket_it_leaves_whole_versions(large: Path, remote: Bucket, tmp_path: Path) -> None:
    node, killed = tmp_path / "node", 0
    for was_killed in kill_later_and_later(large, remote.url, f"{remote.url}-elsewhere", remote.env):
        killed += was_killed
        said = start(remote.url, node, env=remote.env).communicate(timeout=60)[1]
        assert "Traceback" not in said
        seen_whole(node)
    sync(large, remote.url, env=remote.env)
    sync(remote.url, node, env=remote.env)
    assert killed >= 2 and seen_whole(node) == [1, 2]


def test_a_sidecar_follows_outlives_its_source_and_ends_well(source: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node, hidden = tmp_path / "node", tmp_path / "hidden"
    source.rename(hidden)
    process = start(source, node, "--watch-interval-seconds", 0.2, "--keep", 2, "--metrics-port", port)
    said: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda stream: said.extend(stream), args=(process.stderr,))
    reader.start()

    def wait(condition: str) -> None:
        deadline = time.monotonic() + 20
        while not any(condition in line for line in said):
            assert process.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.05)

    try:
        wait("cannot be read (No such file or directory); trying again every 0.2 s")
        hidden.rename(source)
        wait("2 brought")
        shutil.copytree(source / "lenet5" / "1", tmp_path / "next")
        (tmp_path / "next").rename(source / "lenet5" / "3")
        wait("1 removed")
        assert versions(node) == {"lenet5": [2, 3]}
        page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'model_sync_versions_total{what="brought"} 3.0' in page
        assert 'model_sync_passes_total{outcome="failed"}' in page
        assert len([line for line in said if "trying again" in line]) == 1, "once, not every time"
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        reader.join()
    assert "Traceback" not in "".join(said)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere", "node"), "nowhere cannot be read (No such file or directory)"),
        (("empty", "node"), "empty has no version of *"),
        (("source", "node", "--models", "cats*"), "models there: lenet5"),
        (("source", "/proc/models"), "/proc/models cannot be made"),
        (("s3://no-such-bucket/x", "node"), "s3://no-such-bucket/x: there is no such bucket"),
        (("s3://models/nothing-here", "node"), "s3://models/nothing-here has no version"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    source: Path, shared: Bucket, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "empty").mkdir()
    here = [str(tmp_path / each) if each in ("nowhere", "empty", "source", "node") else each for each in arguments]
    said = sync(*here, env=shared.env, code=1)
    assert says in said and said.count("\n") == 1, said
    assert not (tmp_path / "node").exists() or versions(tmp_path / "node") == {}


def test_wrong_credentials_are_said_in_one_line_and_bring_nothing(source: Path, tmp_path: Path) -> None:
    with bucket(INITIAL_NO_AUTH_ACTION_COUNT="1") as guarded:  # only its creation needs none
        for arguments in ((guarded.url, tmp_path / "node"), (source, guarded.url)):
            said = sync(*arguments, env=guarded.env, code=1)
            assert "access denied; check the credentials" in said and said.count("\n") == 1, said
    assert versions(tmp_path / "node") == {}


def test_a_store_that_is_away_is_said_before_long(tmp_path: Path, shared: Bucket) -> None:
    started = time.monotonic()
    env = {**shared.env, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    said = sync("s3://models/production", tmp_path / "node", env=env, code=1)
    assert "127.0.0.1:1" in said and said.count("\n") == 1 and time.monotonic() - started < 30


@needs_root
def test_a_full_disk_is_said_and_leaves_what_was_there(source: Path, tmp_path: Path) -> None:
    """A disk that has room for the first version it brings, the newest, and not for the next."""
    size = sum(path.stat().st_size for path in (source / "lenet5" / "1").rglob("*")) * 3 // 2
    (tmp_path / "disk").mkdir()
    script = f"""
        mount -t tmpfs -o size={size} tmpfs {tmp_path}/disk
        {sys.executable} -m service sync {source} {tmp_path}/disk
        code=$?
        ls -A {tmp_path}/disk/lenet5
        exit $code
    """
    ended = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1 and "No space left on device; " in ended.stderr and "MB are free" in ended.stderr
    assert "Traceback" not in ended.stderr and ended.stdout.split() == ["2"]


def test_without_the_library_a_url_says_what_to_install(tmp_path: Path) -> None:
    code = "import sys; sys.modules['obstore'] = None; from service.sync.command import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", code, "gs://bucket/models", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1 and "pip install 'image-model-server[remote]'" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ftp://host/models", "node"), "neither a folder nor one of s3://, gs://, az://"),
        (("a", "b", "--keep", "0"), "expected a number of versions from 1, got '0'"),
        (("a", "b", "--watch-interval-seconds", "soon"), "expected seconds above 0, got 'soon'"),
        (("a", "b", "--metrics-port", "9000"), "--metrics-port goes with --watch-interval-seconds"),
        (("a", "b", "--watch-interval-seconds", "3", "--as-next"), "--as-next publishes once"),
    ],
)
def test_wrong_arguments_end_with_2(arguments: tuple[str, ...], says: str) -> None:
    assert says in sync(*arguments, code=2)


def test_a_list_from_another_format_is_refused_with_its_file(source: Path, tmp_path: Path) -> None:
    for number in "12":
        path = source / "lenet5" / number / contents.FILES
        path.write_text(json.dumps({"format": 99, "files": {}}))
    said = sync(source, tmp_path / "node", code=1)
    assert f"lenet5/2/{contents.FILES} cannot be read (format 99 is not 1)" in said
