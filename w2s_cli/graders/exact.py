"""exact: the text itself, in lower case, with single spaces and without the punctuation of a sentence at its ends.

Signs of an answer stay: "-5" is not "5", "50%" not "50", "C++" not "C".
"""

from w2s_cli.graders import Problem, Reading

BEFORE, BEHIND = "\"'`*([{“‘ ", "\"'`*)]}”’.,;:!? "


def exact(text: str, problem: Problem, *, case: bool = False, first_line: bool = True) -> Reading:
    """The whole text as the answer.

    Args:
        text: a completion, or the right answer.
        problem: not used.
        case: True: upper and lower case differ.
        first_line: only the first line with text counts.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    whole = " ".join((lines[0] if first_line and lines else text).split()).lstrip(BEFORE).rstrip(BEHIND)
    return Reading((whole if case else whole.casefold()) or None)
