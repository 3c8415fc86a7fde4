"""What several files hold is put in force together, once it keeps still; what cannot be used changes nothing."""

import asyncio
import logging
from pathlib import Path

import pytest

from service.host.file_watcher import Contents, FileWatcher, ReloadError


class World:
    """Two files, what is in force of them, and what was reported."""

    def __init__(self, folder: Path, kept: Contents | None = None) -> None:
        self.paths = folder / "a", folder / "b"
        self.in_force: list[Contents] = []
        self.reported: list[bool] = []
        self.fault: Exception | None = None
        if kept is None:
            self.write(b"1", b"1")
        self.watcher = FileWatcher("letters", self.paths, self.apply, self.reported.append, kept)

    def write(self, *contents: bytes) -> None:
        for path, content in zip(self.paths, contents, strict=True):
            path.write_bytes(content)

    def apply(self, contents: Contents) -> None:
        if self.fault is not None:
            raise self.fault
        if contents[0] != contents[1]:
            raise ReloadError(f"{contents[0]!r} and {contents[1]!r} differ")
        self.in_force.append(contents)

    async def look(self, times: int) -> None:
        for _ in range(times):
            await self.watcher.look()


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> World:
    caplog.set_level(logging.INFO)
    return World(tmp_path)


async def test_a_change_is_in_force_once_two_looks_read_the_same(world: World) -> None:
    for number in (b"2", b"3", b"4"):
        world.write(number, number)
        await world.look(1)
    assert world.in_force == [(b"1", b"1")], "still being written"
    await world.look(1)
    assert world.in_force == [(b"1", b"1"), (b"4", b"4")] and world.reported == [True, True]
    await world.look(3)
    assert len(world.in_force) == 2, "nothing has changed since"


async def test_what_cannot_be_used_is_logged_once_and_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.write(b"2", b"1")
    await world.look(5)
    assert caplog.messages == ["b'2' and b'1' differ; the earlier letters stay in force"]
    assert world.watcher.error == "b'2' and b'1' differ" and world.reported == [True, False]
    world.paths[0].unlink()
    await world.look(5)
    assert len(caplog.messages) == 2 and "a cannot be read: No such file" in world.watcher.error
    world.write(b"2", b"1")
    await world.look(5)
    assert len(caplog.messages) == 3 and world.watcher.error == "b'2' and b'1' differ"
    world.write(b"1", b"1")
    await world.look(5)
    assert caplog.messages[3:] == ["the letters on disk are those in force again"]
    assert not world.watcher.error and world.in_force == [(b"1", b"1")] and world.reported[-1]


async def test_a_bug_does_not_end_the_watch(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.fault = RuntimeError("a bug")
    world.write(b"2", b"2")
    await world.look(2)
    assert "the look at the letters failed" in caplog.text and world.in_force == [(b"1", b"1")]
    world.fault = None
    await world.look(1)
    assert world.in_force[-1] == (b"2", b"2")


async def test_watching_looks_by_itself_until_it_is_cancelled(world: World) -> None:
    watching = asyncio.create_task(world.watcher.watch())
    world.write(b"2", b"2")
    async with asyncio.timeout(10):
        while len(world.in_force) < 2:
            await asyncio.sleep(0.01)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


def test_at_the_start_what_was_in_force_before_stands_in(tmp_path: Path) -> None:
    with pytest.raises(ReloadError, match="cannot be read"):
        FileWatcher("letters", (tmp_path / "a",), lambda _: None, lambda _: None)
    world = World(tmp_path, kept=(b"0", b"0"))
    assert world.in_force == [(b"0", b"0")] and world.watcher.error and world.reported == [False]
