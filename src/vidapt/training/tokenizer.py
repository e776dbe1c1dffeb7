"""Learn a small byte-level tokenizer from the labels, for models made from nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from vidapt.recipe import Prompt

PAD, START = "<pad>", "<s>"


def learn_tokenizer(texts: Iterable[str], prompt: Prompt, vocabulary: int) -> Any:
    """Byte-pair encoding (Sennrich et al., 2016) over bytes, so that every text can be written.

    Marks such as `</s>` in the prompt's fields become single tokens.

    Args:
        texts: What to learn from.
        prompt: Its marks are kept whole; `end` ends an answer.
        vocabulary: Number of tokens, at least 256 plus the marks.
    """
    marks = _marks(prompt)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=marks,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=prompt.end or None
    )


def _marks(prompt: Prompt) -> list[str]:
    fields = prompt.model_dump().values()
    found = [mark for field in fields for mark in re.findall(r"<[^<>\s]+>", field or "")]
    return list(dict.fromkeys([PAD, START, *found]))
