"""Evidence is the difference of two plain readings, however answers are packed, killed or gone on with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from evidence_tools import folder_of, labels_in, model_in, rows_of, score, write_rows
from torch import Tensor

from vidapt.claims import Claim
from vidapt.errors import CheckpointError, ConfigError
from vidapt.evidence import scoring
from vidapt.evidence.ask import located
from vidapt.evidence.likelihoods import Likelihoods
from vidapt.evidence.scores import Score
from vidapt.evidence.settings import Settings
from vidapt.evidence.values import Values
from vidapt.evidence.verdicts import Thresholds, denied, unseen_types, verdict
from vidapt.formats import open_samples
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.inference.watch import SeenClip
from vidapt.labelling.lexicon import read_lexicon
from vidapt.models.text import answer_places, encode
from vidapt.nouns import Clip, Sample
from vidapt.training.data import without_clips
from vidapt.video import decode


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("world")
    return labels_in(folder / "data"), model_in(folder / "model")


def plainly(engine: Engine, sample: Sample) -> Tensor:
    """[labels] log-probabilities of one conversation, read alone from its first token to its last."""
    encoded = encode(sample, engine.model.blueprint.prompt, engine.tokenizer)
    early = [piece for at in encoded.early for piece in encoded.prefix[at]]  # type: ignore[union-attr]
    labels = early + [token for token, answer in zip(encoded.ids, encoded.answer, strict=True) if answer]
    return every(engine, sample).gather(1, torch.tensor(labels)[:, None])[:, 0]


def every(engine: Engine, sample: Sample) -> Tensor:
    """[labels, vocabulary] log-probabilities in the place of each label."""
    model = engine.model
    encoded = encode(sample, model.blueprint.prompt, engine.tokenizer)
    ids: list[int] = []
    answered: list[bool] = []
    for piece in encoded.prefix:
        ids += [-1] if isinstance(piece, int) else piece
        answered += [False] * (1 if isinstance(piece, int) else len(piece))
    ids += encoded.ids
    answered += encoded.answer
    frames = [decode(clip, model.blueprint.frames, size=model.decode_size) for clip in sample.media]
    pixels = [torch.from_numpy(one.pixels) for one in frames]
    with torch.inference_mode():
        logits = model.logits(ids, pixels, engine.tokenizer, [one.moments for one in frames])
    logs = logits.double().log_softmax(-1)
    behind = len(ids) - 1 - max((at for at, one in enumerate(ids) if one < 0), default=-1)
    first = len(ids) - behind
    places = [at for at in range(len(ids)) if answered[at]]
    return torch.stack([logs[len(logits) - behind + (at - first) - 1] for at in places])


def test_evidence_is_the_difference_of_two_plain_readings(world: tuple[Path, Path], tmp_path: Path) -> None:
    labels, folder = world
    score(labels, tmp_path / "out.jsonl", folder)
    engine = load(folder)
    samples = {one.id: one for one in open_samples(labels)}
    seen = 0
    for row in rows_of(tmp_path / "out.evidence.jsonl"):
        sample = samples[row["id"]]
        further = len(sample.turns)
        places = answer_places(sample, engine.model.blueprint.prompt, engine.tokenizer)
        with_clip, without = plainly(engine, sample), plainly(engine, without_clips(sample))
        for claim in row["claims"]:
            if claim["turn"] >= further or "evidence" not in claim:
                continue
            chosen = [
                at
                for at, (turn, a, b) in enumerate(places)
                if turn == claim["turn"] and any(a < end and start < b for start, end in claim["values"])
            ]
            expected = float((with_clip - without)[chosen].sum())
            assert claim["evidence"] == pytest.approx(expected, abs=1e-4)
            assert claim["seen"] == pytest.approx(float(with_clip[chosen].sum()), abs=1e-4)
            assert claim["mean"] == pytest.approx(expected / len(chosen), abs=1e-4)
            seen += 1
    assert seen >= 20


def test_tokens_packed_together_are_those_read_alone(world: tuple[Path, Path]) -> None:
    """To 1e-5 of each token, clips and answers of several lengths in one batch."""
    labels, folder = world
    engine = load(folder)
    samples = [one for one in open_samples(labels) if one.media][:8]
    likelihoods = Likelihoods(engine)
    clips = list(dict.fromkeys(one.media[0] for one in samples))
    seen = [one for one in engine.watch(clips, workers=0)]
    rows = [[one for one in samples if one.media[0] == clip] for clip in clips]
    together = likelihoods.with_clips(seen, rows)  # type: ignore[arg-type]
    flat = [one for some in together for one in some]
    order = [one for some in rows for one in some]
    blind = likelihoods.without(order, [one.ids for one in flat])
    assert max(map(len, rows)) > 1 < len(rows)
    for some, logs in zip(rows, together, strict=True):
        for sample, one in zip(some, logs, strict=True):
            torch.testing.assert_close(one.own, plainly(engine, sample), rtol=0, atol=1e-5)
            best = every(engine, sample)
            torch.testing.assert_close(one.rival, best.gather(1, one.ids[:, None])[:, 0], rtol=0, atol=1e-5)
            assert (one.rival >= best.max(1).values - 1e-5).logical_or(one.own > one.rival).all()
    for sample, one in zip(order, blind, strict=True):
        logs = every(engine, without_clips(sample))
        torch.testing.assert_close(one.own, plainly(engine, without_clips(sample)), rtol=0, atol=1e-5)
        torch.testing.assert_close(one.rival, logs.gather(1, one.ids[:, None])[:, 0], rtol=0, atol=1e-5)


def test_what_is_written_is_read_by_training_and_says_where_it_comes_from(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    labels, folder = world
    found = score(labels, tmp_path / "out.jsonl", folder)
    again = {one.id: one for one in open_samples(tmp_path / "out.jsonl")}
    before = {one.id: one for one in open_samples(labels)}
    assert again.keys() == before.keys()
    assert all(again[name].turns == before[name].turns for name in before)
    rows = {row["id"]: row for row in rows_of(tmp_path / "out.evidence.jsonl")}
    fingerprint = load(folder).fingerprint
    for name, sample in again.items():
        assert bool(sample.claims) == bool(sample.media)
        if sample.media:
            assert [one.to_dict() for one in sample.claims] == rows[name]["claims"]
            assert rows[name]["model"] == fingerprint
            for turn in {one.turn for one in sample.claims if one.turn < len(sample.turns)}:
                own = [one for one in sample.claims if one.turn == turn]
                assert "".join(one.text for one in own) == sample.turns[turn].text
    assert found.total.claims == sum(len(row["claims"]) for row in rows.values())
    assert (found.scored, found.passed_over, found.clips) == (16, 1, 5)
    assert {one.turn for one in again["labels:16"].claims} == {1, 3, 4}


class KilledError(Exception):
    """In place of a kill."""


@pytest.mark.parametrize("calibrate", [None, "other"])
def test_a_killed_job_goes_on_and_scores_nothing_twice(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibrate: str | None
) -> None:
    labels, folder = world
    how: dict[str, Any] = {"batch": 2, "settings": {"calibrate": calibrate, "least": 10}}
    score(labels, tmp_path / "whole.jsonl", folder, **how)
    real, calls = scoring.Scorer._portion, [0]

    def dying(self: Any, *args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise KilledError
        return real(self, *args)

    monkeypatch.setattr(scoring.Scorer, "_portion", dying)
    with pytest.raises(KilledError):
        score(labels, tmp_path / "part.jsonl", folder, **how)
    assert not (tmp_path / "part.jsonl").exists()
    with (tmp_path / "part.scores.jsonl").open("a") as kept:
        kept.write('{"key": "half a li')
    score(labels, tmp_path / "part.jsonl", folder, **how)
    assert calls[0] == 4  # of three portions: one before, the one that died, two after
    whole, part = folder_of(tmp_path / "whole.jsonl"), folder_of(tmp_path / "part.jsonl")
    assert [name.replace("part", "whole") for name in part] == list(whole)
    assert [one.replace(b"part.", b"whole.") for one in part.values()] == list(whole.values())
    score(
        labels, tmp_path / "part.jsonl", folder, **{**how, "settings": {**how["settings"], "supported": 3.0}}
    )
    assert calls[0] == 4


def test_clips_that_cannot_be_used_are_told_and_the_others_scored(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    _, folder = world
    labels = labels_in(tmp_path / "data")
    (tmp_path / "data" / "1.mp4").unlink()
    (tmp_path / "data" / "2.mp4").write_bytes(b"no film")
    rows = rows_of(labels)
    write_rows(labels, [*rows, {"video": "0.mp4", "question": "q?"}])
    found = score(labels, tmp_path / "out.jsonl", folder)
    assert (found.clips, found.broken, found.missing, found.unsound) == (3, 1, 3, 1)
    told = rows_of(tmp_path / "out.quarantine.jsonl")
    assert len(told) == 7
    assert all(row["reason"] and row["source"] for row in told)
    kept = {one.id: one for one in open_samples(tmp_path / "out.jsonl")}
    assert len(kept) == len(rows) - 3
    assert not any(one.claims for one in kept.values() if one.media and one.media[0].path.name == "2.mp4")
    for clip in range(5):
        (tmp_path / "data" / f"{clip}.mp4").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match="nothing can be scored: there is no file"):
        score(labels, tmp_path / "none.jsonl", folder)


def test_a_row_that_cannot_be_written_in_tokens_costs_itself_and_no_more(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    labels = labels_in(tmp_path / "data")
    rows = rows_of(labels)
    marks = load(world[1]).model.blueprint.prompt.end.strip() or "</s>"
    write_rows(labels, [*rows, {"video": "3.mp4", "question": "q?", "answer": f"it is {marks * 1200}"}])
    found = score(labels, tmp_path / "out.jsonl", world[1])
    assert (found.clips, found.broken, found.unread) == (5, 0, 1)
    reasons = {row["reason"] for row in rows_of(tmp_path / "out.quarantine.jsonl")}
    assert len(reasons) == 1
    assert "special tokens" in reasons.pop()


def test_what_cannot_score_is_refused_before_work_begins(world: tuple[Path, Path], tmp_path: Path) -> None:
    labels, folder = world
    with pytest.raises(CheckpointError, match="dual encoder compares clips with texts and writes none"):
        score(labels, tmp_path / "out.jsonl", Path("billiards-clip"))
    with pytest.raises(ConfigError, match="would be written over"):
        score(labels, labels, folder)
    with pytest.raises(ConfigError, match=r"labels go into a NAME.jsonl"):
        score(labels, tmp_path / "out.json", folder)
    with pytest.raises(ConfigError, match="false claims, and 50 are needed"):
        score(labels, tmp_path / "out.jsonl", folder, settings={"calibrate": "falsified"})


def test_thresholds_are_fitted_to_claims_of_other_clips(world: tuple[Path, Path], tmp_path: Path) -> None:
    labels, folder = labels_in(tmp_path / "data", clips=10), world[1]
    how = {"calibrate": "other", "least": 10, "false_alarms": 0.2}
    found = score(labels, tmp_path / "out.jsonl", folder, settings=how)
    lines = rows_of(tmp_path / "out.scores.jsonl")
    scores = [Score(*one[:4]) for line in lines for row in line["claims"] for *_, one in row if one]
    others = [-math.inf if denied(one, Settings()) else one.evidence for one in scores if one.tokens]
    assert found.null == len(others) > 10
    fitted = [one for one in found.types.values() if one.fitted]
    assert fitted
    assert found.total.threshold >= 0.1
    above = sum(one >= found.total.threshold for one in others) / len(others)
    assert above <= 0.2


def test_a_claim_has_to_stand_in_other_models_and_numbers_of_frames(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    labels, folder = world
    found = score(labels, tmp_path / "out.jsonl", folder, also=[str(folder)], frames=[1])
    assert found.arms == [str(folder), "1 frames"]
    claims = [claim for row in rows_of(tmp_path / "out.evidence.jsonl") for claim in row["claims"]]
    known = [claim for claim in claims if "evidence" in claim]
    assert {claim["agreement"] for claim in known} <= {0.0, 0.3333, 0.6667, 1.0}
    assert all((claim["verdict"] == "supported") <= (claim["agreement"] > 0.6) for claim in known)


def test_what_is_not_supported_in_smaller_pictures_is_told_claim_by_claim(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, folder = world
    real, calls = scoring.Scorer._portion, [0]

    def counting(self: Any, *args: Any) -> Any:
        calls[0] += 1
        return real(self, *args)

    monkeypatch.setattr(scoring.Scorer, "_portion", counting)
    out = tmp_path / "out.jsonl"
    found = score(labels, out, folder, sizes=[32, 4], settings={"supported": 0.05})
    assert found.arms == ["32 pixels", "4 pixels"]
    assert found.deaf == {"32 pixels": 0, "4 pixels": 0}
    assert calls == [3]
    claims = [claim for sample in open_samples(out) for claim in sample.claims]
    lost = [claim for claim in claims if claim.lost]
    assert 0 < len(lost) == found.total.lost["4 pixels"] < found.total.supported
    assert found.total.lost["32 pixels"] == 0  # the clips are 32 pixels wide
    told = [one for one in found.types.values() if "of the supported ones not with 4 pixels" in one.advice]
    assert told
    assert all(one.lost["4 pixels"] for one in told)
    for claim in claims:
        assert claim.lost in ((), ("4 pixels",))
        if claim.evidence is not None and claim.verdict == "supported":
            assert claim.agreement == (0.6667 if claim.lost else 1.0)
        elif claim.evidence is not None:
            assert not claim.lost
    again = score(labels, out, folder, sizes=[4], settings={"supported": 0.05})
    assert calls == [3]
    assert again.total.lost == {"4 pixels": len(lost)}
    score(labels, out, folder, sizes=[8], settings={"supported": 0.05})
    assert calls == [4]


def test_a_watcher_makes_pictures_smaller_and_none_larger(world: tuple[Path, Path], tmp_path: Path) -> None:
    """As if the decoder gave them so; what cannot be read is told as it is without."""
    labels, folder = world
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    clips = [Clip(str(at), labels.parent / f"{at}.mp4") for at in range(2)]
    clips.append(Clip("broken", tmp_path / "broken.mp4"))
    engine = load(folder)
    plain = list(engine.watch(clips, workers=0))
    for side, size in ((8, (6, 8)), (1, (1, 1)), (32, (24, 32)), (500, (24, 32))):
        engine.side = side
        *seen, broken = engine.watch(clips, workers=0)
        assert repr(broken) == repr(plain[-1])
        policy = engine.model.blueprint.frames
        expected = engine.see([(clip, decode(clip, policy, size=size)) for clip in clips[:2]])
        for one, other, before in zip(seen, expected, plain, strict=False):
            assert isinstance(one, SeenClip)
            assert isinstance(before, SeenClip)
            torch.testing.assert_close(one.tokens, other.tokens, rtol=0, atol=0)
            assert torch.equal(one.tokens, before.tokens) == (side >= 32)


LIMITS = Thresholds(0.5, {"own": 2.0})


@pytest.mark.parametrize(
    ("seen", "blind", "rival", "kind", "expected"),
    [
        ((), (), (), "a", "unchecked"),
        ((-0.1,), (-2.0,), (-3.0, -3.0), "a", "supported"),
        ((-1.9,), (-2.0,), (-0.3, -0.3), "a", "unseen"),
        ((-2.5,), (-2.0,), (-0.3, -0.3), "a", "contradicted"),
        ((-0.2,), (-0.41,), (-3.0, -3.0), "a", "supported"),
        ((-0.3,), (-0.41,), (-3.0, -3.0), "a", "unseen"),
        ((-0.2,), (-0.41,), (-0.1, -0.1), "a", "unchecked"),
        ((-0.2,), (-0.61,), (-0.1, -0.1), "a", "unseen"),
        ((-0.01,), (-0.19,), (-3.0, -3.0), "a", "unchecked"),
        ((-0.7,), (-0.1,), (-0.7, -2.0), "a", "contradicted"),
        ((-0.1,), (-2.05,), (-3.0, -3.0), "own", "unseen"),
        ((-0.1,), (-1.9,), (-3.0, -3.0), "own", "unchecked"),
        ((-0.1,), (-2.2,), (-3.0, -3.0), "own", "supported"),
        ((-8.0,), (-10.0,), (-0.1, -2.0), "a", "contradicted"),
        ((-8.0,), (-10.0,), (-0.1, -0.2), "a", "supported"),
        ((-2.9,), (-5.0,), (-0.1, -2.0), "a", "supported"),
    ],
)
def test_verdicts_follow_thresholds_rivals_and_what_can_be_gained(
    seen: tuple[float, ...], blind: tuple[float, ...], rival: tuple[float, ...], kind: str, expected: str
) -> None:
    score = Score(seen, blind, rival[:1], rival[1:])
    assert verdict(score, kind, LIMITS, Settings()) == expected
    assert math.isclose(score.evidence, sum(seen) - sum(blind))


def test_what_is_told_without_looking_is_unseen_where_the_model_does_not_see_its_type() -> None:
    def claims(*verdicts: str) -> list[Claim]:
        return [Claim(1, 0, 1, "x", "kind", one) for one in verdicts]  # type: ignore[arg-type]

    few = Settings(telling=3)
    assert unseen_types(claims("unseen", "unseen", "supported"), few) == {"kind"}
    assert unseen_types(claims("unseen", "supported", "supported", "contradicted"), few) == frozenset()
    assert unseen_types(claims("unseen", "unseen", "contradicted", "unchecked"), few) == frozenset()


def test_words_that_differ_in_labels_of_one_template_are_values() -> None:
    """In a language that the lexicon does not know."""
    fish = ["Hecht", "Wels", "Aal", "Zander"]
    texts = [("fang", f"der Mann fängt einen {fish[at % 4]} im See.") for at in range(40)]
    values = Values(texts, read_lexicon())
    found = values.of("fang", texts[1][1])
    assert [texts[1][1][a:b] for (a, b), _ in found] == ["Wels"]
    text = "the red ball rolls 3 times, all right, to the left"
    kinds = {text[a:b]: kind for (a, b), kind in values.of("x", text)}
    assert kinds["red"] == "colour"
    assert kinds["3"] == "number"
    assert kinds["left"] == "side"
    assert "right" not in kinds or kinds["right"] == "varies"


def test_rare_words_of_long_texts_are_values_and_their_frame_is_not() -> None:
    names = [f"wort{at:04d}" for at in range(600)]
    texts = [
        ("t", f"{names[at]} and {names[(7 * at) % 600]} of the {names[(11 * at) % 600]}") for at in range(600)
    ]
    values = Values(texts, read_lexicon())
    text = "wort0001 and wort0900 of the newword"
    assert [text[a:b] for (a, b), _ in values.of("t", text)] == ["wort0001", "wort0900", "newword"]


def test_clauses_of_a_writer_are_taken_where_they_stand() -> None:
    text = "A door opens, a dog barks. It is red."
    assert located(text, ["A door opens,", "a dog barks.", "It is red."]) == [(0, 14), (14, 27), (27, 37)]
    assert located(text, ["a dog barks.", "A door opens,"]) is None
    assert located(text, ["A door", ""]) is None
    assert located(text, []) is None


def test_a_label_too_long_for_the_model_costs_itself_alone(world: tuple[Path, Path], tmp_path: Path) -> None:
    labels, model = world
    rows = [{"id": str(at), **row} for at, row in enumerate(rows_of(labels))]
    long = rows[0] | {"id": "long", "answer": "the red ball hits the blue one. " * 300}
    few = write_rows(labels.with_name("few.jsonl"), rows)
    all_of_them = write_rows(labels.with_name("and_long.jsonl"), [*rows, long])
    without_it = score(few, tmp_path / "few.jsonl", model)
    found = score(all_of_them, tmp_path / "all.jsonl", model)
    assert (found.unread, found.broken, found.scored) == (1, 0, without_it.scored)
    (told,) = rows_of(tmp_path / "all.quarantine.jsonl")
    assert told["id"] == "long"
    assert "this language model reads" in told["reason"]
    kept = {row["id"]: row for row in rows_of(tmp_path / "all.jsonl")}
    assert "claims" not in kept.pop("long")
    assert kept.keys() == {row["id"] for row in rows_of(tmp_path / "few.jsonl")}
    again = score(all_of_them, tmp_path / "all.jsonl", model)
    assert again == found


def test_a_row_of_more_claims_than_its_column_holds_stays_without_them(
    world: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "MOST", 1)
    labels, model = world
    found = score(labels, tmp_path / "out.jsonl", model)
    told = rows_of(tmp_path / "out.quarantine.jsonl")
    assert found.unread == len(told) == 6
    assert {row["reason"].partition(" claims")[0] for row in told} == {"has 2", "has 3"}
    kept = {one.id: one for one in open_samples(tmp_path / "out.jsonl")}
    assert not any(kept[row["id"]].claims for row in told)
    assert sum(bool(one.claims) for one in kept.values()) == found.scored == 10


def test_a_further_model_that_is_not_there_is_told_before_anything_is_scored(
    world: tuple[Path, Path], tmp_path: Path
) -> None:
    labels, model = world
    with pytest.raises(CheckpointError, match="there is no such model"):
        score(labels, tmp_path / "out.jsonl", model, also=["nonesuch"])
    assert not (tmp_path / "out.scores.jsonl").exists()
