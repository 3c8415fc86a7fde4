"""Each edge's table says something for every error code."""

from service.errors import Code
from service.rest import errors as rest
from service.rpc import errors as rpc


def test_http_and_grpc_tables_cover_every_code() -> None:
    assert set(rest.STATUS) == set(Code) == set(rpc.STATUS)
