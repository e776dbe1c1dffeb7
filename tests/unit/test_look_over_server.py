"""The page's server: who is turned away, what it hands out, and that nothing else of the disk can be had."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from clean_tools import row, write_rows
from footage_tools import film, luma
from look_over_tools import SCRIPT, TOKEN, Up, labels, provenance, rejected, up
from PIL import Image

from vidapt.looking_over.guard import MOST_BYTES


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Four sound rows, and rows that name what is no clip, a broken one, and none at all."""
    folder = tmp_path_factory.mktemp("review")
    labels(folder)
    (folder / "secret.mp4").write_text("password")
    (folder / "secret.txt").write_text("password")
    (folder / "cut.mp4").write_bytes((folder / "r0.mp4").read_bytes()[:200])
    names = ("secret.mp4", "secret.txt", "cut.mp4", "gone.mp4")
    more = [row(name, "It rolls.") | {"video": name} for name in names]
    hostile = [
        row("hostile", SCRIPT) | {"video": "r1.mp4"},
        row("text", "So.") | {"video": "r1.mp4", "start_s": 1},
    ]
    write_rows(folder / "more.jsonl", [*more, *hostile])
    told = ("r1", "refusal", "drop", None), ("r2", "broken_json", "rewrite", "Ball two rolls.")
    provenance(folder, {"clip": "r3", "text": "Ball 3 rolls.", "frames": [0.55], "flags": ["low_agreement"]})
    with up([folder / "labels.jsonl", folder / "more.jsonl"], rejected=rejected(folder, *told)) as found:
        yield found


def test_only_who_knows_the_token_is_heard(page: Up) -> None:
    for path in ("/", "/api/start", "/wrong/api/start", f"/{TOKEN}", f"/{TOKEN}x/api/start", f"//{TOKEN}/"):
        assert page.client.get(path).status_code == 404, path
    assert page.get("api/start").json()["rows"] == 10
    assert page.get("").text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("[::1]:99", 200),
        ("192.168.0.7:8000", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8000", 403),
        ("", 403),
        ("[::1", 403),
    ],
)
def test_a_name_that_others_can_bend_is_refused(page: Up, host: str, status: int) -> None:
    assert page.get("api/start", headers={"host": host}).status_code == status


def test_another_site_may_not_ask(page: Up) -> None:
    for headers in ({"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        assert page.get("api/start", headers=headers).status_code == 403
        posted = page.client.post(f"/{TOKEN}/api/decide", json={"row": 0, "verdict": "drop"}, headers=headers)
        assert posted.status_code == 403
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert page.get("", headers=link).status_code == 200
    assert page.client.post(f"/{TOKEN}/api/decide", json={}, headers=link).status_code == 403
    own = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    answer = page.get("api/start", headers=own)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]
    for path in ("", "main.js", "api/start", "clips/0", "frames/0", "nothing"):
        policy = page.get(path).headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy


def test_what_is_sent_is_json_and_small(page: Up) -> None:
    address, large = f"/{TOKEN}/api/decide", b"x" * (MOST_BYTES + 1)
    json_type = {"content-type": "application/json"}
    assert page.client.post(address, content=b'{"row":0,"verdict":"drop"}').status_code == 415
    assert page.client.post(address, content=large, headers=json_type).status_code == 413
    pieces = (b"x" * (1 << 20) for _ in range(9))  # without a length
    assert page.client.post(address, content=pieces, headers=json_type).status_code == 413
    assert page.client.put(address, content=b"{}", headers=json_type).status_code == 405
    for wish in (
        {},
        {"row": -1, "verdict": "keep"},
        {"row": 0, "verdict": "burn"},
        {"row": 0, "verdict": "rewrite"},
    ):
        assert page.client.post(address, json=wish).status_code == 422
    for text in (
        b'{"row": 0, "verdict": "\\ud800"}',
        b'{"row": 0, "verdict": "rewrite", "text": "\\ud800"}',
        b"[",
        b"\xff",
    ):
        assert page.client.post(address, content=text, headers=json_type).status_code in (400, 422)
    assert page.client.post(address, json={"row": 99, "verdict": "keep"}).status_code == 404


def test_nothing_but_clips_of_rows_can_be_had(page: Up) -> None:
    clips = {clip.path.name: number for number, clip in enumerate(page.book.clips)}
    for path in (
        "../../../etc/passwd",
        "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "clips/..%2f..%2fetc%2fpasswd",
        "clips//etc/passwd",
        "clips/-1",
        "clips/99",
        "frames/99",
        "docs",
        "openapi.json",
        "app.py",
        "..%2fapp.py",
        f"clips/{clips['secret.mp4']}",
        f"clips/{clips['secret.txt']}",
        f"clips/{clips['gone.mp4']}",
    ):
        answer = page.get(path)
        assert answer.status_code in (404, 422), path
        assert "password" not in answer.text
        assert "root:" not in answer.text


def test_clips_come_whole_or_in_ranges(page: Up) -> None:
    data = page.book.clips[0].path.read_bytes()
    whole = page.get("clips/0")
    assert (whole.content, whole.headers["content-type"]) == (data, "video/mp4")
    assert whole.headers["accept-ranges"] == "bytes"
    for asked, first, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(data)),
        ("bytes=-7", len(data) - 7, len(data)),
    ):
        part = page.get("clips/0", headers={"range": asked})
        assert (part.status_code, part.content) == (206, data[first:end])
        assert part.headers["content-range"] == f"bytes {first}-{end - 1}/{len(data)}"
    assert page.get("clips/0", headers={"range": f"bytes={len(data)}-"}).status_code == 416
    assert page.client.head(f"/{TOKEN}/clips/0").headers["content-length"] == str(len(data))


def test_frames_are_those_that_the_model_saw(page: Up) -> None:
    third = page.get("api/rows/3").json()
    assert third["frames"] == [0.55]
    for at, large, shown in ((0.55, True, 5), (2.9, False, 29), (None, False, 15)):
        asked = {"large": large} if at is None else {"at": at, "large": large}
        answer = page.get(f"frames/{third['clip']}", params=asked)
        assert answer.headers["content-type"] == "image/jpeg"
        grey = Image.open(io.BytesIO(answer.content)).convert("L")
        level = (luma(shown, 3) - 16) * 255 / 219
        assert abs(sum(grey.histogram()[n] * n for n in range(256)) / (64 * 64) - level) < 2
    for at in ("-1", "nan", "inf", "1e9", "x"):
        assert page.get("frames/0", params={"at": at}).status_code in (404, 422)


@pytest.mark.parametrize(
    ("name", "reason"), [("cut.mp4", "cannot be opened"), ("gone.mp4", "not there"), ("secret.mp4", "")]
)
def test_a_broken_clip_tells_its_reason(page: Up, name: str, reason: str) -> None:
    number = next(n for n, clip in enumerate(page.book.clips) if clip.path.name == name)
    about = page.get(f"api/clips/{number}").json()
    assert about["reason"]
    assert reason in about["reason"]
    assert not about["plays"]
    answer = page.get(f"frames/{number}")
    assert answer.status_code == 404
    assert answer.json()["detail"]


def test_what_a_browser_does_not_play_is_shown_by_frames_alone(tmp_path: Path) -> None:
    film(tmp_path / "old.avi", "avi", "mpeg4", options={})
    (tmp_path / "album.mp4").mkdir()
    for folder in (tmp_path, tmp_path / "album.mp4"):
        Image.new("RGB", (64, 64), (90, 90, 90)).save(folder / "still.png")
    names = ("old.avi", "still.png", "album.mp4")
    rows = [row(name, "It rolls.") | {"video": name} for name in names]
    with up([write_rows(tmp_path / "labels.jsonl", rows)]) as page:
        for number, name in enumerate(names):
            about = page.get(f"api/clips/{number}").json()
            assert (about["reason"], about["plays"], about["width"]) == ("", False, 64), name
            assert page.get(f"clips/{number}").status_code == 404
            assert page.get(f"frames/{number}").headers["content-type"] == "image/jpeg"


def test_a_clip_that_is_mended_is_asked_again(tmp_path: Path) -> None:
    file = labels(tmp_path, 1)
    (tmp_path / "r0.mp4").rename(tmp_path / "away.mp4")
    with up([file]) as page:
        assert page.get("api/clips/0").json()["reason"] == "the file is not there"
        assert page.get("frames/0").status_code == 404
        (tmp_path / "away.mp4").rename(tmp_path / "r0.mp4")
        about = page.get("api/clips/0").json()
        assert (about["plays"], about["duration_s"], about["width"]) == (True, 3.0, 64)
        assert page.get("frames/0").status_code == 200
        film(tmp_path / "r0.mp4", "mp4", count=10)
        assert page.get("api/clips/0").json()["duration_s"] == 1.0


def test_rows_are_found_by_what_they_are(page: Up) -> None:
    names = [item.sample.id for item in page.book.items]
    assert names == [
        "r0",
        "r1",
        "r2",
        "r3",
        "secret.mp4",
        "secret.txt",
        "cut.mp4",
        "gone.mp4",
        "hostile",
        "text",
    ]
    assert page.found() == list(range(10))
    assert page.found(show="disputed") == [1, 2, 3]
    assert page.found(show="drop") == page.found(check="refusal") == [1]
    assert page.found(show="rewrite") == [2]
    assert page.found(flag="low_agreement") == [3]
    assert page.found(type="caption", show="keep") == [0, 3]
    assert page.found(text="BALL 3") == [3]
    assert page.found(text="refusal says") == [1]
    assert page.found(show="drawn") == [0, 3, 4, 5, 6, 7, 8, 9]
    assert page.get("api/find", params={"show": "some"}).status_code == 422
    facets = page.get("api/start").json()["facets"]
    assert facets["check"] == {"refusal": 1, "broken_json": 1}
    assert facets["flag"] == {"low_agreement": 1}


def test_a_row_is_told_with_all_that_is_known(page: Up) -> None:
    whole = page.get("api/rows/2").json()
    assert (whole["check"], whole["verdict"], whole["reason"]) == (
        "broken_json",
        "rewrite",
        "broken_json says so",
    )
    assert (whole["answer"], whole["now_answer"]) == ("Ball 2 rolls.", "Ball two rolls.")
    assert [one["id"] for one in page.get("api/rows/8").json()["others"]] == ["r1"]
    assert page.get("api/rows/8").json()["answer"] == SCRIPT
    assert page.get("api/rows/9").json()["clips"][0]["start_s"] == 1
    assert [one["id"] for one in page.get("api/rows", params={"row": [3, 0]}).json()] == ["r3", "r0"]
    assert page.get("api/rows", params={"row": [0] * 201}).status_code == 422
    assert page.get("api/rows/10").status_code == 404


def test_the_page_holds_no_code_but_its_files(page: Up) -> None:
    html = page.get("").text
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("<script") == 1
    for name in ("main.js", "api.js", "list.js", "clip.js", "row.js", "dom.js", "page.css", "icon.svg"):
        answer = page.get(name)
        assert answer.status_code == 200
        assert "javascript" in answer.headers["content-type"] or not name.endswith(".js")
        for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"):
            assert banned not in answer.text
