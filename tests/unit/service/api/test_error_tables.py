"""Each edge's table says something for every error code."""

from service.api.grpc import errors as rpc
from service.api.http import errors as rest
from service.errors import Code


def test_http_and_grpc_tables_cover_every_code() -> None:
    assert set(rest.STATUS) == set(Code) == set(rpc.STATUS)
