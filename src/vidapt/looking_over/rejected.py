"""What `vidapt clean` set aside or rewrote, read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vidapt.decisions import about
from vidapt.errors import ConfigError, FormatError
from vidapt.formats._row import row_of
from vidapt.formats.vidapt_jsonl import Part
from vidapt.looking_over.made import plain
from vidapt.nouns import Sample


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a row.

    Attributes:
        sample: As it came.
        verdict: `drop` or `rewrite`.
        check: Which check said so.
        reason: Why.
        now: As it was rewritten.
    """

    sample: Sample
    verdict: str
    check: str
    reason: str
    now: Sample | None


@dataclass
class Rejected:
    """Rows of a rejected file, by their ids."""

    path: Path = Path()
    fates: dict[str, Told] = field(default_factory=dict)

    def of(self, samples: Mapping[str, Sample]) -> dict[str, Told]:
        """Those that are about these labels, or are of rows that are not among them any more.

        Args:
            samples: By id; as they came, or as they are after cleaning.

        Raises:
            ConfigError: If every one of them says something else than the row of its id.
        """
        found = {
            key: one for key, one in self.fates.items() if key not in samples or _is_of(one, samples[key])
        }
        there = self.fates.keys() & samples.keys()
        if there and not there & found.keys():
            told = f"is about other labels: none of its {len(there)} rows says what the row of its id says"
            raise ConfigError(self.path, told, "name the file that stands beside the cleaned labels")
        return found


def _is_of(told: Told, sample: Sample) -> bool:
    texts = {about(told.sample)} | ({about(told.now)} if told.now is not None else set())
    return about(sample) in texts


def read_rejected(path: Path) -> Rejected:
    """Read `NAME.rejected.jsonl`; rows that were no labels are passed over.

    Raises:
        FormatError: If it is not there, or holds something else.
    """
    make, found, number = Part(Part.Config()).reader(path, look=False), Rejected(path), 0
    try:
        with path.open("rb") as file:
            for line in file:
                number += 1
                one, where = json.loads(line), f"{path}:{number}"
                if one["row"] is None:
                    continue
                came = replace(make(row_of(one["row"], where, "")), source=str(one["source"]))
                now = make(row_of(one["now"], where, "")) if "now" in one else None
                verdict, check, reason = (plain(str(one[key])) for key in ("verdict", "check", "reason"))
                found.fates[came.id] = Told(came, verdict, check, reason, now)
    except OSError as error:
        raise FormatError(path, f"cannot be read ({error.strerror})", "name a rejected file") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"is no row that `vidapt clean` set aside ({type(error).__name__}: {error})"
        raise FormatError(f"{path}:{number}", what, "name its NAME.rejected.jsonl") from None
    return found
