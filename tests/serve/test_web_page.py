"""The page in a real browser: what it shows is what the service found, and all of it without any other server."""

import base64
import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from brightest_model import METADATA, write_image, write_model
from browser import (
    CHROMIUM,
    Recorder,
    answer_first,
    choose,
    decode,
    pixels,
    point,
    running,
    saved,
    set_opacity,
    watched,
)
from PIL import Image as PillowImage
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ucc.cli import main
from ucc.pictures import draw_uncertainty
from ucc.segmenter import Segmenter
from ucc.serve.app import create_app

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

# Two classes of one colour: a page that guesses classes from colours would mix them up.
COLORS = ((200, 10, 20), (200, 10, 20), (50, 60, 220), (0, 0, 0))
REVISION = "0123456789abcdef0123456789abcdef01234567"
FACTS = METADATA | {
    "classes": json.dumps(["red", "green, or so", "blue", "never"]),
    "colors": json.dumps(COLORS),
    "metrics": json.dumps({"miou": 57.26}),
    "dataset": "three colours",
    "git_revision": REVISION,
    "step": "500",
    "ucc_version": "0.1.0",
}
SIZE = (18, 24)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pixel's class is its brightest channel; of four classes, the last never comes."""
    return write_model(tmp_path_factory.mktemp("model") / "segmenter.onnx", FACTS)


@pytest.fixture(scope="module")
def service(model: Path) -> Recorder:
    return Recorder(create_app(Segmenter(model, threads=1)))


@pytest.fixture(scope="module")
def address(service: Recorder) -> Iterator[str]:
    with running(service) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's sandbox does not work for root, as which containers of CI run.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser, address) as shown:
        yield shown


@pytest.fixture
def phone(browser: Browser, address: str) -> Iterator[Page]:
    with watched(
        browser, address, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, device_scale_factor=2
    ) as shown:
        yield shown


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Noise, more red than green than blue, so that shares differ."""
    drawn = np.random.default_rng(0).integers(0, 200, (*SIZE, 3), dtype=np.uint8)
    drawn[..., 0] += 50
    drawn[..., 1] += 20
    return drawn


@pytest.fixture
def picture(image: np.ndarray, tmp_path: Path) -> Path:
    return write_image(tmp_path / "street.png", image)


def test_it_tells_what_the_model_is(page: Page) -> None:
    facts = dict(
        zip(page.locator("#facts dt").all_inner_texts(), page.locator("#facts dd").all_inner_texts(), strict=True)
    )
    assert facts["Data set"] == "three colours"
    assert facts["Classes"] == "4"
    assert facts["mIoU"] == "57.3 % on val"
    assert facts["Revision"] == REVISION[:7]
    assert facts["Trained"] == "500 steps"
    assert page.locator("#legend .name").all_inner_texts() == ["red", "green, or so", "blue", "never"]


def test_the_browser_itself_refuses_to_ask_another_server(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    refused = page.evaluate(
        """async () => {
          const violated = new Promise((resolve) => document.addEventListener("securitypolicyviolation", resolve));
          await fetch("https://example.org/").catch(() => null);
          return (await violated).effectiveDirective;
        }"""
    )
    page.close()
    assert refused == "connect-src"


def test_the_overlay_is_picture_and_classes_as_the_slider_mixes_them(
    page: Page, picture: Path, image: np.ndarray
) -> None:
    choose(page, picture)
    painted = np.asarray(COLORS)[image.argmax(axis=2)]
    set_opacity(page, 0)
    np.testing.assert_array_equal(pixels(page)[..., :3], image)
    set_opacity(page, 100)
    np.testing.assert_array_equal(pixels(page)[..., :3], painted)
    set_opacity(page, 25)
    np.testing.assert_allclose(pixels(page)[..., :3], 0.75 * image + 0.25 * painted, atol=2)
    expect(page.locator("#opacity-value")).to_have_text("25 %")


def test_the_uncertainty_is_the_heat_map_of_ucc_segment(page: Page, picture: Path, image: np.ndarray) -> None:
    choose(page, picture)
    page.get_by_text("Uncertainty", exact=True).click()
    set_opacity(page, 100)
    expected = draw_uncertainty((1 - image.max(axis=2) / 255).astype(np.float32), len(COLORS))
    np.testing.assert_array_equal(pixels(page)[..., :3], expected)
    expect(page.locator("#scale")).to_be_visible()


def test_the_mouse_finds_class_and_certainty_of_every_pixel_it_is_over(
    page: Page, picture: Path, image: np.ndarray
) -> None:
    choose(page, picture)
    names = json.loads(FACTS["classes"])
    rows, columns = SIZE
    for column, row in [(0, 0), (columns - 1, rows - 1), (5, 7), (11, 3), (2, 16), (20, 9)]:
        point(page, column, row)
        expect(page.locator("#tip-class")).to_have_text(names[image[row, column].argmax()])
        certainty = re.search(r"[\d.]+", page.locator("#tip-certainty").inner_text())
        assert certainty is not None
        # The service sends the uncertainty in 256 steps.
        assert float(certainty[0]) == pytest.approx(image[row, column].max() / 2.55, abs=0.3)
    page.mouse.move(1, 1)
    expect(page.locator("#tip")).to_be_hidden()


def test_the_legend_has_the_shares_of_the_pixels_largest_first(page: Page, picture: Path, image: np.ndarray) -> None:
    choose(page, picture)
    shares = np.bincount(image.argmax(axis=2).ravel(), minlength=4) / image[..., 0].size
    order = np.argsort(-shares, kind="stable")[:3]
    assert page.locator("#legend .name").all_inner_texts() == [json.loads(FACTS["classes"])[index] for index in order]
    assert page.locator("#legend .share").all_inner_texts() == [f"{100 * shares[index]:.1f} %" for index in order]
    expect(page.locator("#absent")).to_have_text("Not in this picture: never")
    mean = 100 * (image.max(axis=2) / 255).mean()
    expect(page.locator("#certainty")).to_have_text(f"Mean certainty {mean:.1f} %")


def test_a_press_on_a_class_shows_it_alone_and_another_all_again(page: Page, picture: Path, image: np.ndarray) -> None:
    choose(page, picture)
    set_opacity(page, 100)
    classes = image.argmax(axis=2)
    blue = page.locator("#legend button", has_text="blue")
    blue.click()
    expected = np.where((classes == 2)[..., np.newaxis], np.asarray(COLORS)[classes], image)
    np.testing.assert_array_equal(pixels(page)[..., :3], expected)
    expect(blue).to_have_attribute("aria-pressed", "true")
    blue.click()
    np.testing.assert_array_equal(pixels(page)[..., :3], np.asarray(COLORS)[classes])


def test_with_the_next_picture_all_classes_are_shown_again(page: Page, picture: Path) -> None:
    choose(page, picture)
    page.locator("#legend button", has_text="blue").click()
    other = page.locator("#legend li", has_text="red").locator("button")
    expect(other).to_have_css("opacity", "0.55")
    choose(page, picture)
    expect(other).to_have_css("opacity", "1")


def test_everything_can_be_done_from_the_keyboard(page: Page, picture: Path, image: np.ndarray) -> None:
    names = json.loads(FACTS["classes"])

    def tab(to: str) -> None:
        """The next stop of the tab key, which can be seen."""
        page.keyboard.press("Tab")
        expect(page.locator(to)).to_be_focused()
        seen = "e => getComputedStyle(e.matches('[name=layer]') ? e.nextElementSibling : e).outlineStyle"
        assert page.locator(to).evaluate(seen) == "solid"

    tab("#choose")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(picture)
    expect(page.locator("#status")).to_contain_text("street.png")
    tab("#canvas")
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.locator("#tip-class")).to_have_text(names[image[1, 3].argmax()])
    expect(page.locator("#spoken")).to_have_text(re.compile(rf"^{names[image[1, 3].argmax()]}, .* certain, at 3, 1$"))
    page.keyboard.press("Escape")
    expect(page.locator("#tip")).to_be_hidden()
    tab("[value=classes]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("[value=uncertainty]")).to_be_checked()
    tab("#opacity")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#opacity-value")).to_have_text("61 %")
    for kind in ("classes", "overlay", "uncertainty", "csv"):
        tab(f"[data-save={kind}]")
    tab("[data-save=json]")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab("#legend li:first-child button")
    page.keyboard.press("Space")
    expect(page.locator("#legend li:first-child button")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[value=classes]")).to_be_checked()


GIVE = """([event, transfer, files]) => {
  const data = new DataTransfer();
  if (files.length === 0) data.setData("text/plain", "no picture");
  for (const [encoded, name, type] of files) {
    data.items.add(new File([Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0))], name, { type }));
  }
  const kind = event === "paste" ? ClipboardEvent : DragEvent;
  const target = document.getElementById("stage");
  target.dispatchEvent(new kind(event, { [transfer]: data, bubbles: true, cancelable: true }));
}"""


@pytest.mark.parametrize(("event", "transfer"), [("paste", "clipboardData"), ("drop", "dataTransfer")])
def test_a_picture_can_be_pasted_and_dropped(
    page: Page, picture: Path, image: np.ndarray, event: str, transfer: str
) -> None:
    page.evaluate(GIVE, [event, transfer, []])
    expect(page.locator("#error")).to_be_visible()
    encoded = base64.b64encode(picture.read_bytes()).decode()
    page.evaluate(GIVE, [event, transfer, [[encoded, "given.png", "image/png"]]])
    expect(page.locator("#status")).to_have_text(f"given.png, {SIZE[1]} × {SIZE[0]}")
    expect(page.locator("#error")).to_be_hidden()
    set_opacity(page, 0)
    np.testing.assert_array_equal(pixels(page)[..., :3], image)


def test_of_several_files_the_first_picture_is_taken_and_that_is_said(page: Page, picture: Path) -> None:
    encoded = base64.b64encode(picture.read_bytes()).decode()
    notes = ["", "notes.txt", "text/plain"]
    told = "One picture is taken at a time; of these 3 files it is"
    pictures = [[encoded, name, "image/png"] for name in ("first.png", "second.png")]
    page.evaluate(GIVE, ["drop", "dataTransfer", [notes, *pictures]])
    expect(page.locator("#status")).to_have_text(f"first.png, {SIZE[1]} × {SIZE[0]}. {told} first.png.")
    page.evaluate(GIVE, ["drop", "dataTransfer", [notes] * 3])
    expect(page.locator("#error-text")).to_contain_text(f"{told} notes.txt.")


@pytest.mark.parametrize("several", [False, True])
def test_a_folder_that_is_dropped_is_told_to_be_unreadable(page: Page, tmp_path: Path, several: bool) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "trip").mkdir()
    dropped = [str(tmp_path / "holiday"), *([str(tmp_path / "trip")] if several else [])]
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    devtools = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):
        place = {"x": stage["x"] + 20, "y": stage["y"] + 20}
        data = {"items": [], "files": dropped, "dragOperationsMask": 1}
        devtools.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})
    expect(page.locator("#error-text")).to_contain_text("holiday cannot be read. It is a folder, or")
    expect(page.locator("#again")).to_be_hidden()


def test_a_file_that_was_moved_before_the_next_try_is_told_to_be_unreadable(page: Page, picture: Path) -> None:
    answer_first(page, {"status": 502, "body": ""})
    page.set_input_files("#file", picture)
    expect(page.locator("#again")).to_be_visible()
    picture.unlink()
    page.click("#again")
    expect(page.locator("#error-text")).to_contain_text("street.png cannot be read. It is a folder, or it was moved")


def test_what_is_saved_is_what_ucc_segment_writes(page: Page, model: Path, picture: Path, tmp_path: Path) -> None:
    choose(page, picture)
    assert main(["segment", "--model", str(model), str(picture), str(tmp_path / "out")]) == 0
    name, content = saved(page, "classes")
    assert name == "street_classes.png"
    assert content == (tmp_path / "out" / name).read_bytes()
    for kind in ("csv", "json"):
        name, content = saved(page, kind)
        assert name == f"street_shares.{kind}"
        expected = (tmp_path / "out" / f"shares.{kind}").read_text(encoding="utf-8")
        if kind == "json":
            assert json.loads(content) == json.loads(expected)
        else:
            found, wanted = (list(csv.reader(io.StringIO(text))) for text in (content.decode(), expected))
            assert found[0] == wanted[0]
            assert found[1][0] == wanted[1][0]
            assert list(map(float, found[1][1:])) == list(map(float, wanted[1][1:]))


def test_overlay_and_uncertainty_are_saved_without_loss(page: Page, picture: Path, image: np.ndarray) -> None:
    choose(page, picture)
    name, content = saved(page, "overlay")
    assert name == "street_overlay.png"
    np.testing.assert_array_equal(decode(content), pixels(page)[..., :3])
    name, content = saved(page, "uncertainty")
    assert name == "street_uncertainty.png"
    grey = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(grey, np.rint(255 * ((1 - image.max(axis=2) / 255) / (1 - 1 / 4)).clip(0, 1)))


def test_on_a_phone_nothing_is_wider_than_the_screen_and_a_finger_finds_the_class(
    phone: Page, image: np.ndarray, tmp_path: Path
) -> None:
    widest = "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    assert phone.evaluate(widest) == 360
    expect(phone.locator("#photograph")).to_be_visible()
    assert phone.locator("#camera").get_attribute("capture") == "environment"
    choose(phone, write_image(tmp_path / f"{'a_long_name' * 9}.png", image))
    phone.locator("#canvas").tap(position={"x": 6, "y": 6})  # its corners are round
    expect(phone.locator("#tip-class")).to_have_text(json.loads(FACTS["classes"])[image[0, 0].argmax()])
    expect(phone.locator("#ring")).to_be_visible()
    phone.get_by_text("Uncertainty", exact=True).tap()
    answer_first(phone, {"status": 400, "json": {"error": "x" * 200}})
    phone.set_input_files("#file", tmp_path / f"{'a_long_name' * 9}.png")
    expect(phone.locator("#error")).to_be_visible()
    assert phone.evaluate(widest) == 360


@pytest.mark.parametrize("wide", [320, 412])
def test_on_a_phone_the_label_of_the_probe_stays_on_the_screen(
    phone: Page, address: str, tmp_path: Path, wide: int
) -> None:
    def check() -> None:
        expect(phone.locator("#tip")).to_be_visible()
        left, right, window, content = phone.evaluate(
            """() => {
              const { left, right } = document.getElementById("tip").getBoundingClientRect();
              const { clientWidth, scrollWidth } = document.documentElement;
              return [left, right, clientWidth, scrollWidth];
            }"""
        )
        assert 0 <= left < right <= window == content

    def touch(share: float) -> None:
        """Touch the picture at a share of its width."""
        frame = phone.locator("#canvas").bounding_box()
        assert frame is not None
        phone.locator("#canvas").tap(position={"x": share * frame["width"], "y": 20})

    phone.set_viewport_size({"width": wide, "height": 640})
    for name, size in {"tall": (160, 16), "wide": (18, 24)}.items():
        choose(phone, write_image(tmp_path / f"{name}.png", np.full((*size, 3), (10, 200, 10), np.uint8)))
        for share in (0.05, 0.45, 0.55, 0.95):
            touch(share)
            check()
    phone.set_viewport_size({"width": 640, "height": wide})
    touch(0.95)
    phone.set_viewport_size({"width": wide, "height": 640})  # what a finger marked stays marked
    check()
    tall = (tmp_path / "tall.png").read_bytes()
    told = phone.request.post(f"{address}segment", data=tall, headers={"Accept": "application/json"}).json()
    told["classes"] = [entry | {"name": "a long name " * 5} for entry in told["classes"]]
    answer_first(phone, {"json": told})
    choose(phone, tmp_path / "tall.png")
    touch(0.5)
    check()


def test_an_error_is_shown_in_place_and_what_was_there_stays(page: Page, picture: Path, tmp_path: Path) -> None:
    choose(page, picture)
    before = pixels(page)
    (tmp_path / "notes.txt").write_text("no picture")
    page.set_input_files("#file", tmp_path / "notes.txt")
    expect(page.locator("#error-text")).to_contain_text("no JPEG, PNG, BMP, TIFF or WebP")
    expect(page.locator("#again")).to_be_hidden()  # the same file would be refused again
    expect(page.locator("#status")).to_have_text("street.png, 24 × 18")
    expect(page.locator("#progress")).to_be_hidden()
    np.testing.assert_array_equal(pixels(page), before)


def test_a_busy_service_is_asked_again_when_it_says(page: Page, picture: Path, service: Recorder) -> None:
    answer_first(page, {"status": 503, "headers": {"Retry-After": "2"}, "json": {"error": "busy"}})
    page.set_input_files("#file", picture)
    expect(page.locator("#status")).to_have_text(re.compile("busy; trying again in [12] s"))
    expect(page.locator("#status")).to_have_text("street.png, 24 × 18")
    assert service.bodies[-1] == picture.read_bytes()


@pytest.mark.parametrize("status", [None, 502])
def test_a_picture_that_could_not_be_sent_is_not_lost(page: Page, picture: Path, status: int | None) -> None:
    def fail(route: Any) -> None:
        if status is None:
            route.abort()
        else:
            route.fulfill(status=status, body="<html>from a proxy</html>")

    page.route("**/segment", fail, times=1)
    page.set_input_files("#file", picture)
    told = "status 502" if status else "cannot be reached"
    expect(page.locator("#error-text")).to_contain_text(told)
    page.click("#again")
    expect(page.locator("#status")).to_have_text("street.png, 24 × 18")
    expect(page.locator("#error")).to_be_hidden()


def test_work_can_be_cancelled_and_a_newer_picture_wins(page: Page, picture: Path, image: np.ndarray) -> None:
    page.route("**/segment", lambda _: None, times=2)  # never answered
    page.set_input_files("#file", picture)
    expect(page.locator("#status")).to_contain_text("Sending")
    page.click("#cancel")
    expect(page.locator("#progress")).to_be_hidden()
    expect(page.locator("#error")).to_be_hidden()
    page.set_input_files("#file", picture)
    expect(page.locator("#status")).to_contain_text("Sending")
    choose(page, write_image(picture.with_name("newer.png"), image[:5]))
    expect(page.locator("#progress")).to_be_hidden()
    assert pixels(page).shape == (5, 24, 4)


def test_the_focus_goes_on_when_the_button_that_had_it_disappears(page: Page, picture: Path) -> None:
    def press(button: str) -> None:
        expect(page.locator(button)).to_be_visible()
        page.press(button, "Enter")

    refusal = {"status": 502, "body": ""}
    answer_first(page, refusal, refusal)
    page.set_input_files("#file", picture)
    press("#again")
    expect(page.locator("#choose")).to_be_focused()  # as long as there is no picture
    press("#again")
    expect(page.locator("#status")).to_have_text("street.png, 24 × 18")
    page.route("**/segment", lambda _: None, times=1)  # never answered
    page.set_input_files("#file", picture)
    press("#cancel")
    expect(page.locator("#canvas")).to_be_focused()
    answer_first(page, refusal)
    page.set_input_files("#file", picture)
    expect(page.locator("#again")).to_be_visible()
    page.focus("#again")
    page.evaluate(GIVE, ["paste", "clipboardData", []])  # after this there is nothing to try again
    expect(page.locator("#again")).to_be_hidden()
    expect(page.locator("#canvas")).to_be_focused()


def test_the_focus_stays_on_a_class_when_another_picture_is_pasted_that_shows_it(
    page: Page, picture: Path, image: np.ndarray
) -> None:
    def paste(path: Path) -> None:
        encoded = base64.b64encode(path.read_bytes()).decode()
        page.evaluate(GIVE, ["paste", "clipboardData", [[encoded, path.name, "image/png"]]])
        expect(page.locator("#status")).to_contain_text(path.name)

    paste(picture)
    page.focus("#legend li:nth-child(2) .row")
    name = page.locator("#legend .row:focus .name").inner_text()
    paste(write_image(picture.with_name("again.png"), image[::-1].copy()))
    expect(page.locator("#legend .row:focus .name")).to_have_text(name)
    paste(write_image(picture.with_name("red.png"), np.full((4, 4, 3), (255, 0, 0), np.uint8)))
    expect(page.locator("#legend .row")).to_have_count(1)
    expect(page.locator("#canvas")).to_be_focused()


def with_limits(page: Page, service: str, **limits: int) -> None:
    """Load the page anew, from a service of other limits."""

    def answer(route: Any) -> None:
        told = route.fetch().json()
        route.fulfill(json=told | {"limits": told["limits"] | limits})

    page.route("**/model", answer)
    page.goto(service)
    expect(page.locator("#facts dd")).not_to_have_count(0)


def test_a_picture_of_too_many_pixels_is_scaled_down_and_that_is_said(
    page: Page, address: str, service: Recorder, tmp_path: Path
) -> None:
    with_limits(page, address, pixels=90 * 160 // 4)
    file = write_image(tmp_path / "wide.png", np.full((90, 160, 3), (20, 200, 30), np.uint8))
    page.set_input_files("#file", file)
    expect(page.locator("#status")).to_have_text(
        "wide.png, 80 × 45. Scaled down from 160 × 90 to 80 × 45, the most that the service takes."
    )
    assert decode(service.bodies[-1]).shape == (45, 80, 3)
    assert pixels(page).shape == (45, 80, 4)


def test_a_file_of_too_many_bytes_is_made_smaller(page: Page, address: str, service: Recorder, tmp_path: Path) -> None:
    with_limits(page, address, bytes=20_000)
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    page.set_input_files("#file", write_image(tmp_path / "noise.png", noise))
    expect(page.locator("#status")).to_contain_text("Scaled down from 200 × 150")
    assert len(service.bodies[-1]) <= 20_000
    page.set_input_files("#file", write_image(tmp_path / "noise.tiff", noise))
    expect(page.locator("#error-text")).to_contain_text("noise.tiff has 0.1 MB")


def test_a_file_of_too_many_bytes_but_not_pixels_is_sent_as_jpeg_which_is_told_with_the_reason(
    page: Page, address: str, service: Recorder, tmp_path: Path
) -> None:
    with_limits(page, address, bytes=20_000)
    page.set_input_files("#file", write_image(tmp_path / "plain.bmp", np.zeros((100, 100, 3), np.uint8)))
    reason = "Sent as JPEG, since the service takes 0.0 MB and the file has 0.0 MB."
    expect(page.locator("#status")).to_have_text(f"plain.bmp, 100 × 100. {reason}")
    assert len(service.bodies[-1]) <= 20_000


def test_a_kind_that_the_service_does_not_read_is_converted(page: Page, service: Recorder, tmp_path: Path) -> None:
    PillowImage.new("RGB", (8, 6), (0, 250, 0)).save(tmp_path / "old.gif")
    page.set_input_files("#file", tmp_path / "old.gif")
    expect(page.locator("#status")).to_have_text("old.gif, 8 × 6. Sent as JPEG, so that the service can read it.")
    assert service.bodies[-1].startswith(b"\xff\xd8")


# What sets a picture upright, by its EXIF orientation.
UPRIGHT = {
    1: lambda lying: lying,
    2: np.fliplr,
    3: lambda lying: np.rot90(lying, 2),
    4: np.flipud,
    5: lambda lying: lying.swapaxes(0, 1),
    6: lambda lying: np.rot90(lying, -1),
    7: lambda lying: np.rot90(lying, 2).swapaxes(0, 1),
    8: np.rot90,
}


def with_late_exif(encoded: bytes) -> bytes:
    """A PNG whose EXIF follows the pixels, as some programs append it."""
    start = encoded.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(encoded[start : start + 4], "big")
    return encoded[:start] + encoded[end:-12] + encoded[start:end] + encoded[-12:]


@pytest.mark.parametrize("kind", ["jpg", "png", "late.png", "webp"])
def test_a_turned_photograph_lies_under_its_classes_as_the_service_turns_it(
    page: Page, service: Recorder, tmp_path: Path, kind: str
) -> None:
    drawn = np.zeros((32, 48, 3), np.uint8)
    drawn[..., 2] = 250
    drawn[:16, :32] = drawn[16:, :16] = (250, 0, 0)
    for orientation, upright in UPRIGHT.items():
        file = tmp_path / f"{orientation}.{kind}"
        exif = PillowImage.Exif()
        exif[0x0112] = orientation
        PillowImage.fromarray(drawn).save(file, exif=exif, quality=100, lossless=True)
        if kind == "late.png":
            file.write_bytes(with_late_exif(file.read_bytes()))
        choose(page, file)
        classes = upright(drawn).argmax(axis=2)
        set_opacity(page, 100)
        np.testing.assert_array_equal(pixels(page)[..., :3], np.asarray(COLORS)[classes])
        set_opacity(page, 0)
        np.testing.assert_array_equal(pixels(page)[..., :3].argmax(axis=2), classes)
        if orientation > 1 and kind in ("late.png", "webp"):
            expect(page.locator("#status")).to_contain_text("Sent as JPEG, turned as the file says.")
        else:
            assert service.bodies[-1] == file.read_bytes()


@pytest.mark.parametrize("exif", [b"no TIFF", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"])
def test_a_webp_with_damaged_exif_is_opened_as_it_lies(
    page: Page, service: Recorder, image: np.ndarray, tmp_path: Path, exif: bytes
) -> None:
    file = tmp_path / "damaged.webp"
    PillowImage.fromarray(image).save(file, exif=exif, lossless=True)
    choose(page, file)
    assert service.bodies[-1] == file.read_bytes()
    set_opacity(page, 0)
    np.testing.assert_array_equal(pixels(page)[..., :3], image)


def test_of_a_picture_that_the_browser_cannot_show_the_classes_are_seen(
    page: Page, image: np.ndarray, tmp_path: Path
) -> None:
    page.set_input_files("#file", write_image(tmp_path / "scan.tiff", image))
    expect(page.locator("#status")).to_contain_text("you see its classes alone")
    np.testing.assert_array_equal(pixels(page)[..., :3], np.asarray(COLORS)[image.argmax(axis=2)])
    expect(page.locator("#opacity")).to_be_disabled()


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance of rgb(r, g, b)."""
    channels = np.array([int(value) for value in re.findall(r"\d+", color)[:3]]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read_in_both_color_schemes(browser: Browser, address: str, picture: Path, scheme: str) -> None:
    with watched(browser, address, color_scheme=scheme) as page:
        choose(page, picture)
        answer_first(page, {"status": 500, "json": {"error": "wrong"}})
        page.set_input_files("#file", picture)
        expect(page.locator("#error")).to_be_visible()
        point(page, 3, 3)
        assert (luminance(page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")) < 0.2) == (
            scheme == "dark"
        )
        found = page.evaluate(
            """() => [...document.querySelectorAll("body *")]
              .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
              .map((e) => {
                let below = e;
                while (getComputedStyle(below).backgroundColor === "rgba(0, 0, 0, 0)") below = below.parentElement;
                return [e.textContent.trim(), getComputedStyle(e).color, getComputedStyle(below).backgroundColor];
              })"""
        )
        assert len(found) > 20
        for text, ink, paper in found:
            darker, lighter = sorted([luminance(ink), luminance(paper)])
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ink, paper)


def seen(page: Page, selector: str) -> np.ndarray:
    """What the screen shows of an element, RGB (H, W, 3) in CSS pixels."""
    return decode(page.locator(selector).screenshot())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_with_colors_forced_by_the_user_all_that_colors_tell_is_still_told(
    browser: Browser, address: str, picture: Path, image: np.ndarray, scheme: str
) -> None:
    with watched(browser, address, color_scheme=scheme, forced_colors="active") as page:
        choose(page, picture)
        row, column = np.argwhere(image.argmax(axis=2) == 2)[0]
        point(page, column, row)
        for swatch in ("#tip .swatch", "#legend li:nth-child(3) .swatch"):
            np.testing.assert_array_equal(seen(page, swatch)[8, 8], COLORS[2])
        ring = seen(page, "#ring")
        assert (ring == 255).all(axis=2).any()
        assert (ring == 0).all(axis=2).any()
        bar = seen(page, "#legend li:first-child .bar")[1]
        assert (bar[5] != bar[-5]).any()
        chosen, other = (seen(page, f".choice label:has([value={layer}]) span") for layer in ("classes", "uncertainty"))
        assert (chosen[3, 20] != other[3, 20]).any()
        assert len(np.unique(seen(page, "#choose")[12:-12, 20:-20].reshape(-1, 3), axis=0)) > 2  # its text
        edges = [seen(page, f"#legend li:nth-child({place}) .row")[10:-10, 1] for place in (1, 2, 3)]
        assert [len(np.unique(edge, axis=0)) > 1 for edge in edges] == [False, False, True]
        page.click("#legend li:nth-child(2) .row")
        page.mouse.move(1, 1)
        pressed = seen(page, "#legend li:nth-child(2) .row")[10:-10, 1]
        assert (pressed != edges[1][0]).any(axis=1).all()


def filtered_png(values: np.ndarray, filters: np.ndarray) -> bytes:
    """A grey PNG whose rows have the filters of section 9 of the PNG specification."""
    rows = []
    above = np.zeros(values.shape[1] + 1, np.int64)
    for row, kind in zip(np.pad(values.astype(np.int64), ((0, 0), (1, 0))), filters, strict=True):
        left, up, corner = row[:-1], above[1:], above[:-1]
        estimate = left + up - corner
        distances = np.abs(np.stack([left, up, corner]) - estimate)
        paeth = np.choose(distances.argmin(axis=0), [left, up, corner])
        guess = (0 * left, left, up, (left + up) // 2, paeth)[kind]
        rows.append(bytes([kind]) + ((row[1:] - guess) % 256).astype(np.uint8).tobytes())
        above = row

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width = values.shape
    packed = zlib.compress(b"".join(rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = chunk(b"IDAT", packed[:50]) + chunk(b"IDAT", packed[50:]) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"tEXt", b"a\0b") + parts


DECODE = """async (encoded) => {
  const { decodePng } = await import("./static/png.js");
  try {
    const { width, height, pixels } = await decodePng(Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0)));
    return [height, width, [...pixels]];
  } catch (error) {
    return error.message;
  }
}"""


def test_pngs_of_all_filters_are_read_and_others_refused(page: Page) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (40, 13), dtype=np.uint8)
    encoded = filtered_png(values, rng.integers(0, 5, len(values)))
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE), values)

    def read(content: bytes) -> Any:
        return page.evaluate(DECODE, base64.b64encode(content).decode())

    height, width, found = read(encoded)
    np.testing.assert_array_equal(np.reshape(found, (height, width)), values)
    colored = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()
    assert "not 8 bits, grey or indexed" in read(colored)
    assert read(b"GIF89a") == "not a PNG"
    assert isinstance(read(encoded[: len(encoded) // 2]), str)


def test_a_page_that_found_no_service_works_once_there_is_one(browser: Browser, address: str, picture: Path) -> None:
    with watched(browser, address) as page:
        page.route("**/model", lambda route: route.abort(), times=1)
        page.reload()
        expect(page.locator("#error-text")).to_contain_text("cannot be reached")
        choose(page, picture)
        expect(page.locator("#error")).to_be_hidden()
