"""What the families are, for people: one row each, from the modules themselves."""

from __future__ import annotations

from dataclasses import dataclass

from vidapt.hub._open import families


@dataclass(frozen=True)
class FamilyRow:
    """A line of `vidapt families`.

    Attributes:
        name: What the family is called.
        title: The first sentence of its module's text.
        tokens: How many visual tokens a clip becomes.
        licence: Of the published weights.
        model_types: The `model_type`s of configurations it opens.
    """

    name: str
    title: str
    tokens: str
    licence: str
    model_types: tuple[str, ...]


def describe_families() -> list[FamilyRow]:
    """All families in alphabetical order."""
    return [
        FamilyRow(
            name,
            " ".join((module.__doc__ or "").split("\n\n")[0].split()),
            module.TOKENS,
            module.LICENCE,
            tuple(sorted({kind for kind, _ in (*module.CLAIMS, *getattr(module, "NARROWS", ()))})),
        )
        for name, module in sorted(families().items())
    ]
