"""Sources, kinds of media, sizes and several answers in one stage, by real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from stream_tools import Seen
from training_tools import (
    PROMPT,
    GivenBatch,
    assert_equal,
    random_features,
    recipe,
    stage,
    tokenizer,
    trained,
    video_lm,
    write_clips,
)

from vidapt.errors import ConfigError
from vidapt.formats import open_samples
from vidapt.models.packed import Group, pack, spell
from vidapt.nouns import Clip, Sample, Turn
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import Stage
from vidapt.training.data import group_by_clip
from vidapt.training.footage import Footage
from vidapt.video import write_mp4


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def mixed_media(folder: Path, sides: tuple[int, ...] = (16, 24, 32)) -> Path:
    """Stills, films and text alone, in vidapt's rows."""
    folder.mkdir(exist_ok=True)
    rng, rows = np.random.default_rng(1), []
    for number, side in enumerate(sides * 2):
        pixels = rng.integers(0, 255, (6, side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels[0]).save(folder / f"{number}.png")
        write_mp4(folder / f"{number}.mp4", pixels, 6)
        for name in (f"{number}.png", f"{number}.mp4"):
            rows += [{"video": name, "question": f"what is {at}?", "answer": "red"} for at in range(2)]
        rows.append({"media": [], "question": f"how much is {number}?", "answer": str(number)})
    return write_rows(folder / "labels.jsonl", rows)


def kinds_of(step: list[tuple[Any, ...]]) -> set[str]:
    return {Path(media[0]).suffix if media else "text" for media, *_ in step}


@pytest.mark.parametrize("read", ["whole", "rows"])
def test_stills_films_and_text_share_steps_or_stand_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    labels = mixed_media(tmp_path / "clips")
    for media in ("mixed", "apart"):
        seen = Seen(monkeypatch)
        batching = {"clips": 3, "media": media, "blind": 0.0}
        data = [{"path": str(labels), "read": read}]
        trained(recipe(stage(labels, data=data, batching=batching, steps=None, epochs=1.0)), tmp_path / media)
        kinds = [kinds_of(step) for step in seen.steps]
        assert set().union(*kinds) == {".png", ".mp4", "text"}
        assert all(len(one) == 1 for one in kinds) == (media == "apart")
        samples = [sample for step in seen.steps for _, ids, *_ in step for sample in ids]
        assert len(samples) == len(set(samples)) == 30


def test_text_alone_is_learned_row_by_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"media": [], "question": f"how much is {n}?", "answer": str(n)} for n in range(6)]
    labels = write_rows(tmp_path / "labels.jsonl", rows)
    seen = Seen(monkeypatch)
    trained(recipe(stage(labels, batching={"clips": 2}, steps=None, epochs=1.0)), tmp_path)
    assert [len(step) for step in seen.steps] == [2, 2, 2]
    assert all(len(ids) == 1 for step in seen.steps for _, ids, *_ in step)


def test_sources_in_a_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many, few = write_clips(tmp_path / "many", 6, 1), write_clips(tmp_path / "few", 2, 1)
    data = [{"path": str(many)}, {"path": str(few), "weight": 3}]
    learned = []
    for read in ("whole", "rows"):
        seen = Seen(monkeypatch)
        chosen = [{**one, "read": read} for one in data]
        plan = recipe(
            stage(many, data=chosen, mix={"by": "ratio"}, batching={"clips": 4}, steps=None, epochs=2.0)
        )
        weights = trained(plan, tmp_path / read)
        names = [[Path(media[0]).parent.name for media, *_ in step] for step in seen.steps if step]
        assert [one.count("few") for one in names] == [3, 3, 3, 3]
        learned.append(weights)
    assert_equal(*learned)


def test_weights_that_cannot_be_are_refused_where_they_stand(tmp_path: Path) -> None:
    labels = write_clips(tmp_path / "clips", 2, 1)
    with pytest.raises(ValidationError) as caught:
        recipe(stage(labels, data=[{"path": str(labels), "weight": 0}], mix={"by": "weights"}))
    assert caught.value.errors()[0]["loc"] == ("stages", 0, "data", 0, "weight")
    with pytest.raises(ConfigError, match=r"labels.jsonl has a weight, and `mix` goes by size"):
        trained(recipe(stage(labels, data=[{"path": str(labels), "weight": 2}])), tmp_path)
    tiny = [{"path": str(labels)}, {"path": str(labels), "skip": 1, "weight": 1e-6}]
    with pytest.raises(ConfigError, match=r"would ever be visited"):
        trained(recipe(stage(labels, data=tiny, mix={"by": "ratio"})), tmp_path / "b")


def test_low_sizes_come_first_and_frames_become_squares_of_their_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = mixed_media(tmp_path / "clips")
    seen = Seen(monkeypatch)
    sizes = {"groups": [16, 24, 32], "order": "curriculum"}
    plan = recipe(stage(labels, batching={"clips": 2, "sizes": sizes, "blind": 0.0}, steps=None, epochs=2.0))
    trained(plan, tmp_path)
    numbers = [{int(Path(media[0]).stem) % 3 for media, *_ in step if media} for step in seen.steps]
    groups = [one.pop() if one else 0 for one in numbers]
    assert groups == sorted(groups)
    assert set(groups) == {0, 1, 2}


def test_a_group_without_clips_is_refused_by_name(tmp_path: Path) -> None:
    labels = mixed_media(tmp_path / "clips")
    sizes = {"groups": [16, 32, 448]}
    with pytest.raises(ConfigError, match=r"stage a, batching.sizes: no clip is in the group 448 \(16: "):
        trained(recipe(stage(labels, batching={"sizes": sizes})), tmp_path)


def test_what_sizes_cannot_mean_is_refused() -> None:
    for sizes in ({"order": "curriculum"}, {"unify": "group"}, {"groups": [336, 224]}):
        with pytest.raises(ValidationError, match="groups"):
            Stage.model_validate({"name": "a", "steps": 1, "batching": {"sizes": sizes}})


def answers(*texts: str) -> Sample:
    return Sample("s", (Clip("c", Path("c.mp4")),), (Turn("user", "what?"), Turn("assistant", texts[0])),
                  references=texts[1:])  # fmt: skip


def test_n_answers_weigh_as_much_as_one() -> None:
    """The loss is the mean over answers of each one's sum, over the mean of their numbers of labels."""
    model, words = video_lm(), tokenizer()
    features = random_features(3, torch.float32, 0)
    texts = ("red", "it is the red ball", "blue")
    (group,) = group_by_clip([answers(*texts)], PROMPT, words, 99)
    assert [one.weight for one in group.encoded] == [1 / 3] * 3

    def loss_of(encoded: Any) -> Any:
        layout = model.layout(model.plan((24, 32), 3)[0])
        packed = pack([Group(tuple(encoded), (spell(layout, 0, words),))], model.positions)
        return NextToken(NextToken.Config())(model, GivenBatch([features], packed))

    with torch.no_grad():
        together = loss_of(list(group.encoded))
        alone = [loss_of(group_by_clip([answers(text)], PROMPT, words, 99)[0].encoded) for text in texts]
    assert together.weight == pytest.approx(sum(one.weight for one in alone) / 3)
    assert float(together.total) == pytest.approx(float(sum(one.total for one in alone)) / 3, rel=1e-5)
    assert alone[0].weight != alone[1].weight


@pytest.mark.parametrize("read", ["whole", "rows"])
def test_a_row_of_several_answers_trains_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: str
) -> None:
    labels = write_clips(tmp_path / "clips", 2, 1)
    rows = [{"video": "0.mp4", "question": "what?", "answers": ["red", "a red one"]},
            {"video": "1.mp4", "question": "what?", "answer": "blue"}]  # fmt: skip
    write_rows(labels, rows)
    assert next(iter(open_samples(labels))).facts["accept"] == ["red", "a red one"]
    seen = Seen(monkeypatch)
    data = [{"path": str(labels), "read": read}]
    trained(recipe(stage(labels, data=data, steps=1, batching={"clips": 2})), tmp_path)
    (step,) = seen.steps
    assert sorted(len(ids) for _, ids, *_ in step) == [1, 2]


def test_frames_become_squares_of_their_group_before_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = mixed_media(tmp_path / "clips", (16, 32))
    seen: dict[str, set[tuple[int, int]]] = {}
    cut = Footage._cut

    def told(footage: Footage, item: Any, frames: Any) -> Any:
        views = cut(footage, item, frames)
        seen.setdefault(item[0].path.name, set()).add(views.plan.size)
        return views

    monkeypatch.setattr(Footage, "_cut", told)
    for read in ("whole", "rows"):
        for unify, expected in (("group", {(20, 20), (40, 40)}), (24, {(24, 24)})):
            seen.clear()
            batching = {"clips": 4, "sizes": {"groups": [20, 40], "unify": unify}}
            data = [{"path": str(labels), "read": read}]
            plan = recipe(stage(labels, data=data, batching=batching, steps=None, epochs=1.0))
            trained(plan, tmp_path / f"{read}{unify}")
            assert set().union(*seen.values()) == expected
            if unify == "group":
                assert all(
                    size == {(20, 20) if int(name[0]) % 2 == 0 else (40, 40)} for name, size in seen.items()
                )


def test_steps_of_like_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = write_clips(tmp_path / "clips", 8, 1)
    rows = [
        {"video": f"{n}.mp4", "question": "what is it? " * (1 + n % 2), "answer": "red"} for n in range(8)
    ]
    write_rows(labels, rows)
    for read in ("whole", "rows"):
        seen = Seen(monkeypatch)
        data = [{"path": str(labels), "read": read}]
        batching = {"clips": 2, "bucket": "length", "blind": 0.0}
        trained(recipe(stage(labels, data=data, batching=batching, steps=None, epochs=2.0)), tmp_path / read)
        parities = [{int(Path(media[0]).stem) % 2 for media, *_ in step} for step in seen.steps[:8]]
        assert all(len(one) == 1 for one in parities)
        assert len(parities) == 8
