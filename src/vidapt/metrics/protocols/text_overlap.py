"""CIDEr, BLEU and ROUGE by the libraries that others use. They tell likeness of wording, not truth.

Source: CIDEr-D (Vedantam et al. 2015, arXiv 1411.5726) by pycocoevalcap, BLEU (Papineni et al. 2002) of
sentences by sacreBLEU, ROUGE-L (Lin 2004) by rouge-score; the extra `metrics` installs them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from vidapt.errors import ConfigError
from vidapt.metrics.cases import Case, Measure, Outcome, Steps, Told, settled, share
from vidapt.metrics.protocols._references import referred
from vidapt.metrics.text import words
from vidapt.nouns import Sample
from vidapt.parts import PartConfig

_CIDER, _BLEU, _ROUGE = "CIDEr-D", "BLEU of sentences", "ROUGE-L"


class Part:
    """Overlap of words."""

    version = 1
    judged = False
    purpose = "likeness of wording (CIDEr, BLEU, ROUGE), which is not truth"
    measures: tuple[Measure, ...] = (
        Measure(_CIDER, high=10.0, unit="points"),
        Measure(_BLEU),
        Measure(_ROUGE),
    )

    class Config(PartConfig):
        """Options.

        Attributes:
            prompt: What models are asked; None asks each row's own question.
        """

        prompt: str | None = None

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg

    def cases(self, rows: Sequence[Sample]) -> list[Case]:
        """A case for each row with a reference."""
        return [referred(row, self.cfg.prompt) for row in rows]

    def around(self, told: Sequence[Told]) -> Mapping[str, float]:
        """CIDEr of each case, whose weights of words are those of all references.

        Raises:
            ConfigError: If a library is not installed.
        """
        cider = _library("pycocoevalcap.cider.cider").Cider()
        references = {
            one.case.id: [" ".join(words(text)) for text in one.case.truth["reference"]] for one in told
        }
        said = {one.case.id: [" ".join(words(one.answer))] for one in told}
        _, each = cider.compute_score(references, said)
        return dict(zip(references, map(float, each), strict=True))

    def steps(self, told: Told, around: Mapping[str, float]) -> Steps:
        """Compare wordings."""
        references = list(told.case.truth["reference"])
        if told.silent:
            return settled(Outcome({name: share(0) for name in (_CIDER, _BLEU, _ROUGE)}))
        bleu = _library("sacrebleu").sentence_bleu(told.answer, references).score / 100
        rouge = _library("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
        best = max(rouge.score(text, told.answer)["rougeL"].fmeasure for text in references)
        terms = {_CIDER: share(around[told.case.id]), _BLEU: share(min(1.0, bleu)), _ROUGE: share(best)}
        return settled(Outcome(terms))


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(
            "text_overlap", f"needs {name.partition('.')[0]}", "pip install 'vidapt[metrics]'"
        ) from None


def tiny() -> Part:
    """The protocol with its defaults."""
    return Part(Part.Config())
