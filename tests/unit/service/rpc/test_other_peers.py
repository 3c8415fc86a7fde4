"""A client made of hyper's h2, which follows the RFCs by the letter and compresses headers as it may."""

import asyncio
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.events
import hpack
import pytest

from service.http2.frames import ProtocolError
from service.http2.headers import HeaderReader, block, read
from service.http2.messages import message
from tests.transport import Running, serving

HEADERS = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/test/echo"),
    (":authority", "test"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    async with serving() as running:
        yield running


async def test_h2_is_answered_whatever_it_compresses(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    sizes = list[int]()
    for call in range(30):
        stream = client.get_next_available_stream_id()
        body = message(b"%d" % call * 10_000)
        before = len(client.data_to_send(0) or b"")
        client.send_headers(stream, [*HEADERS, ("x-text", f"{call // 3}"), ("x-other", "of some length " * 5)])
        sent = client.data_to_send()
        sizes.append(len(sent) - before)
        writer.write(sent)
        for start in range(0, len(body), 2**14):
            client.send_data(stream, body[start : start + 2**14], end_stream=start + 2**14 >= len(body))
        writer.write(client.data_to_send())
        received, trailers = b"", dict[str, str]()
        while not trailers:
            for event in client.receive_data(await reader.read(65536)):
                if isinstance(event, h2.events.DataReceived):
                    received += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = {str(name): str(value) for name, value in event.headers}
            writer.write(client.data_to_send())
        assert received == body and trailers["grpc-status"] == "0"
    assert sizes[0] > 100 and client.encoder.header_table_size == 0
    writer.close()


def test_a_table_is_followed_until_it_is_given_up() -> None:
    encoder, reader = hpack.Encoder(), HeaderReader(1000)
    wanted = (("x-one", "1"), ("x-two", "2"))
    for _ in range(3):
        assert reader.read(encoder.encode(wanted)) == wanted
    reader.acknowledged = True
    assert reader.read(encoder.encode(wanted)) == wanted, "a client that never shrinks its table is read on"
    encoder.header_table_size = 0
    for _ in range(3):
        assert reader.read(encoder.encode(wanted)) == wanted
    with pytest.raises(ProtocolError):
        reader.read(b"\xbe")


@pytest.mark.parametrize("acknowledged", [True, False])
def test_what_is_too_large_is_not_read_but_what_follows_is(acknowledged: bool) -> None:
    encoder, reader = hpack.Encoder(), HeaderReader(1000)
    encoder.header_table_size = 0
    reader.acknowledged = acknowledged
    assert reader.read(encoder.encode([("x", "1")])) == (("x", "1"),)
    assert reader.read(encoder.encode([("x", "y" * 2000)])) is None
    assert reader.read(encoder.encode([("x", "1")])) == (("x", "1"),)


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 300, 20_000])
def test_blocks_are_read_by_others_and_by_us(length: int) -> None:
    said = (("x", "y" * length), ("größe", "√"))
    theirs = tuple((str(name), str(value)) for name, value in hpack.Decoder().decode(block(said)))
    assert theirs == said == read(block(said), 2**16)
