"""The page at /, used as people use it."""

from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.support.chromium import Browser

_EXPECTED = ("the server responded with a status of", "net::ERR_CONNECTION_REFUSED")
"""What Chromium itself logs of a request that is refused."""


def as_file(name: str, data: bytes) -> FilePayload:
    kind = {"png": "image/png", "jpg": "image/jpeg"}.get(name.rpartition(".")[2], "application/octet-stream")
    return {"name": name, "mimeType": kind, "buffer": data}


def open_page(tab: Browser, url: str, width: int = 1280, dark: bool = False) -> Page:
    """Ready: models are listed. Whatever is asked for lies at the same origin."""
    tab.open(f"{url}/", width, dark)
    expect(tab.page.locator("#choices label, #choices .problem").first).to_be_visible()
    return tab.page


def give(page: Page, file: FilePayload) -> None:
    page.locator("#file").set_input_files(file)


def choose(page: Page, *names: str) -> None:
    """These models, and no others."""
    for row in page.locator("#choices label").all():
        name, box = row.locator("span").first.inner_text(), row.locator("input")
        if box.is_enabled():
            box.set_checked(name in names)


def card(page: Page, model: str) -> Locator:
    return page.get_by_role("article", name=f"Answer of {model}")


def check_quiet(tab: Browser, url: str, refused: bool = False) -> None:
    """No request left the origin, and nothing was complained of, the console's word on refused requests aside."""
    assert [each for each in tab.requests if not each.startswith((f"{url}/", "blob:", "data:"))] == []
    rest = [each for each in tab.complaints if not (refused and any(part in each for part in _EXPECTED))]
    assert rest == []
