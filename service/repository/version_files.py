"""What lies beside a version's model for people to look at: sample images and the report of its export."""

import re
from dataclasses import dataclass

from service.errors import NotFound
from service.repository.repository import Repository
from service.types import ModelRef

SAMPLES, REPORT = "assets.extra/samples", "assets.extra/report/index.html"
_SAMPLE = re.compile(r"[A-Za-z0-9][\w .-]*\.(png|jpe?g|webp)", re.IGNORECASE)
_MOST_SAMPLES = 60
_MOST_BYTES = 32 * 2**20


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """Reads from disk at every call, so that nothing of it stays in memory. Only what is named here is ever read.

    Errors name no model: whoever asks through a route need not know where it leads.
    """

    repository: Repository

    def list_samples(self, ref: ModelRef) -> list[str]:
        """File names, sorted; empty where the version has none. `ref` has a version."""
        try:
            folder = self.repository.folder(ref.name, _version(ref)) / SAMPLES
            names = sorted(path.name for path in folder.iterdir() if _SAMPLE.fullmatch(path.name) and path.is_file())
        except OSError:
            return []
        return names[:_MOST_SAMPLES]

    def read_sample(self, ref: ModelRef, name: str) -> bytes:
        """Raises NotFound."""
        if name not in self.list_samples(ref):
            raise NotFound(f"version {ref.version} has no sample {name[:80]!r}; /files lists what it has")
        return self._read(ref, f"{SAMPLES}/{name}")

    def has_report(self, ref: ModelRef) -> bool:
        try:
            return (self.repository.folder(ref.name, _version(ref)) / REPORT).is_file()
        except OSError:
            return False

    def read_report(self, ref: ModelRef) -> bytes:
        """HTML. Raises NotFound."""
        return self._read(ref, REPORT)

    def _read(self, ref: ModelRef, path: str) -> bytes:
        try:
            file = self.repository.folder(ref.name, _version(ref)) / path
            if not file.is_file():
                raise FileNotFoundError
            if file.stat().st_size > _MOST_BYTES:
                raise NotFound(f"{path} is larger than {_MOST_BYTES // 2**20} MiB and is not shown")
            return file.read_bytes()
        except OSError as error:
            raise NotFound(f"version {ref.version} has no {path}: its export wrote none") from error


def _version(ref: ModelRef) -> int:
    assert ref.version is not None
    return ref.version
