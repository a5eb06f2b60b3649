"""A field without what a pattern matches: the calculator marks "<<48/2=24>>" of GSM8K, the word in "Level 3"."""

import re
from collections.abc import Callable
from typing import Any


def cleaned(row: dict[str, Any], *, draw: Callable[[str], float], field: str, pattern: str) -> dict[str, Any] | None:
    """Add `cleaned`, the text of `field` without the matches of the regular expression `pattern`; null of a null field."""
    text = row[field]
    return {"cleaned": None if text is None else re.sub(pattern, "", str(text))}
