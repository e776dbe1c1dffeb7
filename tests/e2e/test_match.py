"""`vidapt match` as a user meets it: the shipped model, a dual encoder, sets, and what cannot be matched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.models._text_tower import Text
from vidapt.models.dual_encoder import DualBlueprint, DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.training.tokenizer import learn_caption_tokenizer
from vidapt.worlds.billiards import simulate

RUN = CliRunner()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("match") / "pool"
    simulate(folder, clips=8, seed=31, workers=1)
    return folder


@pytest.fixture(scope="module")
def dual(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of a tiny dual encoder that knows nothing."""
    common = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    seeing = {**common, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 8}
    reading = {**common, "model_type": "clip_text_model", "max_position_embeddings": 40, "vocab_size": 300}
    reading |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    model = DualEncoder(
        DualBlueprint(
            tower={"kind": "clip_vip", "arch": seeing, "frames": 4, "added": 1},
            text=Text(arch=reading),
            width=16,
            frames={"policy": "uniform", "count": 4},
        )
    )
    folder = tmp_path_factory.mktemp("dual") / "tiny"
    save_dual(folder, model, learn_caption_tokenizer(["the red ball hits the blue ball"] * 3, 300), {})
    return str(folder)


def told(*arguments: str) -> dict[str, object]:
    shown = RUN.invoke(app, ["match", *arguments, "--json"])
    assert shown.exit_code == 0, shown.output
    found: dict[str, object] = json.loads(shown.stdout)
    return found


def refused(*arguments: str) -> str:
    shown = RUN.invoke(app, ["match", *arguments])
    assert shown.exit_code == 2, shown.output
    assert "Traceback" not in shown.output
    return shown.output


def test_true_statements_beat_false_ones_on_simulated_clips(pool: Path) -> None:
    found = told("--data", str(pool), "--workers", "1", "--retrieval")
    clips = found["clips"]
    assert isinstance(clips, int)
    assert 5 <= clips <= 8  # nothing can be falsified where nothing happens
    told_all = found["all"]
    assert isinstance(told_all, dict)
    assert told_all["pairs"] >= 20
    assert told_all["wins"]["value"] > 0.85
    assert told_all["margin"]["value"] > 2
    longer = found["longer"]
    assert isinstance(longer, dict)
    assert longer["wins"]["value"] > 0.5
    assert found["dual_softmax"] is None
    retrieval = found["retrieval"]
    assert isinstance(retrieval, dict)
    assert retrieval["to_video"]["recall@1"] > 2 / 8


def test_a_clip_with_statements_prints_scores_and_a_margin(pool: Path) -> None:
    label = next(
        row
        for row in map(json.loads, (pool / "labels.jsonl").read_text().splitlines())
        if row["facts"]["type"] == "first_hit" and row["facts"]["value"] != "none"
    )
    clip, ball = str(pool / label["video"]), label["facts"]["value"]
    wrong = [f"the white ball first hits the {colour} ball" for colour in ("red", "blue", "green", "purple")]
    wrong = [text for text in wrong if ball not in text]
    true = f"the white ball first hits the {ball} ball"
    found = told(clip, true, *(word for text in wrong for word in ("--false", text)))
    statements = found["statements"]
    assert isinstance(statements, list)
    assert [one["text"] for one in statements] == [true, *wrong]
    assert sum(one["share"] for one in statements) == pytest.approx(1.0)
    assert found["unit"] == "log-odds"
    best_false = max(one["score"] for one in statements[1:])
    assert found["margin"] == pytest.approx(statements[0]["score"] - best_false)
    shown = RUN.invoke(app, ["match", clip, true, "--false", wrong[0]])
    assert shown.exit_code == 0
    assert true in shown.output
    assert "worst true above best false" in shown.output
    said = told(clip, true, "--by", "said")
    assert said["unit"] == "log-probability of a token"
    assert said["margin"] is None


def test_a_label_file_by_rule_and_a_broken_clip_costs_its_own_rows(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes((pool / "clips" / "000000.mp4").read_bytes())
    (tmp_path / "b.mp4").write_bytes(b"no film")
    path = tmp_path / "labels.jsonl"
    rows = [{"video": f"{name}.mp4", "caption": "the red ball rolls to the left."} for name in "ab"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = told("--data", str(path), "--by-rule", "2", "--workers", "1")
    assert found["clips"] == 1
    assert list(found["broken"]) == ["b.mp4"]  # type: ignore[call-overload]
    kinds = found["kinds"]
    assert isinstance(kinds, dict)
    assert set(kinds) == {"colour", "side"}
    shown = RUN.invoke(app, ["match", "--data", str(path), "--by-rule", "2", "--workers", "1"])
    assert "left out: b.mp4" in shown.output
    assert "true wins" in shown.output


def test_a_dual_encoder_matches_and_retrieves_with_and_without_dual_softmax(pool: Path, dual: str) -> None:
    clip = str(pool / "clips" / "000000.mp4")
    found = told(clip, "the red ball", "the blue ball", "--model", dual)
    assert (found["model"], found["unit"]) == ("tiny", "cosine")
    whole = told("--data", str(pool), "--model", dual, "--retrieval", "--workers", "1")
    unreadable = whole["unreadable"]
    assert isinstance(unreadable, dict)
    assert unreadable
    assert all("reads 40" in reason for reason in unreadable.values())
    for key in ("retrieval", "dual_softmax"):
        ways = whole[key]
        assert isinstance(ways, dict)
        assert set(ways) == {"to_text", "to_video"}
        assert {"recall@1", "recall@5", "recall@10", "median_rank", "mean_rank"} <= set(ways["to_video"])
    assert "text tower reads 40" in refused(clip, "xyz " * 40, "--model", dual)


def test_what_cannot_be_matched_is_said_plainly(pool: Path, tmp_path: Path) -> None:
    clip = str(pool / "clips" / "000000.mp4")
    assert "none is given" in refused(clip)
    assert "one is empty" in refused(clip, " ")
    assert "--data" in refused()
    assert "--data" in refused(clip, "a", "--data", str(pool))
    assert "nothing.mp4" in refused(str(tmp_path / "nothing.mp4"), "a ball")
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    assert "broken.mp4" in refused(str(broken), "a ball")
    assert "billiards-home" in refused(clip, "a ball", "--model", "billiards-hone")
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"video": "broken.mp4", "question": "red?", "answer": "yes"}) + "\n")
    assert "holds no statement" in refused("--data", str(labels))
    labels.write_text(json.dumps({"video": "broken.mp4", "caption": "a red ball"}) + "\n")
    assert "no clip can be used" in refused("--data", str(labels), "--workers", "1")
