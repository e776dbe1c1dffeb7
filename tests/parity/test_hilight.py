"""Our HiLight against its equations, written plainly in float64, from files in the authors' layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parity_tools as tools
import pytest
import torch
import two_tower_tools as two
from hilight_tools import (
    FRAMES,
    ROWS,
    STILL,
    VIDEO,
    WORDS,
    Original,
    authors,
    gemma,
)
from letters import Letters
from torch import Tensor

from vidapt.hub import open_checkpoint
from vidapt.models.text import encode
from vidapt.models.video_lm import VideoLM
from vidapt.nouns import Clip, Features, Grid, Sample, Turn
from vidapt.recipe import Blueprint, Prompt
from vidapt.video.choose import choose
from vidapt.video.probe import Probe


@pytest.fixture(scope="module")
def original() -> Original:
    return Original()


@pytest.fixture(scope="module")
def sound(original: Original, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return original.write(tmp_path_factory.mktemp("hilight"))


@pytest.fixture(scope="module")
def model(sound: Path) -> VideoLM:
    opened, _, _ = open_checkpoint(sound)
    return opened


def view_of(model: VideoLM, film: Tensor) -> Tensor:
    first, second = model.cut(film).tensors
    assert torch.equal(first, second)
    return first[0]


def worst(model: VideoLM, original: Original, rows: list[list[Tensor]], **how: Any) -> float:
    def tokens(film: Tensor, together: int) -> Tensor:
        del together
        return original.tokens(view_of(model, film), **how)

    return two.compare(model, original.language64, rows, tokens)


ROWS_OF_CLIPS = {
    "image": [[STILL]],
    "video": [[VIDEO]],
    "as many frames as the table": [[tools.film(FRAMES, 20, 20)]],
    "several images": [[STILL, tools.film(1, 30, 80, seed=1)]],
    "several clips": [[VIDEO, tools.film(3, 33, 44, seed=1), STILL]],
    "mixed batch": [[VIDEO], [STILL, tools.film(2, 20, 30, seed=2)], [tools.film(4, 28, 28, seed=3)]],
}


@pytest.mark.parametrize("rows", ROWS_OF_CLIPS.values(), ids=ROWS_OF_CLIPS.keys())
def test_logits_equal_the_equations(model: VideoLM, original: Original, rows: list[list[Tensor]]) -> None:
    assert worst(model, original, rows) < tools.TOLERANCE


@pytest.mark.parametrize("variant", ["v1", "v2"])
def test_earlier_variants_are_told_by_their_layers(tmp_path: Path, variant: str) -> None:
    original = Original(variant)
    model, _, _ = open_checkpoint(original.write(tmp_path))
    assert model.blueprint.connector["variant"] == variant
    assert worst(model, original, [[VIDEO], [STILL]]) < tools.TOLERANCE


def connector(**change: Any) -> Callable[[Blueprint], Blueprint]:
    return lambda plan: plan.model_copy(update={"connector": {**plan.connector, **change}})


def test_the_transposed_expansion_can_be_asked_for(sound: Path, original: Original) -> None:
    model, _, _ = open_checkpoint(sound, edit=connector(variant="transposed"))
    assert worst(model, original, [[VIDEO]], variant="transposed") < tools.TOLERANCE


@pytest.mark.parametrize("mistake", [{"variant": "transposed"}, {"like_words": False}])
def test_a_mistake_in_the_connector_breaks_the_match(
    sound: Path, original: Original, mistake: dict[str, Any]
) -> None:
    model, _, _ = open_checkpoint(sound, edit=connector(**mistake))
    assert worst(model, original, [[VIDEO]]) > 100 * tools.TOLERANCE


def test_dropped_proxies_break_the_match(
    model: VideoLM, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = model.see

    def blind(views: Tensor, tower: int = 0) -> Features:
        return Features(see(views, tower).x)

    assert worst(model, original, [[VIDEO]], proxies=False) > 100 * tools.TOLERANCE
    monkeypatch.setattr(model, "see", blind)
    assert worst(model, original, [[VIDEO]]) > 100 * tools.TOLERANCE
    assert worst(model, original, [[VIDEO]], proxies=False) < tools.TOLERANCE


@torch.no_grad()
def test_gemma_scales_words_and_not_what_stands_in_their_place(original: Original) -> None:
    language, ids = original.language64, torch.tensor([3, 9, 27])
    table = language.model.embed_tokens.weight
    torch.testing.assert_close(
        language.get_input_embeddings()(ids), table[ids] * WORDS**0.5, atol=1e-6, rtol=0
    )
    by_id = language(input_ids=ids[None]).logits
    scaled, plain = (language(inputs_embeds=table[ids][None] * s).logits for s in (WORDS**0.5, 1.0))
    torch.testing.assert_close(scaled, by_id, atol=1e-5, rtol=0)
    assert (plain - by_id).abs().max() > 0.1


def test_the_exact_gelu_of_the_trained_version_is_kept(model: VideoLM, original: Original) -> None:
    other = gemma("gelu_pytorch_tanh").double()
    other.load_state_dict(original.language.state_dict())

    def tokens(film: Tensor, together: int) -> Tensor:
        del together
        return original.tokens(view_of(model, film))

    assert model.language.config.hidden_act == "gelu_python"
    assert two.compare(model, other, [[VIDEO]], tokens) > 5 * tools.TOLERANCE


def test_greedy_answers_of_a_mixed_batch_equal_transformers(model: VideoLM, original: Original) -> None:
    clips = [VIDEO, STILL, tools.film(3, 40, 30, seed=5)]
    theirs = [two.their_answer(original.language64, original.tokens(view_of(model, c))) for c in clips]
    assert two.our_answers(model, clips) == theirs
    assert len(theirs[0]) == 32
    assert len(set(theirs)) > 1


def test_twelve_frames_become_twelve_times_the_rows(model: VideoLM) -> None:
    plan, layout = model.plan((90, 160), 12)
    assert [view.tower for view in plan.views] == [0, 1]
    assert layout == ((Grid(12, 1, ROWS), 0),)


@pytest.mark.parametrize("count", [1, 2, 11, 12, 13, 30, 89, 90, 251])
def test_frames_are_the_truncated_even_choice(model: VideoLM, count: int) -> None:
    rate = 25.0
    known = Probe(Path("x.mp4"), "video", count / rate, rate, 9, 9, 0, "h264", count, estimated=False)
    times = choose(model.blueprint.frames, known)
    assert not isinstance(times, str)
    shown = [min(count - 1, int(time * rate + 1e-6)) for time in times]
    assert shown == np.linspace(0, count - 1, 12).astype(int).tolist()


def test_the_prompt_is_the_authors(model: VideoLM) -> None:
    prompt = model.blueprint.prompt
    user = prompt.user.replace("{text}", prompt.media.replace("{media}", "<video>") + "Q")
    text = prompt.start + user + prompt.opening + prompt.answer.replace("{text}", "A") + prompt.end
    turn = "<start_of_turn>user\n<video>\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<eos>"
    assert text == f"<bos>{turn}"


def read_of(prompt: Prompt, *said: str, clips: int = 1) -> str:
    """What a model reads of a conversation, with `<video>` for a clip's tokens."""
    roles: tuple[Any, ...] = ("user", "assistant")
    turns = tuple(Turn(roles[index % 2], text) for index, text in enumerate(said))
    media = tuple(Clip(str(index), Path("c.mp4")) for index in range(clips))
    encoded = encode(Sample("1", media, turns), prompt, Letters())
    prefix = ["<video>" if isinstance(p, int) else "".join(map(chr, p)) for p in encoded.prefix]
    return "".join(prefix) + "".join(map(chr, encoded.ids))


CONVERSATIONS = {
    "behind": ("Which ball was pocketed?\n<video>", "The red one."),
    "in front": ("<video>\nWhich ball?", "The red one."),
    "in front, close": ("<video>Which ball?", "The red one."),
    "in the middle": ("In <video> which ball?  ", "The red one."),
    "in a later turn": ("Hello.", "Hi.", "What is it? <video>", "A ball."),
}


@pytest.mark.parametrize("said", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_a_clip_is_read_in_front_of_its_turn_as_the_authors_move_it(
    model: VideoLM, said: tuple[str, ...]
) -> None:
    assert read_of(model.blueprint.prompt, *said) == authors(*said)


def test_elsewhere_a_clip_is_read_where_its_mark_stands(model: VideoLM) -> None:
    own = model.blueprint.prompt.model_copy(update={"compat": None})
    said = CONVERSATIONS["behind"]
    assert "pocketed?\n<video>" in read_of(own, *said)
    assert read_of(own, *said) != authors(*said)


def test_several_clips_of_a_turn_keep_their_order_and_none_is_lost(model: VideoLM) -> None:
    read = read_of(model.blueprint.prompt, "What is in <video> and not in <video>?", "It.", clips=2)
    assert "user\n<video>\n<video>\nWhat is in  and not in ?<end_of_turn>" in read
