"""The page at / for everybody: the keyboard alone, and what axe-core finds, at three widths, light and dark."""

import shutil
import subprocess
import tarfile
from itertools import product

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.support.chromium import Browser
from tests.support.images import encode, photo
from tests.support.page import as_file, check_quiet, choose, give, open_page
from tests.support.service_process import CACHE, Service

pytestmark = pytest.mark.slow

_WIDTHS = (390, 1280, 1920)
_AXE = "axe-core@4.14.1"


def test_all_of_it_works_from_the_keyboard(tab: Browser, service: Service, seven: FilePayload) -> None:
    page = open_page(tab, service.url)

    def tab_to(what: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", what):
                return
        raise AssertionError(f"{what} is not reached")

    tab_to("#file")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(seven)
    first = page.locator(".card:not(.old) .top")
    expect(first).to_have_count(1)
    tab_to("#samples button")
    page.keyboard.press("Enter")
    expect(page.locator("#photo-name")).to_contain_text("0-0.png")
    tab_to("#choices input")
    page.keyboard.press("Space")
    tab_to("#choices input")
    page.keyboard.press("Space")
    expect(page.locator(".card")).to_have_count(1)
    tab_to("[role=tab]")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python", exact=True)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#code")).to_contain_text("import httpx")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="gRPC", exact=True)).to_be_focused()
    tab_to("#copy")
    tab_to("#code")
    tab_to("#rows a")
    check_quiet(tab, service.url)


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, from npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here: axe-core comes from there")
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"{_AXE.replace('@', '-')}.tgz"
    if not archive.exists():
        packed = subprocess.run([npm, "pack", _AXE], cwd=CACHE, capture_output=True, text=True, timeout=120)
        if packed.returncode:
            pytest.skip(f"npm has no network: {packed.stderr[-200:]}")
    with tarfile.open(archive) as files:
        found = files.extractfile("package/axe.min.js")
        assert found is not None
        return found.read().decode()


@pytest.mark.parametrize(("width", "dark"), list(product(_WIDTHS, (False, True))))
def test_everybody_can_read_it(
    tab: Browser, service: Service, seven: FilePayload, axe: str, width: int, dark: bool
) -> None:
    page = open_page(tab, service.url, width, dark)
    _check_axe(page, axe)
    choose(page, "lenet5", "mobilenet_v3_small", "long", "ssd")
    give(page, as_file("a photo.jpg", encode(photo(), "JPEG")))
    expect(page.locator(".card .stages")).to_have_count(4, timeout=30_000)
    expect(page.locator(".seen")).to_have_count(3)
    _check_axe(page, axe)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    give(page, as_file("letter.txt", b"dear reader"))
    expect(page.locator(".problem")).to_have_count(5)
    _check_axe(page, axe)
    page.get_by_role("button", name="Key").click()
    _check_axe(page, axe)
    page.keyboard.press("Escape")
    check_quiet(tab, service.url, refused=True)


def _check_axe(page: Page, axe: str) -> None:
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(result => result.violations)")
    told = [(each["id"], [node["html"][:150] for node in each["nodes"]]) for each in found]
    assert told == []
