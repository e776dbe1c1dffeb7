"""Training a video-language model."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from vidapt.errors import ConfigError
from vidapt.loading import open_model
from vidapt.loading.compose import Plan
from vidapt.models.attention import flex_refused
from vidapt.models.delta_net import layers_with_state
from vidapt.models.folder import save_model
from vidapt.models.reach import Lengths, refuse_longer
from vidapt.models.video_lm import VideoLM
from vidapt.progress import Reporter
from vidapt.recipe import Recipe, Stage
from vidapt.training import begin
from vidapt.training.ahead import Item
from vidapt.training.arranged import arranged
from vidapt.training.batch import StageBatch
from vidapt.training.data import ClipSamples, group_by_clip
from vidapt.training.freeze import PARTS, learning
from vidapt.training.kind import Prepared
from vidapt.training.measuring import Measure, Questions, asked_of
from vidapt.training.order import total_steps
from vidapt.training.picture_sizes import PictureSizes, grouped_sizes
from vidapt.training.portions import portions
from vidapt.training.ready import Labels, StageData
from vidapt.training.room import Room
from vidapt.training.streamed_clips import StreamedClips
from vidapt.training.tokens import TokensOf
from vidapt.training.truth import read_truth
from vidapt.training.work import StageWork


class Talking:
    """The kind of model that answers in words; see `kind.Kind`."""

    def planned(self, recipe: Recipe) -> Plan | None:
        """What the model's parts begin with, if a recipe takes others' weights."""
        return begin.planned(recipe)

    def begin(
        self, recipe: Recipe, texts: Iterable[str], run: Path, plan: Plan | None
    ) -> tuple[VideoLM, Any]:
        """The model and the tokenizer that a recipe begins with."""
        return begin.begin(recipe, texts, run, plan)

    def outline(self, recipe: Recipe, texts: Iterable[str], plan: Plan | None) -> tuple[VideoLM, Any]:
        """What `begin` makes, for its sizes alone."""
        return begin.outline(recipe, texts, plan)

    def resume(self, run: Path) -> tuple[VideoLM, Any]:
        """What the last finished stage of a run left."""
        return open_model(run)

    def reads(self, labels: Labels, stage: Stage) -> Hashable:
        """Samples, and how conversations are taken apart."""
        batching, mixed = stage.batching, stage.mix.by != "size"
        sizes = None if batching.sizes is None else batching.sizes.model_dump_json()
        sets = tuple((name, id(samples)) for name, samples in labels.sets.items())
        ways = batching.apart, batching.placement, batching.max_answer_tokens, stage.measure_questions
        return labels.identity, ways, mixed, sizes, sets

    def ready(
        self, labels: Labels, stage: Stage, model: VideoLM, tokenizer: Any, report: Reporter
    ) -> StageData:
        """A stage's conversations as ids.

        Raises:
            BudgetError: If a sample is longer than the language model reads.
            ConfigError: If the stage asks for FlexAttention and the language model keeps states.
        """
        del report
        if stage.batching.flex and layers_with_state(model.language):
            raise flex_refused()
        sizes = stage.batching.sizes
        if sizes is not None and sizes.unify is not None and model.decode_size is not None:
            raise ConfigError(
                f"stage {stage.name}, batching.sizes.unify",
                f"this model resizes all frames to {model.decode_size[0]}x{model.decode_size[1]} itself",
                "leave it out, or choose a resolution that reads clips of any size",
            )
        sets = {
            name: asked_of(samples, stage.measure_questions, model, tokenizer, sizes)
            for name, samples in labels.sets.items()
        }
        if labels.streamed is not None:
            return self._streamed(labels, stage, model, tokenizer, sets)
        origins = labels.origins if stage.mix.by != "size" else None
        clips = group_by_clip(
            labels.samples,
            model.blueprint.prompt,
            tokenizer,
            stage.batching.max_answer_tokens,
            apart=stage.batching.apart,
            placement=stage.batching.placement,
            origins=origins,
        )
        refuse_longer(model, tokenizer, clips, grouped_sizes(sizes, clips).side)
        return StageData(clips, sets, sources=labels.sources)

    def _streamed(
        self,
        labels: Labels,
        stage: Stage,
        model: VideoLM,
        tokenizer: Any,
        sets: Mapping[str, Sequence[ClipSamples]],
    ) -> StageData:
        """Conversations that become ids when a step comes to them."""
        assert labels.streamed is not None
        batching, prompt = stage.batching, model.blueprint.prompt
        groups = labels.streamed.groups(
            apart=batching.apart,
            clips_first=prompt.compat == "published",
            separate=stage.mix.by != "size",
        )
        lengths = Lengths(model, tokenizer, PictureSizes(batching.sizes).side)
        clips = StreamedClips(
            labels.streamed,
            groups,
            prompt,
            tokenizer,
            batching.max_answer_tokens,
            apart=batching.apart,
            placement=batching.placement,
            too_long=lengths.too_long,
        )
        return StageData(clips, sets, sources=labels.sources)

    def learning(self, stage: Stage) -> list[str]:
        """Parts that are not frozen."""
        return learning(PARTS, stage)

    def eyes(self, model: VideoLM) -> VideoLM:
        """The model itself."""
        return model

    def work(self, prepared: Prepared) -> StageWork:
        """Packed batches, in the order that the seed gives."""
        stage, model, footage = prepared.stage, prepared.model, prepared.footage
        clips, tokenizer = prepared.data.clips, prepared.tokenizer
        blind = blind_share(stage, prepared.model, prepared.objective)
        seed = prepared.seed, prepared.index
        order = arranged(stage, prepared.data, seed, blind, model, tokenizer)
        truth = read_truth(clips, getattr(prepared.objective, "columns", ()))

        sizes = grouped_sizes(stage.batching.sizes, clips)
        lengths = Lengths(model, tokenizer, sizes.side)
        tokens = TokensOf(model, tokenizer, clips, lengths, shared=stage.batching.shared_prefix)
        steps = total_steps(stage, order, tokens)
        folder = prepared.folder / "work"
        room = Room(folder, stage.batching.at_once) if stage.batching.memory == "auto" else None

        def items(number: int) -> list[Item]:
            media = [clips[visit.clip].media for visit in order.step(number) if not visit.blind]
            return [(clip, len(together)) for together in media for clip in together]

        def batches(number: int) -> list[StageBatch]:
            visits = prepared.usable(number, order.step(number))
            at_once = stage.batching.at_once if room is None else room.at_once(number)
            return [
                StageBatch(model, tokenizer, footage, clips, some, truth, stage.batching)
                for some in portions(visits, at_once)
            ]

        footage.follow(items, steps)

        return StageWork(
            stage,
            prepared.index,
            prepared.seed,
            folder,
            steps,
            batches,
            prepared.objective,
            order.step,
            measure=_measure(prepared),
            told={"blind": blind},
            room=room,
        )

    def save(self, folder: Path, model: VideoLM, tokenizer: Any, card: Mapping[str, Any]) -> None:
        """Write the model's folder in one step."""
        save_model(folder, model, tokenizer, card)


def blind_share(stage: Stage, model: VideoLM, objective: nn.Module) -> float:
    """Share of visits in which questions are asked without their clip; 0 where nothing would be learned."""
    learns = stage.train.language != "frozen" and getattr(objective, "answers", False)
    asks = "{text}" in model.blueprint.prompt.user
    return stage.batching.blind if learns and asks else 0.0


def _measure(prepared: Prepared) -> Measure | None:
    """What is measured every `save_every` steps; None if the stage names no sets."""
    if not prepared.data.sets:
        return None

    def save(best: Path, numbers: Mapping[str, Any]) -> None:
        save_model(best, prepared.model, prepared.tokenizer, prepared.card(numbers))

    questions = Questions(prepared.model, prepared.tokenizer, prepared.footage)
    # In few bits the model is never written: what its matrices were waits on the disk until the stage ends.
    kept = save if prepared.stage.train.base == "stored" else None
    return Measure(prepared.model, questions, prepared.data.sets, prepared.folder, kept)
