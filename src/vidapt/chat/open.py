"""Opening whoever is asked."""

from __future__ import annotations

from collections.abc import Iterable

from vidapt.chat.asked import Speaker
from vidapt.chat.settings import Endpoint, Local


def open_speakers(settings: Iterable[Endpoint | Local]) -> list[Speaker]:
    """All of them; the openai client and models are fetched only where they are used.

    Raises:
        ConfigError: If one cannot be asked.
        CheckpointError: If there is no such model.
    """
    opened: list[Speaker] = []
    for one in settings:
        if isinstance(one, Endpoint):
            from vidapt.chat.served import Served

            opened.append(Served(one))
        else:
            from vidapt.chat.local import Opened

            opened.append(Opened(one))
    return opened
