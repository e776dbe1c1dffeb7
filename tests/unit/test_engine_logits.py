"""The engine's logits of an answer are those of what it would read, and say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_tools import tokenizer, video_lm, write_clips

from vidapt.errors import BrokenClip
from vidapt.inference.engine import Engine
from vidapt.models.text import encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.video import decode

QUESTION, ANSWER = "what is it?", "the red ball"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    write_clips(folder, clips=2)
    return folder


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(video_lm(), tokenizer(), "tiny")


@pytest.mark.parametrize("names", [["0.mp4"], ["0.mp4", "1.mp4"]], ids=["one", "two"])
def test_they_are_the_models_where_the_answer_stands(engine: Engine, clips: Path, names: list[str]) -> None:
    paths = [clips / name for name in names]
    ids, logits = engine.logits(paths, QUESTION, ANSWER)
    end = engine.tokenizer(ANSWER + engine.model.blueprint.prompt.end).input_ids
    assert ids.tolist() == end
    assert logits.shape == (len(end), 300)

    media = tuple(Clip(path.stem, path) for path in paths)
    sample = Sample("s", media, (Turn("user", QUESTION), Turn("assistant", ANSWER)))
    encoded = encode(sample, engine.model.blueprint.prompt, engine.tokenizer)
    row = [token for piece in encoded.prefix for token in ([-1] if isinstance(piece, int) else piece)]
    frames = [decode(clip, engine.model.blueprint.frames, size=engine.model.decode_size) for clip in media]
    with torch.no_grad():
        every = engine.model.logits([*row, *encoded.ids], [torch.from_numpy(one.pixels) for one in frames])
    torch.testing.assert_close(logits, every[-len(end) - 1 : -1], atol=1e-5, rtol=0)


def test_the_likeliest_answer_is_what_the_engine_says(engine: Engine, clips: Path) -> None:
    said = engine.ask(clips / "0.mp4", QUESTION, max_new_tokens=1)
    ids, logits = engine.logits(clips / "0.mp4", QUESTION, ANSWER)
    assert engine.tokenizer.decode(logits[0].argmax()).strip() == said
    assert logits.log_softmax(-1).gather(1, ids.unsqueeze(1)).max() < 0


def test_without_a_clip_they_are_the_language_models(engine: Engine, clips: Path) -> None:
    ids, alone = engine.logits([], QUESTION, ANSWER)
    _, seen = engine.logits(clips / "0.mp4", QUESTION, ANSWER)
    assert alone.shape == seen.shape == (len(ids), 300)
    assert (alone - seen).abs().max() > 1e-3


def test_a_broken_clip_is_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    with pytest.raises(BrokenClip):
        engine.logits(tmp_path / "broken.mp4", QUESTION, ANSWER)
