"""What an interrupted training has on disk: finished phases, the last epoch of the one under way, and its best."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.data.names import escape
from export.errors import ExportError, UsageError
from export.spec import ExportSpec
from service.host.files import write_whole
from service.repository.staging import lock_folder

FOLDER = ".training"
_STATE = "state.json"
_FINISHED = "finished.weights.h5"
_FREE = ("resume", "log_dir", "explicit")
"""Options that may be others when a run is gone on with."""


class _OtherImages(UsageError):
    """An interrupted training stays where it is: its images may come back."""


class Checkpoints:
    """The folder of one training. `state` is JSON: what was asked for, what was decided, phases that are over."""

    def __init__(self, folder: Path, state: dict[str, Any]) -> None:
        self.folder = folder
        self._state = state

    @property
    def decision(self) -> dict[str, Any] | None:
        """Of an interrupted run; None where it came to none."""
        decided: dict[str, Any] | None = self._state.get("decision")
        return decided

    @property
    def phases(self) -> list[dict[str, Any]]:
        """Facts of the phases that are over."""
        return list(self._state["phases"])

    def check_images(self, fingerprint: str) -> None:
        """Raises UsageError where these are not the images of the interrupted run.

        Other images are divided otherwise: what was trained on would be measured on.
        """
        if self._state.setdefault("images", fingerprint) != fingerprint:
            raise _OtherImages(
                f"--resume: the images are not those of the interrupted training in {self.folder} (some were added, "
                "removed or changed); leave --resume out to start anew"
            )
        self._write()

    def keep_decision(self, decision: Mapping[str, Any]) -> None:
        self._state["decision"] = dict(decision)
        self._write()

    def finish_phase(self, model: Any, facts: Mapping[str, Any]) -> None:
        """Keeps the weights of the whole network and what is to be told of a phase that is over."""
        replaced = self.folder / f"new-{_FINISHED}"
        model.save_weights(replaced)
        replaced.rename(self.folder / _FINISHED)
        self._state["phases"].append(dict(facts))
        self._write()
        shutil.rmtree(self.open_phase(len(self._state["phases"]) - 1), ignore_errors=True)

    def restore(self, model: Any) -> None:
        """Fills `model` with what the last finished phase left, where there is one."""
        if self._state["phases"]:
            model.load_weights(self.folder / _FINISHED)

    def open_phase(self, number: int) -> Path:
        """The folder of a phase under way."""
        folder = self.folder / f"phase-{number + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _write(self) -> None:
        write_json(self.folder / _STATE, self._state)


def write_json(file: Path, value: Any) -> None:
    write_whole(file, json.dumps(value, indent=1).encode())


@contextmanager
def keep(home: Path, request: Mapping[str, Any], resume: bool) -> Iterator[Checkpoints]:
    """Checkpoints below `home`, which stay only where the block is interrupted: by a signal, a full disk, a fault.

    With `resume` they are those that an earlier run with the same `request` left. Raises UsageError where it left none,
    or was asked for something else, and where another process trains there.
    """
    folder = home / FOLDER
    state: dict[str, Any] = {"request": json.loads(json.dumps(request)), "phases": []}
    if resume:
        state = _read(folder, state)
    made = [each for each in (home.parent, home) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
        if lock is None:
            raise UsageError(
                f"another export of {home.name} trains in {home.parent}; wait for its end, or give another --name"
            )
        if not resume:
            _clear(folder)
        write_json(folder / _STATE, state)
    except OSError as error:
        raise ExportError(f"the model repository {home} cannot be written: {error.strerror}") from error
    try:
        yield Checkpoints(folder, state)
    except _OtherImages:
        raise
    except ExportError:  # it ended by itself, and would end so again
        _remove(folder, made)
        raise
    else:
        _remove(folder, made)
    finally:
        os.close(lock)


def describe_request(spec: ExportSpec) -> dict[str, Any]:
    """What has to be the same for a training to be gone on with, as flags have it."""
    options = {key: value for key, value in asdict(spec.training).items() if key not in _FREE}
    return {
        "model": spec.architecture.name,
        "data": escape(spec.data),
        "weights": escape(spec.weights),
        "image_size": spec.image_size,
        "seed": spec.seed,
        "augment": spec.data_options.augment,
        **asdict(spec.recipe),
        **options,
    }


def describe_interrupted(home: Path) -> str:
    """Says that an earlier run may be gone on with; empty where there is none, or where it still goes on."""
    folder = home / FOLDER
    lock = lock_folder(folder)
    if lock is None:
        return ""
    os.close(lock)
    found = (folder / _STATE).is_file()
    return "the interrupted training here is discarded: --resume would go on with it" if found else ""


def _read(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_bytes())
        wanted, found = asked["request"], dict(state["request"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UsageError(f"--resume: no interrupted training lies in {folder}; leave the flag out") from error
    differing = [key for key in wanted if wanted[key] != found.get(key)]
    if differing:
        key = differing[0]
        raise UsageError(
            f"--resume: the interrupted training in {folder} had {key} {found.get(key)!r}, and this one has "
            f"{wanted[key]!r}; give the same arguments, or leave --resume out to start anew"
        )
    return state


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _remove(folder: Path, made: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for parent in reversed(made):
        with suppress(OSError):  # something else is there by now
            parent.rmdir()
