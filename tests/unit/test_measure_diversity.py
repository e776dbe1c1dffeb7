"""Ways to several captions beside each other: rates by hand, and when they cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judge_tools import TRUTH, judge_file, judging, made_test, prompt_of
from served_tools import said, serving
from typer.testing import CliRunner

from vidapt.captioning.rows import CaptionRow, write_rows
from vidapt.cli import app
from vidapt.errors import ConfigError, FormatError
from vidapt.measure.diversity.command import measure_diversity
from vidapt.measure.diversity.found import (
    COMPARABLE,
    FACTS,
    FIRST,
    LESS,
    MORE,
    OPEN,
    PLAIN,
    TEXTS,
    UNKNOWN,
    compare_ways,
)
from vidapt.measure.diversity.page import write_ways
from vidapt.measure.diversity.told import Told, most, read_told
from vidapt.metrics.diversity import Floats, Judged
from vidapt.nouns import Clip
from vidapt.worlds.billiards import simulate

CLIPS = [Clip(f"{at}.mp4", Path(f"/films/{at}.mp4")) for at in range(40)]


def judge(clip: Clip, text: str) -> tuple[Judged, int]:
    """Letters are claims: small ones are true, large ones false; a and b are the facts worth telling."""
    said = [letter for letter in text if letter.isalpha()]
    true, false = [one for one in said if one.islower()], [one for one in said if one.isupper()]
    return Judged(true, false, {one for one in true if one in "ab"}, text.count("?")), 2


def told(name: str, *texts: str) -> Told:
    return Told(name, dict.fromkeys(CLIPS, texts))


def test_rates_are_those_of_hand_counts() -> None:
    one, many = compare_ways([told("one", "a c X"), told("many", "a c X", "a b X", "b Y")], judge, k=3)
    assert (one.k, many.k, many.clips, one.says) == (1, 3, 40, FIRST)
    rates = [many.coverage, many.contradicted, many.contradicted_at_k, many.repeated]
    assert [rate.value for rate in rates if rate] == pytest.approx([1.0, 3 / 8, 2 / 5, 3 / 8])
    assert one.coverage is not None
    assert one.coverage.value == 0.5
    assert many.gain is not None
    assert many.gain.value == pytest.approx(0.5)
    assert many.against is not None
    assert many.against.value == pytest.approx(3 / 8 - 1 / 3)
    assert (one.self_bleu, one.vendi) == (None, None)
    assert many.total is not None
    assert (many.total.facts, many.total.covered, many.total.claims) == (80, 80, 320)
    assert len(many.facts()) == len(FACTS)
    assert len(many.texts()) == len(TEXTS)
    assert json.loads(json.dumps(many.to_dict()))["says"] == many.says


def test_ways_that_make_up_more_or_less_are_not_compared() -> None:
    rng = np.random.default_rng(0)

    def random(name: str, false: float) -> Told:
        texts = {
            clip: tuple(" ".join("X" if rng.random() < false else "a" for _ in range(4)) for _ in range(3))
            for clip in CLIPS
        }
        return Told(name, texts)

    found = compare_ways(
        [random("first", 0.2), random("same", 0.2), random("more", 0.6), random("less", 0.0)], judge, k=3
    )
    assert [one.says for one in found] == [FIRST, COMPARABLE, MORE, LESS]
    assert found[3].contradicted is not None
    assert found[3].contradicted.high > 0, "no false claim in 40 clips does not say that there is none"


def test_texts_that_fall_apart_are_not_compared() -> None:
    """What nobody can read is in no rate, and would pass for truth."""
    found = compare_ways([told("one", "a X"), told("apart", "a X ? ?"), told("same", "a X")], judge, k=1)
    assert [one.says for one in found] == [FIRST, OPEN, COMPARABLE]
    assert found[1].unread is not None
    assert found[1].unread.value == 0.5
    assert found[1].against is not None
    assert found[1].against.value == 0
    assert compare_ways([told("apart", "a ?"), told("one", "a")], judge, k=1)[1].says == PLAIN


def test_without_a_judge_facts_are_unknown(tmp_path: Path) -> None:
    found = compare_ways([told("a", "x y", "x z"), told("b", "x", "y")], None, k=2)
    assert [one.says for one in found] == [FIRST, UNKNOWN]
    assert found[1].coverage is None
    assert found[1].facts()[2:4] == ["-", "-"]
    write_ways(tmp_path / "page.html", found, None, [told("a", "<script>x y", "x z")])
    page = (tmp_path / "page.html").read_text()
    assert "Nothing is known of facts" in page
    assert "<script>x" not in page


def test_the_first_captions_of_each_clip_are_looked_at_and_vectors_count_where_given() -> None:
    ways = [told("a", "a"), told("b", "a", "b", "c", "d"), told("c", "a", "b", "c")]
    assert (most(ways, None), most(ways, 2), most(ways[:1], None)) == (3, 2, 1)
    assert [one.k for one in compare_ways(ways, judge, k=3)] == [1, 3, 3]
    assert [one.k for one in compare_ways(ways, judge, k=2)] == [1, 2, 2]

    def embed(texts: Sequence[str]) -> Floats:
        return np.ones((len(texts), 2))

    by_model = compare_ways(ways, judge, k=3, embed=embed)[1]
    assert by_model.distance is not None
    assert by_model.distance.value == pytest.approx(0, abs=1e-9)


def row(clip: str, folder: Path, captions: tuple[str, ...], **changes: Any) -> CaptionRow:
    plain: dict[str, Any] = dict.fromkeys(CaptionRow.__dataclass_fields__, "")
    plain |= {"frames": (), "notes": (), "start_s": None, "end_s": None, "cues": (), "seconds": 1.0}
    plain |= {"visual_tokens": 1, "text_tokens": 1, "new_tokens": 1, "recipe_hash": None}
    texts = {"caption": captions[0], "captions": captions if len(captions) > 1 else ()}
    return CaptionRow(**{**plain, "clip": clip, "folder": str(folder), **texts, **changes})


def write(path: Path, rows: Mapping[str, tuple[str, ...]], folder: Path) -> Path:
    write_rows(path, [row(clip, folder, captions) for clip, captions in rows.items()])
    return path


def test_files_are_compared_on_the_clips_they_share(tmp_path: Path) -> None:
    one = write(tmp_path / "one.jsonl", {"a.mp4": ("x",), "b.mp4": ("y",)}, tmp_path)
    two = write(tmp_path / "two.parquet", {"b.mp4": ("y", "z"), "c.mp4": ("y", "z")}, tmp_path)
    same = read_told([one, two], None)
    assert [list(each.texts.values()) for each in same.told] == [[("y",)], [("y", "z")]]
    assert (same.left_out, [each.name for each in same.told]) == (2, ["one", "two"])
    other = write(tmp_path / "other.jsonl", {"d.mp4": ("x",)}, tmp_path)
    with pytest.raises(ConfigError, match="no clip in common"):
        read_told([one, other], None)
    with pytest.raises(ConfigError, match="given twice"):
        read_told([one, one], None)
    (tmp_path / "text.jsonl").write_text("no\n")
    with pytest.raises(FormatError, match=r"cannot be read(?s:.*)give a file that"):
        read_told([one, tmp_path / "nowhere.jsonl"], None)
    with pytest.raises(FormatError, match=r"other than captions(?s:.*)give a file that"):
        read_told([tmp_path / "text.jsonl"], None)
    with pytest.raises(ConfigError, match=r"two has fewer than 5 captions"):
        measure_diversity([two], tmp_path / "out", k=5)
    with pytest.raises(ConfigError, match="give 1 or more"):
        measure_diversity([two], tmp_path / "out", k=0)


def test_clips_of_another_folder_are_not_those_of_the_labels(tmp_path: Path) -> None:
    for folder in ("mine", "yours"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").write_text(folder)
    labels = tmp_path / "mine" / "labels.jsonl"
    labels.write_text(json.dumps({"video": "a.mp4", "caption": "what there is"}) + "\n")
    yours = write(tmp_path / "yours.jsonl", {"a.mp4": ("x",)}, tmp_path / "yours")
    with pytest.raises(ConfigError, match="no clip in common"):
        read_told([yours], labels)
    moved = write(tmp_path / "moved.jsonl", {"a.mp4": ("x",)}, tmp_path / "gone")
    (one,) = read_told([moved], labels).told
    assert next(iter(one.texts)).path == tmp_path / "mine" / "a.mp4"


def test_a_world_is_captioned_and_measured_by_commands(tmp_path: Path) -> None:
    simulate(tmp_path / "pool", clips=3, venue="home", seed=5, workers=1)
    files = [tmp_path / "one.jsonl", tmp_path / "many.jsonl"]
    for file, options in zip(files, ([], ["--n", "3", "--diversity", "min-p"]), strict=True):
        given = ["caption", str(tmp_path / "pool" / "clips"), "--out", str(file), "--workers", "0", *options]
        assert CliRunner().invoke(app, given).exit_code == 0
    given = ["diversity", *map(str, files), "--data", str(tmp_path / "pool" / "labels.jsonl")]
    shown = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out"), "--json"])
    assert shown.exit_code == 0, shown.output
    first, second = json.loads(shown.stdout)["ways"]
    assert (first["k"], second["k"], second["clips"]) == (1, 3, 3)
    assert second["coverage"]["value"] >= first["coverage"]["value"] > 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["ways"] == [first, second]
    assert "what others are held against" in (tmp_path / "out" / "report.html").read_text()
    again = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out")])
    assert "comparable" in again.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--n", "0"], "n: 0 replies"),
        (["--n", "5", "--diversity", "warm"], "neither a way nor a file"),
        (["--n", "99"], "n: 99 replies"),
    ],
)
def test_bad_settings_are_refused_before_a_model_is_opened(
    options: list[str], told: str, tmp_path: Path
) -> None:
    given = ["caption", str(tmp_path), "--model", "none", "--out", str(tmp_path / "o.jsonl"), *options]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2
    assert told in result.output


def test_a_judge_holds_captions_against_labels(tmp_path: Path) -> None:
    """Words decide: a caption is supported as far as its label has the same ones."""
    data = made_test(tmp_path, 4)
    right = {f"{at}.mp4": (TRUTH.format(at),) for at in range(4)}
    one = write(tmp_path / "one.jsonl", right, tmp_path)
    mixed = {clip: (text, "A dog barks.", text) for clip, (text,) in right.items()}
    many = write(tmp_path / "many.jsonl", mixed, tmp_path)
    with serving(judging) as fake:
        given: dict[str, Any] = {"data": data, "judge": judge_file(tmp_path, fake)}
        found = measure_diversity([one, many], tmp_path / "out", **given)
        first, second = found.ways
        assert (first.k, second.k) == (1, 3)
        assert first.coverage is not None
        assert second.coverage is not None
        assert first.coverage.value == second.coverage.value == 1.0
        assert second.total is not None
        assert second.total.contradicted + second.total.unread > 0, "nobody saw a dog"
        asked = len(fake.heard)
        again = measure_diversity([one, many], tmp_path / "out", **given, offline=True)
        assert [way.to_dict() for way in again.ways] == [way.to_dict() for way in found.ways]
        assert len(fake.heard) == asked, "no verdict is paid for twice"
    with pytest.raises(ConfigError, match="give --data"):
        measure_diversity([one], tmp_path / "alone", judge=given["judge"])


def test_a_caption_without_a_verdict_tells_nothing_and_is_told(tmp_path: Path) -> None:
    data = made_test(tmp_path, 3)
    texts = {f"{at}.mp4": (TRUTH.format(at), "Silent one.") for at in range(3)}
    many = write(tmp_path / "many.jsonl", texts, tmp_path)

    def refusing(body: dict[str, Any]) -> dict[str, Any]:
        return said("I cannot help.") if "Silent one" in prompt_of(body) else judging(body)

    with serving(refusing) as fake:
        judge = judge_file(tmp_path, fake)
        found = measure_diversity([many], tmp_path / "out", data=data, judge=judge)
    assert any("3 of 6 captions have no verdict" in line for line in found.remarks)
    assert "3 of 6 captions have no verdict" in (tmp_path / "out" / "report.html").read_text()


def test_labels_of_cues_that_are_not_there_are_refused_before_a_model_is_opened(tmp_path: Path) -> None:
    (tmp_path / "way.yaml").write_text("cues: {labels: none.jsonl}\n")
    given = ["caption", str(tmp_path), "--model", "none", "--out", str(tmp_path / "o.jsonl"), "--n", "2"]
    result = CliRunner().invoke(app, [*given, "--diversity", str(tmp_path / "way.yaml")])
    assert result.exit_code == 2
    assert "none.jsonl: there is no such file" in result.output.replace("\n", "")
