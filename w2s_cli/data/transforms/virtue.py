"""ETHICS, virtue: the sentence and the trait, whether a copy of the data holds them in one column or in two.

The authors' files hold "sentence [SEP] trait" in `scenario`; the hub's copy has a column `trait`. Rows with one sentence are one group.
"""

from collections.abc import Callable
from typing import Any

SEPARATOR = "[SEP]"


def virtue(row: dict[str, Any], *, draw: Callable[[str], float]) -> dict[str, Any] | None:
    """Add `sentence` and `trait`; None for a row that lacks one."""
    sentence, trait = _parts(row)
    return {"sentence": sentence, "trait": trait} if sentence and trait else None


def group(row: dict[str, Any]) -> list[str]:
    """What rows of one group agree in: the sentence."""
    return [_parts(row)[0]]


def _parts(row: dict[str, Any]) -> tuple[str, str]:
    sentence, _, trait = str(row["scenario"]).partition(SEPARATOR)
    return sentence.strip(), str(row.get("trait") or trait).strip()
