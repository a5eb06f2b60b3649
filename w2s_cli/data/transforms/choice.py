"""Multiple choice as true or false: show the right option or a wrong one, by the toss of a coin.

The reference code's treatment (Burns et al. 2023, section 4.1 and appendix A) without what went wrong in its like: options of one
kind for both labels, and no option that only ever is wrong (`exclude`).
"""

from collections.abc import Callable, Sequence
from typing import Any


def choice(
    row: dict[str, Any],
    *,
    draw: Callable[[str], float],
    choices: Sequence[str] | str,
    answer: str | None = None,
    exclude: Sequence[str] = (),
    first: int = 0,
    by_text: bool = False,
) -> dict[str, Any] | None:
    """Add `answer` (the option shown), `label` (1: it is right) and `listed` ("A) …" lines of all options).

    Args:
        row: the source's row.
        draw: purpose → number in [0, 1), fixed for the row.
        choices: the fields that hold the options, or the one field that holds a list of them.
        answer: the field that says which option is right, as its number from 0, its letter from A, or its own label
            (`{text: [...], label: [...]}` as on the hub); null: the first of `choices` is.
        exclude: options with one of these words in them are never shown, since they would give the label away. A
            row whose right option is one of them is left out.
        first: the number of the first option, where `answer` is a number.
        by_text: `answer` holds the right option itself.

    Returns None for a row without a right option or without a wrong one.
    """
    options, names = _options(row, choices)
    right = 0 if answer is None else _position(row[answer], options if by_text else names, None if by_text else first)
    if right is None or not 0 <= right < len(options):
        return None
    shown = [number for number, text in enumerate(options) if not any(word.lower() in text.lower() for word in exclude)]
    wrong = [number for number in shown if options[number].strip() != options[right].strip()]
    if right not in shown or not wrong:
        return None
    label = int(draw("label") < 0.5)
    number = right if label else wrong[int(draw("answer") * len(wrong))]
    listed = "\n".join(f"{name}) {text}" for name, text in zip(names, options, strict=True))
    return {"answer": options[number], "label": label, "listed": listed}


def _options(row: dict[str, Any], choices: Sequence[str] | str) -> tuple[list[str], list[str]]:
    """The options and their names (A, B, … unless the source names them)."""
    found = row[choices] if isinstance(choices, str) else [row[field] for field in choices]
    names = None
    if isinstance(found, dict):
        found, names = found["text"], found["label"]
    options = [str(option) for option in found if option is not None]
    letters = [chr(ord("A") + number) for number in range(len(options))]
    return options, [str(name) for name in names] if names and len(names) == len(options) else letters


def _position(value: Any, names: Sequence[str], first: int | None) -> int | None:
    """Which option a source's answer means: its name, else its number counted from `first` (null: it is no number)."""
    text = str(value).strip()
    if text in names:
        return names.index(text)
    return int(text) - first if text.isdecimal() and first is not None else None
