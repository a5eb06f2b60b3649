"""choice: one of the options of the prompt, by its letter or by its text.

* Options are lines of the prompt that begin with a letter: "A) …", "(B) …", "C. …", "D: …".
* The letter after the last "answer is", "answer:" or "A:" counts, else a text that begins with a letter, else the only letter in
  brackets, else the only option whose text stands in the completion.
"""

import re

from w2s_cli.graders import Problem, Reading

OPTION = re.compile(r"^\s*\(?([A-Z])[).:]\s*(\S.*?)\s*$", re.MULTILINE)
MARK = re.compile(r"(?:answer is|answer:|(?<![A-Za-z])A:)\s*(?:option\s*)?", re.IGNORECASE)
LETTER = re.compile(r"\(?\**([A-Z])\b\**\)?(?![a-z'’])")
BRACKETS = re.compile(r"\(([A-Z])\)")


def choice(text: str, problem: Problem) -> Reading:
    """The letter of the chosen option; well-formed if the letter itself is written, not only the option's text.

    Args:
        text: a completion, or the right answer: a letter, or an option's text.
        problem: its prompt has the options.
    """
    options = dict(OPTION.findall(problem.prompt))
    letter = _letter(text, options)
    if letter is not None:
        return Reading(letter)
    said = text.casefold()
    named = [name for name, option in options.items() if option.casefold().rstrip(".") in said]
    longest = max(named, key=lambda name: len(options[name]), default=None)
    # of two options of which one contains the other, the longer one is written
    inside = (
        all(name == longest or options[name].casefold().rstrip(".") in options[longest].casefold() for name in named)
        if longest
        else False
    )
    return Reading(longest if inside else None, False)


def _letter(text: str, options: dict[str, str]) -> str | None:
    after = [text[mark.end() :] for mark in MARK.finditer(text)]
    for part in (*after[::-1], text.lstrip()):
        first = LETTER.match(part)
        if first and (not options or first[1] in options):
            return first[1]
    letters = {letter for letter in BRACKETS.findall(text) if not options or letter in options}
    return letters.pop() if len(letters) == 1 else None
