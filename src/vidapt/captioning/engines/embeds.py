"""A server that reads prompt embeddings: what is seen is made here, and what is said is written there.

The tower and the connector run in this process; the language model runs in vLLM, which batches continuously
and needs to know nothing of footage. Its completions take `prompt_embeds`, a tensor that `torch.save` wrote,
in base64 (`vllm serve ... --enable-prompt-embeds`), so that any model can be served of which nothing enters
the language model but embeddings, at positions that count tokens.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vidapt.captioning.engines.chat import told
from vidapt.captioning.engines.protocol import Words
from vidapt.captioning.engines.watching import Watching
from vidapt.chat.asked import Asked, Bound, Failed, Said, Unusable
from vidapt.chat.counter import Counter
from vidapt.chat.remote import Remote
from vidapt.chat.served import Served
from vidapt.chat.settings import Endpoint
from vidapt.digests import digest
from vidapt.errors import VidaptError
from vidapt.inference.engine import Engine
from vidapt.inference.watch import SeenClip
from vidapt.models.decoding import Decoding
from vidapt.models.embeddings_only import refuse_more_than_embeddings


class EmbedsServer(Watching):
    """Answers by a model whose language model is behind a server.

    Args:
        engine: The model; of its language model the embeddings alone are read.
        remote: The server, which has the same language model.
        replies: File in which answers are kept.

    Raises:
        ConfigError: If more than embeddings enters the language model, or the server cannot be asked.
        TakenError: If another process keeps answers there.
    """

    def __init__(self, engine: Engine, remote: Remote, replies: Path) -> None:
        refuse_more_than_embeddings(engine.model, "--engine")
        super().__init__(engine)
        self._remote = remote
        self._speaker = Continued(remote.endpoint, engine)
        self._counter = Counter(self._speaker, replies, self.fingerprint, remote.budget, remote.give_up)

    @property
    def fingerprint(self) -> str:
        """Of the model; and of what the server calls its language model."""
        return digest(self._speaker.identity, 24)

    def together(self, answers: int, tokens: int) -> int:
        """As many as the server is asked at a time."""
        del tokens
        return max(1, self._remote.endpoint.concurrency // answers)

    def answer(
        self, asked: Sequence[tuple[SeenClip, Sequence[str]]], decoding: Decoding, places: int
    ) -> list[list[Words] | VidaptError]:
        """Send the embeddings of all that is read before each answer."""
        del places
        posed = [self._asked(seen, question, decoding) for seen, questions in asked for question in questions]
        pairs = [(seen, question) for seen, questions in asked for question in questions]
        self._speaker.show(posed, pairs)
        return told(self._counter.ask(posed, "caption"), [len(questions) for _, questions in asked])

    def seconds(self, read: float, new: float, places: int, answers: int) -> None:
        """A server's limits are not known."""
        del read, new, places, answers

    def close(self) -> None:
        """Close connections."""
        self._counter.close()

    @staticmethod
    def _asked(seen: SeenClip, question: str, decoding: Decoding) -> Asked:
        return Asked(
            prompt=question,
            clip=seen.clip,
            content=seen.clip.id,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            max_tokens=decoding.max_new_tokens,
            seed=decoding.seed,
        )


class Continued(Served):
    """A server that goes on from embeddings.

    Args:
        settings: Where it is, and how it is asked.
        engine: Whose embeddings it is sent.

    Raises:
        ConfigError: If the `openai` client is not installed, or the key is not in the environment.
    """

    def __init__(self, settings: Endpoint, engine: Engine) -> None:
        super().__init__(settings)
        self._engine = engine
        self._about: dict[tuple[object, ...], tuple[SeenClip, str]] = {}
        self._reads: asyncio.Task[None] | None = None

    def show(self, posed: Sequence[Asked], pairs: Sequence[tuple[SeenClip, str]]) -> None:
        """What the next questions are about; what was shown before is forgotten."""
        self._about = dict(zip(map(_place, posed), pairs, strict=True))

    @property
    def identity(self) -> list[object]:
        """The model and what it is shown, and the language model by its name."""
        return [self._engine.fingerprint, self._engine.side, *super().identity]

    def sees(self, asked: Asked) -> list[object]:
        """The stretch of the file."""
        return list(_place(asked))

    def bound(self, asked: Asked) -> Bound:
        """What is read is counted."""
        read = len(self._engine.prompt([self._about[_place(asked)][0]], asked.prompt)[0])
        return Bound(read, asked.max_tokens, self.money(read, asked.max_tokens))

    async def _send(self, client: Any, asked: Asked) -> Any:
        if self._reads is None:
            self._reads = asyncio.create_task(self._prove(client))
        await asyncio.shield(self._reads)
        # Greedy is said in so many words: a server's own default may be another.
        request = self._drawn(asked) | {"prompt": "", "max_tokens": asked.max_tokens, "logprobs": 1}
        request["extra_body"] = {
            "stop_token_ids": list(self._engine.stops),
            "skip_special_tokens": True,
            **self._cfg.extra,
            "prompt_embeds": self._embeds(asked),
        }
        return await client.completions.with_raw_response.create(**request)

    async def _prove(self, client: Any) -> None:
        """See that embeddings are read: a server that passes over them would answer no question at all.

        Raises:
            Unusable: If it answers although what it is sent are none.
        """
        try:
            await client.completions.create(
                model=self._cfg.model, prompt="", max_tokens=1, extra_body={"prompt_embeds": _NO_TENSOR}
            )
        except self._openai.NotFoundError as error:
            told = self._refusal(error.status_code, error.response).found
            remedy = "check `model`, and that it is vLLM, started with --enable-prompt-embeds"
            raise Unusable(self.name, told, remedy) from None
        except self._openai.OpenAIError:
            return  # whatever else is wrong, the question itself will tell
        told = "it passes over prompt embeddings"
        raise Unusable(self.name, told, "start it as `vllm serve ... --enable-prompt-embeds`")

    @torch.inference_mode()
    def _embeds(self, asked: Asked) -> str:
        """All that is read before the answer: [L, D], in base64."""
        seen, question = self._about[_place(asked)]
        model = self._engine.model
        ids, slots = self._engine.prompt([seen], question)
        places = torch.tensor([slots], device=model.device)
        embedded = model.embed(torch.tensor([ids], device=model.device), places, seen.tokens)[0]
        file = io.BytesIO()
        torch.save(embedded.cpu().clone(), file)
        return base64.b64encode(file.getvalue()).decode()

    def _said(self, content: bytes, took_s: float) -> Said:
        try:
            found = json.loads(content)
            # Of a request with words and embeddings those of the embeddings come first.
            choice = found["choices"][0]
            text, finish = choice["text"], choice.get("finish_reason")
            logs = (choice.get("logprobs") or {}).get("token_logprobs") or []
            mean = _mean(logs)
            used = found.get("usage") or {}
            read, written = used.get("prompt_tokens"), used.get("completion_tokens")
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            raise Failed(self.name, "its reply holds no answer", again=True, paid=True) from None
        if not isinstance(text, str):
            raise Failed(self.name, "its reply holds no text", again=True, paid=True)
        ended = finish != "length"
        counts = [one if type(one) is int and 0 <= one < 10**9 else None for one in (read, written)]
        # The mark that ends an answer is counted there, and not here.
        own = None if counts[1] is None else max(0, counts[1] - ended)
        return Said(self._cleaned(text), not ended, counts[0], own, took_s, mean)


def _mean(logs: list[Any]) -> float | None:
    """Of natural logarithms of probabilities; None where they are none."""
    numbers = [float(one) for one in logs if type(one) in (int, float) and _LEAST < one <= 0]
    return sum(numbers) / len(numbers) if numbers and len(numbers) == len(logs) else None


_LEAST = -1e6
_NO_TENSOR = "!"
"""Not even base64."""


def _place(asked: Asked) -> tuple[object, ...]:
    clip = asked.clip
    assert clip is not None
    return asked.content, clip.start_s, clip.end_s, clip.rate, asked.prompt
