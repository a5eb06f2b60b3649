"""What several kinds say under a result."""

from collections.abc import Mapping
from typing import Any

CUT_SHARE = 0.01  # share of cut texts from which on the result says so


def cut_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """A line for a stage whose texts were cut to what its model reads."""
    cut = (metrics.get("truncated") or {}).get("share", 0.0)
    if cut <= CUT_SHARE:
        return []
    return [
        f"Caution: {cut:.0%} of the texts were cut to what {about['model']} reads, at most {params['max_length']} tokens "
        f"({about['role']}); w2s data check shows lengths."
    ]
