"""HTTP bodies -> inputs: raw images, multipart files, JSON."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from service.api.http import json_values, large_json
from service.api.http.request import find_media_type
from service.errors import InvalidInput, listed
from service.repository.manifest import IMAGE_EMBEDDING, Manifest
from service.types import DEFAULT_SIGNATURE, Array, CandidateLabels, PredictRequest, strings

_JSON = re.compile(r"(application|text)/json|application/.+\+json")
_BYTES = ("application/octet-stream", "binary/octet-stream", "application/x-image")
_ACCEPTED = "image/jpeg, image/png, multipart/form-data or application/json"


async def parse_body(request: Request, manifest: Manifest, default: str = DEFAULT_SIGNATURE) -> PredictRequest:
    """The request's body as inputs of `manifest`'s model, for the signature `default` where it names no other.

    Raises InvalidInput, saying what may be sent, and what the middleware says of its body.
    """
    body = await request.body()
    if not body:
        raise InvalidInput(f"the body is empty; send {_ACCEPTED}")
    kind = find_media_type(request)
    if kind == "multipart/form-data":
        return PredictRequest({"": strings(await _files(request))}, default)
    # What `curl --data-binary @file` says of any file: look at the bytes instead.
    unsaid = kind in ("", "application/x-www-form-urlencoded")
    if _JSON.fullmatch(kind) or (unsaid and body.lstrip()[:1] in (b"{", b"[")):
        return await large_json.read(len(body), lambda: _from_json(body, manifest, default))
    if unsaid or kind.startswith("image/") or kind in _BYTES:
        return PredictRequest({"": strings([body])}, default)
    raise InvalidInput(f"Content-Type {kind!r:.70} is not read here; send {_ACCEPTED}")


async def parse_question(
    request: Request, manifest: Manifest, candidates: CandidateLabels | None, features: bool
) -> PredictRequest:
    """The same with the `candidates` of the URL, and with `features` beside the outputs. Raises InvalidInput."""
    return replace(choose_candidates(await parse_body(request, manifest), candidates, manifest), features=features)


async def _files(request: Request) -> list[bytes]:
    try:
        async with request.form() as form:
            files = [await value.read() for _, value in form.multi_items() if isinstance(value, UploadFile)]
    except HTTPException as error:  # how Starlette reports a form that it cannot parse
        raise InvalidInput(f"the form cannot be read: {error.detail}") from error
    if not files:
        raise InvalidInput("the form holds no file; send each image as one, as in `curl -F image=@cat.jpg`")
    return files


def _from_json(body: bytes, manifest: Manifest, default: str) -> PredictRequest:
    try:
        document = json_values.parse(body)
    except ValueError as error:
        raise InvalidInput(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(instances := document.get("instances"), list) or not instances:
        raise InvalidInput('JSON bodies look like {"instances": [{"b64": "..."}]}, or with nested lists of numbers')
    candidates = _read_candidates(document)
    request = _read_instances(document, instances, manifest, default)
    return replace(request, candidates=candidates) if candidates else request


def _read_candidates(document: dict[str, Any]) -> CandidateLabels | None:
    """`labels`, a list of texts, and `template`, a text; None without labels. Raises InvalidInput."""
    labels, template = document.get("labels"), document.get("template", "{}")
    if not isinstance(template, str):
        raise InvalidInput(f"template is a string, got {json_values.name_type(template)}")
    if labels is None:
        check_template_has_labels("template" in document)
        return None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise InvalidInput('labels is a list of strings, such as {"labels": ["a cat", "a dog"], ...}')
    return CandidateLabels(tuple(labels), template)


def check_template_has_labels(given: bool) -> None:
    """Raises InvalidInput for a template that was `given` without labels."""
    if given:
        raise InvalidInput("template has no labels to go with: send labels too, or leave template out")


def choose_candidates(
    request: PredictRequest, candidates: CandidateLabels | None, manifest: Manifest
) -> PredictRequest:
    """`request` with the labels of its body or, as `candidates`, of its URL.

    Raises InvalidInput where there are both, where `manifest`'s model takes none, or where it needs some.
    """
    if candidates is not None and request.candidates is not None:
        raise InvalidInput("labels come in the URL or in the body, not in both")
    candidates = candidates or request.candidates
    if manifest.zero_shot is None:
        if candidates is not None:
            raise InvalidInput(f"model {manifest.name!r} answers with labels of its own; leave labels out")
        return request
    if candidates is None and IMAGE_EMBEDDING in manifest.signature(request.signature).outputs:
        raise InvalidInput(
            f"model {manifest.name!r} compares images with labels that a request brings: send labels, such as "
            '?labels=a cat,a dog or {"labels": ["a cat", "a dog"], "instances": [...]}'
        )
    return replace(request, candidates=candidates)


def _read_instances(document: dict[str, Any], instances: list[Any], manifest: Manifest, default: str) -> PredictRequest:
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise InvalidInput(f"signature_name is a string, got {json_values.name_type(signature)}")
    objects = [instance for instance in instances if isinstance(instance, dict)]
    if objects and len(objects) < len(instances):
        raise InvalidInput("instances are all objects or all values, not some of each")
    if objects and all(set(instance) == {"b64"} for instance in objects):
        return PredictRequest(
            {"": strings([_image(row, one) for row, one in enumerate(objects)])}, signature or default
        )
    if manifest.decodes(signature or default) and any(isinstance(instance, str) for instance in instances):
        raise InvalidInput('text is no image; send each one as {"b64": "<base64 of a JPEG or PNG file>"}')
    taken = manifest.signature(default).inputs if default in manifest.signatures else {}
    named = bool(objects) and set(objects[0]) == set(taken)
    signature = signature or (default if named else _numeric_signature(manifest, default))
    specs = manifest.signature(signature).inputs

    def read_rows(alias: str, rows: list[Any]) -> Array:
        spec = specs[alias]
        checked = spec if manifest.checked else None
        array = json_values.read_array(alias, rows, spec.dtype, -1, "instances", checked, whole_floats=True)
        if checked is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InvalidInput(f"input {alias!r}: a number does not fit {spec.dtype}", input=alias)
        return array

    if not objects:
        if len(specs) != 1:
            raise InvalidInput(f"signature {signature!r} does not have one input: send objects with {sorted(specs)}")
        return PredictRequest({alias: read_rows(alias, instances) for alias in specs}, signature)
    if any(set(instance) != set(specs) for instance in objects):
        other = next(instance for instance in objects if set(instance) != set(specs))
        raise InvalidInput(
            f"every instance needs exactly the inputs {sorted(specs)}, or {{'b64': ...}} for an image; "
            f"one has {listed(other)}"
        )
    columns = {alias: [instance[alias] for instance in objects] for alias in specs}
    return PredictRequest({alias: read_rows(alias, values) for alias, values in columns.items()}, signature)


def _numeric_signature(manifest: Manifest, default: str) -> str:
    """Numbers sent to a model whose default signature takes encoded images are pixels."""
    recipe = manifest.decodes(default)
    return recipe.image_signature if recipe else default


def _image(row: int, instance: dict[str, Any]) -> bytes:
    if not json_values.is_b64(instance):
        raise InvalidInput(f"instance {row}: b64 is base64 text, got {json_values.name_type(instance['b64'])}", row=row)
    return json_values.decode_base64(f"instance {row}", instance["b64"])
