"""The last reply of a chat, from a list of messages."""

from collections.abc import Callable
from typing import Any


def reply(row: dict[str, Any], *, draw: Callable[[str], float], messages: str) -> dict[str, Any] | None:
    """Add `reply`, the content of the last message in the field `messages`; None if it is not the assistant's."""
    turns = row[messages] or []
    return {"reply": turns[-1]["content"]} if turns and turns[-1]["role"] == "assistant" else None
