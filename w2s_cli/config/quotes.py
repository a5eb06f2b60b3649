"""Double-quoted text in a word, as in YAML: "\\n" is a new line, "\\t" a tab, "\\u00e9" an é.

* Hydra's grammar leaves a backslash as it is unless a quote follows, so `train.head.suffix="\\nLabel:"` would be a backslash and an n,
  where the same text in a YAML file is a new line. `unescaped` replaces the escapes before Hydra reads a word.
* `escaped` is the reverse, for words that are shown, stored and pasted: they stay on one line.
* Single quotes are left alone: in them a backslash is itself, in both languages.
"""

import json
import re
import sys
from collections.abc import Callable

from w2s_cli.errors import UserError

QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"((?:\\.|[^"\\])*)["]""", re.DOTALL)
ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
SURROGATES = range(0xD800, 0xE000)  # halves of a character in UTF-16: no text that can be written has one
SINGLE = {  # YAML 1.2, section 5.7, without the escapes of separators
    **{"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"},
    **{" ": " ", '"': '"', "/": "/", "\\": "\\", "\t": "\t"},
}


def unescaped(word: str) -> str:
    """A word as the user types it → the word for Hydra.

    Raises:
        UserError: an escape that YAML does not have, or that is no character.
    """
    return _with_texts(word, lambda inside: quoted(ESCAPE.sub(lambda escape: _character(escape[1], word), inside)))


def escaped(word: str) -> str:
    """A word for Hydra → the word as the user types it, on one line."""

    def typed(inside: str) -> str:
        text = re.sub(r'(\\+)("|\Z)', lambda match: match[1][: len(match[1]) // 2] + match[2], inside)
        return json.dumps(text, ensure_ascii=False)

    return _with_texts(word, typed)


def _with_texts(word: str, change: Callable[[str], str]) -> str:
    """The word with its double-quoted texts (`change` gets one without its quotes) changed, if they have a backslash or a new line."""
    name, sign, value = word.partition("=")

    def text(match: re.Match[str]) -> str:
        inside = match[1]
        return match[0] if inside is None or (inside.isprintable() and "\\" not in inside) else change(inside)

    return f"{name}{sign}{QUOTED.sub(text, value)}"


def _character(escape: str, word: str) -> str:
    if len(escape) > 1:
        code = int(escape[1:], 16)
        if code > sys.maxunicode or code in SURROGATES:
            raise UserError(f"{word}: \\{escape} is no character of Unicode.")
        return chr(code)
    if escape not in SINGLE:
        raise UserError(
            f"{word}: \\{escape} is no escape in double quotes; in single quotes, '\"…\"' → \"'…'\", a backslash is itself."
        )
    return SINGLE[escape]


def quoted(text: str) -> str:
    """`text` in double quotes of Hydra's grammar: backslashes before a quote are doubled, and the quote gets one of its own."""
    doubled = re.sub(r'(\\*)("|\Z)', lambda match: match[1] * 2 + ('\\"' if match[2] else ""), text)
    return f'"{doubled}"'
