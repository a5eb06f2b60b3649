"""choice: one of the options of the prompt, by its letter or by its text.

* Options are lines of the prompt that begin with the letters A, B, … in this order: "A) …", "(B) …", "C. …", "D: …". Of several such lists
  the last one counts: worked examples may stand before the question.
* The letter after the last "answer is", "answer:" or "A:" counts, else a text that begins with a letter, else the only letter in
  brackets, else the only option whose words stand in the completion. "A" before a word is the article: "A cat" is no letter. A small letter
  counts in brackets, before a full stop, or at the end of a line: "answer: b", "(b)".
"""

import re

from w2s_cli.graders import Problem, Reading

OPTION = re.compile(r"^[ \t]*\(?([A-Z])[).:][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
MARK = re.compile(r"(?:answer|option|choice) is\b|answer:|(?<![A-Za-z])A:", re.IGNORECASE)
LETTER = re.compile(
    r"[\s:(\[{*$\"']*(?:\\boxed\{)?(?:\\text\{)?(?:(?i:option|choice|letter)\s+)?[(*]*"
    r"([B-Z]|A(?!\s+(?!(?:is|because|since|as)\b)[a-z0-9])|[a-z](?=[)\]}*.]|[ \t]*$))(?![A-Za-z0-9'’+])",
    re.MULTILINE,
)
WORD = re.compile(r"[^\W_]+")
BRACKETS = re.compile(r"\(([A-Za-z])\)")


def choice(text: str, problem: Problem) -> Reading:
    """The letter of the chosen option; well-formed if the letter itself is written, not only the option's text.

    Args:
        text: a completion, or the right answer: a letter, or an option's text.
        problem: its prompt has the options.
    """
    options = options_of(problem.prompt)
    letter = _letter(text, options)
    return Reading(_named(text, options), False) if letter is None else Reading(letter)


def options_of(prompt: str) -> dict[str, str]:
    """Letter → text of the last list of options in a prompt."""
    options: dict[str, str] = {}
    for letter, option in OPTION.findall(prompt):
        if letter == "A":
            options = {}
        if letter == chr(ord("A") + len(options)):
            options[letter] = option
    return options


def _letter(text: str, options: dict[str, str]) -> str | None:
    after = [text[mark.end() :] for mark in MARK.finditer(text)]
    for part in (*after[::-1], text):
        first = LETTER.match(part)
        if first and (not options or first[1].upper() in options):
            return first[1].upper()
    letters = {letter for letter in map(str.upper, BRACKETS.findall(text)) if not options or letter in options}
    return letters.pop() if len(letters) == 1 else None


def _named(text: str, options: dict[str, str]) -> str | None:
    """The only option whose words stand in a text; of two options of which one contains the other, the longer one."""
    spoken = _words(text)
    words = {letter: _words(option) for letter, option in options.items()}
    named = [letter for letter, option in words.items() if option.strip() and option in spoken]
    longest = max(named, key=lambda letter: len(words[letter]), default=None)
    if longest is None or any(
        words[other] == words[longest] or words[other] not in words[longest] for other in named if other != longest
    ):
        return None
    return longest


def _words(text: str) -> str:
    """The words of a text between single spaces, so that "ice" is not in "nice"."""
    return " ".join(["", *WORD.findall(text.casefold()), ""])
