"""What the page keeps and shows: text is text, wrong answers become labels, who is gone leaves nothing."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from serve_tools import film_in
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import ConfigError, VidaptError
from vidapt.formats.vidapt_jsonl import Part
from vidapt.nouns import MEDIA, Frames
from vidapt.serving.gauges import Gauges
from vidapt.serving.page import flags as flags_module
from vidapt.serving.page import shown
from vidapt.serving.page.flags import FILE, Flag, Flags
from vidapt.serving.page.sessions import Sessions
from vidapt.serving.page.tabs import Exchange, Side, Tab, Tabs
from vidapt.serving.refused import RefusedError
from vidapt.serving.serve import Wanted, open_page, serve
from vidapt.serving.table import Errand, Said, Table
from vidapt.serving.terms import Terms


class Shown(HTMLParser):
    """What a browser makes of HTML: its tags, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


# A carriage return becomes a line feed, and a zero letter nothing, in whatever HTML.
TEXTS = st.text(st.characters(exclude_characters="\r\x00", exclude_categories=["Cs"]), max_size=60)


@given(TEXTS)
@example('<img src="http://a/b.png" onerror=alert(1)>')
@example("${alert(1)} {{#each value}} `x` \\u0041")
@example("&lt;b&gt; &amp;amp; ![](http://a/b.png)")
def test_what_somebody_said_is_text_and_no_template(said: str) -> None:
    html = shown.plain(said)
    found = Shown(html)
    assert not found.tags
    assert found.words == said
    assert not set("{}$`\\<>\"'") & set(html)


@given(TEXTS, TEXTS, TEXTS)
def test_no_tag_of_a_conversation_comes_from_what_was_said(model: str, question: str, answer: str) -> None:
    def tags(*texts: str) -> list[tuple[str, list[str]]]:
        name, asked, words = texts
        exchange = Exchange(asked, answer=words, said=Said(words, 1, 1, ended=True))
        sides = [Side(name, [exchange, Exchange(asked, fault=words), Exchange(asked, answer=words)])]
        html = shown.talks(sides, writing=True) + shown.quoted(sides[0], exchange) + shown.note(words)
        return [(tag, sorted(attributes)) for tag, attributes in Shown(html).tags]

    plain = tags("m", "q", "a")
    found = tags(model, question, answer or "a")
    assert found == plain


def test_of_many_frames_some_are_shown_with_their_times() -> None:
    frames = Frames(np.zeros((200, 8, 6, 3), np.uint8), np.arange(200) / 4, ("it is cut off",))
    found = Shown(shown.frames_seen("m", frames))
    images = [attributes for tag, attributes in found.tags if tag == "img"]
    assert len(images) == shown.MOST_SHOWN
    assert (images[0]["alt"], images[-1]["alt"]) == ("frame at 0.00 s", "frame at 49.75 s")
    assert "200 frames, 64 of them shown" in found.words
    assert "it is cut off" in found.words
    assert "1 frame" in shown.frames_seen("m", Frames(np.zeros((1, 8, 6, 3), np.uint8), np.zeros(1)))


def flag(clip: Path, **more: Any) -> Flag:
    told = {"question": "how many?", "answer": "five.", "right": "two."} | more
    return Flag("home", "ann", clip, ".mp4", **told)


def test_a_wrong_answer_is_a_label_that_the_next_round_reads(tmp_path: Path) -> None:
    clip = film_in(tmp_path)
    before = (("what is there?", "balls."),)
    flags = Flags(tmp_path / "flags", clock=lambda: 12.0)
    flags.keep(flag(clip, before=before))
    flags.keep(flag(clip, answer=MEDIA, question="who?"))
    flags.close()
    first, second = Part(Part.Config()).read(tmp_path / "flags" / FILE)
    assert (first.question, first.answer, first.rejected) == ("how many?", "two.", "five.")
    assert first.media == second.media
    assert first.media[0].path.read_bytes() == clip.read_bytes()
    told = first.facts["flagged"]
    assert (told["model"], told["by"], told["at"]) == ("home", "ann", 12)
    assert told["sha256"].startswith(first.media[0].path.stem)
    assert told["before"] == [["what is there?", "balls."]]
    assert second.rejected is None
    assert not any(str(tmp_path) in line for line in (tmp_path / "flags" / FILE).read_text().splitlines())
    with_data = CliRunner().invoke(app, ["data", "check", str(tmp_path / "flags" / FILE)])
    assert with_data.exit_code == 0, with_data.output


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
@example(f"what {MEDIA}?", "a", "b")
@example("why?", "same", " same ")
@example("why?", "", "b")
@example("\u200b", "a", "b")
def test_whatever_is_flagged_is_read_back_or_refused(
    tmp_path_factory: pytest.TempPathFactory, question: str, answer: str, right: str
) -> None:
    home = tmp_path_factory.mktemp("flags")
    clip = home / "clip.bin"
    clip.write_bytes(b"film")
    status = 200
    with closing(Flags(home / "kept")) as flags:
        try:
            flags.keep(flag(clip, question=question, answer=answer, right=right))
        except RefusedError as refused:
            status = refused.status
    if status != 200:
        assert status == 400
        assert not (home / "kept" / FILE).exists()
        return
    (row,) = Part(Part.Config()).read(home / "kept" / FILE)
    assert (row.question, row.answer) == (question.strip(), right.strip())
    assert row.rejected == (answer.replace(MEDIA, "").strip() or None)


def test_flags_of_many_come_whole_and_a_clip_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = film_in(tmp_path)
    flags = Flags(tmp_path / "flags")
    with pytest.raises(VidaptError):
        Flags(tmp_path / "flags")
    with ThreadPoolExecutor(8) as hands:
        list(hands.map(lambda n: flags.keep(flag(clip, right=f"{n} balls")), range(40)))
    monkeypatch.setattr(flags_module, "MOST_BYTES", clip.stat().st_size + 10)
    flags.keep(flag(clip, right="known"))
    other = film_in(tmp_path, "other.mp4", side=72)
    with pytest.raises(RefusedError, match="GiB of clips are kept already") as full:
        flags.keep(flag(other))
    assert full.value.status == 507
    flags.close()
    rows = [json.loads(line) for line in (tmp_path / "flags" / FILE).read_text().splitlines()]
    assert {row["answer"] for row in rows} == {*(f"{n} balls" for n in range(40)), "known"}
    assert len(list((tmp_path / "flags" / "clips").iterdir())) == 1
    with pytest.raises(VidaptError, match="file"):
        Flags(clip)


def test_where_answers_cannot_be_kept_is_told_before_a_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidapt.serving.serve.open_house", lambda *_: pytest.fail("models are opened"))

    def put_up(**more: Any) -> None:
        serve(Wanted(["billiards-home"], port=0, flags=tmp_path / "f", **more), lambda _: None)

    with pytest.raises(ConfigError, match="leave out --no-page"):
        put_up(page=False)
    monkeypatch.setattr("vidapt.serving.page.up.installed", lambda: False)
    with pytest.raises(ConfigError, match=r"pip install 'vidapt\[serve\]'"):
        put_up()
    assert not (tmp_path / "f").exists()


def test_who_is_at_the_page_is_known_by_a_cookie_alone_and_for_a_while() -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    token, ann = sessions.open("ann")
    cookie = f"other=1; {sessions.cookie}={token}"
    assert sessions.find(cookie) is ann
    assert token not in repr(vars(sessions))
    for wrong in ("", f"{sessions.cookie}=", f"{sessions.cookie}={ann.id}", f"x{cookie[8:]}x", "\x00;=;"):
        assert sessions.find(wrong) is None
    now[0] = 11 * 3600
    assert sessions.find(cookie) is ann
    now[0] = 24 * 3600
    assert sessions.find(cookie) is None
    assert Sessions().cookie != sessions.cookie
    token, _ = sessions.open("bob")
    for _ in range(4096):
        sessions.open("crowd")
    assert sessions.find(f"{sessions.cookie}={token}") is None


def test_clips_of_tabs_that_are_gone_are_dropped() -> None:
    dropped: list[tuple[str, str]] = []
    tabs = Tabs(lambda who, file: dropped.append((who, file)))
    tab = tabs.at("s", "t", "ann")
    tabs.show(tab, "file-1", ".MP4")
    assert tab.suffix == ""
    tabs.show(tab, "file-2", ".mp4")
    assert (tab.suffix, dropped) == (".mp4", [("ann", "file-1")])
    assert tabs.at("s", "t", "ann") is tab
    assert tabs.at("other", "t", "bob") is not tab
    for number in range(512):
        tabs.at("crowd", str(number), "crowd")
    assert dropped[-1] == ("ann", "file-2")
    assert tabs.at("s", "t", "ann") is not tab
    tabs.show(tabs.at("s", "t", "ann"), "file-3", "")
    tabs.forget("s")
    assert dropped[-1] == ("ann", "file-3")


@pytest.mark.parametrize(
    "name", ["", "-", "0", "0-", "-0", "1-0", "0-1", "0-x", "²-0", "0-0-0", "9" * 30 + "-0"]
)
def test_only_answers_that_are_there_are_found(name: str) -> None:
    tab = Tab("ann", sides=[Side("m", [Exchange("q")])])
    assert tab.find(name) is None
    assert tab.find("0-0") == (tab.sides[0], tab.sides[0].talk[0])


def test_a_model_runs_errands_between_its_questions() -> None:
    engine = SimpleNamespace(model=None, stops=())
    table = Table(engine, "m", Terms(), Gauges())  # type: ignore[arg-type]
    until = time.monotonic() + 20
    try:
        names: list[str] = []
        done = Errand(lambda model: names.append(threading.current_thread().name) or model, until)
        late = Errand(lambda _: pytest.fail("nobody waits for it"), 0.0)
        broken = Errand(lambda _: 1 // 0, until)
        for errand in (late, broken, done):
            table.ask(errand)
        assert done.answer.result(10) is engine
        assert names == ["vidapt-serve-m"]
        assert not late.answer.done()
        refused = broken.answer.exception(10)
        assert isinstance(refused, RefusedError)
        assert refused.fault.startswith("ZeroDivisionError")
    finally:
        table.close()
    with pytest.raises(RefusedError, match="ending"):
        table.ask(Errand(lambda _: None, until))


@pytest.mark.parametrize(
    ("there", "wanted", "tables"), [(False, True, ("m",)), (True, False, ("m",)), (True, True, ())]
)
def test_a_server_serves_on_without_the_page(
    there: bool, wanted: bool, tables: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidapt.serving.page.up.installed", lambda: there)
    house: Any = SimpleNamespace(tables=dict.fromkeys(tables))
    unused: Any = None
    assert open_page(unused, house, Wanted(["m"], page=wanted), unused) is None
