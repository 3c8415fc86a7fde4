"""What `--target` means."""

import pytest

from service.backends.tfserving import targets
from service.backends.tfserving.targets import Target


def test_what_may_be_written() -> None:
    found = targets.parse("tf-1:8500, 10.0.0.1:8501,[::1]:8500,unix:/run/tf.sock,unix:///run/other.sock,tf-1:8500")
    assert [str(target) for target in found] == [
        "tf-1:8500",
        "10.0.0.1:8501",
        "[::1]:8500",
        "unix:/run/tf.sock",
        "unix:/run/other.sock",
    ]


@pytest.mark.parametrize(
    "wrong", ["tf-1", "tf-1:", "a:0", "a:70000", "http://a:8500", "a:8500,", "unix:tf.sock", "::1:8500"]
)
def test_what_may_not(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|absolute path"):
        targets.parse(wrong)


async def test_addresses() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return {"tf": ["10.0.0.1", "10.0.0.2"]}[host]

    several = await Target("tf", 8500).find_addresses(resolve)
    assert [str(address) for address in several] == ["10.0.0.1:8500", "10.0.0.2:8500"]
    assert {address.authority for address in several} == {"tf:8500"}
    (ip,) = await Target("::1", 8500).find_addresses(resolve)
    assert str(ip) == "[::1]:8500" and ip.where == ("::1", 8500)
    (path,) = await Target("/run/tf.sock", 0).find_addresses(resolve)
    assert path.where == "/run/tf.sock"


async def test_the_systems_resolver() -> None:
    assert await targets.resolve("localhost", 8500) == ["127.0.0.1"]
    with pytest.raises(OSError):
        await targets.resolve("no-such-host.invalid", 8500)
