"""ETHICS, virtue: the sentence and the trait, from copies of the data with one column for both or with two.

The authors' files have "sentence [SEP] trait" in `scenario`; the hub's copy has a column `trait`. Rows with one sentence are a group.
"""

from collections.abc import Callable
from typing import Any

SEPARATOR = "[SEP]"


def virtue(row: dict[str, Any], *, draw: Callable[[str], float]) -> dict[str, Any] | None:
    """Add `sentence` and `trait`; None for a row without both."""
    sentence, trait = _parts(row)
    return {"sentence": sentence, "trait": trait} if sentence and trait else None


def group(row: dict[str, Any]) -> list[str]:
    """The group of a row: its sentence."""
    return [_parts(row)[0]]


def _parts(row: dict[str, Any]) -> tuple[str, str]:
    sentence, _, trait = str(row["scenario"]).partition(SEPARATOR)
    return sentence.strip(), str(row.get("trait") or trait).strip()
