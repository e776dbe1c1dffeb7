"""A part's layers in their order, and how far each of its weights stands from its end.

Which layers there are is asked of the module, and of no name: they are its longest list of modules that
stands in no other list (the experts of a layer are no layers).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch import nn

from vidapt.errors import ConfigError


def layers_of(part: nn.Module, unused: Collection[int] = ()) -> list[nn.Module]:
    """A part's layers in order, without those of which no weight is used; none if it has no list of them.

    Args:
        part: Such as a tower or a language model.
        unused: Identities (`id`) of weights that are never used.
    """
    longest = max(_lists(part), key=len, default=nn.ModuleList())
    return [layer for layer in longest if any(id(weight) not in unused for weight in layer.parameters())]


def distances(part: nn.Module, unused: Collection[int] = ()) -> dict[int, int]:
    """How many layers stand behind each weight, and one more if it stands in a layer or in front of them all.

    Of n layers: 0 for what is registered behind them (the last norm, an output layer of its own), 1 for the
    last layer, n for the first, and n + 1 for what stands in front, such as word embeddings, tied or not.

    Args:
        part: Such as a tower or a language model.
        unused: Identities of weights that are never used.

    Returns:
        By the identity of each weight; 0 for all where there are no layers.
    """
    layers = layers_of(part, unused)
    inside = {
        id(weight): len(layers) - index for index, layer in enumerate(layers) for weight in layer.parameters()
    }
    found, elsewhere = dict[int, int](), len(layers) + 1 if layers else 0
    for weight in part.parameters():
        if id(weight) in inside:
            elsewhere = 0
        found[id(weight)] = inside.get(id(weight), elsewhere)
    return found


def last_weights(part: nn.Module, count: int, unused: Collection[int], where: str) -> Iterator[nn.Parameter]:
    """Weights of a part's last layers and of what stands behind them.

    Args:
        part: Such as a tower or a language model.
        count: Of how many layers.
        unused: Identities of weights that are never used.
        where: What the recipe calls it.

    Raises:
        ConfigError: If it has no layers, or fewer.
    """
    layers = layers_of(part, unused)
    if len(layers) < count:
        found = f"has {len(layers)} layers in a row" if layers else "has no list of layers"
        remedy = f"give a number up to {len(layers)}" if layers else "use `full` or `norms`"
        raise ConfigError(where, f"this {type(part).__name__} {found}, {count} are asked for", remedy)
    away = distances(part, unused)
    yield from (weight for weight in part.parameters() if away[id(weight)] <= count)


def norm_weights(part: nn.Module) -> Iterator[nn.Parameter]:
    """Weights of normalisation layers: modules with a gain for each channel, perhaps a shift, and no more."""
    for module in part.modules():
        weights = list(module.parameters())
        gain = getattr(module, "weight", None)
        if gain is not None and gain.ndim == 1 and len(gain) > 1 and not list(module.children()):
            yield from weights if all(one.shape == gain.shape for one in weights) else ()


def _lists(part: nn.Module) -> Iterator[nn.ModuleList]:
    """Lists of modules that stand in no other one."""
    if isinstance(part, nn.ModuleList):
        yield part
        return
    for child in part.children():
        yield from _lists(child)
