"""Pairs of responses with a preference of people (or of a judge): a first and a second text in a drawn order, and the better text.

* The row's hash draws the order, so that the second text is the better in half of the rows, and no row's order depends on another row.
* A response is a text that begins with its prompt (`marker` marks the start of the reply), or a list of chat messages whose last message
  is the reply. A pair with two different prompts compares questions, not answers: it is left out.
* Rows with the same prompt are one group, so no prompt is in two pools.
"""

from collections.abc import Callable, Sequence
from typing import Any

ROLES = {"user": "Human", "human": "Human", "assistant": "Assistant", "gpt": "Assistant", "system": "System"}


def pair(
    row: dict[str, Any],
    *,
    draw: Callable[[str], float],
    chosen: str = "chosen",
    rejected: str = "rejected",
    marker: str | None = None,
    prompt: str | None = None,
    scores: Sequence[str] = (),
    margin: float = 0.0,
    longest: int | None = None,
) -> dict[str, Any] | None:
    """Add `first` and `second` (whole texts), `prompt`, `first_reply`, `second_reply`, and `label` (1: the second is better).

    Args:
        row: the source's row.
        draw: purpose → number in [0, 1), fixed for the row.
        chosen, rejected: the fields of the better and the worse response.
        marker: the beginning of a dialogue's last reply ("\\n\\nAssistant:"); the prompt ends with it.
        prompt: the field of the prompt, if the responses do not begin with it.
        scores: two fields, the scores of `chosen` and `rejected`: the higher score is the better one.
        margin: pairs whose scores differ by no more than this are left out; 0: ties.
        longest: pairs with a text of more characters are left out; None: no limit.

    Returns None for a pair that is left out.
    """
    if row[chosen] is None or row[rejected] is None:
        return None
    better, worse = _said(row[chosen], marker), _said(row[rejected], marker)
    if scores:
        high, low = (float(row[field]) for field in scores)
        if abs(high - low) <= margin:
            return None
        better, worse = (better, worse) if high > low else (worse, better)
    if better[0] != worse[0] or better[1].strip() == worse[1].strip():
        return None
    shared = better[0] if prompt is None else str(row[prompt])
    label = int(draw("second") < 0.5)
    first, second = (worse, better) if label else (better, worse)
    texts = {"first": "".join(first), "second": "".join(second)}
    if longest is not None and max(map(len, texts.values())) > longest:
        return None
    return {**texts, "prompt": shared, "first_reply": first[1], "second_reply": second[1], "label": label}


def group(
    row: dict[str, Any],
    *,
    chosen: str = "chosen",
    rejected: str = "rejected",
    marker: str | None = None,
    prompt: str | None = None,
    **_: Any,
) -> list[str]:
    """The group of a row: its prompt; without a prompt its two responses, in either order."""
    if prompt is not None:
        return [str(row[prompt])]
    replies = [_said(row[field], marker) for field in (chosen, rejected)]
    return [replies[0][0].strip()] if replies[0][0] else sorted(reply for _, reply in replies)


def _said(value: Any, marker: str | None) -> tuple[str, str]:
    """(prompt, reply) of one response; the prompt is empty if its end is unknown."""
    if isinstance(value, list):
        turns = [f"\n\n{ROLES.get(turn['role'], turn['role'])}: {turn['content']}" for turn in value[:-1]]
        return "".join((*turns, "\n\nAssistant:")), f" {value[-1]['content']}"
    text = str(value)
    start, separator, reply = text.rpartition(marker) if marker else ("", "", text)
    return start + separator, reply
