"""Which visual tokens of a clip are left out because nothing moves where they are.

Sources: run-length tokenization (Choudhury et al. 2024, arXiv 2411.05222), which compares the pixels of each
patch with those of the frame before; Efficient Video Sampling, as vLLM has it, which keeps the first frame
whole and a fixed share of all, with the positions they had. DyCoke (Tao et al. 2024, arXiv 2411.15024) merges
like tokens of neighbouring frames instead. Pooling (PLLaVA, arXiv 2404.16994) is the other way to fewer
tokens: it takes from all cells alike.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from vidapt.strict import Strict


class Prune(Strict):
    """How many of a clip's visual tokens are read; exactly one of the two is given.

    What has changed least from one frame to the next is left out. All tokens of a clip's first slice are
    read, and so is what stands for no part of the picture, such as newlines. Nothing of a still is left out.

    Attributes:
        keep: Share of a clip's tokens that is read, so that their number is known before a pixel is decoded;
            it is never less than the first slice.
        threshold: Tokens are read whose pixels change by more than this on the mean, as a share of the
            brightest value. Their number depends on the clip; what is planned is all of them.
    """

    keep: Annotated[float, Field(gt=0, le=1)] | None = None
    threshold: Annotated[float, Field(ge=0, lt=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Prune:
        if (self.keep is None) == (self.threshold is None):
            raise ValueError("`prune` needs `keep` or `threshold`, and not both")
        return self
