"""One class against all others: is the label this class? (ANLI: entailment, against neutral and contradiction)"""

from collections.abc import Callable
from typing import Any


def is_value(row: dict[str, Any], *, draw: Callable[[str], float], field: str, value: Any) -> dict[str, Any] | None:
    """Add `holds` (1: `field` is `value`, as a number or as text); None for a row without a label (−1 on the hub)."""
    label = row[field]
    if label is None or str(label).strip() in ("", "-1"):
        return None
    return {"holds": int(str(label).strip() == str(value))}
