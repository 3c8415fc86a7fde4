"""The page at / as people use it: Chromium on a live service.

`PAGE_PICTURES=FOLDER` keeps the pictures that documents show.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from service.security import api_keys as keys
from tests.support import detector
from tests.support.chromium import Browser
from tests.support.detector import GREEN, RED, draw
from tests.support.images import encode
from tests.support.page import as_file, card, check_quiet, choose, give, open_page
from tests.support.service_process import Service, running

pytestmark = pytest.mark.slow

_SAMPLE = 32
"""Pixels of a side of lenet5's samples."""

_NOTHING = "\N{EN DASH}"
_BOXES = np.asarray(draw(640, 480, (1, 5, RED), (6, 2, GREEN)))


def test_a_photo_is_answered_with_bars_stages_and_what_the_model_sees(
    tab: Browser, service: Service, seven: FilePayload
) -> None:
    page = open_page(tab, service.url)
    choose(page, "lenet5")
    give(page, seven)
    answer = card(page, "lenet5/1")
    expect(answer.locator(".top")).to_have_text("7")
    expect(page.locator("#status")).to_have_text(re.compile(r"^7, \d+\.\d+ %\.$"))
    shares = [float(text.removesuffix(" %")) for text in answer.locator(".share").all_inner_texts()]
    assert len(shares) == 5 and shares == sorted(shares, reverse=True) and shares[0] > 50
    filled = answer.locator(".track i").evaluate_all(
        "bars => bars.map(bar => 100 * bar.offsetWidth / bar.parentElement.offsetWidth)"
    )
    assert filled == pytest.approx(shares, abs=1)
    stages = answer.locator(".stages li").all_inner_texts()
    assert [stage.split()[0] for stage in stages] == ["read", "decode", "queue", "batch", "compute", "in"]
    seen = answer.locator(".seen")
    expect(seen).to_be_visible()
    assert seen.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [28, 28]
    expect(page.locator("#photo-name")).to_contain_text("7-0.png")
    check_quiet(tab, service.url)


def test_versions_stand_side_by_side_and_disagreement_is_marked(
    tab: Browser, service: Service, seven: FilePayload
) -> None:
    page = open_page(tab, service.url)
    choose(page, "lenet5", "mobilenet_v3_small", "long")
    give(page, seven)
    expect(page.locator(".card:not(.old)")).to_have_count(3)
    expect(page.locator("#status")).to_have_text("3 models answered; those with the same labels agree.")
    assert page.locator(".split").count() == 0, "other labels are no disagreement"
    disputed, tops = find_disputed(service, "lenet5", "mobilenet_v3_small")
    give(page, disputed)
    expect(card(page, "lenet5/1").locator(".top")).to_have_text(tops[0])
    expect(page.locator("#status")).to_have_text("2 of 3 models disagree.")
    expect(card(page, "lenet5/1").locator(".note")).to_have_text(f"Disagrees with mobilenet_v3_small/1 ({tops[1]}).")
    expect(page.locator(".split")).to_have_count(2)
    check_quiet(tab, service.url)


def find_disputed(service: Service, *models: str) -> tuple[FilePayload, list[str]]:
    """Noise, which no network of digits has learnt anything about, and what these models take it for."""
    for seed in range(100):
        noise = encode(np.random.default_rng(seed).integers(0, 256, (48, 48, 3), dtype=np.uint8))
        replies = [httpx.post(f"{service.url}/predict/{model}", content=noise, timeout=30) for model in models]
        tops = [reply.json()["predictions"][0]["label"] for reply in replies]
        if len(set(tops)) == len(models):
            return as_file("noise.png", noise), tops
    raise AssertionError(f"{models} agree on everything")


def test_samples_are_a_click_away(tab: Browser, service: Service) -> None:
    page = open_page(tab, service.url)
    choose(page, "lenet5")
    page.get_by_role("button", name="Sample 3-0.png").click()
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("3")
    page.locator("#well").evaluate(
        """(well, url) => fetch(url).then(reply => reply.blob()).then(blob => {
             const data = new DataTransfer();
             data.items.add(new File([blob], "pasted.png", { type: "image/png" }));
             document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
           })""",
        f"{service.url}/models/lenet5/samples/5-0.png",
    )
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("5")
    expect(page.locator("#photo-name")).to_contain_text("pasted.png")
    page.locator("#well").evaluate(
        """(well, url) => fetch(url).then(reply => reply.blob()).then(blob => {
             const data = new DataTransfer();
             data.items.add(new File([blob], "dropped.png", { type: "image/png" }));
             well.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
           })""",
        f"{service.url}/models/lenet5/samples/9-0.png",
    )
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("9")
    choose(page, "long")
    expect(page.locator("#samples-of")).to_have_text("long")
    check_quiet(tab, service.url)


def test_the_report_opens(tab: Browser, service: Service, lenet5_repository: Path) -> None:
    page = open_page(tab, service.url)
    with page.expect_navigation():
        page.get_by_role("link", name="Report of lenet5/1").click()
    expect(page.locator("h1")).to_be_visible()
    assert page.locator("svg").count() > 0
    check_quiet(tab, service.url)


def test_boxes_lie_over_the_photo(tab: Browser, service: Service) -> None:
    page = open_page(tab, service.url)
    choose(page, "ssd")
    give(page, as_file("boxes.png", encode(_BOXES)))
    answer = card(page, "ssd/1")
    expect(answer.locator(".boxes i")).to_have_count(2)
    assert sorted(answer.locator(".boxes b").all_inner_texts()) == ["apple", "leaf"]
    places = answer.locator(".boxes").evaluate(
        """box => Object.fromEntries([...box.querySelectorAll("i")].map(each => {
             const whole = box.querySelector("img").getBoundingClientRect(), {left, top} = each.getBoundingClientRect();
             return [each.textContent, [(left - whole.left) / whole.width, (top - whole.top) / whole.height]];
           }))"""
    )
    assert places["apple"] == pytest.approx([5 / detector.GRID, 1 / detector.GRID], abs=0.01)
    assert places["leaf"] == pytest.approx([2 / detector.GRID, 6 / detector.GRID], abs=0.01)
    expect(page.locator("#status")).to_have_text("2 found.")
    check_quiet(tab, service.url)


def test_a_model_of_numbers_cannot_be_chosen(tab: Browser, service: Service) -> None:
    page = open_page(tab, service.url)
    row = page.locator("#choices label", has_text="half_plus_two")
    if row.count() == 0:
        pytest.skip("TFSERVING_TESTDATA is not set")
    expect(row).to_contain_text("takes no photos")
    expect(row.locator("input")).to_be_disabled()
    shown = page.locator("#rows tr", has_text="half_plus_two")
    expect(shown).to_contain_text("tensors")
    assert shown.get_by_role("link").count() == 0, "there is no report to lead to"


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "says"),
    [
        ("large.jpg", 3_100_000, "larger than 3,000,000 bytes"),
        ("huge.jpg", 40_000_000, "larger than 3,000,000 bytes"),
        ("letter.txt", 100, "no JPEG, PNG, GIF, BMP or WebP"),
        ("empty.png", 0, "empty"),
    ],
)
def test_what_cannot_be_answered_says_why(tab: Browser, service: Service, name: str, size: int, says: str) -> None:
    page = open_page(tab, service.url)
    choose(page, "lenet5")
    give(page, as_file(name, b"\xff" * size))
    expect(card(page, "lenet5/1").locator(".problem")).to_contain_text(says)
    expect(page.locator("#status")).to_have_text("1 of 1 did not answer.")
    page.get_by_role("button", name="Sample 3-0.png").click()
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("3")
    check_quiet(tab, service.url, refused=True)


@pytest.fixture(scope="module")
def with_keys(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, str, str]]:
    """A service, a key to all of it, and one for a single prediction a quarter of an hour."""
    file = tmp_path_factory.mktemp("page-keys") / "keys.yaml"
    made = [keys.make("all"), keys.make("slow", rate=0.001, burst=1)]
    file.write_text("".join(entry for _, entry in made))
    with running("--repository", lenet5_repository, "--api-keys", file, "--no-open-metrics") as service:
        service.wait_ready()
        yield service, made[0][0], made[1][0]


def type_key(page: Page, key: str) -> None:
    expect(page.get_by_role("dialog")).to_be_visible()
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")


def test_a_key_is_asked_for_once_and_kept_in_its_tab(
    tab: Browser, with_keys: tuple[Service, str, str], seven: FilePayload
) -> None:
    service, secret, _ = with_keys
    page = open_page(tab, service.url)
    type_key(page, "ims_wrong")
    expect(page.locator("#choices .problem")).to_contain_text("not one of those in force")
    type_key(page, secret)  # asked again
    give(page, seven)
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("7")
    expect(card(page, "lenet5/1").locator(".seen")).to_be_visible()
    expect(page.get_by_role("button", name="Sample 3-0.png").locator("img")).to_have_js_property(
        "naturalWidth", _SAMPLE
    )
    expect(page.locator("#queue")).to_have_text("0", timeout=15_000)  # /metrics wants the key too
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the report of lenet5/1").click()
    assert download.value.suggested_filename == "lenet5-1-report.html"
    page.reload()
    expect(page.locator("#choices label")).to_have_count(1)
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    assert secret not in page.url and all(secret not in url for url in tab.requests)
    page.get_by_role("button", name="Key").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_role("dialog")).to_be_visible()  # the models are asked for again, and need one
    assert page.evaluate("sessionStorage.length") == 0
    page.keyboard.press("Escape")
    check_quiet(tab, service.url, refused=True)


def test_a_rate_limit_says_when_to_ask_again(
    tab: Browser, with_keys: tuple[Service, str, str], seven: FilePayload
) -> None:
    service, _, slow = with_keys
    page = open_page(tab, service.url)
    type_key(page, slow)
    expect(page.locator("#choices label")).to_have_count(1)
    give(page, seven)
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("7")
    expect(card(page, "lenet5/1").locator(".seen")).to_be_visible()  # with the same request
    page.get_by_role("button", name="Ask again").click()
    expect(card(page, "lenet5/1").locator(".problem")).to_have_text(re.compile(r"may ask .* ask again in \d+ s\."))
    check_quiet(tab, service.url, refused=True)


def test_a_service_that_is_gone_is_told_and_asked_again(
    tab: Browser, lenet5_repository: Path, seven: FilePayload
) -> None:
    with running("--repository", lenet5_repository) as first:
        first.wait_ready()
        port = first.http_port
        page = open_page(tab, first.url)
        assert first.stop() == 0
    give(page, seven)
    expect(card(page, "lenet5/1").locator(".problem")).to_contain_text("does not answer")
    expect(page.locator("#rate")).to_have_text(_NOTHING)
    with running("--repository", lenet5_repository, "--http-port", port) as second:
        second.wait_ready()
        page.get_by_role("button", name="Ask again").click()
        expect(card(page, "lenet5/1").locator(".top")).to_have_text("7")
        check_quiet(tab, second.url, refused=True)


# --- the same request -------------------------------------------------------------------------------------------------


def run_snippet(page: Page, language: str, folder: Path, key: str) -> str:
    page.get_by_role("tab", name=language, exact=True).click()
    code = page.locator("#code").inner_text()
    command = ["/bin/sh", "-c", code] if language == "curl" else [sys.executable, "-c", code]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "KEY": key}
    )
    assert ran.returncode == 0, f"{code}\n{ran.stderr}"
    return ran.stdout


@pytest.mark.parametrize("model", ["lenet5", "ssd"])
def test_what_is_copied_runs(tab: Browser, service: Service, tmp_path: Path, model: str, seven: FilePayload) -> None:
    page = open_page(tab, service.url)
    choose(page, model)
    name = 'it\'s a "photo" of 7, é.png'
    data = seven["buffer"] if model == "lenet5" else encode(_BOXES)
    (tmp_path / name).write_bytes(data)
    give(page, as_file(name, data))
    expect(card(page, f"{model}/1").locator(".stages")).to_be_visible()
    curl, python, over_grpc = (run_snippet(page, one, tmp_path, "") for one in ("curl", "Python", "gRPC"))
    if model == "lenet5":
        assert json.loads(curl)["predictions"][0]["label"] == "7"
        assert (python.strip(), over_grpc.strip()) == ("7", "7")
    else:
        for answer in (curl, python):
            assert "apple" in answer and "leaf" in answer
        assert "detection_boxes" in over_grpc


def test_what_is_copied_runs_with_a_key(
    tab: Browser, with_keys: tuple[Service, str, str], tmp_path: Path, seven: FilePayload
) -> None:
    service, secret, _ = with_keys
    page = open_page(tab, service.url)
    type_key(page, secret)
    (tmp_path / seven["name"]).write_bytes(seven["buffer"])
    give(page, seven)
    expect(card(page, "lenet5/1").locator(".top")).to_have_text("7")
    assert secret not in page.content(), "the key is in no text to copy"
    assert json.loads(run_snippet(page, "curl", tmp_path, secret))["predictions"][0]["label"] == "7"
    assert run_snippet(page, "Python", tmp_path, secret).strip() == "7"
    assert run_snippet(page, "gRPC", tmp_path, secret).strip() == "7"


# --- many models, load ---------------------------------------------------------------------------------------------


def test_forty_models_are_narrowed_by_name_and_asked_together(
    tab: Browser, lenet5_repository: Path, tmp_path: Path, seven: FilePayload
) -> None:
    for number in range(40):
        shutil.copytree(lenet5_repository / "lenet5" / "1", tmp_path / f"digits_{number:02}" / "1")
    shutil.copytree(lenet5_repository / "lenet5" / "1", tmp_path / "digits_07" / "2")
    with running("--repository", tmp_path) as service:
        service.wait_ready()
        page = open_page(tab, service.url)
        expect(page.locator("#choices label")).to_have_count(41)
        page.get_by_role("searchbox").fill("s_07")
        assert [
            name.partition(" 28")[0] for name in page.locator("#choices label span:first-of-type").all_inner_texts()
        ] == [
            "digits_07 2",
            "digits_07 1",
        ]
        page.get_by_role("searchbox").fill("")
        page.get_by_role("button", name="All of these").click()
        give(page, seven)
        expect(page.locator(".card:not(.old)")).to_have_count(41, timeout=30_000)
        expect(page.locator("#status")).to_have_text("41 models answered; those with the same labels agree.")
        assert page.locator(".top").all_inner_texts() == ["7"] * 41
        assert page.evaluate("document.documentElement.scrollWidth") == 1280
        page.get_by_role("button", name="All of these").click()
        expect(page.locator(".card")).to_have_count(0)
        check_quiet(tab, service.url)


def test_the_corner_tells_of_load(tab: Browser, service: Service, seven: FilePayload) -> None:
    page = open_page(tab, service.url)
    expect(page.locator("#rate")).to_have_text("0", timeout=15_000)
    with _load(service, seven["buffer"]):
        expect(page.locator("#rate")).to_have_text(re.compile(r"^[1-9]\d+$"), timeout=30_000)
        expect(page.locator("#p99")).to_have_text(re.compile(r"^\d"))
        expect(page.locator("#refused")).to_have_text("0")
        give(page, seven)
        expect(page.locator(".card .top").first).to_have_text("7")
    check_quiet(tab, service.url)


@contextmanager
def _load(service: Service, body: bytes) -> Iterator[None]:
    program = (
        "import httpx, sys\nbody = sys.stdin.buffer.read()\nwith httpx.Client() as client:\n"
        "    while True: client.post(sys.argv[1], content=body)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, f"{service.url}/predict/lenet5"], stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write(body)
        process.stdin.close()
        yield
    finally:
        process.kill()
        process.wait()


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, False), (1920, True)])
def test_it_looks_as_in_the_documents(
    tab: Browser, serve_repository: Path, tmp_path: Path, width: int, dark: bool
) -> None:
    from skimage import data

    coffee: Any = data.coffee

    with running("--repository", serve_repository) as service:
        service.wait_ready()
        page = open_page(tab, service.url, width, dark)
        choose(page, *(name for name in page.locator("#choices span:first-of-type").all_inner_texts() if "eff" in name))
        give(page, as_file("coffee.jpg", encode(coffee(), "JPEG", quality=90)))
        expect(page.locator(".card:not(.old) .top").first).to_have_text("espresso")
        expect(page.locator(".card .seen").first).to_be_visible()
        expect(page.locator("#rate")).not_to_have_text(_NOTHING, timeout=15_000)
        page.evaluate("document.fonts.ready.then(() => window.scrollTo(0, 0))")
        file = tmp_path / f"page-{width}.png"
        tab.screenshot(file)
    with Image.open(file) as picture:
        assert picture.width == width and len(picture.convert("RGB").getcolors(1 << 24) or []) > 1000
    if folder := os.environ.get("PAGE_PICTURES"):
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(200).save(Path(folder, file.name), optimize=True)
