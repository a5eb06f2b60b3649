"""A class against all others: is the label this one? (ANLI: entailment, against neutral and contradiction)"""

from collections.abc import Callable
from typing import Any


def is_value(row: dict[str, Any], *, draw: Callable[[str], float], field: str, value: Any) -> dict[str, Any] | None:
    """Add `holds` (1: `field` is `value`, as a number or as text); None for a row without one (−1 on the hub: no label)."""
    found = row[field]
    if found is None or str(found).strip() in ("", "-1"):
        return None
    return {"holds": int(str(found).strip() == str(value))}
