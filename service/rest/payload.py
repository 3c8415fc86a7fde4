"""HTTP bodies -> inputs: raw images, multipart files, JSON."""

import asyncio
import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from starlette.datastructures import UploadFile
from starlette.requests import Request

from service.errors import InvalidInput
from service.manifest import STRING, Manifest
from service.messages import DEFAULT_SIGNATURE, Array, Tensors, strings

_LARGE_JSON = 2**18  # bytes past which parsing leaves the event loop to the others
_ACCEPTED = "image/jpeg, image/png, multipart/form-data or application/json"


@dataclass(frozen=True, slots=True)
class Payload:
    """`inputs` keyed "" is the signature's only input; `signature` "" is the default one."""

    inputs: Tensors
    signature: str = ""


async def read(request: Request, manifest: Manifest) -> Payload:
    """The request's body as inputs of `manifest`'s model. Raises InvalidInput, saying what may be sent."""
    body = await request.body()
    if not body:
        raise InvalidInput(f"the body is empty; send {_ACCEPTED}")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return Payload({"": strings(await _files(request))})
    # What `curl --data-binary @file` says of any file: look at the bytes instead.
    unsaid = kind in ("", "application/x-www-form-urlencoded")
    if kind == "application/json" or (unsaid and body.lstrip()[:1] in (b"{", b"[")):
        if len(body) > _LARGE_JSON:
            return await asyncio.to_thread(_from_json, body, manifest)
        return _from_json(body, manifest)
    if unsaid or kind.startswith("image/") or kind == "application/octet-stream":
        return Payload({"": strings([body])})
    raise InvalidInput(f"Content-Type {kind!r} is not read here; send {_ACCEPTED}")


async def _files(request: Request) -> list[bytes]:
    async with request.form() as form:
        files = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    if not files:
        raise InvalidInput("the form holds no file; send each image as one, as in `curl -F image=@cat.jpg`")
    return files


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _from_json(body: bytes, manifest: Manifest) -> Payload:
    document = _parse(body)
    if not isinstance(document, dict) or not isinstance(instances := document.get("instances"), list) or not instances:
        raise InvalidInput('JSON bodies look like {"instances": [{"b64": "..."}]}, or with nested lists of numbers')
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise InvalidInput(f"signature_name is a string, got {signature!r:.40}")
    if all(isinstance(instance, dict) and set(instance) == {"b64"} for instance in instances):
        return Payload({"": strings([_b64(row, instance["b64"]) for row, instance in enumerate(instances)])}, signature)
    signature = signature or _numeric_signature(manifest)
    specs = manifest.signature(signature).inputs
    if not all(isinstance(instance, dict) for instance in instances):
        ((alias, spec),) = specs.items() if len(specs) == 1 else _many(specs)
        return Payload({alias: _array(alias, instances, spec.dtype)}, signature)
    if any(set(instance) != set(specs) for instance in instances):
        raise InvalidInput(f"every instance needs exactly the inputs {sorted(specs)}, or {{'b64': ...}} for an image")
    columns = {alias: [instance[alias] for instance in instances] for alias in specs}
    return Payload({alias: _array(alias, values, specs[alias].dtype) for alias, values in columns.items()}, signature)


def _numeric_signature(manifest: Manifest) -> str:
    """Numbers sent to a model whose default signature takes encoded images are pixels."""
    recipe = manifest.decodes(DEFAULT_SIGNATURE)
    return recipe.image_signature if recipe else DEFAULT_SIGNATURE


def _many(specs: Any) -> NoReturn:
    raise InvalidInput(f"the signature has several inputs: make every instance an object with {sorted(specs)}")


def _b64(row: int, text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput(f"instance {row}: b64 is not base64 ({error})", row=row) from error


def _array(alias: str, values: list[Any], dtype: str) -> Array:
    if dtype == STRING:
        return strings([_text(alias, row, value) for row, value in enumerate(values)])
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidInput(
            f"input {alias!r}: the lists are ragged; every row needs the same shape", input=alias
        ) from error
    wanted = np.dtype(dtype)
    kinds = "b" if wanted.kind == "b" else "iu" if wanted.kind in "iu" else "iuf"
    if array.dtype.kind not in kinds:
        raise InvalidInput(f"input {alias!r} takes {dtype}, got {_given(array)}", input=alias)
    if wanted.kind in "iu" and array.size:
        low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
        if int(array.min()) < low or int(array.max()) > high:
            raise InvalidInput(f"input {alias!r} takes {dtype}, {low} to {high}", input=alias)
    return array.astype(wanted)


def _given(array: Array) -> str:
    return {"f": "fractions", "U": "text", "b": "booleans", "O": "mixed values"}.get(array.dtype.kind, array.dtype.name)


def _text(alias: str, row: int, value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {"b64"}:
        return _b64(row, value["b64"])
    if isinstance(value, str):
        return value.encode()
    raise InvalidInput(f"input {alias!r}, instance {row}: takes text or {{'b64': ...}}", input=alias, row=row)
