"""Multiple choice as true or false: a draw decides whether the right option or a wrong option is shown.

The treatment of the reference code (Burns et al. 2023, section 4.1 and appendix A), without two known label leaks: right and wrong
options have the same form, and options that are never right can be left out (`exclude`).
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
    """Add `answer` (the shown option), `label` (1: the shown option is right) and `listed` ("A) …" lines of all options).

    Args:
        row: the source's row.
        draw: purpose → number in [0, 1), fixed for the row.
        choices: the fields of the options, or the one field with a list of them.
        answer: the field of the right option, as a number from 0, a letter from A, or the option's own label
            (`{text: [...], label: [...]}` as on the hub); None: the first of `choices` is right.
        exclude: options with one of these words are never shown, because they would give the label away. A row
            whose right option has such a word is left out.
        first: the number of the first option, if `answer` is a number.
        by_text: `answer` holds the text of the right option.

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
    texts = row[choices] if isinstance(choices, str) else [row[field] for field in choices]
    names = None
    if isinstance(texts, dict):
        texts, names = texts["text"], texts["label"]
    options = [str(option) for option in texts if option is not None]
    letters = [chr(ord("A") + number) for number in range(len(options))]
    return options, [str(name) for name in names] if names and len(names) == len(options) else letters


def _position(value: Any, names: Sequence[str], first: int | None) -> int | None:
    """The place of the option that the answer `value` means: by its name, else by its number counted from `first` (None: no numbers)."""
    text = str(value).strip()
    if text in names:
        return names.index(text)
    return int(text) - first if text.isdecimal() and first is not None else None
