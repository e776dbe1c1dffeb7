"""What a stage learns of labels with unsupported claims: each switch, by hand, through the loss."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from training_tools import (
    PROMPT,
    assert_equal,
    recipe,
    silent,
    stage,
    tokenizer,
    trained,
    video_lm,
    write_clips,
)

from vidapt.claims import Claim, clauses
from vidapt.errors import ConfigError
from vidapt.models.packed import Group, pack, spell
from vidapt.models.text import Encoded, answer_places, encode
from vidapt.nouns import Clip, Sample, Turn
from vidapt.objectives.next_token import Part as NextToken
from vidapt.recipe import DataSource, Unsupported
from vidapt.training.data import group_by_clip, learnable, read_samples, without_clips
from vidapt.training.encodings import Encodings
from vidapt.training.outlook import outlook
from vidapt.training.ready import aligns
from vidapt.training.unsupported import learned, supported_share

TEXT = "the red ball hits the blue one. it is 12 and green. 3 others do not."
VERDICTS = ("supported", "unseen", "contradicted")


def claimed(text: str = TEXT, verdicts: tuple[str, ...] = VERDICTS, turn: int = 1) -> tuple[Claim, ...]:
    """Claims of the clauses of a text, each of whose last word is its value."""
    claims = []
    for (start, end), verdict in zip(clauses(text), verdicts, strict=True):
        word = text[start:end].rstrip(" .").rsplit(" ", 1)[-1]
        at = text.index(word, start)
        claims.append(
            Claim(turn, start, end, text[start:end], "kind", verdict, ((at, at + len(word)),))  # type: ignore[arg-type]
        )
    return tuple(claims)


def row(*said: str, claims: tuple[Claim, ...] = (), **more: Any) -> Sample:
    turns = tuple(Turn("assistant" if at % 2 else "user", text) for at, text in enumerate(said))
    return Sample("a", (Clip("0", Path("c.mp4")),), turns, claims=claims, **more)


WHOLE = row("what is it?", TEXT, claims=claimed())


def act(sample: Sample, what: str, **more: Any) -> Sample | None:
    return learned(sample, Unsupported(act=what, **more))  # type: ignore[arg-type]


def words_learned(sample: Sample) -> str:
    """Letters whose tokens count."""
    ((one, encoded),) = learnable(sample, PROMPT, tokenizer(), 1000, apart=False)
    places = answer_places(one, PROMPT, tokenizer())
    each = encoded.each or (1.0,) * encoded.labels
    assert len(places) == encoded.labels
    text = one.answer
    return "".join(text[a:b] for (turn, a, b), much in zip(places, each, strict=True) if much and turn >= 0)


def test_every_letter_of_an_answer_is_of_a_token_and_its_end_of_none() -> None:
    sample = row("what is it?", TEXT, "and then?", "  It is\n12!")
    places = answer_places(sample, PROMPT, tokenizer())
    for turn in (1, 3):
        text = sample.turns[turn].text
        assert "".join(text[a:b] for of, a, b in places if of == turn) == "".join(text.split(" ")).replace(
            "\n", ""
        )
    blind = answer_places(without_clips(sample), PROMPT, tokenizer())
    assert blind == places
    sighted, unseen = (encode(one, PROMPT, tokenizer()) for one in (sample, without_clips(sample)))
    labels = [[i for i, a in zip(one.ids, one.answer, strict=True) if a] for one in (sighted, unseen)]
    assert labels[0] == labels[1]
    assert len(places) == sighted.labels


@pytest.mark.parametrize(
    ("what", "left"),
    [
        ("keep", TEXT),
        ("mask_values", "the red ball hits the blue one. it is 12 and . 3 others do ."),
        ("mask_claims", "the red ball hits the blue one."),
        ("delete", "the red ball hits the blue one."),
        ("not_visible", "the red ball hits the blue one. that cannot be seen."),
    ],
)
def test_each_switch_learns_what_it_says(what: str, left: str) -> None:
    now = act(WHOLE, what)
    assert now is not None
    assert words_learned(now) == left.replace(" ", "")
    assert (now.answer == TEXT) == (what in ("keep", "mask_values", "mask_claims"))


def test_verdicts_and_shares_decide() -> None:
    now = act(WHOLE, "delete", verdicts=["contradicted"])
    assert now is not None
    assert now.answer == "the red ball hits the blue one. it is 12 and green."
    assert act(WHOLE, "drop") is None
    assert act(WHOLE, "drop", verdicts=["unseen"]) is None
    assert act(row("a", TEXT, claims=claimed(verdicts=("supported",) * 3)), "drop") is not None
    assert supported_share(WHOLE.claims) == pytest.approx(1 / 3)
    assert act(WHOLE, "keep", drop_below=0.34) is None
    assert act(WHOLE, "keep", drop_below=0.33) is WHOLE
    unchecked = row("a", TEXT, claims=claimed(verdicts=("unchecked",) * 3))
    assert act(unchecked, "drop", drop_below=1.0) is unchecked
    assert act(replace(WHOLE, claims=()), "drop", drop_below=1.0) is not None


@pytest.mark.parametrize("what", ["delete", "mask_claims", "drop"])
def test_an_answer_of_which_nothing_is_left_is_not_learned(what: str) -> None:
    lost = row("a?", TEXT, claims=claimed(verdicts=("unseen",) * 3))
    assert act(lost, what) is None
    said = act(lost, "not_visible", sentence="nobody knows.")
    assert said is not None
    assert said.answer == "nobody knows."
    assert said.claims == ()


@pytest.mark.parametrize("what", ["delete", "mask_claims"])
def test_a_lost_answer_of_a_conversation_is_read_and_not_learned(what: str) -> None:
    lost = row("a?", TEXT, "b?", "it is 12.", claims=claimed(verdicts=("unseen",) * 3))
    now = act(lost, what)
    assert now is not None
    assert [turn.text for turn in now.turns] == [turn.text for turn in lost.turns]
    ((one, encoded),) = learnable(now, PROMPT, tokenizer(), 1000, apart=False)
    turns = {
        turn
        for (turn, _, _), much in zip(answer_places(one, PROMPT, tokenizer()), encoded.each, strict=True)
        if much
    }
    assert turns == {3, -1}


def test_accepted_answers_follow_and_references_are_judged_each() -> None:
    sample = row(
        "a?", "it is 12.", references=("it is green.",), facts={"accept": ["it is 12.", "it is green."]}
    )
    first = Claim(1, 0, 9, "it is 12.", "kind", "unseen", ((6, 8),))
    second = Claim(2, 0, 12, "it is green.", "kind", "supported", ((6, 11),))
    now = act(replace(sample, claims=(first, second)), "delete")
    assert now is not None
    assert (now.answer, now.references) == ("it is green.", ())
    assert [claim.turn for claim in now.claims] == [1]
    now = act(replace(sample, claims=(first, second)), "mask_claims")
    assert now is not None
    assert (now.answer, now.references, now.counts) == ("it is green.", (), ())
    flipped = replace(first, verdict="supported"), replace(second, verdict="unseen")
    now = act(replace(sample, claims=flipped), "not_visible", sentence="who knows?")
    assert now is not None
    assert (now.answer, now.references) == ("it is 12.", ("who knows?",))
    assert now.facts["accept"] == ["it is 12.", "who knows?"]


def test_what_is_masked_in_a_further_answer_stays_there_when_one_before_it_is_left_out() -> None:
    gone, kept = "it is all wrong here.", "it is red then it is blue here."
    claims = (
        *claimed(verdicts=("supported",) * 3),
        *claimed(gone, ("contradicted",), turn=2),
        *claimed(kept, ("supported", "unseen"), turn=3),
    )
    now = act(row("what is it?", TEXT, claims=claims, references=(gone, kept)), "mask_claims")
    assert now is not None
    assert now.references == (kept,)
    ((turn, start, end, much),) = now.counts
    assert (turn, kept[start:end].strip(), much) == (2, "then it is blue here.", 0.0)
    assert [claim.turn for claim in now.claims] == [1, 1, 1, 2, 2]


def test_weights_enter_the_loss_exactly_however_it_is_packed() -> None:
    """The mean over a step is that of the labels' losses, each times what it counts, by hand."""
    model, words = video_lm(torch.float64), tokenizer()
    objective = NextToken(NextToken.Config())
    pixels = torch.randint(
        0, 255, (3, 16, 16, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    seen = model.see_each([model.cut(pixels, 1, None)])
    layout = model.layout(seen[0].plan, 1)
    given = [
        act(WHOLE, "weight", weight=0.25),
        act(WHOLE, "mask_values"),
        row("what?", "it is green."),
        act(WHOLE, "mask_claims"),
    ]
    encoded = [
        one
        for sample in given
        if sample is not None
        for _, one in learnable(sample, PROMPT, words, 99, apart=False)
    ]
    assert len(encoded) == len(given)

    def batch(some: list[Encoded]) -> Any:
        packed = pack([Group(tuple(some), (spell(layout, 0, words),))], model.positions)
        return SimpleNamespace(packed=packed, seen=seen)

    together = objective(model, batch(encoded))
    total, weight = torch.zeros((), dtype=torch.float64), 0.0
    for one in encoded:
        alone = batch([replace(one, each=())])
        logits = model(alone.packed, model.visual(alone.seen))
        each = F.cross_entropy(logits, alone.packed.labels, reduction="none")
        counts = torch.tensor(one.each or (1.0,) * one.labels, dtype=torch.float64)
        total, weight = total + (each * counts).sum(), weight + float(counts.sum())
    torch.testing.assert_close(together.total, total, rtol=1e-9, atol=1e-9)
    assert together.weight == pytest.approx(weight, rel=1e-6)
    apart = [objective(model, batch([one])) for one in encoded]
    assert sum(one.weight for one in apart) == pytest.approx(together.weight, rel=1e-6)
    plain = objective(model, batch([replace(one, each=()) for one in encoded]))
    assert not torch.allclose(plain.total, together.total, rtol=1e-3)


def test_ids_kept_small_keep_what_each_counts() -> None:
    now = act(WHOLE, "weight", weight=0.3)
    assert now is not None
    ((_, encoded),) = learnable(now, PROMPT, tokenizer(), 99, apart=False)
    kept = Encodings(encoded.prefix, encoded.early)
    kept.append(replace(encoded, each=()))
    kept.append(encoded)
    assert list(kept) == [replace(encoded, each=()), encoded]
    with pytest.raises(ValueError, match="2 weights for"):
        replace(encoded, each=(1.0, 1.0))


def test_an_answer_no_token_of_which_counts_is_not_learned() -> None:
    silent_row = row("a?", "12", counts=((1, 0, 2, 0.0),))
    bare = PROMPT.model_copy(update={"end": ""})
    assert list(learnable(silent_row, bare, tokenizer(), 99, apart=False)) == []
    assert len(group_by_clip([silent_row, row("b?", "3")], bare, tokenizer(), 99)) == 1


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Clips with three questions each; the answer to one in three is unseen."""
    file = write_clips(tmp_path / "data", clips=4)
    rows = []
    for number, line in enumerate(file.read_text().splitlines()):
        plain = json.loads(line)
        verdict = ("unseen", "supported", "unchecked")[number % 3]
        claim = Claim(1, 0, len(plain["answer"]), plain["answer"], "it", verdict)  # type: ignore[arg-type]
        rows.append(json.dumps({**plain, "claims": [claim.to_dict()]}) + "\n")
    file.write_text("".join(rows))
    return file


def test_a_source_does_as_its_recipe_says(labels: Path) -> None:
    def count(**how: Any) -> int:
        return len(read_samples([DataSource.model_validate({"path": labels, **how})]))

    assert count() == 12
    assert count(unsupported="drop") == 8
    assert count(unsupported="mask_claims") == 8
    assert count(unsupported={"act": "not_visible", "sentence": "no."}) == 12
    assert count(unsupported={"drop_below": 0.5}) == 8
    assert count(unsupported="drop", limit=1) == 2


@pytest.mark.parametrize("how", ["mask_claims", "delete", {"act": "weight", "weight": 0.5}])
def test_streamed_rows_are_learned_as_whole_ones(labels: Path, tmp_path: Path, how: Any) -> None:
    def run(read: str) -> dict[str, torch.Tensor]:
        source = {"path": str(labels), "read": read, "unsupported": how}
        return trained(recipe(stage(labels, data=[source], steps=4)), tmp_path / read)

    whole, rows = run("whole"), run("rows")
    assert_equal(rows, whole)
    plain = trained(recipe(stage(labels, steps=4)), tmp_path / "plain")
    assert any(not torch.equal(plain[name], whole[name]) for name in plain)
    told = tmp_path / "rows" / "run" / "quarantine.jsonl"
    assert told.exists() == isinstance(how, str)
    if isinstance(how, str):
        assert "is left out by `unsupported`" in told.read_text()


def test_portions_of_a_step_learn_what_the_whole_does(labels: Path, tmp_path: Path) -> None:
    def run(name: str, at_once: int | None) -> dict[str, torch.Tensor]:
        source = {"path": str(labels), "unsupported": {"act": "weight", "weight": 0.3}}
        batching = {"clips": 4, "at_once": at_once}
        return trained(recipe(stage(labels, data=[source], steps=2, batching=batching)), tmp_path / name)

    whole, parts = run("whole", None), run("parts", 1)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, rtol=2e-3, atol=2e-3)


def test_a_plan_counts_what_is_learned(labels: Path) -> None:
    def samples(how: Any) -> int:
        source = {"path": str(labels), "unsupported": how}
        (data,) = outlook(recipe(stage(labels, data=[source])), silent).data.values()
        return data.samples

    assert samples("keep") == 12
    assert samples("delete") == samples("drop") == samples("mask_claims") == 8


def test_alignment_has_no_tokens_to_weigh(labels: Path) -> None:
    source = {"path": str(labels), "unsupported": "mask_values"}
    plan = recipe(stage(labels, data=[source], objective={"kind": "align", "terms": [{"kind": "margin"}]}))
    plan = plan.model_copy(update={"blueprint": None, "start": "x"})
    with pytest.raises(ConfigError, match="weighs tokens"):
        aligns(plan)


def test_labels_without_claims_are_refused_where_something_is_asked_of_them(
    labels: Path, tmp_path: Path
) -> None:
    bare = write_clips(tmp_path / "bare", clips=1)
    with pytest.raises(ConfigError, match=r"has no column `claims`(.|\n)*vidapt evidence"):
        read_samples([DataSource.model_validate({"path": bare, "unsupported": "delete"})])


@pytest.mark.parametrize(
    "how",
    [
        {"act": "delete", "weight": 0.5},
        {"sentence": "no idea."},
        {"act": "weight", "weight": 0.0},
        {"act": "weight", "weight": 1.0},
        {"act": "not_visible", "sentence": "..."},
        {"verdicts": []},
        {"verdicts": ["supported"]},
        {"drop_below": 1.1},
        {"act": "forget"},
    ],
)
def test_switches_that_mean_nothing_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DataSource.model_validate({"path": "a", "unsupported": how})
