"""Whether an API server would take a manifest: Kubernetes' own schemas, of several releases, strictly.

Custom resources have none there; `crds.py` says of each kind what we use of it, and nothing else passes.
"""

import json
from collections.abc import Iterable, Iterator
from functools import cache

from jsonschema import Draft202012Validator
from kubernetes_validate import SchemaNotFoundError, ValidationError, utils

from tools.k8s_check.crds import SCHEMAS
from tools.k8s_check.rendering import Manifest

_RELEASES = 4  # as many as Kubernetes' maintainers support, and the one before


def releases() -> list[str]:
    """Newest last, such as 1.37."""
    known = dict.fromkeys(utils.major_minor(version) for version in utils.all_versions())
    return list(known)[-_RELEASES:]


def problems(manifests: Iterable[Manifest]) -> Iterator[str]:
    for manifest in manifests:
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        kind = manifest["apiVersion"], manifest["kind"]
        if kind in SCHEMAS:
            for error in Draft202012Validator(SCHEMAS[kind]).iter_errors(manifest):
                yield f"{name}: {error.json_path}: {error.message}"
            continue
        for release in releases():
            if problem := _refusal(json.dumps(manifest), release):
                yield f"{name}, Kubernetes {release}: {problem}"


@cache  # overlays have most of their objects in common
def _refusal(manifest: str, release: str) -> str:
    try:
        utils.validate(json.loads(manifest), release, strict=True)
    except ValidationError as error:
        return f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
    except SchemaNotFoundError as error:
        return f"no kind {error.kind} in {error.api_version}"
    return ""
