"""Cautions under a result that several stage kinds share."""

from collections.abc import Mapping
from typing import Any

CUT_SHARE = 0.01  # share of cut texts above which the result has a caution


def cut_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """One line if the stage cut more than CUT_SHARE of its texts to the length that its model reads; else none."""
    cut = (metrics.get("truncated") or {}).get("share", 0.0)
    if cut <= CUT_SHARE:
        return []
    return [
        f"Caution: {cut:.0%} of the texts were cut to {params['max_length']} tokens, the most that {about['model']} reads "
        f"({about['role']}); w2s data check shows the lengths."
    ]


def empty_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """One line if the stage had texts of which the model reads nothing; else none."""
    if not metrics.get("empty"):
        return []
    return [
        f"Caution: {metrics['empty']:,} of {metrics['rows']:,} texts ({about['rows']}) have no token that {about['model']} knows "
        f"({about['role']}): they are empty, or in another script than its tokenizer's."
    ]


def unread_texts(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """The lines of `cut_texts` and `empty_texts`."""
    return cut_texts(metrics, params, about) + empty_texts(metrics, params, about)
