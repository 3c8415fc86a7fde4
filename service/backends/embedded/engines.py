"""Which engines may run exported versions in this process, as the operator said."""

import logging
import threading
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from service.backends.base import Golden
from service.backends.embedded.profile_store import ProfileStore
from service.repository.manifest import Manifest, Profile

if TYPE_CHECKING:  # OpenVINO is loaded with the first race
    from service.backends.embedded.openvino import OpenVINORunner

_log = logging.getLogger(__name__)
_EXACT = ("", "float32")


@dataclass(frozen=True, slots=True)
class Engines:
    """`name` is --engine's value and `precision` --precision's.

    Raises ValueError where OpenVINO is asked for and is not installed.
    """

    name: str = "auto"
    precision: str = "exported"
    _racing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name == "openvino" and not _is_installed():
            raise ValueError(
                "--engine openvino needs OpenVINO: pip install 'image-model-server[openvino]', or choose --engine auto"
            )

    def find_faster(
        self, folder: Path, manifest: Manifest, litert: Profile, golden: Golden | None, profiles: ProfileStore
    ) -> "tuple[OpenVINORunner | None, Profile]":
        """A runner that takes LiteRT's place for the signatures that it has, and its profile; None and LiteRT's profile
        where LiteRT stays.
        """
        if self.name not in ("auto", "openvino") or not _is_installed():
            return None, litert
        from service.backends.embedded import openvino, race

        network = race.find_network(folder, manifest)
        if network is None:
            if self.name == "openvino":
                _log.warning("%s has nothing that OpenVINO reads; export it again. LiteRT runs it", folder)
            return None, litert
        fast = self.precision == "fast" or (self.precision == "exported" and manifest.precision not in _EXACT)
        kind = f", openvino {openvino.find_version()}, {'fast' if fast else 'exact'}, {self.name}"
        try:
            with self._racing, profiles.one_at_a_time():  # two measurements would slow each other down
                if (kept := profiles.read(network, kind)) is not None:
                    return (None if kept.engine == "litert" else race.load(network, manifest, kept)), kept
                began = time.monotonic()
                runner, profile = race.run_race(
                    network, manifest, litert, golden, fast=fast, forced=self.name == "openvino"
                )
                profiles.write(network, profile, kind)
        except ValueError as error:
            _log.warning("%s; LiteRT runs it", error)
            return None, litert
        rivals = "; ".join(f"{name}: {told}" for name, told in profile.rivals.items())
        _log.info(
            "%s: %s %s is the fastest here, %s (found in %.1f s; %s)",
            folder,
            profile.engine,
            profile.precision,
            race.describe_costs(profile),
            time.monotonic() - began,
            rivals,
        )
        return runner, profile


def _is_installed() -> bool:
    return find_spec("openvino") is not None
