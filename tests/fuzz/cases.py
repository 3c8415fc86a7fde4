"""One request that somebody might send: what it is, and as a file that `--replay` reads."""

import base64
import json
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Self


class Kind(StrEnum):
    image = "image"
    document = "json"
    message = "protobuf"


@dataclass(frozen=True)
class Case:
    """`number` of a `kind` under a seed. `path` is HTTP's target, or gRPC's method where the kind is `message`."""

    kind: Kind
    number: int
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path, why: str) -> None:
        """The body as base64, so that the file can be read, mailed and kept."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "why": why,
            "kind": self.kind,
            "number": self.number,
            "path": self.path,
            "headers": self.headers,
            "body": base64.b64encode(self.body).decode(),
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        found = json.loads(path.read_text(encoding="utf-8"))
        body = base64.b64decode(found["body"])
        return cls(Kind(found["kind"]), found["number"], found["path"], body, found["headers"])
