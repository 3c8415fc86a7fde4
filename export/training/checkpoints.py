"""What an interrupted training has on disk: finished phases, the last epoch of the one under way, and its best."""

import json
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

FOLDER = ".training"
_STATE = "state.json"
_FINISHED = "finished.weights.h5"
_FREE = ("resume", "log_dir", "explicit")
"""Options that may be others when a run is gone on with."""


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
    or was asked for something else.
    """
    folder = home / FOLDER
    state: dict[str, Any] = {"request": json.loads(json.dumps(request)), "phases": []}
    if resume:
        state = _read(folder, state)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    made = [each for each in (home.parent, home) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"the model repository {home} cannot be written: {error.strerror}") from error
    write_json(folder / _STATE, state)
    checkpoints = Checkpoints(folder, state)
    try:
        yield checkpoints
    except ExportError:  # it ended by itself, and would end so again
        _remove(folder, made)
        raise
    _remove(folder, made)


def describe_request(spec: ExportSpec) -> dict[str, Any]:
    """What has to be the same for a training to be gone on with, as flags have it."""
    options = {key: value for key, value in asdict(spec.training).items() if key not in _FREE}
    return {
        "model": spec.architecture.name,
        "data": escape(spec.data),
        "weights": escape(spec.weights),
        "image_size": spec.image_size,
        "seed": spec.seed,
        **asdict(spec.recipe),
        **options,
    }


def describe_interrupted(home: Path) -> str:
    """Says that an earlier run may be gone on with; empty where there is none."""
    state = home / FOLDER / _STATE
    return "an interrupted run is there and is discarded; --resume goes on with it" if state.is_file() else ""


def _read(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((folder / _STATE).read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"--resume: no interrupted training lies in {folder}; leave the flag out") from error
    wanted, found = asked["request"], state["request"]
    differing = [key for key in wanted if wanted[key] != found.get(key)]
    if differing:
        key = differing[0]
        raise UsageError(
            f"--resume: the interrupted training in {folder} had {key} {found.get(key)!r}, and this one has "
            f"{wanted[key]!r}; give the same arguments, or leave --resume out to start anew"
        )
    return state


def _remove(folder: Path, made: list[Path]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for parent in reversed(made):
        with suppress(OSError):  # something else is there by now
            parent.rmdir()
