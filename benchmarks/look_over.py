"""How long the page of `vidapt look-over` takes over very many rows, as a person in a browser feels it.

    python benchmarks/look_over.py [--rows 100000] [--folder FOLDER] [--out FILE]

Writes a label file of so many rows, each about a stretch of its own of a few films, captions of all by two
models, and starts the command twice: without an index and with it. Then Chromium (as the tests find it)
opens the page, filters, searches, jumps into the middle and scrolls, as a list and as tiles. Times end when
what was asked for is drawn. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from playwright.sync_api import Page, sync_playwright

from _machine import describe
from vidapt.captioning.rows import CaptionRow, write_rows
from vidapt.video import write_mp4

RESULTS = Path(__file__).parent / "results" / "look_over.json"
FILMS, SECONDS, SIDE, RATE = 8, 40, 128, 10
COLOURS = ("red", "blue", "green", "yellow", "white", "black", "orange", "purple")
MODELS = ("base", "tuned")
_SCROLL = """(pixels) => new Promise(done => {
  const box = document.getElementById("list"), gaps = []; let last = performance.now(), left = 180;
  const step = (now) => {
    gaps.push(now - last); last = now; box.scrollTop += pixels;
    left-- ? requestAnimationFrame(step) : done(gaps.slice(2));
  };
  requestAnimationFrame(step);
})"""


def write_data(folder: Path, rows: int) -> None:
    """Films, labels and captions of two models."""
    (folder / "clips").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(FILMS):
        small = rng.integers(0, 255, (SECONDS * RATE, 8, 8, 3), np.uint8)
        frames = small.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
        write_mp4(folder / "clips" / f"{number}.mp4", frames, RATE)
    said: dict[str, list[CaptionRow]] = {model: [] for model in MODELS}
    with (folder / "labels.jsonl").open("w", encoding="utf-8") as file:
        for number in range(rows):
            name, start = f"clips/{number % FILMS}.mp4", round((number // FILMS) * 0.001, 3)
            ball, other = COLOURS[number % 8], COLOURS[number // 8 % 8]
            text = f"The {ball} ball rolls to the {other} one and stops after {number} steps."
            row = {"id": f"r{number}", "video": name, "start_s": start, "end_s": start + 2}
            row |= {
                "question": "describe the video.",
                "answer": text,
                "facts": {"type": f"type {number % 9}"},
            }
            file.write(json.dumps(row) + "\n")
            for model in MODELS:
                told = text if (number * 7 + len(model)) % 5 else f"A {other} ball lies still on the table."
                said[model].append(_caption(folder, name, start, model, told))
    for model, captions in said.items():
        write_rows(folder / f"{model}.jsonl", captions)


def _caption(folder: Path, name: str, start: float, model: str, text: str) -> CaptionRow:
    end = start + 2
    return CaptionRow(
        key=f"{model} {name} {start}",
        clip=f"{name}@{start}-{end}",
        caption=text,
        model=model,
        model_hash="",
        recipe_hash=None,
        prompt="describe the video.",
        settings="",
        frames=(start + 0.5, start + 1.5),
        visual_tokens=1,
        text_tokens=1,
        new_tokens=1,
        finish="end",
        seconds=0.0,
        notes=(),
        created="",
        version="",
        folder=str(folder),
        start_s=start,
        end_s=end,
    )


@contextmanager
def page_up(folder: Path) -> Iterator[tuple[str, float, subprocess.Popen[str]]]:
    """The page's address, and how long the command took until it was there."""
    files = [folder / "labels.jsonl", *(folder / f"{model}.jsonl" for model in MODELS)]
    command = [sys.executable, "-m", "vidapt", "look-over", *map(str, files), "--json"]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        about = json.loads(process.stdout.readline())
        try:
            yield about["url"], time.perf_counter() - began, process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def browse(url: str, rows: int) -> dict[str, Any]:
    """Seconds of what a person does."""
    found: dict[str, Any] = {}
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as driver:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=browser, args=arguments)
        page = opened.new_page(viewport={"width": 1300, "height": 860})
        for name in ("open", "open_again"):
            began = time.perf_counter()
            page.goto(url)
            page.wait_for_selector("#row .answer .text")
            page.locator(".item", has_text="after 0 steps").wait_for()
            found[name] = time.perf_counter() - began
            page.goto("about:blank")
        page.goto(url)
        page.wait_for_selector("#row .answer .text")
        found["filter"] = _until(page, lambda: page.select_option("select[name=type]", "type 3"), rows // 9)
        found["filter_differ"] = _until(
            page, lambda: page.select_option("select[name=differ]", "models differ"), None
        )
        page.select_option("select[name=type]", "")
        _until(page, lambda: page.select_option("select[name=differ]", ""), rows)
        found["search"] = _until(page, lambda: page.fill("input[name=text]", f"after {rows - 1} steps"), 1)
        found["all_again"] = _until(page, lambda: page.fill("input[name=text]", ""), rows)
        for name, key in (("list", ""), ("tiles", "g")):
            if key:
                page.locator("#list").press(key)
            found |= {f"{name}_{what}": value for what, value in _scroll(page).items()}
        opened.close()
    return found


def _until(page: Page, act: Any, count: int | None) -> float:
    before = page.inner_text("#found")
    began = time.perf_counter()
    act()
    wanted = "" if count is None else f"{count:,} "
    page.wait_for_function(
        "([before, wanted]) => { const now = document.getElementById('found').textContent; "
        "return now !== before && now.startsWith(wanted); }",
        arg=[before, wanted],
    )
    return time.perf_counter() - began


def _scroll(page: Page) -> dict[str, Any]:
    """A jump into the middle, and frames of three seconds of scrolling."""
    began = time.perf_counter()
    page.locator("#list").evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
    page.wait_for_function("() => [...document.querySelectorAll('.item')].every(one => one.textContent)")
    rows_there = time.perf_counter() - began
    page.wait_for_function(
        "() => [...document.querySelectorAll('.item img')].length > 8 "
        "&& [...document.querySelectorAll('.item img')].every(one => one.complete)"
    )
    pictures = time.perf_counter() - began
    gaps = np.array(page.evaluate(_SCROLL, 40))
    frames = {"median_ms": float(np.median(gaps)), "p99_ms": float(np.percentile(gaps, 99))}
    return {"jump_rows": rows_there, "jump_pictures": pictures, **frames, "longest_ms": float(gaps.max())}


def main() -> None:
    """Measure, print, and write the numbers down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--folder", type=Path, help="kept; by default a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.folder or Path(temporary)) / "data"
        if not folder.exists():
            write_data(folder.absolute(), given.rows)
        shutil.rmtree(folder / ".vidapt", ignore_errors=True)
        result: dict[str, Any] = {"rows": given.rows, "machine": describe()}
        with page_up(folder.absolute()) as (_, seconds, _process):
            result["start_without_index"] = seconds
        with page_up(folder.absolute()) as (url, seconds, process):
            result["start_with_index"] = seconds
            result |= browse(url, given.rows)
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            result["server_mb"] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    result["own_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
