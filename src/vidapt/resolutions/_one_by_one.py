"""The plain case of a resolution: every view goes through the connector by itself, and is read as it is."""

from __future__ import annotations

from collections.abc import Sequence

from vidapt.nouns import Features, Grid, Layout, Plan, Span, Tokens


class OneByOne:
    """What lies between towers, connector and language model where views are neither joined nor marked.

    A resolution overrides a method and its twin in integers (`stitch` and `stitch_grids`, `arrange` and
    `arrange_spans`) together.
    """

    def stitch(self, features: Sequence[Features], plan: Plan) -> list[tuple[Features, ...]]:
        """From what was seen in each view to what each call of the connector reads.

        Args:
            features: One per view of the plan.
            plan: What `plan` gave for these clips.
        """
        del plan
        return [(seen,) for seen in features]

    def stitch_grids(self, grids: Sequence[Grid], plan: Plan) -> list[tuple[Grid, ...]]:
        """The same for grids."""
        del plan
        return [(grid,) for grid in grids]

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """From what each call of the connector gave to what is read, in order.

        Args:
            tokens: One per call.
            plan: What `plan` gave for these clips.
        """
        del plan
        return list(tokens)

    def arrange_spans(self, spans: Sequence[Span], plan: Plan) -> Layout:
        """The same for numbers of tokens."""
        del plan
        return tuple(spans)
