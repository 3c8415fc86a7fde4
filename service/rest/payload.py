"""HTTP bodies -> inputs: raw images, multipart files, JSON."""

import asyncio
import base64
import binascii
import json
from typing import Any, NoReturn

import numpy as np
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.errors import InvalidInput
from service.manifest import STRING, Manifest
from service.messages import DEFAULT_SIGNATURE, Array, PredictRequest, strings
from service.rest import calls

_LARGE_JSON = 2**18  # bytes past which parsing leaves the event loop to the others
_ACCEPTED = "image/jpeg, image/png, multipart/form-data or application/json"


async def read(request: Request, manifest: Manifest) -> PredictRequest:
    """The request's body as a question to `manifest`'s model.

    Raises InvalidInput, saying what may be sent, and Cancelled where the client goes away meanwhile.
    """
    body = await calls.body(request)
    if not body:
        raise InvalidInput(f"the body is empty; send {_ACCEPTED}")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return PredictRequest({"": strings(await _files(request))})
    # What `curl --data-binary @file` says of any file: look at the bytes instead.
    unsaid = kind in ("", "application/x-www-form-urlencoded")
    if kind == "application/json" or (unsaid and body.lstrip()[:1] in (b"{", b"[")):
        if len(body) > _LARGE_JSON:
            return await asyncio.to_thread(_from_json, body, manifest)
        return _from_json(body, manifest)
    if unsaid or kind.startswith("image/") or kind == "application/octet-stream":
        return PredictRequest({"": strings([body])})
    raise InvalidInput(f"Content-Type {kind!r} is not read here; send {_ACCEPTED}")


async def _files(request: Request) -> list[bytes]:
    try:
        async with request.form() as form:
            files = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    except HTTPException as error:  # how Starlette reports a form that it cannot parse
        raise InvalidInput(f"the form cannot be read: {error.detail}") from error
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


def _from_json(body: bytes, manifest: Manifest) -> PredictRequest:
    document = _parse(body)
    if not isinstance(document, dict) or not isinstance(instances := document.get("instances"), list) or not instances:
        raise InvalidInput('JSON bodies look like {"instances": [{"b64": "..."}]}, or with nested lists of numbers')
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise InvalidInput(f"signature_name is a string, got {signature!r:.40}")
    objects = [instance for instance in instances if isinstance(instance, dict)]
    if objects and len(objects) < len(instances):
        raise InvalidInput("instances are all objects or all values, not some of each")
    if objects and all(set(instance) == {"b64"} for instance in objects):
        return PredictRequest({"": strings([_b64(row, one["b64"]) for row, one in enumerate(objects)])}, signature)
    default = manifest.signature(DEFAULT_SIGNATURE).inputs if DEFAULT_SIGNATURE in manifest.signatures else {}
    named = bool(objects) and set(objects[0]) == set(default)
    signature = signature or (DEFAULT_SIGNATURE if named else _numeric_signature(manifest))
    specs = manifest.signature(signature).inputs
    if not objects:
        if len(specs) != 1:
            raise InvalidInput(f"signature {signature!r} does not have one input: send objects with {sorted(specs)}")
        ((alias, spec),) = specs.items()
        return PredictRequest({alias: _array(alias, instances, spec.dtype)}, signature)
    if any(set(instance) != set(specs) for instance in objects):
        raise InvalidInput(f"every instance needs exactly the inputs {sorted(specs)}, or {{'b64': ...}} for an image")
    columns = {alias: [instance[alias] for instance in objects] for alias in specs}
    return PredictRequest(
        {alias: _array(alias, values, specs[alias].dtype) for alias, values in columns.items()}, signature
    )


def _numeric_signature(manifest: Manifest) -> str:
    """Numbers sent to a model whose default signature takes encoded images are pixels."""
    recipe = manifest.decodes(DEFAULT_SIGNATURE)
    return recipe.image_signature if recipe else DEFAULT_SIGNATURE


def _b64(row: int, text: Any) -> bytes:
    try:
        # `base64 file` and Python's encodebytes break lines.
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError, AttributeError) as error:
        raise InvalidInput(f"instance {row}: b64 is not padded, standard base64 ({error})", row=row) from error


def _array(alias: str, values: list[Any], dtype: str) -> Array:
    if dtype == STRING:
        return strings([_text(alias, row, value) for row, value in enumerate(values)])
    return numbers(alias, values, dtype)


def numbers(alias: str, values: list[Any], dtype: str) -> Array:
    """A JSON list, nested or flat, as `dtype`. Raises InvalidInput where it is ragged or holds anything else."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InvalidInput(
            f"input {alias!r}: the lists are ragged; every row needs the same shape", input=alias
        ) from error
    wanted = np.dtype(dtype)
    if not array.size:
        return array.astype(wanted)
    kinds = "b" if wanted.kind == "b" else "iu" if wanted.kind in "iu" else "iuf"
    if array.dtype.kind not in kinds:
        raise InvalidInput(f"input {alias!r} takes {dtype}, got {_given(array)}", input=alias)
    if wanted.kind in "iu":
        low, high = np.iinfo(wanted).min, np.iinfo(wanted).max
        if int(array.min()) < low or int(array.max()) > high:
            raise InvalidInput(f"input {alias!r} takes {dtype}, {low} to {high}", input=alias)
    with np.errstate(over="ignore"):  # to infinity, which the check for finite numbers refuses
        return array.astype(wanted)


def _given(array: Array) -> str:
    return {"f": "fractions", "U": "text", "b": "booleans", "O": "mixed values"}.get(array.dtype.kind, array.dtype.name)


def _text(alias: str, row: int, value: Any) -> bytes:
    if isinstance(value, dict) and set(value) == {"b64"}:
        return _b64(row, value["b64"])
    if isinstance(value, str):
        return value.encode(errors="replace")  # JSON can spell half a surrogate pair, UTF-8 cannot
    raise InvalidInput(f"input {alias!r}, instance {row}: takes text or {{'b64': ...}}", input=alias, row=row)
