"""Prompts as templates: names are filled in, nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from string import Template

from vidapt.errors import nearest

FIELDS: Mapping[str, frozenset[str]] = {
    "caption": frozenset({"times", "length"}),
    "facts": frozenset({"times", "length", "start", "end", "most", "schema"}),
    "difference": frozenset({"times", "border", "before", "after", "most", "schema"}),
    "write": frozenset({"facts", "length", "schema"}),
    "ask": frozenset({"facts", "length", "count", "schema"}),
    "repair": frozenset({"prompt", "error", "answer"}),
    "label": frozenset(),
}
"""What may be filled in, by template."""

_NEEDED: Mapping[str, frozenset[str]] = {
    "write": frozenset({"facts"}),
    "ask": frozenset({"facts"}),
    "repair": frozenset({"prompt", "error"}),
}
_LONGEST = 20_000


def check_template(name: str, text: str) -> None:
    """See that a template can be filled in.

    Raises:
        ValueError: If it is empty, too long, names what is not there or leaves out what it is about.
    """
    if not text.strip():
        raise ValueError("is empty")
    if len(text) > _LONGEST:
        raise ValueError(f"has {len(text)} letters, more than {_LONGEST}")
    template = Template(text)
    if not template.is_valid():
        raise ValueError("has a `$` that begins no name; write `$$` for a dollar")
    used = set(template.get_identifiers())
    for unknown in sorted(used - FIELDS[name]):
        raise ValueError(f"`${unknown}` is not known here; {nearest(unknown, FIELDS[name])}")
    for missing in sorted(_NEEDED.get(name, frozenset()) - used):
        raise ValueError(f"`${missing}` does not stand in it")


def filled(text: str, values: Mapping[str, object]) -> str:
    """A template with its names filled in; what is filled in is taken as it is."""
    return Template(text).substitute({name: str(value) for name, value in values.items()})
