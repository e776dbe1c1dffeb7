"""The plain case of a resolution: every view goes through the connector by itself, and is read as it is."""

from __future__ import annotations

from collections.abc import Sequence

from vidapt.nouns import Features, Plan, Tokens


class OneByOne:
    """What lies between towers, connector and language model where views are neither joined nor marked.

    Both methods must look at shapes only, never at values: what will be read of a clip is found by running
    them on tensors without content (`models/layout.py`).
    """

    def stitch(self, features: Sequence[Features], plan: Plan) -> list[tuple[Features, ...]]:
        """From what was seen in each view to what each call of the connector reads.

        Args:
            features: One per view of the plan.
            plan: What `plan` gave for these clips.
        """
        del plan
        return [(seen,) for seen in features]

    def arrange(self, tokens: Sequence[Tokens], plan: Plan) -> list[Tokens | str]:
        """From what each call of the connector gave to what is read, in order.

        Args:
            tokens: One per call.
            plan: What `plan` gave for these clips.
        """
        del plan
        return list(tokens)
