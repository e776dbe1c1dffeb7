"""Fact probes on tokens in which it is known what stands where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from vidapt.curation.folds import folds
from vidapt.nouns import Clip, Grid, Plan, Sample, Seen, Tokens, Turn, View
from vidapt.nouns import Features as Seeing
from vidapt.probing import attentive, linear
from vidapt.probing.facts import Example, Fact, question_facts
from vidapt.probing.held_out import Ways, chosen, majority
from vidapt.probing.numbers import Known, gain, known
from vidapt.probing.order import Order, fewer
from vidapt.probing.pooled import Row, rows_of
from vidapt.probing.probes import Probed, probe
from vidapt.probing.verdicts import verdict

COUNT, TOKENS, WIDTH = 120, 12, 8
PLACES = ("tower", "connector")


def noise(seed: int) -> torch.Tensor:
    return torch.randn(COUNT, TOKENS, WIDTH, generator=torch.Generator().manual_seed(seed))


def rows(x: torch.Tensor) -> list[Row]:
    at = torch.linspace(0, 1, TOKENS)[:, None].expand(TOKENS, 3)
    return [Row(one, at) for one in x]


def a_fact(answers: Sequence[str]) -> Fact:
    examples = (
        Example(f"{n}", Clip(f"{n}", Path(f"{n}.mp4")), "which?", answer, (answer,))
        for n, answer in enumerate(answers)
    )
    return Fact("which", "", "question", tuple(examples))


LABELS = [n // 2 % 3 for n in range(COUNT)]
"""Two clips of each source, with one answer."""
FACT = a_fact([f"answer {label}" for label in LABELS])
SOURCES = [n // 2 for n in range(COUNT)]


def everywhere(strength: float) -> torch.Tensor:
    """A third of the channels says which answer, in every token."""
    x = noise(0)
    for n, label in enumerate(LABELS):
        x[n, :, label] += strength
    return x


def in_one_token() -> torch.Tensor:
    """A token, another one in each clip, bears a mark, and says which answer; all others say others."""
    x = noise(1)
    draws = np.random.default_rng(0)
    for n, label in enumerate(LABELS):
        for token in range(TOKENS):
            x[n, token, draws.integers(3)] += 3
        token = int(draws.integers(TOKENS))
        x[n, token, :4] = 0
        x[n, token, label], x[n, token, 3] = 3.0, 6.0
    return x


@pytest.fixture(scope="module")
def found() -> Probed:
    seen = {"tower": rows(everywhere(1.0)), "connector": rows(noise(2)), "marked": rows(in_one_token())}
    return probe(FACT, SOURCES, folds(SOURCES, 4), seen.__getitem__, list(seen))


def of(found: Probed, place: str, name: str = "chosen") -> Known:
    return known(found.places[place][name], found.common, found.sources)


def test_what_stands_in_one_place_is_found_there_and_only_there(found: Probed) -> None:
    assert of(found, "tower", "linear").value > 0.8
    assert of(found, "tower", "attentive").value > 0.8
    assert of(found, "tower").accuracy.low > 0.8
    absent = of(found, "connector")
    assert absent.visibility is not None
    assert absent.visibility.low < 0.1
    assert absent.value < 0.2
    assert FACT.is_taught
    assert _judged(found, "tower", "connector") == "lost"
    assert _judged(found, "connector", "connector") == "unseen"
    assert _judged(found, "tower", "tower") == "held"


def _judged(found: Probed, tower: str, connector: str, **own: object) -> str:
    control = of(found, tower, "shuffled")
    more = {"own": None, "ahead": None, "taught": True, **own}
    return verdict(of(found, tower), of(found, connector), control, **more)  # type: ignore[arg-type]


def test_shuffled_labels_are_not_predicted(found: Probed) -> None:
    for place in found.places:
        control = of(found, place, "shuffled")
        assert abs(control.value) < 0.25, place
        assert control.visibility is not None
        assert control.visibility.low < 0.1


def test_a_query_finds_the_token_that_means_do_not_show(found: Probed) -> None:
    assert of(found, "marked", "attentive").value > 0.8
    assert of(found, "marked", "linear").value < 0.6
    assert of(found, "marked").value > 0.8, "what answers better inside is what is chosen"


def test_answers_of_the_model_decide_between_ignoring_and_telling(found: Probed) -> None:
    sources, common = found.sources, found.common
    best = found.places["tower"]["chosen"]
    for right, told in ((np.ones(COUNT, bool), "told"), (common, "ignored")):
        own = known(right, common, sources)
        assert _judged(found, "tower", "tower", own=own, ahead=gain(right, best, sources)) == told
    # What the model answers is there, whatever probes say.
    right = np.ones(COUNT, bool)
    own = known(right, common, sources)
    none = found.places["connector"]["chosen"]
    ahead = gain(right, none, sources)
    assert _judged(found, "connector", "connector", own=own, ahead=ahead) == "told"
    assert _judged(found, "connector", "connector", taught=False) == "unsure"


def test_no_fold_is_answered_by_what_saw_it() -> None:
    fold = torch.tensor(folds(SOURCES, 5))
    ways = Ways.of(fold)
    assert len(ways.learned) == 5 + 10
    for left, row in ways.without.items():
        assert set(fold[ways.learned[row]].tolist()) == set(range(5)) - left
    by_source = {
        source: {int(f) for f, s in zip(fold, SOURCES, strict=True) if s == source} for source in SOURCES
    }
    assert all(len(folds_of) == 1 for folds_of in by_source.values())
    target = torch.tensor(LABELS)
    # A choice that is right wherever it learned from is worth nothing to one that is right elsewhere.
    cheat = torch.where(ways.learned, target, (target + 1) % 3)
    honest = torch.where(torch.arange(COUNT) % 4 == 0, (target + 1) % 3, target).expand_as(cheat)
    said = chosen(torch.stack((cheat, honest)), target, ways)
    assert torch.equal(said, honest[0])
    with pytest.raises(ValueError, match="2 folds"):
        Ways.of(torch.tensor([0, 1, 0, 1]))
    # Two answers that are equally common are not less than chance, however the folds fall.
    coin = torch.arange(COUNT) % 2
    assert (majority(coin) == coin).float().mean() == 0.5


def test_ridge_in_the_space_of_examples_is_ridge() -> None:
    x = noise(3)[:, 0].double()
    target = torch.tensor(LABELS)
    learned = torch.ones(1, COUNT, dtype=torch.bool)
    learned[0, ::3] = False
    found = linear.predictions(x, target[None], learned)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    mask = learned[0]
    centre = x[mask].mean(0)
    wanted = torch.nn.functional.one_hot(target).double()
    mean = wanted[mask].mean(0)
    a = x[mask] - centre
    # The mean square of an example is over examples in one form, over channels in the other.
    scale = (a @ a.T).diagonal().mean()
    for number, weight in enumerate(linear.WEIGHTS):
        eye = torch.eye(WIDTH, dtype=torch.float64)
        solved = torch.linalg.solve(a.T @ a + weight * scale * eye, a.T @ (wanted[mask] - mean))
        assert torch.equal(found[number, 0, 0], ((x - centre) @ solved + mean).argmax(-1))


def test_many_tokens_are_averaged_and_keep_their_places() -> None:
    x = torch.arange(4 * 6 * 6, dtype=torch.float32).reshape(1, 4, 6, 6, 1)
    seen = Seen((Seeing(x, torch.full((1, 2, 1), -5.0)),), Plan(4, (View((6, 6)),), (6, 6)))
    read = [Tokens(torch.arange(6.0).reshape(1, 6, 1), Grid(1, 2, 2), extra=2), "text"]
    found = rows_of(seen, read, 1, 40)
    tower = found["tower"]
    assert len(tower.x) <= 40
    assert tower.x[-2:].flatten().tolist() == [-5.0, -5.0]
    assert (tower.at[-2:] == -1).all()
    inside = tower.x[:-2].flatten()
    assert inside.mean() == x.mean()
    assert torch.equal(inside, inside.sort().values), "reading order stays"
    assert found["connector"].x.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    whole = rows_of(seen, read, 1, 400)["tower"]
    assert torch.equal(whole.x[:-2].flatten(), x.flatten())


def test_clips_of_different_lengths_are_padded_with_what_no_query_sees() -> None:
    x = everywhere(2.0)
    some = [Row(one[: TOKENS - n % 5], torch.zeros(TOKENS - n % 5, 3)) for n, one in enumerate(x)]
    padded, there = attentive.padded(some)
    assert there.sum(1).tolist() == [TOKENS - n % 5 for n in range(COUNT)]
    targets, learned = torch.tensor(LABELS)[None], Ways.of(torch.tensor(folds(SOURCES, 3))).learned[:1]
    spoilt = torch.where(there[..., None], padded, torch.full_like(padded, 50.0))
    assert torch.equal(
        attentive.predictions(padded, there, targets, learned),
        attentive.predictions(spoilt, there, targets, learned),
    )


def test_many_channels_are_turned_to_their_principal_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attentive, "CHANNELS", 4)
    wide = torch.cat((noise(4) * 0.01, everywhere(2.0)[..., :3] * 5), dim=-1)
    x, _ = attentive.padded([Row(row.x.half(), row.at) for row in rows(wide)])
    assert x.shape == (COUNT, TOKENS, 4 + 6)
    ways = Ways.of(torch.tensor(folds(SOURCES, 3)))
    target = torch.tensor(LABELS)
    said = attentive.predictions(x, torch.ones(COUNT, TOKENS, dtype=torch.bool), target[None], ways.learned)
    assert (chosen(said[:, 0], target, ways) == target).float().mean() > 0.9


def test_of_very_many_examples_whole_sources_are_drawn() -> None:
    clips = [one.clip for one in FACT.examples]
    order = Order(dict(zip(clips, SOURCES, strict=True)), dict.fromkeys(clips, 0), "each file")
    assert fewer(FACT, order, COUNT) is FACT
    some = fewer(FACT, order, 20)
    assert len(some.examples) == 20
    drawn = {order.source[one.clip] for one in some.examples}
    assert len(drawn) == 10, "both clips of a source, or none"
    assert drawn != set(range(10)), "not the first ones"
    assert fewer(FACT, order, 20) == some


FIRST = ("which ball did the white ball hit first?", "which coloured ball does the white ball hit first?")


def asked(name: str, question: str, answer: str, **facts: object) -> Sample:
    clip = Clip(name, Path(f"{name}.mp4"))
    return Sample(
        f"{name}/{question}", (clip,), (Turn("user", question), Turn("assistant", answer)), facts=facts
    )


def test_what_asks_for_the_same_is_one_fact_and_what_does_not_is_not() -> None:
    samples = []
    for n in range(9):
        name, answer = f"{n}", ("yes", "no")[n % 2]
        samples += [
            asked(name, ("how many balls are there?", "count the balls.")[n % 2], str(n % 3), type="count"),
            asked(name, "is the red ball on the table?", answer, type="exists"),
            asked(name, "is the blue ball on the table?", ("no", "yes")[n % 2], type="exists"),
            asked(name, "does the white ball hit red?", answer, type="true"),
            asked(name, "has somebody left the room?", ("no", "yes")[n % 2], type="true"),
            asked(name, "describe the video.", "a long text about what is to be seen in it.", type="caption"),
            asked(name, f"is statement {n} true?", answer, type="rare"),
            asked(name, FIRST[n % 2], ("red", "blue", "green")[n % 3], type="first"),
        ]
    found = {fact.name: len(fact.examples) for fact in question_facts(samples)}
    assert found.pop("first") == 9, "words that ask for nothing else are no slot"
    assert found.pop("count") == 9, "paraphrases that come often stand together"
    for colour in ("red", "blue"):
        assert found.pop(f"exists: is the {colour} ball on the table") == 9, "a slot asks of another thing"
    assert (
        found.pop("true: does the white ball hit red"),
        found.pop("true: has somebody left the room"),
    ) == (9, 9)
    assert set(found.values()) == {1}, "what is asked once stands for itself"
    assert all(name.startswith("rare: ") for name in found)
    counts = next(fact for fact in question_facts(samples) if fact.name == "count")
    assert [one.answer for one in counts.examples] == [str(n % 3) for n in range(9)]
    assert counts.others == 6
    assert not counts.is_taught
