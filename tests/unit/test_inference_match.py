"""Scores of statements: against plain forward passes in float64, and what a set's numbers say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from letters import Letters
from torch import Tensor

from vidapt.errors import BrokenClip, CheckpointError, ConfigError
from vidapt.hub import clip_vip
from vidapt.inference.engine import Engine
from vidapt.inference.load import load
from vidapt.inference.match import margin, match, shares
from vidapt.inference.match_set import match_set
from vidapt.inference.matchers import TOGETHER, By, DualMatcher, LanguageMatcher, open_matcher
from vidapt.inference.watch import SeenClip
from vidapt.labelling.cases import Case
from vidapt.labelling.sentences import sentences
from vidapt.models._text_tower import Text
from vidapt.models.dual_encoder import DualBlueprint, DualEncoder
from vidapt.models.dual_folder import save_dual
from vidapt.nouns import Clip
from vidapt.recipe import Prompt
from vidapt.training.tokenizer import learn_caption_tokenizer
from vidapt.video import decode
from vidapt.worlds.billiards import simulate

TRUE = "the white ball hits the red ball"
OTHER = "there is no green ball."


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("match") / "pool"
    simulate(folder, clips=1, seed=5, workers=1)
    return folder / "clips" / "000000.mp4"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return load("billiards-home", dtype="float64")


def seen_by(matcher: LanguageMatcher, clip: Path) -> SeenClip:
    (seen,) = matcher.watch([Clip("a", clip)], 0)
    assert isinstance(seen, SeenClip)
    return seen


@torch.no_grad()
def plainly(engine: Engine, seen: SeenClip, text: str) -> tuple[Tensor, list[int]]:
    """Log-probabilities of what follows each token of a text alone behind the clip, and the text's ids."""
    words = engine.model.language.get_input_embeddings()
    ids = engine.tokenizer(text, add_special_tokens=False).input_ids
    start = engine.tokenizer("<s>", add_special_tokens=False).input_ids
    pieces = [words(torch.tensor([start])), seen.tokens[None], words(torch.tensor([ids]))]
    logits = engine.model.language(inputs_embeds=torch.cat(pieces, dim=1)).logits[0].double()
    return logits.log_softmax(-1)[-len(ids) :], ids


def odds(engine: Engine, seen: SeenClip, sentence: str) -> float:
    after, _ = plainly(engine, seen, f"is this true? {sentence}<answer>")

    def mass(*words: str) -> float:
        firsts = {engine.tokenizer(f"{w}</s>", add_special_tokens=False).input_ids[0] for w in words}
        return math.log(sum(math.exp(float(after[-1, token])) for token in firsts))

    return mass("yes", "Yes", "true", "True") - mass("no", "No", "false", "False")


def test_asked_is_the_odds_of_yes_without_packing(engine: Engine, clip: Path) -> None:
    matcher = LanguageMatcher(engine)
    seen = seen_by(matcher, clip)
    found = matcher.scores(seen, [TRUE, OTHER])
    expected = [odds(engine, seen, f"{TRUE}."), odds(engine, seen, OTHER)]
    assert found == pytest.approx(expected, abs=1e-9)
    # Leaving the full stop out, or taking no for yes, is another number.
    assert abs(odds(engine, seen, TRUE) - found[0]) > 1e-3
    assert abs(-expected[0] - found[0]) > 1e-3


def test_said_is_the_mean_over_the_statements_tokens(engine: Engine, clip: Path) -> None:
    matcher = LanguageMatcher(engine, By.said)
    seen = seen_by(matcher, clip)
    prompt = "describe the video.<answer>"
    behind = len(engine.tokenizer(prompt, add_special_tokens=False).input_ids)
    expected = []
    for text in (f"{TRUE}.", OTHER):
        logs, ids = plainly(engine, seen, f"{prompt}{text}</s>")
        expected.append(float(torch.stack([logs[at - 1, ids[at]] for at in range(behind, len(ids))]).mean()))
    found = matcher.scores(seen, [TRUE, OTHER])
    assert found == pytest.approx(expected, abs=1e-9)
    assert abs(found[0] - found[1]) > 1e-3


@pytest.mark.parametrize("by", list(By))
def test_a_score_does_not_depend_on_its_company(engine: Engine, clip: Path, by: By) -> None:
    matcher = LanguageMatcher(engine, by)
    seen = seen_by(matcher, clip)
    many = [f"the {colour} ball hits the red ball" for colour in ("blue", "green", "black")]
    many = [f"{text} {number}" for text in many for number in range(TOGETHER // 2)]
    together = matcher.scores(seen, many)
    for index in (0, TOGETHER - 1, TOGETHER, len(many) - 1):
        assert matcher.scores(seen, [many[index]]) == pytest.approx([together[index]], abs=1e-9)


def test_several_sentences_are_as_true_as_the_worst(engine: Engine, clip: Path) -> None:
    matcher = LanguageMatcher(engine)
    seen = seen_by(matcher, clip)
    one, other, both = matcher.scores(seen, [TRUE, OTHER, f"{TRUE}. {OTHER}"])
    assert both == pytest.approx(min(one, other), abs=1e-9)
    assert one != pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red ball", ["a red ball."]),
        (" A. Smith hits 2.5 m.  Then it stops! ", ["A. Smith hits 2.5 m.  Then it stops."]),
        ("it rolls. it stops; it falls\nand rests...", ["it rolls.", "it stops.", "it falls.", "and rests."]),
        ("is it red?", ["is it red?."]),
        ("...", ["."]),
    ],
)
def test_statements_are_cut_into_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def speaking(answer: str, tokenizer: Any) -> Any:
    """As much of an engine as tells how answers begin."""
    prompt = Prompt(start="", user="{text}", opening=":", answer=answer, end="")
    engine: Any = SimpleNamespace(
        model=SimpleNamespace(blueprint=SimpleNamespace(prompt=prompt)), tokenizer=tokenizer, name="m"
    )
    engine.encoded = partial(Engine.encoded, engine)
    return engine


def test_what_all_answers_begin_with_is_passed_over(engine: Engine) -> None:
    plain = LanguageMatcher(speaking("{text}", engine.tokenizer))
    behind = LanguageMatcher(speaking("1 2 {text}", engine.tokenizer))
    assert plain._at == 0
    assert behind._at == len(engine.tokenizer("1 2").input_ids)
    assert not set(behind._yes) & set(behind._no)


class Alike(Letters):
    """A tokenizer to which all words are one."""

    def __call__(self, text: str, **_: Any) -> SimpleNamespace:
        ids = [7] if text else []
        spans = [(0, len(text))] if text else []
        return SimpleNamespace(input_ids=ids, encodings=[SimpleNamespace(ids=ids, offsets=spans)])


def test_a_model_whose_yes_cannot_be_told_from_no_is_not_asked() -> None:
    with pytest.raises(ConfigError, match="--by said"):
        LanguageMatcher(speaking("{text}", Alike()))
    LanguageMatcher(speaking("{text}", Alike()), By.said)


def test_a_mark_in_a_statement_is_refused(engine: Engine, clip: Path) -> None:
    for by in By:
        with pytest.raises(ConfigError, match="<video>"):
            match(LanguageMatcher(engine, by), clip, ["<video> is red"])


def tiny(**options: Any) -> DualMatcher:
    tokenizer = learn_caption_tokenizer(["the white ball hits the red ball"] * 3, 300)
    common = {
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "hidden_act": "quick_gelu",
    }
    tower = {
        "kind": "clip_vip",
        "arch": {**common, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 8},
        "frames": 4,
        "added": 1,
    }
    arch = {**common, "model_type": "clip_text_model", "max_position_embeddings": 24, "vocab_size": 300}
    arch |= {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    torch.manual_seed(0)
    blueprint = DualBlueprint(
        tower=tower, text=Text(arch=arch), width=16, frames={"policy": "uniform", "count": 4}, **options
    )
    model = DualEncoder(blueprint).eval()
    for weight in model.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    model.logit_scale.data.fill_(3.0)
    return DualMatcher(model.double(), tokenizer, "tiny")


@pytest.fixture(scope="module")
def dual() -> DualMatcher:
    return tiny()


@torch.no_grad()
def test_frames_are_resized_where_the_resolution_says(dual: DualMatcher, clip: Path) -> None:
    spec = {"kind": "whole", "fit": "squash", "filter": "bilinear", "in_decoder": True}
    matcher = tiny(resolution=spec)
    found = match(matcher, clip, [TRUE]).statements[0].score
    frames = decode(Clip("a", clip), matcher.model.blueprint.frames, size=(16, 16))
    video = matcher.model.encode_video(matcher.model.cut(torch.from_numpy(frames.pixels)))
    text = matcher.model.encode_text(torch.tensor([matcher.tokenizer(TRUE).input_ids]))
    assert found == pytest.approx(float(video @ text.T), abs=1e-9)
    assert abs(found - match(dual, clip, [TRUE]).statements[0].score) > 1e-6


@torch.no_grad()
def test_a_dual_encoder_scores_by_cosine_and_its_own_scale(dual: DualMatcher, clip: Path) -> None:
    found = match(dual, clip, [TRUE, "a red ball", "nothing"])
    frames = decode(Clip("a", clip), dual.model.blueprint.frames)
    video = dual.model.encode_video(dual.model.cut(torch.from_numpy(frames.pixels)))
    texts = [dual.tokenizer(one.text).input_ids for one in found.statements]
    vectors = torch.cat([dual.model.encode_text(torch.tensor([ids])) for ids in texts])
    cosines = F.cosine_similarity(video, vectors).tolist()
    assert [one.score for one in found.statements] == pytest.approx(cosines, abs=1e-9)
    expected = torch.tensor(cosines).double().mul(math.exp(3.0)).softmax(0).tolist()
    assert [one.share for one in found.statements] == pytest.approx(expected, abs=1e-7)
    assert len(set(cosines)) == 3
    assert found.margin is None


def test_a_caption_longer_than_the_text_tower_is_named(dual: DualMatcher, clip: Path) -> None:
    long = "x1 y2 z3 " * 20
    with pytest.raises(ConfigError, match=r"x1 y2.*tokens.*reads 24"):
        match(dual, clip, [TRUE, long])
    found = match_set(dual, [Case("a", Clip("a", clip), (TRUE, long), (OTHER,))], workers=0)
    assert list(found.unreadable) == [long]
    assert found.all is not None
    assert found.all.pairs == 1


def test_a_saved_dual_encoder_is_opened_and_one_without_tokenizer_is_refused(
    dual: DualMatcher, clip: Path, tmp_path: Path
) -> None:
    model = dual.model
    save_dual(tmp_path / "tiny", model, dual.tokenizer, {})
    opened = open_matcher(tmp_path / "tiny")
    assert isinstance(opened, DualMatcher)
    assert opened.name == "tiny"
    first, again = (match(one, clip, [TRUE]).statements[0].score for one in (dual, opened))
    assert again == pytest.approx(first, abs=1e-5)
    save_dual(tmp_path / "mute", model, None, {})
    with pytest.raises(CheckpointError, match="no tokenizer"):
        open_matcher(tmp_path / "mute")


def test_an_authors_file_is_opened_with_the_tokenizer_beside_it(
    dual: DualMatcher, clip: Path, tmp_path: Path
) -> None:
    path = tmp_path / "clipvip.pt"
    torch.save(clip_vip.to_hub(dual.model.state_dict()), path)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        open_matcher(path)
    dual.tokenizer.save_pretrained(tmp_path)
    told: list[str] = []
    for given in (path, tmp_path):
        opened = open_matcher(given, tell=lambda report: told.append(report.family))
        assert isinstance(opened, DualMatcher)
        (scored,) = match(opened, clip, [TRUE]).statements
        assert -1 <= scored.score <= 1
    assert told == ["clip_vip", "clip_vip"]


def test_other_models_and_damaged_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="billiards-home"):
        open_matcher("billiards-hom")
    damaged = tmp_path / "clipvip.pt"
    damaged.write_bytes(b"PK not a checkpoint")
    for given in (damaged, tmp_path):
        with pytest.raises(CheckpointError):
            open_matcher(given)


class Known:
    """Scores from a table: clip id -> text -> score."""

    name, unit, sharpness = "known", "points", 1.0

    def __init__(self, table: dict[str, dict[str, float]], *, cosines: bool = False) -> None:
        self.table, self.cosines = table, cosines
        self.watched: list[str] = []

    def watch(self, clips: Sequence[Clip], workers: int) -> Iterator[Any]:
        for clip in clips:
            self.watched.append(clip.id)
            yield clip.id if clip.id in self.table else BrokenClip(clip.path, "cannot be read")

    def unreadable(self, statements: Sequence[str]) -> dict[str, str]:
        return {}

    def scores(self, seen: str, statements: Sequence[str]) -> list[float]:
        return [self.table[seen][text] for text in statements]


def case(clip: str, true: Sequence[str], false: Sequence[str] = (), kind: str = "", number: int = 0) -> Case:
    return Case(f"{clip}/{number}", Clip(clip, Path(f"{clip}.mp4")), tuple(true), tuple(false), kind)


TABLE = {
    "a": {"t": 3.0, "u": 1.0, "f": 1.0, "long and false": 5.0, "v": 0.0},
    "b": {"t": 2.0, "u": 4.0, "f": 0.0, "long and false": 1.0, "v": 9.0},
}


def test_a_sets_numbers_are_counted_by_hand() -> None:
    cases = [
        case("a", ["t", "u"], ["f"], "colour"),  # 3 > 1, 1 = 1: 1.5 of 2; margin 0
        case("broken", ["t"], ["f"], "colour"),
        case("b", ["t"], ["long and false"], "length"),  # 2 > 1; margin 1
        case("a", ["t"], ["long and false"], "length", 1),  # 3 < 5; margin -2
        case("b", ["u"], (), "caption", 1),
    ]
    known = Known(TABLE)
    found = match_set(known, cases)
    assert known.watched == ["a", "broken", "b"]
    assert found.broken == {"broken": "cannot be read"}
    assert found.clips == 2
    assert found.all is not None
    assert (found.all.pairs, found.all.wins.value) == (4, pytest.approx(2.5 / 4))
    assert found.all.margin.value == pytest.approx((0 + 1 - 2) / 3)
    assert {kind: told.wins.value for kind, told in found.kinds.items()} == {"colour": 0.75, "length": 0.5}
    assert found.longer is not None
    assert (found.longer.pairs, found.longer.wins.value) == (2, 0.5)
    assert found.retrieval is None
    assert found.to_dict()["kinds"]["colour"]["pairs"] == 2
    assert [row[0] for row in found.rows()] == ["all", "colour", "length", "longer but false"]


def test_a_text_true_of_several_clips_fits_them_all() -> None:
    cases = [case("a", ["t", "u"]), case("b", ["t"]), case("b", ["v"], number=1), case("broken", ["t"])]
    found = match_set(Known(TABLE), cases, with_retrieval=True)
    assert found.all is None
    assert found.retrieval is not None
    # Clip b's best text is v; clip a's t. Text u is about a and fits b better; t is about both.
    assert found.retrieval.to_text.recall[1] == 1.0
    assert found.retrieval.to_video.mean_rank == pytest.approx((1 + 2 + 1) / 3)
    assert found.dual_softmax is None
    also = match_set(Known(TABLE, cosines=True), cases, with_retrieval=True)
    assert also.dual_softmax is not None
    assert len(also.retrieval_rows()) == 4
    assert also.to_dict()["dual_softmax"]["to_text"]["queries"] == 2


def test_a_set_without_a_usable_clip_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no clip can be used: cannot be read"):
        match_set(Known({}), [case("a", ["t"], ["f"])])


def test_margin_and_shares() -> None:
    assert margin([3.0, 1.0], [0.5, -2.0]) == 0.5
    assert margin([3.0], []) is None
    assert margin([], [3.0]) is None
    assert shares([1000.0, 1000.0], 100.0) == [0.5, 0.5]
    assert shares([0.0, math.log(3)], 1.0) == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(("statements", "message"), [([], "none is given"), (["a", "  "], "one is empty")])
def test_nothing_to_match_is_an_error(statements: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        match(Known(TABLE), Path("a.mp4"), statements)


def test_a_clip_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(BrokenClip, match="cannot be read"):
        match(Known({}), Path("a.mp4"), ["t"])
