"""What an image may claim: pixels, shape, and the time and memory that decoding takes.

All of it is judged by the header, so that a bomb costs nothing.
"""

from dataclasses import dataclass

from service.errors import InvalidInput, TooLarge
from service.preprocessing.headers import Cost, Header

MAX_MEMORY = 200_000_000  # bytes, for one image
MAX_ASPECT = 200  # times as long as wide: the longest receipts and panoramas are some 50
MAX_PIXELS_PER_BYTE = 2_000  # a blank page is 340 as RGB in PNG, 1,030 in gray or with a palette, 1,240 as GIF
_FREE_PIXELS = 4_000_000  # of any density: a blank 1-bit scan of a page has 8,000 a byte


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The configurable limits of one image. `max_side` bounds rows and columns; `max_milliseconds` is the decoding time
    on a core of 2023.
    """

    max_pixels: int = 50_000_000
    max_side: int = 16_384
    max_milliseconds: float = 250.0

    def check_size(self, header: Header, size: int) -> None:
        """`size` is the file's, in bytes. Raises TooLarge past a limit, InvalidInput where there are no pixels."""
        width, height, claim = header.width, header.height, f"the image claims {header.width}x{header.height} pixels"
        if width < 1 or height < 1:
            raise InvalidInput(f"{claim}; expected at least 1x1")
        if header.pixels > self.max_pixels:
            raise TooLarge(
                f"{claim}; the limit is {self.max_pixels:,} pixels, so send a smaller one", max_pixels=self.max_pixels
            )
        if max(width, height) > self.max_side:
            raise TooLarge(
                f"{claim}; the limit of a side is {self.max_side:,}, so send a smaller one", max_side=self.max_side
            )
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise TooLarge(f"{claim}; a side may have {MAX_ASPECT} times as many as the other", max_aspect=MAX_ASPECT)
        if header.pixels > max(_FREE_PIXELS, MAX_PIXELS_PER_BYTE * size):
            raise TooLarge(
                f"{claim} in {size:,} bytes; the limit is {MAX_PIXELS_PER_BYTE:,} pixels a byte, so send a smaller one",
                max_pixels_per_byte=MAX_PIXELS_PER_BYTE,
            )

    def check_cost(self, header: Header, cost: Cost, size: int) -> int:
        """The bytes of memory that decoding takes at `cost`. Raises TooLarge past a limit."""
        milliseconds = (header.pixels * cost.pixel + size * cost.byte) / 1e6
        memory = round(header.pixels * cost.memory) + size
        file = f"a {header.format} of {header.width}x{header.height} pixels in {size / 1e6:.1f} MB may take"
        advice = "so send a smaller one, or a JPEG that is not progressive"
        if milliseconds > self.max_milliseconds:
            raise TooLarge(
                f"{file} {milliseconds:.0f} ms to decode; the limit is {self.max_milliseconds:.0f} ms, {advice}",
                max_decode_ms=self.max_milliseconds,
            )
        if memory > MAX_MEMORY:
            raise TooLarge(
                f"{file} {memory / 1e6:.0f} MB to decode; the limit is {MAX_MEMORY / 1e6:.0f} MB, {advice}",
                max_memory=MAX_MEMORY,
            )
        return memory


DEFAULT_LIMITS = ImageLimits()
