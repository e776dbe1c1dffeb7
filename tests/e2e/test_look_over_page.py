"""`vidapt look-over` and `vidapt review` as a person uses them: in a browser, by keys and on a phone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from clean_tools import row, rows_of, write_rows
from footage_tools import film
from look_over_tools import SCRIPT, labels, provenance, rejected, verdicts

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api", reason="drives the page in a browser")
pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here (apt-get install chromium)"),
    pytest.mark.xdist_group("browser"),
]

DISPUTED = [
    ("r1", "refusal", "drop", None),
    ("r2", "broken_json", "rewrite", "Ball two rolls."),
    ("r3", "loop", "drop", None),
]


@contextmanager
def serving(*words: str | Path, command: str = "review") -> Iterator[dict[str, Any]]:
    """What a command says that puts the page up."""
    line_words = [sys.executable, "-m", "vidapt", command, *map(str, words), "--json", "--by", "Ann"]
    with subprocess.Popen(line_words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line, process.stderr.read() if process.stderr else ""
            yield json.loads(line)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api.expect.set_options(timeout=30_000)
    with sync_api.sync_playwright() as driver:
        # Root may not have a sandbox; the page is ours.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=BROWSER, args=arguments)
        yield opened
        opened.close()


@contextmanager
def looking(browser: Any, url: str, **more: Any) -> Iterator[Any]:
    """The page, which must say nothing on the browser's console that is an error of its own."""
    context = browser.new_context(**({"viewport": {"width": 1300, "height": 800}} | more))
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda told: _heed(told, errors))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    page.wait_for_selector("#row h3")
    yield page
    assert not errors
    assert all(one.startswith(url) for one in asked)
    context.close()


def _heed(told: Any, errors: list[str]) -> None:
    """What is not there, or was refused, is answered with a status, which browsers call an error."""
    if told.type == "error" and "Failed to load resource" not in told.text:
        errors.append(told.text)


def answer(page: Any, text: str) -> None:
    """Wait until a row that says so is looked at."""
    sync_api.expect(page.locator("#row .answer")).to_contain_text(text)


def test_a_person_settles_what_is_disputed(tmp_path: Path, browser: Any) -> None:
    file = labels(tmp_path)
    aside, decisions = rejected(tmp_path, *DISPUTED), tmp_path / "d.jsonl"
    expect = sync_api.expect
    with serving(file, "--rejected", aside, "--decisions", decisions) as about:
        assert (about["rows"], about["disputed"], about["clips"]) == (4, 3, 4)
        with looking(browser, about["url"]) as page, looking(browser, about["url"]) as other:
            expect(page.locator("#found")).to_have_text("3 rows")
            answer(page, "Ball 1 rolls.")
            page.keyboard.press("d")
            answer(page, "Ball two rolls.")
            expect(page.locator("#row mark.come")).to_have_text("two")
            page.keyboard.press("t")
            answer(page, "Ball 3 rolls.")
            page.keyboard.press("e")
            page.locator("textarea").fill("Ball 3 rolls.\nIt stops, k d u.")
            page.locator(".item").first.click()
            expect(page.locator("#toast")).to_contain_text("Save the answer first")
            page.keyboard.press("Control+Enter")
            answer(page, "It stops")
            expect(page.locator("#row .decision")).to_have_text("edited by Ann")
            expect(page.locator("#settled")).to_have_text("3 of 3 disputed settled")
            expect(other.locator(".item .badge.drop:not(.by-check)")).to_have_text(
                "dropped"
            )  # told by itself
            page.keyboard.press("u")
            expect(page.locator("#row .decision")).to_be_hidden()
            page.keyboard.press("u")
            answer(page, "Ball two rolls.")
            page.keyboard.press("r")
            page.keyboard.type("seen twice")
            page.keyboard.press("Escape")
            page.keyboard.press("k")
            page.keyboard.press("o")
            answer(page, "Ball 3 rolls.")
            page.reload()
            page.locator(".item").nth(1).click()
            expect(page.locator("#row .decision")).to_have_text("kept by Ann: seen twice")
    plain = [(one["id"], one["verdict"], one.get("text")) for one in rows_of(decisions)]
    assert plain == [
        ("r1", "drop", None),
        ("r2", "rewrite", "Ball two rolls."),
        ("r3", "rewrite", "Ball 3 rolls.\nIt stops, k d u."),
        ("r3", "undecided", None),
        ("r2", "undecided", None),
        ("r2", "keep", None),
    ]
    with (
        serving(file, "--rejected", aside, "--decisions", decisions) as about,
        looking(browser, about["url"]) as page,
    ):
        expect(page.locator("#settled")).to_have_text("2 of 3 disputed settled")
        page.select_option("select[name=state]", "open")
        expect(page.locator("#found")).to_have_text("1 row")
        answer(page, "Ball 3 rolls.")


def test_two_who_decide_the_same_row_are_told(tmp_path: Path, browser: Any) -> None:
    with (
        serving(labels(tmp_path), "--decisions", tmp_path / "d.jsonl") as about,
        looking(browser, about["url"]) as page,
    ):
        answer(page, "Ball 0 rolls.")
        # As a second person would, just before: this page cannot have heard of it.
        page.evaluate(
            "() => fetch('api/decide', {method: 'POST', headers: {'content-type': 'application/json'}, "
            "body: JSON.stringify({row: 0, verdict: 'drop'})})"
        )
        page.keyboard.press("k")
        sync_api.expect(page.locator("#toast")).to_contain_text("somebody else decided this row")
        sync_api.expect(page.locator("#row .decision")).to_have_text("dropped by Ann")
    assert [one["verdict"] for one in rows_of(tmp_path / "d.jsonl")] == ["drop"]


def test_a_key_pressed_too_early_decides_no_row_unseen(tmp_path: Path, browser: Any) -> None:
    file, decisions = labels(tmp_path), tmp_path / "d.jsonl"
    with (
        serving(file, "--decisions", decisions) as about,
        looking(browser, about["url"]) as page,
    ):
        answer(page, "Ball 0 rolls.")
        # The next row comes late, as over a slow line.
        late = "() => { const ask = fetch; fetch = async (path, more) => { if (/rows.1$/.test(path)) "
        page.evaluate(late + "await new Promise(go => setTimeout(go, 1500)); return ask(path, more); }; }")
        for _ in range(4):
            page.keyboard.press("d")
            page.wait_for_timeout(100)
        answer(page, "Ball 1 rolls.")
    assert [one["id"] for one in rows_of(decisions)] == ["r0"]


def test_what_labels_hold_is_shown_as_text(tmp_path: Path, browser: Any) -> None:
    film(tmp_path / "r0.mp4", "mp4")
    rows = [row("r0", SCRIPT, question=f"what? {SCRIPT}", facts={"type": SCRIPT})]
    rows.append(row("r1", "It \u0000\u0007rolls.") | {"id": SCRIPT, "video": "r0.mp4"})
    file = write_rows(tmp_path / "labels.jsonl", rows)
    fact = {"id": SCRIPT, "subject": SCRIPT, "start_s": 0.5, "end_s": 1.0}
    parts = [{"text": SCRIPT, "facts": [SCRIPT, "none"], "borne_out": 0.2}]
    voices = [{"teacher": SCRIPT, "seed": 0, "text": SCRIPT, "agreement": 0.1, "cut_off": False}]
    more = {
        "facts": [fact],
        "parts": parts,
        "voices": voices,
        "flags": [SCRIPT],
        "notes": [SCRIPT],
        "teachers": [SCRIPT],
    }
    provenance(tmp_path, {"clip": "r0", "text": SCRIPT, "frames": [0.5], **more})
    told = [("r0", SCRIPT, "rewrite", f"{SCRIPT} and {SCRIPT}")]
    with (
        serving(file, "--rejected", rejected(tmp_path, *told)) as about,
        looking(browser, about["url"]) as page,
    ):
        page.keyboard.press("k")
        page.wait_for_selector(".decision.keep")
        assert page.title() == "Labels to look over"
        assert page.locator("#row script, #row b[onclick], .item script, .item b").count() == 0
        text = page.inner_text("body")
        assert "<script>document.title" in text
        assert "\u202e" not in text
        page.select_option("select[name=show]", "all")
        page.locator(".item").nth(1).click()
        answer(page, "It \\u0000\\u0007rolls.")


def test_a_clip_that_the_browser_does_not_play_is_shown_frame_by_frame(tmp_path: Path, browser: Any) -> None:
    film(tmp_path / "old.mp4", "mp4", "mpeg4", options={})
    (tmp_path / "cut.mp4").write_bytes((tmp_path / "old.mp4").read_bytes()[:100])
    film(tmp_path / "new.mp4", "mp4")
    rows = [row("old", "It rolls."), row("cut", "Broken."), row("new", "Played.")]
    with (
        serving(write_rows(tmp_path / "labels.jsonl", rows)) as about,
        looking(browser, about["url"]) as page,
    ):
        page.wait_for_selector("text=This browser does not play the file")
        shown = page.locator("#row img.still")
        sync_api.expect(shown).to_have_attribute("alt", "frame at 1.50 s")
        page.keyboard.press("Space")
        sync_api.expect(shown).not_to_have_attribute("alt", "frame at 1.50 s")
        page.keyboard.press("n")
        page.wait_for_selector("text=This clip cannot be shown")
        page.keyboard.press("n")
        answer(page, "Played.")
        sync_api.expect(page.locator("#row video")).to_have_js_property("paused", True)
        page.keyboard.press("Space")
        sync_api.expect(page.locator("#row video")).to_have_js_property("paused", False)


def test_a_phone_shows_the_clip_or_the_rows(tmp_path: Path, browser: Any) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    aside = rejected(tmp_path, *DISPUTED) if labels(tmp_path) else None
    with (
        serving(tmp_path / "labels.jsonl", "--rejected", aside) as about,
        looking(browser, about["url"], **phone) as page,
    ):
        answer(page, "Ball 1 rolls.")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 360
        page.locator("text=Restore").first.tap()
        answer(page, "Ball 2 rolls.")
        page.tap("#rows-button")
        sync_api.expect(page.locator("#row")).to_be_hidden()
        page.locator(".item").nth(2).tap()
        answer(page, "Ball 3 rolls.")
        for button in page.locator("#actions button:visible").all():
            box = button.bounding_box()
            assert box["height"] >= 36
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
    assert [one["verdict"] for one in rows_of(tmp_path / "labels.decisions.jsonl")] == ["keep"]


def test_a_long_list_scrolls_and_its_rows_are_read_when_they_are_seen(tmp_path: Path, browser: Any) -> None:
    film(tmp_path / "r.mp4", "mp4")
    rows = [row(f"r{n}", f"Ball {n} rolls.") | {"video": "r.mp4"} for n in range(3000)]
    with (
        serving(write_rows(tmp_path / "labels.jsonl", rows)) as about,
        looking(browser, about["url"]) as page,
    ):
        sync_api.expect(page.locator("#found")).to_have_text("3,000 rows")
        page.locator("#list").evaluate("box => { box.scrollTop = box.scrollHeight; }")
        sync_api.expect(page.locator(".item", has_text="Ball 2999 rolls.")).to_be_visible()
        assert page.locator(".item").count() < 60
        page.locator(".item", has_text="Ball 2999 rolls.").click()
        answer(page, "Ball 2999 rolls.")
        page.keyboard.press("p")
        answer(page, "Ball 2998 rolls.")
        page.keyboard.press("/")
        page.keyboard.type("ball 1717 ")
        sync_api.expect(page.locator("#found")).to_have_text("1 row")
        answer(page, "Ball 1717 rolls.")
        page.keyboard.press("Escape")
        page.keyboard.press("?")
        sync_api.expect(page.locator("#help")).to_be_visible()


def test_a_list_longer_than_browsers_draw_is_scrolled_faster(tmp_path: Path, browser: Any) -> None:
    """A million rows of 64 pixels would be cut off; the server's answer is played here."""
    numbers = [n % 3 for n in range(1_000_000 - 1)] + [3]
    found = b"".join(n.to_bytes(4, "little") for n in numbers)
    with serving(labels(tmp_path)) as about, looking(browser, about["url"]) as page:
        page.route("**/api/find*", lambda route: route.fulfill(body=found))
        page.select_option("select[name=state]", "open")
        sync_api.expect(page.locator("#found")).to_have_text("1,000,000 rows")
        page.locator("#list").evaluate("box => { box.scrollTop = box.scrollHeight; }")
        last = page.locator(".item", has_text="Ball 3 rolls.")
        sync_api.expect(last).to_be_visible()
        assert page.locator("#list").evaluate("box => box.scrollHeight") <= 8_000_000
        last.click()
        answer(page, "Ball 3 rolls.")
        for text in ("Ball 2 rolls.", "Ball 1 rolls.", "Ball 0 rolls."):
            page.keyboard.press("p")
            answer(page, text)
            sync_api.expect(page.locator(".item.at")).to_contain_text(text)
            sync_api.expect(page.locator(".item.at")).to_be_in_viewport()
        page.locator("#list").evaluate("box => { box.scrollTop = 0; }")
        sync_api.expect(page.locator(".item").first).to_contain_text("Ball 0 rolls.")


def test_models_stand_beside_labels(tmp_path: Path, browser: Any) -> None:
    """Claims, differences, answers without the clip, times on the line; a claim taken out; frozen at last."""
    text = "It rolls from 0.5 to 1.0 s. It flies."
    base = {"turn": 1, "type": "action"}
    told = [
        base | {"start": 0, "end": 27, "text": text[:27], "verdict": "supported", "evidence": 2.5},
        base | {"start": 27, "end": 37, "text": text[27:], "verdict": "contradicted", "evidence": -1.0},
    ]
    labels(tmp_path, 3)
    file = write_rows(
        tmp_path / "labels.jsonl",
        [row(f"r{n}", text, claims=told) if n < 2 else row("r2", "Still.") for n in range(3)],
    )
    said = {"model": f"It rolls from 1.5 to 2.5 s. {SCRIPT}", "blind": "Nothing to be seen."}
    run = verdicts(tmp_path / "eval", tmp_path, "billiards-home", r0=said)
    captions = write_rows(tmp_path / "other.jsonl", [{"id": "r0", "answer": "It sleeps."}])
    expect = sync_api.expect
    with (
        serving(file, f"<b>base</b>={run}", captions, command="look-over") as about,
        looking(browser, about["url"]) as page,
    ):
        expect(page.locator(".beside .card h3").nth(1)).to_contain_text("<b>base</b>")
        expect(page.locator(".claim.contradicted")).to_have_text("It flies.")
        expect(page.locator(".card mark.other").first).to_contain_text("1.5")
        assert page.locator(".card script, .card b[onclick]").count() == 0
        expect(page.locator(".line .stretch.said")).to_have_count(1)
        expect(page.locator(".line .stretch.model")).to_have_count(1)
        expect(page.locator(".line .tick")).to_have_count(18)  # found anew by the model's policy
        blind = page.locator("text=Nothing to be seen.")
        expect(blind).to_be_hidden()
        page.keyboard.press("b")
        expect(blind).to_be_visible()
        page.locator(".claims .contradicted button").click()
        expect(page.locator("textarea")).to_have_value("It rolls from 0.5 to 1.0 s.")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#row .eyebrow")).to_contain_text("r1")
        page.keyboard.press("x")
        expect(page.locator("#row .eyebrow")).to_contain_text("r2")
        page.keyboard.press("a")
        expect(page.locator(".decision.keep")).to_be_visible()
        page.click("#freeze-button")
        page.fill("#freeze-name", "v1")
        page.keyboard.press("Enter")
        expect(page.locator("#frozen")).to_contain_text("2 rows are frozen")
        page.click("#freeze-form button[value=close]")
        page.select_option("select[name=differ]", "other differs from the label")
        expect(page.locator("#found")).to_have_text("1 row")
    verdict = [(one["id"], one["verdict"], one.get("text")) for one in rows_of(decided(tmp_path))]
    assert verdict == [
        ("r0", "rewrite", "It rolls from 0.5 to 1.0 s."),
        ("r1", "drop", None),
        ("r2", "keep", None),
    ]
    assert [one["id"] for one in rows_of(tmp_path / "versions" / "v1" / "labels.jsonl")] == ["r0", "r2"]


def decided(folder: Path) -> Path:
    return folder / "labels.decisions.jsonl"


@pytest.mark.parametrize("wide", [1300, 360])
def test_clips_are_tiles(tmp_path: Path, browser: Any, wide: int) -> None:
    film(tmp_path / "r.mp4", "mp4")
    rows = [
        row(f"r{n}", f"Ball {n} rolls.") | {"video": "r.mp4", "start_s": n // 2 / 1000} for n in range(2000)
    ]
    file = write_rows(tmp_path / "labels.jsonl", rows)
    view = {"viewport": {"width": wide, "height": 740}}
    with serving(file, command="look-over") as about, looking(browser, about["url"], **view) as page:
        expect = sync_api.expect
        page.click("#tiles-button")
        expect(page.locator("#row")).to_be_hidden()
        page.select_option("select[name=each]", "clip")
        expect(page.locator("#found")).to_have_text("1,000 rows")
        box = page.locator(".item").first.bounding_box()
        assert 150 < box["width"] < 380
        assert page.evaluate("document.documentElement.scrollWidth") <= wide
        page.keyboard.press("d")  # nobody decides what is hardly seen
        page.keyboard.press("ArrowDown")
        across = wide // 176
        expect(page.locator(".item.at")).to_contain_text(f"Ball {2 * across} rolls.")
        page.locator("#list").evaluate("box => { box.scrollTop = box.scrollHeight; }")
        last = page.locator(".item", has_text="Ball 1998 rolls.")
        expect(last).to_be_visible()
        expect(last.locator("img")).to_be_visible()
        assert page.locator(".item").count() < 90
        last.click()
        answer(page, "Ball 1998 rolls.")
        expect(page.locator("#row video")).to_be_visible()
    assert not decided(tmp_path).exists()
