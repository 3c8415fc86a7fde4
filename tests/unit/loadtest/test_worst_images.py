"""What the limits of images promise: no file that passes them costs much. Figures are in docs/security.md."""

import pytest

from benchmarks import worst_images

pytestmark = pytest.mark.alone

MILLISECONDS, MEGABYTES = 250, 200
MARGIN = 4  # machines that run tests are slow, and others run on them


@pytest.mark.slow
@pytest.mark.parametrize("name", worst_images.CASES)
def test_the_dearest_file_that_passes_the_limits_is_cheap(name: str) -> None:
    make, aspect = worst_images.CASES[name]
    worst = worst_images.measure(name, worst_images.largest(make, aspect))
    assert worst.milliseconds < MARGIN * MILLISECONDS
    assert worst.megabytes < 1.25 * MEGABYTES
