"""The page of `vidapt serve` as a person uses it: with a mouse, by keys alone, and on a phone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from serve_tools import KEY, Up, film_in, up

from vidapt.formats.vidapt_jsonl import Part

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="drives the page in a browser")
pytest.importorskip("gradio", reason="the page is made of it")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here (apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
HOSTILE = (
    '<img src="http://evil.example/a.png" onerror="document.title=1"> ![](http://evil.example/b.png) ${1}'
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Up]:
    models = ("home=billiards-home", "club=billiards-home")
    with up(models=models, page=True, flags=folder / "flags") as found:
        yield found


@pytest.fixture(scope="module")
def film(folder: Path) -> Path:
    return film_in(folder, "ball.mp4")


@pytest.fixture(scope="module")
def browser(served: Up) -> Iterator[Any]:
    assert served.port  # which is up first: the driver keeps an event loop running in this thread
    sync_api.expect.set_options(timeout=30_000)
    with sync_api.sync_playwright() as driver:
        # Root may not have a sandbox; the page is ours.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=BROWSER, args=arguments)
        yield opened
        opened.close()


@contextmanager
def at_page(browser: Any, served: Up, **more: Any) -> Iterator[Any]:
    """The page, behind its key; nothing on it may ask another host, or say an error on the console."""
    context = browser.new_context(**({"viewport": {"width": 1300, "height": 850}} | more))
    page, errors, asked = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda told: _heed(told, errors))
    page.on("request", lambda request: asked.append(request.url))
    url = f"http://127.0.0.1:{served.port}/"
    page.goto(f"{url}page/")
    sync_api.expect(page.get_by_label("Your key for this server")).to_be_focused()
    page.keyboard.type(KEY)
    page.keyboard.press("Enter")
    page.wait_for_selector("#question textarea")
    yield page
    assert not errors
    assert len(asked) > 20
    assert all(one.startswith((url, "data:", f"blob:{url}")) for one in asked)
    context.close()


def _heed(told: Any, errors: list[str]) -> None:
    """What was refused is answered with a status, which browsers call an error."""
    if told.type == "error" and "Failed to load resource" not in told.text:
        errors.append(told.text)


def test_a_clip_is_talked_about_with_two_models_and_a_wrong_answer_is_kept(
    browser: Any, served: Up, film: Path, folder: Path
) -> None:
    expect = sync_api.expect
    with at_page(browser, served) as page:
        page.set_input_files("#file", film)
        expect(page.locator("#sent")).to_have_text("ball.mp4")
        expect(page.locator("#seen figcaption").first).to_have_text("0.00 s")
        expect(page.locator("#preview")).to_be_visible()
        page.get_by_label("Question").fill("how many balls are there?")
        page.get_by_role("button", name="Ask", exact=True).click()
        expect(page.locator(".said")).to_have_count(1)
        expect(page.locator(".flag")).to_be_visible()
        expect(page.get_by_label("Question")).to_have_value("")
        page.get_by_label("Question").fill("and which moves?")
        page.keyboard.press("Enter")
        expect(page.locator(".flag")).to_have_count(2)
        page.get_by_role("button", name="Describe the clip").click()
        expect(page.locator(".flag")).to_have_count(3)
        expect(page.locator(".asked")).to_contain_text(["how many", "and which", "describe the video."])
        page.get_by_role("button", name="Start anew").click()
        expect(page.locator("#talks")).to_have_text("Ask about the clip, or have it described.")
        page.get_by_label("Beside it").click()
        page.get_by_role("option", name="club").click()
        expect(page.locator("#seen section")).to_have_count(2)
        expect(page.locator(".flag")).to_have_count(0)
        page.get_by_label("Question").fill("how many balls are there?")
        page.keyboard.press("Enter")
        expect(page.locator(".flag")).to_have_count(2)
        expect(page.locator("#talks h2")).to_have_text(["home", "club"])
        first, second = page.locator("#talks section").all()
        assert first.bounding_box()["y"] == second.bounding_box()["y"]
        page.get_by_role("button", name="Where does it look?").click()
        expect(page.locator("#looked h2")).to_have_text(["Where home looks", "Where club looks"])
        expect(page.locator("#looked img").first).to_be_visible()
        said = second.locator(".said").inner_text()
        second.locator(".flag").click()
        expect(page.locator("#right textarea")).to_be_focused()
        page.keyboard.type("nineteen balls.")
        page.get_by_role("button", name="Keep").click()
        expect(page.locator("#note")).to_contain_text("Kept in flags.jsonl")
        expect(second).to_contain_text("noted")
        expect(page.locator("#right textarea")).to_be_hidden()
    (row,) = Part(Part.Config()).read(folder / "flags" / "flags.jsonl")
    assert (row.question, row.answer, row.rejected) == ("how many balls are there?", "nineteen balls.", said)
    assert row.facts["flagged"]["model"] == "club"
    assert row.media[0].path.read_bytes() == film.read_bytes()
    assert row.media[0].path.suffix == ".mp4"


def test_keys_alone_are_enough(browser: Any, served: Up, film: Path) -> None:
    expect = sync_api.expect

    def go_to(page: Any, what: str) -> None:
        for _ in range(30):
            if page.evaluate("what => document.activeElement?.matches(what) ?? false", what):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"{what} is not reached")

    with at_page(browser, served) as page:
        page.on("filechooser", lambda chooser: chooser.set_files(film))
        page.wait_for_load_state("networkidle")  # parts that come late take the keyboard from where it is
        page.evaluate("document.activeElement?.blur()")
        go_to(page, "#file")
        assert page.evaluate("getComputedStyle(document.querySelector('.drop')).outlineStyle") == "solid"
        page.keyboard.press("Enter")
        expect(page.locator("#sent")).to_have_text("ball.mp4")
        expect(page.locator("#seen img").first).to_be_visible()
        go_to(page, "#question textarea")
        page.keyboard.type("how many balls are there?")
        page.keyboard.press("Enter")
        expect(page.locator(".flag")).to_be_visible()
        page.keyboard.press("Shift+Tab")
        assert page.evaluate("document.activeElement.className") == "flag"
        page.keyboard.press("Enter")
        expect(page.locator("#right textarea")).to_be_focused()
        go_to(page, "#flagging button:last-of-type")
        page.keyboard.press("Enter")
        expect(page.locator("#right textarea")).to_be_hidden()


def test_a_phone_shows_all_in_one_column_and_a_picture_is_a_clip_of_one_frame(
    browser: Any, served: Up, folder: Path
) -> None:
    expect = sync_api.expect
    picture = folder / "still.png"
    from PIL import Image

    Image.new("RGB", (60, 40), (200, 30, 30)).save(picture)
    with at_page(browser, served, **PHONE) as page:
        page.set_input_files("#file", picture)
        expect(page.locator("#seen")).to_contain_text("frames of 1 moment")
        expect(page.locator("#still")).to_be_visible()
        page.get_by_label("Question").fill("what?")
        page.get_by_role("button", name="Ask", exact=True).tap()
        expect(page.locator(".flag")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        tops = [page.locator(one).bounding_box()["y"] for one in (".drop", "#talks", "#question", "#seen")]
        assert tops == sorted(tops)
        assert page.locator(".flag").bounding_box()["height"] >= 24


def test_what_a_model_says_makes_no_picture_no_script_and_no_request(
    browser: Any, served: Up, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect = sync_api.expect
    monkeypatch.setattr(served.house.tables["home"].engine, "text", lambda _: HOSTILE)
    with at_page(browser, served) as page:
        page.set_input_files("#file", film)
        expect(page.locator("#seen img").first).to_be_visible()
        page.get_by_label("Question").fill(HOSTILE)
        page.keyboard.press("Enter")
        expect(page.locator(".flag")).to_be_visible()
        expect(page.locator(".said")).to_contain_text(HOSTILE)
        expect(page.locator(".asked")).to_contain_text(HOSTILE)
        page.locator(".flag").click()
        expect(page.locator("blockquote")).to_have_text(HOSTILE)
        assert page.locator("#talks img, #flagging img").count() == 0
        assert page.title() == "vidapt: ask about a clip"
    assert not any("evil" in line for line in served.log)
    assert {json.loads(line)["status"] for line in served.log if "answer" in line} == {200}


def test_what_is_refused_is_told_in_words(browser: Any, served: Up, film: Path) -> None:
    expect = sync_api.expect
    with at_page(browser, served) as page:
        page.get_by_role("button", name="Describe the clip").click()
        expect(page.locator("#note")).to_contain_text("drop a clip first")
        page.context.clear_cookies()
        page.get_by_role("button", name="Describe the clip").click()
        expect(page.locator("#refused")).to_contain_text("open this page anew")
        page.set_input_files("#file", film)
        expect(page.locator("#sent")).to_contain_text("open this page anew")
        page.reload()
        expect(page.get_by_label("Your key for this server")).to_be_focused()
