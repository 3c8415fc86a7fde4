"""Values -> JSON that clients can read, whatever the names in them are made of."""

import json
from typing import Any

from starlette.responses import JSONResponse

_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(content: Any) -> bytes:
    """UTF-8. Half a surrogate pair, which a client's JSON can spell and a folder's name can hold, becomes "?"."""
    return _JSON.encode(content).encode(errors="replace")


class Json(JSONResponse):
    def render(self, content: Any) -> bytes:
        return encode(content)
