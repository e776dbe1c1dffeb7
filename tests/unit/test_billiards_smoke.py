from __future__ import annotations

import json

import pytest
from safetensors.numpy import load_file

from vidapt.errors import ConfigError
from vidapt.worlds import billiards
from vidapt.worlds.billiards.clips import play
from vidapt.worlds.billiards.venues import VENUES, find_venue


def test_a_clip_does_not_depend_on_what_else_is_played_with_it():
    venue = find_venue("home")
    together = play(3, range(12), venue)
    (alone,) = play(3, [7], venue)
    assert alone.record == together[7].record
    assert (alone.path[alone.seen] == together[7].path[together[7].seen]).all()


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_every_told_claim_is_borne_out_by_the_log_and_every_false_one_is_not(venue):
    for played in play(1, range(60), venue):
        for qa in played.questions(venue):
            if qa.type in ("trajectory", "caption"):
                verdict = billiards.judge(qa.answer, played.record)
                assert not verdict.false
                assert not verdict.unparsed
                assert verdict.supported


def test_a_data_set_is_resumed_to_the_same_files_and_a_strange_folder_is_refused(tmp_path):
    out = tmp_path / "pool"
    billiards.simulate(out, clips=4, seed=5, workers=1)
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    (out / "clips" / "000002.mp4").unlink()
    (out / "labels.jsonl").unlink()
    billiards.simulate(out, clips=4, seed=5, workers=1)
    assert before == {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    rows = [json.loads(line) for line in (out / "labels.jsonl").read_text().splitlines()]
    assert {row["video"] for row in rows} == {f"clips/00000{i}.mp4" for i in range(4)}
    assert load_file(out / "truth.safetensors")["tracks"].shape == (4, 36, 8, 3)
    with pytest.raises(ConfigError, match="seed"):
        billiards.simulate(out, clips=4, seed=6, workers=1)
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(ConfigError, match="other files"):
        billiards.simulate(tmp_path, clips=4)
