"""What an image may claim, in pixels, in shape, and in the time and memory that decoding takes.

All of it is judged by the header, so that a bomb costs nothing.
"""

from service.errors import InvalidInput, TooLarge
from service.preprocessing.headers import Cost, Header

MAX_SIDE = 16_384
MAX_MILLISECONDS = 250.0
MAX_MEMORY = 200_000_000  # bytes, for one image
MAX_ASPECT = 200  # times as long as wide: the longest receipts and panoramas are some 50
MAX_PIXELS_PER_BYTE = 2_000  # a blank page is 340 as RGB in PNG, 1,030 in gray or with a palette, 1,240 as GIF
_FREE_PIXELS = 4_000_000  # of any density: a blank 1-bit scan of a page has 8,000 a byte


def check(header: Header, size: int, max_pixels: int, max_side: int) -> None:
    """Raises TooLarge where an image of `size` bytes claims more than this, InvalidInput where it has no pixels."""
    width, height, what = header.width, header.height, f"the image claims {header.width}x{header.height} pixels"
    if width < 1 or height < 1:
        raise InvalidInput(f"{what}; expected at least 1x1")
    if header.pixels > max_pixels:
        raise TooLarge(f"{what}; the limit is {max_pixels:,} pixels, so send a smaller one", max_pixels=max_pixels)
    if max(width, height) > max_side:
        raise TooLarge(f"{what}; the limit of a side is {max_side:,}, so send a smaller one", max_side=max_side)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise TooLarge(f"{what}; a side may have {MAX_ASPECT} times as many as the other", max_aspect=MAX_ASPECT)
    if header.pixels > max(_FREE_PIXELS, MAX_PIXELS_PER_BYTE * size):
        raise TooLarge(
            f"{what} in {size:,} bytes; the limit is {MAX_PIXELS_PER_BYTE:,} pixels a byte, so send a smaller one",
            max_pixels_per_byte=MAX_PIXELS_PER_BYTE,
        )


def check_cost(header: Header, cost: Cost, size: int, max_milliseconds: float) -> int:
    """The bytes of memory that decoding takes. Raises TooLarge past MAX_MEMORY, and where it takes longer."""
    milliseconds = (header.pixels * cost.pixel + size * cost.byte) / 1e6
    memory = round(header.pixels * cost.memory) + size
    what = f"a {header.format} of {header.width}x{header.height} pixels in {size / 1e6:.1f} MB may take"
    instead = "so send a smaller one, or a JPEG that is not progressive"
    if milliseconds > max_milliseconds:
        raise TooLarge(
            f"{what} {milliseconds:.0f} ms to decode; the limit is {max_milliseconds:.0f} ms, {instead}",
            max_decode_ms=max_milliseconds,
        )
    if memory > MAX_MEMORY:
        raise TooLarge(
            f"{what} {memory / 1e6:.0f} MB to decode; the limit is {MAX_MEMORY / 1e6:.0f} MB, {instead}",
            max_memory=MAX_MEMORY,
        )
    return memory
