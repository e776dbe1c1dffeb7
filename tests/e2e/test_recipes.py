"""Every recipe that ships is read, planned and trained, on tiny models in the layouts of those it names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import anyres_tools
import compose_tools
import dual_tools
import parity_tools
import pytest
import qwen2_vl_tools
import torch
from align_tools import write_captioned
from test_compose_runs import words_of_clip
from training_tools import silent, tokenizer, write_clips

from vidapt.errors import ConfigError
from vidapt.planning.plan import Means, plan_recipe
from vidapt.recipe import Recipe, load_recipe
from vidapt.recipe.shipped import copy_recipe, recipes
from vidapt.training.outlook import outlook
from vidapt.training.run import train
from vidapt.worlds.known import find_world

SHIPPED = {one.name: one for one in recipes()}


def next_video(folder: Path) -> Path:
    """LLaVA-NeXT-Video in the hub's layout."""
    parity_tools.save(parity_tools.next_video(vocab_size=compose_tools.ROWS), folder)
    parity_tools.add_processors(folder)
    tokenizer().save_pretrained(folder)
    return folder


def qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL in the hub's layout."""
    return qwen2_vl_tools.save(qwen2_vl_tools.oracle_of(512), folder)


def interleave(folder: Path) -> Path:
    """LLaVA-NeXT-Interleave in the hub's layout."""
    anyres_tools.save(anyres_tools.interleave_model(), anyres_tools.siglip_processor(), folder)
    return folder


def chatml(folder: Path) -> Path:
    """A language model whose tokenizer knows the marks of ChatML."""
    return compose_tools.llama(folder)


def clip_vip(file: Path) -> Path:
    """CLIP-ViP as its authors store it, whose text tower knows as many words as a learned tokenizer."""
    state = dual_tools.authors()
    name = "clipmodel.text_model.embeddings.token_embedding.weight"
    state[name] = torch.randn(300, state[name].shape[1], generator=torch.Generator().manual_seed(1))
    torch.save(state, file)
    return file


def clips_words(folder: Path) -> Path:
    """CLIP's tokenizer, small."""
    return words_of_clip(folder, 300)


NAMES: dict[str, Callable[[Path], Path]] = {
    "openai/clip-vit-large-patch14-336": compose_tools.clip,
    "google/siglip-so400m-patch14-384": compose_tools.siglip,
    "facebook/dinov2-large": compose_tools.dinov2,
    "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup": compose_tools.open_clip,
    "lmsys/vicuna-7b-v1.5": compose_tools.llama,
    "Qwen/Qwen2-7B-Instruct": chatml,
    "google/gemma-2b-it": compose_tools.gemma,
    "llava-hf/llava-v1.6-vicuna-7b-hf": compose_tools.llava_next,
    "llava-hf/llava-v1.6-vicuna-13b-hf": compose_tools.llava_next,
    "llava-hf/llava-v1.6-34b-hf": compose_tools.llava_next,
    "llava-hf/LLaVA-NeXT-Video-7B-hf": next_video,
    "/models/LLaVA-NeXT-Video-7B-hf": next_video,
    "Qwen/Qwen2-VL-7B-Instruct": qwen2_vl,
    "llava-hf/llava-interleave-qwen-7b-hf": interleave,
    "/models/clip_vip_base_16.pt": clip_vip,
    "/models/longclip-B.pt": compose_tools.long_clip,
    "/models/clip-vit-base-patch16": clips_words,
    "../models/smollm2": compose_tools.llama,
}
"""What recipes begin with, and what stands for it here."""

_SLICES = ("side=16", "patch=4")
SIZES: dict[str, tuple[str, ...]] = {
    "hilight-compose": ("blueprint.frames.count=3",),
    "mini-gemini-compose": ("blueprint.resolution.fine=64", "blueprint.frames.count=2"),
    **{
        f"pllava-{size}": ("blueprint.frames.count=4", "blueprint.connector.shape=[2, 2, 2]")
        for size in ("7b", "13b", "34b")
    },
    "minicpm-v-1-connector": (
        *(f"blueprint.resolution.{one}" for one in _SLICES),
        "blueprint.connector.head_width=12",
    ),
    "minicpm-v-2-vision": tuple(f"reads.resolution.{one}" for one in _SLICES),
    "minicpm-v-3-slices": tuple(f"reads.resolution.{one}" for one in _SLICES),
    "align_clipvip_sparc": ("stages.0.pairs.tokens=16",),
    "align_distill": ("stages.0.retrieval={}",),
    "align_billiards": ("stages.0.retrieval={}",),
    "billiards-clip": ("stages.0.retrieval={}",),
}
"""Sizes of pictures and clips that tiny towers see, and sets that nothing is measured on here."""
WORLDS = {"billiards": "billiards", "align_distill": "billiards", "shapes-mix": "shapes"}
"""Whose clips a recipe learns from, by what stands in its name; all others learn from any."""


class Workshop:
    """Tiny sources, data and runs; each made once."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self._done: dict[str, Path] = {}
        (folder / "recipes").mkdir()

    def recipe(self, name: str) -> Recipe:
        """A recipe as it ships, but for the names of what it begins with, its data and its length."""
        text = SHIPPED[name].path.read_text(encoding="utf-8")
        for published, make in NAMES.items():
            if published in text:
                text = text.replace(published, str(self._made(published, make)))
        for earlier in ("llava-stage1", "hilight-compose", *SHIPPED):
            if earlier != name and f"../runs/{earlier}" in text:
                self.run(earlier)
        path = self.folder / "recipes" / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        first = load_recipe(path, SIZES.get(name, ()))
        data = str(self._data(first, name))
        changes = [*SIZES.get(name, ()), f"data={data}"]
        for index, stage in enumerate(first.stages):
            types = list(stage.data[0].types or ()) if stage.data else []
            if types:
                changes.append(f"stages.{index}.data=[{{path: {data}, types: {json.dumps(types)}}}]")
            elif stage.data:
                changes.append(f"stages.{index}.data={data}")
            changes += [f"stages.{index}.{one}" for one in ("epochs=null", "steps=2", "batching.clips=2")]
        return load_recipe(path, changes)

    def run(self, name: str) -> Path:
        """A finished run of a recipe."""
        if name not in self._done:
            self._done[name] = train(self.recipe(name), self.runs, silent, workers=0)
        return self._done[name]

    def _made(self, published: str, make: Callable[[Path], Path]) -> Path:
        place = self.folder / "sources" / published.strip("./").replace("/", "--")
        place.parent.mkdir(exist_ok=True)
        return place if place.exists() else make(place)

    def _data(self, recipe: Recipe, name: str) -> Path:
        world = next((world for mark, world in WORLDS.items() if mark in name), None)
        if world is not None:
            pool = self.folder / world
            if not pool.exists():
                find_world(world).simulate(pool, clips=6, seed=1, workers=1)
            return pool / "labels.jsonl"
        kind, write = (
            ("captioned", write_captioned)
            if recipe.stages[0].objective["kind"] == "align"
            else (
                "asked",
                write_clips,
            )
        )
        place = self.folder / kind
        return place / "labels.jsonl" if place.exists() else write(place)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.xdist_group("recipes")
@pytest.mark.parametrize("name", SHIPPED)
def test_recipe_is_planned_and_trains(name: str, workshop: Workshop) -> None:
    recipe = workshop.recipe(name)
    plan = plan_recipe(outlook(recipe, silent), Means("h100", runs=workshop.runs))
    assert [stage.name for stage in plan.stages] == [stage.name for stage in recipe.stages]
    assert not plan.errors
    for stage in plan.stages:
        assert stage.trained > 0
        assert stage.memory is not None or "teacher" in stage.unknown
    run = workshop.run(name)
    for index, stage in enumerate(recipe.stages, 1):
        assert (run / f"{index:02d}-{stage.name}" / "model" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", SHIPPED)
def test_recipe_says_what_it_does_and_whom_it_follows(name: str) -> None:
    one = SHIPPED[name]
    assert len(one.title) > 20
    assert one.stages
    text = one.path.read_text(encoding="utf-8")
    own = name.startswith(
        ("billiards", "align_billiards", "align_distill", "my-clips", "small-domain", "shapes")
    )
    assert own or "Source" in text or one.papers
    assert f"recipes/{name}.yaml" in text
    assert max(map(len, text.splitlines())) <= 120


def test_recipe_is_copied_and_never_over_another(tmp_path: Path) -> None:
    copy = copy_recipe("my-clips", tmp_path)
    assert copy == tmp_path / "my-clips.yaml"
    assert copy.read_bytes() == SHIPPED["my-clips"].path.read_bytes()
    assert copy_recipe("pllava-7b.yaml", tmp_path / "mine.yaml").name == "mine.yaml"
    with pytest.raises(ConfigError, match="exists"):
        copy_recipe("my-clips", tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)no recipe of this name.*did you mean 'my-clips'"):
        copy_recipe("my-clip", tmp_path)
    with pytest.raises(ConfigError, match="no such folder"):
        copy_recipe("my-clips", tmp_path / "not" / "there.yaml")


def test_tiny_sources_are_those_that_recipes_name() -> None:
    texts = " ".join(one.path.read_text(encoding="utf-8") for one in SHIPPED.values())
    assert [name for name in NAMES if name not in texts] == []
