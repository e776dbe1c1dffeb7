"""Learn a small byte-level tokenizer from the labels, for models made from nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from vidapt.recipe import Prompt

PAD, START, END = "<pad>", "<s>", "</s>"


def learn_tokenizer(texts: Iterable[str], prompt: Prompt, vocabulary: int) -> Any:
    """Byte-pair encoding (Sennrich et al., 2016) over bytes, so that every text can be written.

    Marks such as `</s>` in the prompt's fields become single tokens.

    Args:
        texts: What to learn from.
        prompt: Its marks are kept whole; `end` ends an answer.
        vocabulary: Number of tokens, at least 256 plus the marks.
    """
    tokenizer = _learned(texts, _marks(prompt), vocabulary)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=prompt.end or None
    )


def learn_caption_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """The same for a dual encoder: every text stands between two marks, the last of which has the largest id.

    Args:
        texts: What to learn from.
        vocabulary: Number of tokens, at least 259.
    """
    tokenizer = _learned(texts, [PAD, START], vocabulary - 1)
    tokenizer.add_special_tokens([END])
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=marks)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, bos_token=START, eos_token=END)


def _learned(texts: Iterable[str], marks: list[str], vocabulary: int) -> Tokenizer:
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
    return tokenizer


def _marks(prompt: Prompt) -> list[str]:
    fields = prompt.model_dump().values()
    found = [mark for field in fields for mark in re.findall(r"<[^<>\s]+>", field or "")]
    return list(dict.fromkeys([PAD, START, *found]))
