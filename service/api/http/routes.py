"""GET /routes: where calls go, and what is wrong with the file that says so."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from service.api.http import errors
from service.predictor import Predictor


def router(predictor: Predictor) -> APIRouter:
    pages = APIRouter(responses=errors.DOCUMENTED)

    @pages.get("/routes", response_model=None)
    async def routes() -> Mapping[str, Any]:
        """The routes in force. `error` says what is wrong with the file on disk where it is not what is in force, and
        `targets` which models' versions are there to answer.
        """
        return await predictor.routes()

    return pages
