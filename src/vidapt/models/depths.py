"""What enters a language model behind some of its layers, and not only in place of word embeddings.

DeepStack (Meng et al. 2024, arXiv 2406.04334; Qwen3-VL): what inner layers of the tower see of a clip is
added to the hidden states at the clip's places, behind the first language layers. The tensors are handed to
the language model as the keyword `deep`, which transformers' models hand on to every layer; a hook behind a
layer adds what is meant for it. So nothing is kept between calls, and it makes no difference whether rows
are packed, read from a cache, adapted by LoRA or checkpointed: hooks stand outside the part that is computed
again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from vidapt.errors import ConfigError
from vidapt.models._language_check import trial_run

_WHERE = "blueprint.connector"
_REMEDY = "use a connector for this language model, or a language model with these layers"


def inject(language: Any, depths: Sequence[int]) -> None:
    """Let a language model add tensors behind some of its layers when it is given the keyword `deep`.

    Args:
        language: A causal language model of transformers, with or without adapters.
        depths: Numbers of layers, counted from 0.

    Raises:
        ConfigError: If there are no such layers, or they are not told of keywords.
    """
    layers = _layers(language)
    if absent := [depth for depth in depths if not 0 <= depth < len(layers)]:
        raise ConfigError(
            _WHERE, f"adds to language layers {absent}, there are {len(layers)}, counted from 0", _REMEDY
        )
    if len(set(depths)) < len(depths):
        raise ConfigError(_WHERE, f"adds to a language layer twice: {list(depths)}", "name each layer once")
    for depth in depths:
        layers[depth].register_forward_hook(_adding(depth), with_kwargs=True)
    asked = _Asked()
    if depths:
        trial_run(language, deep=asked)
    if missed := sorted(set(depths) - asked.numbers):
        raise ConfigError(
            _WHERE,
            f"adds to language layers {missed}, which this language model tells nothing of it",
            "use a language model that hands keywords on to its layers, such as qwen3_vl_text or llama",
        )


def passed(deep: Mapping[int, Tensor] | None) -> dict[str, Any]:
    """Keywords of a language model that is to add what `deep` holds; none if it holds nothing."""
    return {"deep": deep} if deep else {}


def split(visual: Tensor, depths: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """What takes the place of embeddings, [V, D], and what is added behind each layer of `depths`, [V, D].

    Args:
        visual: [V, D * (1 + len(depths))]: the former, then the latter in order.
        depths: Numbers of layers.

    Raises:
        ValueError: If the width is no multiple.
    """
    if visual.shape[-1] % (1 + len(depths)):
        raise ValueError(f"{visual.shape[-1]} numbers for an embedding and {len(depths)} depths")
    first, *others = visual.chunk(1 + len(depths), dim=-1)
    return first, tuple(others)


def spread_out(slots: Tensor, values: Sequence[Tensor], depths: Sequence[int]) -> dict[int, Tensor]:
    """What is added at every place: values where visual tokens stand, and zeros elsewhere.

    Args:
        slots: [N, L] bool: where visual tokens stand.
        values: [V, D] of each depth; V is the number of slots.
        depths: Numbers of layers.

    Returns:
        [N, L, D] by number of layer.
    """
    wide = slots.unsqueeze(-1)
    return {
        depth: value.new_zeros(*slots.shape, value.shape[-1]).masked_scatter(wide, value)
        for depth, value in zip(depths, values, strict=True)
    }


class _Asked(dict[int, Tensor]):
    """Keeps which layers ask for something, and has nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: set[int] = set()

    def get(self, key: int, default: Any = None) -> Any:
        self.numbers.add(key)
        return default

    def __deepcopy__(self, memo: Any) -> _Asked:
        del memo
        return self


def _adding(depth: int) -> Any:
    def add(module: nn.Module, args: Any, named: Mapping[str, Any], output: Any) -> Any:
        del module, args
        deep = named.get("deep")
        value = None if deep is None else deep.get(depth)
        if value is None:
            return output
        if isinstance(output, tuple):
            return output[0] + value.to(output[0]), *output[1:]
        return output + value.to(output)

    return add


def _layers(language: Any) -> nn.ModuleList:
    """The decoder layers: the list of as many modules as the configuration has layers."""
    count = language.config.get_text_config().num_hidden_layers
    for module in language.base_model.children():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    for module in language.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ConfigError(_WHERE, "adds to language layers, and no list of layers is found", _REMEDY)
