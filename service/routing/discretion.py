"""Hides the models behind a route from clients that may know the route only: they read its name instead.

Errors come from every layer, with names in sentences and paths. So names are replaced last, before an edge renders
them.
"""

import re
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from service.errors import ServiceError
from service.models.version import Status
from service.types import ModelRef, PredictResult


class Discretion:
    """For one client: every name of `secrets` reads `name`, the name that the client used."""

    def __init__(self, name: str, secrets: Collection[str]) -> None:
        self._name, self._secrets = name, secrets

    def error(self, error: ServiceError) -> ServiceError:
        """The same object where it holds no secret."""
        if not self._secrets:
            return error
        message, detail = self._text(error.message), self._value(dict(error.detail))
        if message == error.message and detail == error.detail:
            return error
        return error.copy(message, **detail)

    def status(self, status: Status) -> Status:
        return replace(status, error=self._text(status.error))

    def result(self, result: PredictResult) -> PredictResult:
        if not self._secrets:
            return result
        served_by = tuple(
            ModelRef(self._name, ref.version, ref.label) if ref.name in self._secrets else ref
            for ref in result.served_by
        )
        return replace(result, served_by=served_by)

    def _text(self, text: str) -> str:
        if not self._secrets:
            return text
        longest_first = sorted(self._secrets, key=len, reverse=True)
        secret = "|".join(map(re.escape, longest_first))
        return re.sub(rf"(?<![\w.-])(?:{secret})(?![\w-]|\.\w)", lambda _: self._name, text)

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return self._text(value)
            case dict():
                return {key: self._value(each) for key, each in value.items()}
            case list() | tuple():
                return [self._value(each) for each in value]
            case _:
                return value
