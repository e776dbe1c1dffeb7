"""Labels whose claims their clip does not bear out, as `vidapt evidence` found; others are kept.

A contradicted clause of a longer text is taken out of it, and an answer that is contradicted as a whole is
set aside and may be asked for again. What is merely unseen is kept by default: the model that looked may see
less than the one that is trained.

Source: captions judged claim by claim, and freed of what the model cannot know, as in KnowAda (Yanuka et al.
2024, "Bridging the Visual Gap", arXiv 2411.09018).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import Field

from vidapt.claims import Claim, without
from vidapt.cleaning.labels import KEEP, NOTHING, Given, Label, Verdict, drop, rewrite
from vidapt.parts import PartConfig

Act = Literal["keep", "delete", "drop"]


class Part:
    """Takes out, or sets aside, what clips do not bear out; needs the column `claims`."""

    version = 1

    class Config(PartConfig):
        """Options.

        Attributes:
            contradicted: What becomes of a text with contradicted claims: it is kept, they are deleted from
                it, or it is set aside.
            unseen: The same of claims that the clip says nothing of.
            least: Share of the claims that could be checked that has to be supported; texts of which fewer
                are set aside. 0 asks for none.
        """

        contradicted: Act = "delete"
        unseen: Act = "keep"
        least: float = Field(0.0, ge=0, le=1)

    def __init__(self, cfg: Config, given: Given = NOTHING) -> None:
        del given
        self.cfg = cfg

    def judge(self, labels: Sequence[Label]) -> Iterator[Verdict]:
        """Judge each label by its own claims."""
        for label in labels:
            yield self._judge(label) if label.claims else KEEP

    def _judge(self, label: Label) -> Verdict:
        claims = label.claims
        checked = [claim for claim in claims if claim.verdict != "unchecked"]
        supported = sum(claim.verdict == "supported" for claim in checked)
        if checked and supported < self.cfg.least * len(checked):
            return drop(f"{supported} of {len(checked)} claims are borne out by the clip", again=True)
        acts: dict[str, Act] = {"contradicted": self.cfg.contradicted, "unseen": self.cfg.unseen}
        dropped = [claim for claim in claims if acts.get(claim.verdict) == "drop"]
        if dropped:
            return drop(_told(dropped), again=True)
        gone = {at for at, claim in enumerate(claims) if acts.get(claim.verdict) == "delete"}
        if not gone:
            return KEEP
        told = _told([claims[at] for at in sorted(gone)])
        left = without(label.text, [(claim.start, claim.end) for claim in claims], gone)
        return rewrite(left, told) if left else drop(told, again=True)


def _told(claims: Sequence[Claim]) -> str:
    first = claims[0]
    more = f", and {len(claims) - 1} more" if len(claims) > 1 else ""
    known = "" if first.evidence is None else f" (evidence {first.evidence:.1f})"
    return f"{first.verdict} by the clip{known}: {first.text.strip()!r}{more}"


def tiny() -> Part:
    """The check with its defaults."""
    return Part(Part.Config())
