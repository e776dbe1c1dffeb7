"""Our MiniCPM-V 2.6 gives the logits of the published rules, in float64 around transformers' Qwen2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import minicpm_v_reference as theirs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from minicpm_v_reference import Mistakes, Reference
from parity_tools import TOLERANCE, film
from safetensors.torch import load_file
from torch import Tensor
from typer.testing import CliRunner

from vidapt.cli import app
from vidapt.errors import CheckpointError, ConfigError
from vidapt.hub import minicpm_v, open_checkpoint
from vidapt.hub._export import export_hf
from vidapt.models.decoding import Decoding
from vidapt.models.generate import generate
from vidapt.models.packed import Group, pack, spell
from vidapt.models.text import encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Sample, Turn
from vidapt.recipe import Blueprint
from vidapt.video import write_mp4

QUESTION, ANSWER = "What happens?", "A red ball."

STILL = [film(1, 130, 200)]
SMALL = [film(1, 40, 30)]
STILLS = [film(1, 130, 200), film(1, 30, 40, seed=1), film(1, 90, 60, seed=2)]
VIDEO = [film(4, 60, 110)]
LONG = [film(17, 60, 110)]
CONVERSATIONS = {"image": STILL, "unsliced": SMALL, "images": STILLS, "video": VIDEO, "long": LONG}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return theirs.write(tmp_path_factory.mktemp("minicpm") / "v-2_6")


@pytest.fixture(scope="module")
def opened(folder: Path) -> tuple[VideoLM, Any]:
    model, tokenizer, report = open_checkpoint(folder)
    assert report.family == "minicpm_v"
    assert not report.ignored
    return model, tokenizer


def group(
    opened: tuple[VideoLM, Any], clips: list[Tensor], *, open_answer: bool = False
) -> tuple[Group, Tensor]:
    """A conversation about clips, and their visual tokens."""
    model, tokenizer = opened
    media = tuple(Clip(str(index), Path(f"{index}.mp4")) for index in range(len(clips)))
    sample = Sample("s", media, (Turn("user", QUESTION), Turn("assistant", ANSWER)))
    encoded = encode(sample, model.blueprint.prompt, tokenizer, open_answer=open_answer)
    layouts = [model.plan((c.shape[1], c.shape[2]), len(c), len(clips))[1] for c in clips]
    readings = tuple(spell(layout, index, tokenizer) for index, layout in enumerate(layouts))
    with torch.no_grad():
        visual = model.visual([model.see_views(model.cut(clip, len(clips))) for clip in clips])
    assert visual is not None
    return Group((encoded,), readings), visual


@torch.no_grad()
def our_logits(opened: tuple[VideoLM, Any], conversations: list[list[Tensor]]) -> list[Tensor]:
    """Of each conversation, in one batch: [answer, vocabulary]."""
    made = [group(opened, clips) for clips in conversations]
    packed = pack([one for one, _ in made], opened[0].positions)
    logits = opened[0](packed, torch.cat([visual for _, visual in made]))
    return list(logits.chunk(len(made)))


@torch.no_grad()
def their_logits(folder: Path, clips: list[Tensor], **mistakes: bool) -> Tensor:
    return Reference(folder, Mistakes(**mistakes)).logits(clips, QUESTION, ANSWER)


def test_logits_at_all_positions_need_the_tokenizer_for_marks_of_slices(
    folder: Path, opened: tuple[VideoLM, Any]
) -> None:
    model, tokenizer = opened
    encoded = group(opened, STILLS)[0].encoded[0]
    ids = [token for piece in encoded.prefix for token in ([-1] if isinstance(piece, int) else piece)]
    with pytest.raises(ConfigError, match="tokenizer: is needed"):
        model.logits([*ids, *encoded.ids], STILLS)
    with torch.no_grad():
        found = model.logits([*ids, *encoded.ids], STILLS, tokenizer)
    answers = torch.tensor(encoded.answer).nonzero().squeeze(1) - len(encoded.ids) - 1
    expected = their_logits(folder, STILLS)
    torch.testing.assert_close(found[answers].double(), expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_logits_are_the_published_ones(folder: Path, opened: tuple[VideoLM, Any], name: str) -> None:
    (ours,) = our_logits(opened, [CONVERSATIONS[name]])
    expected = their_logits(folder, CONVERSATIONS[name])
    torch.testing.assert_close(ours.double(), expected, atol=TOLERANCE, rtol=0)
    assert expected.std() > 1, "flat logits would agree with anything"


def test_a_mixed_batch_equals_its_rows(folder: Path, opened: tuple[VideoLM, Any]) -> None:
    conversations = [VIDEO, STILL, STILLS, SMALL]
    for ours, clips in zip(our_logits(opened, conversations), conversations, strict=True):
        torch.testing.assert_close(ours.double(), their_logits(folder, clips), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    ("mistake", "clips"),
    [
        ("rows_first", STILL),
        ("on_values", STILL),
        ("column_major", STILL),
        ("no_numbers", STILLS),
        ("no_norm", STILL),
        ("views_after_views", VIDEO),
    ],
)
def test_a_mistake_breaks_parity(
    folder: Path, opened: tuple[VideoLM, Any], mistake: str, clips: list[Tensor]
) -> None:
    (ours,) = our_logits(opened, [clips])
    wrong = their_logits(folder, clips, **{mistake: True})
    assert (ours.double() - wrong).abs().max() > 100 * TOLERANCE


def test_generation_equals_transformers(folder: Path, opened: tuple[VideoLM, Any]) -> None:
    conversations = [STILL, VIDEO, STILLS, SMALL]
    made = [group(opened, clips, open_answer=True) for clips in conversations]
    answers = generate(
        opened[0], [one for one, _ in made], [v for _, v in made], (), Decoding(max_new_tokens=32)
    )
    reference = Reference(folder)
    expected = [reference.generate(clips, QUESTION, 32) for clips in conversations]
    assert [list(answer.ids) for (answer,) in answers] == expected
    assert len({tuple(ids) for ids in expected}) > 1


@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000))
    | st.sampled_from([(1, 1), (1, 9000), (9000, 1)]),
    frames=st.integers(1, 64),
)
@settings(max_examples=300, deadline=None)
def test_the_plan_counts_tokens(opened: tuple[VideoLM, Any], size: tuple[int, int], frames: int) -> None:
    plan, layout = opened[0].plan(size, frames)
    spans = [piece for piece in layout if not isinstance(piece, str)]
    assert sum(grid.cells + extra for grid, extra in spans) == theirs.placeholders(size, frames)
    assert all(grid.cells == theirs.QUERIES for grid, _ in spans)
    assert len(spans) == frames * len(plan.views)


@given(size=st.tuples(st.integers(1, 300), st.integers(1, 300)), frames=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_what_is_seen_is_what_was_planned(
    opened: tuple[VideoLM, Any], size: tuple[int, int], frames: int
) -> None:
    model, _ = opened
    _, layout = model.plan(size, frames)
    with torch.no_grad():
        read = model.read(model.see_views(model.cut(torch.zeros(frames, *size, 3, dtype=torch.uint8))))
    assert tuple(p if isinstance(p, str) else (p.grid, p.extra) for p in read) == layout


def test_frames_joined_in_three_dimensions_are_one_picture_to_the_text(folder: Path) -> None:
    """As in 4.5: the same weights read up to three frames together, each group in one pair of marks."""

    def joined(blueprint: Blueprint) -> Blueprint:
        connector = {**blueprint.connector, "join": 3, "seconds": 1.0}
        return blueprint.model_copy(update={"connector": connector})

    model, _, _ = open_checkpoint(folder, edit=joined)
    _, layout = model.plan((60, 110), 4)
    text = "".join(piece if isinstance(piece, str) else "#" for piece in layout)
    one = "<image>#</image><slice>#</slice><slice>#</slice>"
    assert text == f"{one}\n{one}"
    with torch.no_grad():
        read = model.read(model.see_views(model.cut(VIDEO[0])))
    assert tuple(p if isinstance(p, str) else (p.grid, p.extra) for p in read) == layout


def test_a_conversation_reads_as_the_chat_template_writes_it(opened: tuple[VideoLM, Any]) -> None:
    model, tokenizer = opened
    turns = (Turn("user", "One?"), Turn("assistant", "Yes."), Turn("user", "Two?"), Turn("assistant", "No."))
    encoded = encode(Sample("s", (), turns), model.blueprint.prompt, tokenizer)
    assert tokenizer.decode(encoded.ids) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\nTwo?<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>"
    )
    answered = [i for i, labelled in zip(encoded.ids, encoded.answer, strict=True) if labelled]
    assert tokenizer.decode(answered) == "Yes.<|im_end|>No.<|im_end|>"


def copy(folder: Path, target: Path, **changes: Any) -> Path:
    """The checkpoint with other fields in its config."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    config = {**theirs.CONFIG, **changes}
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_a_last_layer_that_was_taken_away_is_not_looked_for(folder: Path, tmp_path: Path) -> None:
    """The files then hold one layer fewer than the config names; saying nothing means the same."""
    vision = {**theirs.VISION, "num_hidden_layers": theirs.LAYERS + 1}
    dropped = copy(folder, tmp_path / "dropped", drop_vision_last_layer=True, vision_config=vision)
    opened = open_checkpoint(dropped)[:2]
    (ours,) = our_logits(opened, [SMALL])
    torch.testing.assert_close(ours.double(), their_logits(folder, SMALL), atol=TOLERANCE, rtol=0)
    kept = copy(folder, tmp_path / "kept", vision_config=vision)
    with pytest.raises(CheckpointError, match="missing"):
        open_checkpoint(kept)


def test_going_back_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    model, tokenizer, report = open_checkpoint(folder)
    back = tmp_path / "back"
    export_hf(back, model, tokenizer)
    state, original = load_file(back / "model.safetensors"), load_file(folder / "model.safetensors")
    assert state.keys() == original.keys()
    assert all(torch.equal(state[key], original[key]) for key in original)
    assert json.loads((back / "config.json").read_text()) == theirs.CONFIG
    reopened = open_checkpoint(back)
    assert reopened[2].fingerprint == report.fingerprint
    (ours,) = our_logits(reopened[:2], [VIDEO])
    torch.testing.assert_close(ours.double(), their_logits(folder, VIDEO), atol=TOLERANCE, rtol=0)
    adapter = "language.model.layers.0.self_attn.q_proj.lora_A.default.weight"
    with pytest.raises(CheckpointError, match=adapter):
        minicpm_v.to_hub({**model.state_dict(), adapter: torch.zeros(2, 2)})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"version": 2.5}, "2.5"),
        ({"version": None}, "None"),
        ({"slice_mode": False}, "slice_mode"),
        ({"vision_config": None}, "vision_config"),
        ({"query_num": 9}, "9 tokens"),
        ({"vision_config": {**theirs.VISION, "patch_size": 10}}, "patches of 10"),
    ],
)
def test_what_is_not_this_model_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], found: str
) -> None:
    with pytest.raises(CheckpointError, match=found) as caught:
        open_checkpoint(copy(folder, tmp_path / "other", **changes))
    assert caught.value.remedy


def test_real_sizes_need_no_preprocessor_file(tmp_path: Path) -> None:
    """The published 2.6 by its config alone."""
    config = {
        **theirs.CONFIG,
        "hidden_size": 3584,
        "query_num": 64,
        "vision_config": {**theirs.VISION, "hidden_size": 1152, "num_hidden_layers": 27},
    }
    blueprint = minicpm_v.blueprint(config, tmp_path)
    assert blueprint.resolution["side"] == 448
    assert blueprint.resolution["max_slices"] == 9
    assert blueprint.scenes["video"]["max_slices"] == 2
    assert blueprint.scenes["video"]["image_id"] is None
    assert blueprint.towers[0]["arch"]["num_hidden_layers"] == 27
    assert blueprint.connector == {"kind": "resampler", "queries": 64}
    assert blueprint.language["model_type"] == "qwen2"
    assert not {"vision_config", "slice_config", "version", "auto_map"} & blueprint.language.keys()


def test_captions_a_folder_of_clips_from_the_published_layout(folder: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    write_mp4(clips / "a.mp4", film(9, 64, 96).numpy(), 3)
    write_mp4(clips / "b.mp4", film(6, 48, 48, seed=1).numpy(), 3)
    out = tmp_path / "captions.jsonl"
    options = ["--model", str(folder), "--out", str(out), "--max-tokens", "8", "--workers", "0"]
    result = CliRunner().invoke(app, ["caption", str(clips), *options])
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["clip"] for row in rows] == ["a.mp4", "b.mp4"]
    assert [row["visual_tokens"] for row in rows] == [
        theirs.placeholders((64, 96), 3),
        theirs.placeholders((48, 48), 2),
    ]
