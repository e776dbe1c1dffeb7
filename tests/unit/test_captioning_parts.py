"""Pieces of a captioning job by themselves: which rows stay, which batches are made, what is committed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidapt.captioning import bulk
from vidapt.captioning.found import Found, find_clips
from vidapt.captioning.journal import Broken, Journal
from vidapt.captioning.namesakes import folder_of, merged, refuse_namesakes
from vidapt.captioning.rows import CaptionRow, check_target, read_rows, write_rows
from vidapt.errors import ConfigError, FormatError
from vidapt.nouns import Clip

ROW = CaptionRow(
    key="",
    clip="",
    caption="a ball",
    model="tiny",
    model_hash="abc",
    recipe_hash=None,
    prompt="say",
    settings="s",
    frames=(0.0,),
    visual_tokens=7,
    text_tokens=3,
    new_tokens=5,
    finish="end",
    seconds=0.25,
    notes=(),
    created="2025-01-01T00:00:00+00:00",
    version="0.1.0",
)
OUT = Path("out.jsonl")


def row(name: str, key: str = "", folder: str = "here", **changes: Any) -> CaptionRow:
    return replace(ROW, clip=name, key=key or name, folder=folder, **changes)


def test_names_begin_in_the_folder_of_what_is_captioned(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    assert folder_of(tmp_path) == folder_of(tmp_path / "a.mp4") == folder_of(tmp_path / "link")
    assert folder_of(tmp_path) == str(tmp_path.resolve())
    monkeypatch.chdir(tmp_path)
    assert folder_of([Path("elsewhere/a.mp4")]) == str(tmp_path)


def test_rows_of_another_folder_are_refused_only_for_other_content_of_the_same_name() -> None:
    rows = [row("a", "old", "there"), row("b", "same", "there"), row("c", "old", ""), row("d", "old", "here")]
    keys = {"b": "same", "c": "new", "d": "new", "e": "new"}
    refuse_namesakes(OUT, rows, keys, "here")
    with pytest.raises(ConfigError, match="has captions of clips in there whose names") as told:
        refuse_namesakes(OUT, rows, {**keys, "a": "new"}, "here")
    assert told.value.found.endswith("other clips in here have too: a")


@pytest.mark.parametrize(("count", "named"), [(1, "0"), (3, "0, 1, 2"), (4, "0, 1, 2, ...")])
def test_three_namesakes_are_named(count: int, named: str) -> None:
    rows = [row(str(number), "old", "there") for number in range(count)]
    with pytest.raises(ConfigError) as told:
        refuse_namesakes(OUT, rows, dict.fromkeys(map(str, range(count)), "new"), "here")
    assert told.value.found.endswith(f"have too: {named}")


def test_of_one_name_the_later_row_stays_and_a_changed_clips_goes() -> None:
    rows = [row("10.mp4", "x", "there"), row("2.mp4", "old"), row("9.mp4", "k", "there"), row("9.mp4", "k")]
    rows.append(row("9.mp4", "k", caption="later"))
    found = merged(rows, {"2.mp4": "new", "9.mp4": "k"}, "now")
    assert [(one.clip, one.caption, one.folder) for one in found] == [
        ("9.mp4", "later", "now"),
        ("10.mp4", "a ball", "there"),
    ]


def clips(names: str) -> dict[str, Clip]:
    return {name: Clip(name, Path(name)) for name in names}


def broken(key: str, settings: str = "s") -> Broken:
    return Broken(key, key, "it is empty", settings)


@pytest.mark.parametrize(
    ("done", "lost", "wanted"),
    [
        ("", "", ["ab", "cd", "e"]),
        ("ab", "", ["cd", "e"]),
        ("abc", "", ["cd", "e"]),
        ("abcde", "", []),
        ("a", "b", ["cd", "e", "b"]),
        ("", "c", ["ab", "d", "e", "c"]),
        ("b", "acde", ["ac", "de"]),
    ],
)
def test_batches_are_made_again_as_wholes_and_broken_clips_at_last(
    tmp_path: Path, done: str, lost: str, wanted: list[str]
) -> None:
    with Journal(tmp_path / "j") as journal:
        for key in done:
            journal.add(row(key))
        for key in lost:
            journal.add(broken(key))
        found = ["".join(batch) for batch in bulk._unfinished(clips("abcde"), journal, 2)]
    assert found == wanted


@pytest.mark.parametrize("entry", [row("a", settings="other"), broken("a", "other")], ids=["row", "broken"])
def test_an_unfinished_job_of_another_kind_is_forgotten_only_when_asked(tmp_path: Path, entry: Any) -> None:
    job: Any = SimpleNamespace(settings="s")
    with Journal(tmp_path / "j") as journal:
        bulk._check_journal(journal, job, overwrite=False)
        journal.add(row("b"))
        bulk._check_journal(journal, job, overwrite=True)
        assert list(journal.rows) == ["b"]
        journal.add(entry)
        with pytest.raises(ConfigError, match="is an unfinished job with another model"):
            bulk._check_journal(journal, job, overwrite=False)
        bulk._check_journal(journal, job, overwrite=True)
        assert (journal.rows, journal.broken) == ({}, {})


def test_a_clip_that_was_broken_and_is_captioned_is_broken_no_more(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add(broken("a"))
        assert ("a" in journal, "b" in journal) == (True, False)
        journal.add(row("a"))
        journal.add(broken("b"))
        journal.sync()
    with Journal(tmp_path / "j") as journal:
        assert (list(journal.rows), list(journal.broken)) == (["a"], ["b"])
        journal.remove()
        journal.remove()
    assert not (tmp_path / "j").exists()


def test_what_is_broken_is_written_in_the_order_of_names_and_goes_when_nothing_is(tmp_path: Path) -> None:
    out, beside = tmp_path / "out.jsonl", tmp_path / "out.jsonl.quarantine.jsonl"
    for lost, unchanged in (({"10": "x", "9": "y"}, False), ({}, True)):
        with Journal(tmp_path / "j") as journal:
            bulk._commit(out, [] if unchanged else [row("a")], lost, journal, unchanged=unchanged)
        assert [one.clip for one in read_rows(out)] == ["a"]
        assert not (tmp_path / "j").exists()
        told = beside.read_text(encoding="utf-8").splitlines() if beside.exists() else []
        assert [json.loads(line) for line in told] == [
            {"clip": name, "reason": lost[name]} for name in sorted(lost, key=int)
        ]
    assert not beside.exists()


def test_keys_are_told_of_clips_that_can_be_read_and_reasons_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"a")
    found = Found([Clip("a", tmp_path / "a.mp4"), Clip("b", tmp_path / "b.mp4")], {"z": "forbidden"})
    heard: list[tuple[Any, ...]] = []
    job: Any = SimpleNamespace(key=lambda clip, content: f"key of {clip.id}")
    keys, unreadable = bulk._keys(found, job, lambda *told: heard.append(told))
    assert keys == {"a": "key of a"}
    assert unreadable == {"z": "forbidden", "b": "it cannot be read (No such file or directory)"}
    assert heard == [("look at clips", done, 2) for done in range(3)]


def test_captions_go_into_files_of_two_kinds(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        check_target(tmp_path / name)
    with pytest.raises(ConfigError, match=r"cannot write \.csv\n.*\.jsonl or \.parquet"):
        check_target(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="cannot write a file without suffix"):
        check_target(tmp_path / "a")
    (tmp_path / "b.jsonl").mkdir()
    with pytest.raises(ConfigError, match=r"b\.jsonl"):
        check_target(tmp_path / "a.jsonl", tmp_path / "b.jsonl")


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_without_a_model_or_with_an_unknown_column_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write_rows(path, [row("a", folder="ä"), row("b", notes=("cut", "short"), frames=())])
    assert [(one.folder, one.frames, one.notes) for one in read_rows(path)] == [
        ("ä", (0.0,), ()),
        ("here", (), ("cut", "short")),
    ]
    with pytest.raises(FormatError, match="cannot be read"):
        read_rows(tmp_path / f"no{suffix}")
    plain = {key: value for key, value in ROW.to_dict().items() if key != "folder"}
    assert CaptionRow.from_dict(plain) == ROW  # of an earlier version
    for other in ({**plain, "odd": 1}, {k: v for k, v in plain.items() if k != "model"}):
        with pytest.raises(TypeError):
            CaptionRow.from_dict(other)


def test_five_places_that_cannot_be_read_are_named_where_no_clip_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"f{number}" for number in range(7)]
    for name in names:
        (tmp_path / name).mkdir()
    listed = Path.iterdir

    def shut(self: Path) -> Any:
        if self != tmp_path:
            raise PermissionError(13, "Permission denied")
        return listed(self)

    monkeypatch.setattr(Path, "iterdir", shut)
    with pytest.raises(ConfigError) as told:
        find_clips(tmp_path)
    lines = told.value.found.splitlines()
    assert lines == [
        "no clip is here",
        *(f"  {name}: the folder cannot be read (Permission denied)" for name in names[:5]),
    ]
