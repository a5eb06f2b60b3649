"""Text on a terminal: control characters are shown, never sent.

* Names, labels, texts and paths come from users' data. An ESC sequence in one of them could move the cursor, change the title or hide a
  line, so each control character is written as its escape: \\x1b.
* Two places write: the standard streams as commands guard them (`commands/output.py`) take all that is printed, and `console` is the
  console of rich, whose own sequences must pass. What rich shows goes through `one_line` before.
"""

import re
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")  # all but tab and new line


def visible(text: str) -> str:
    """`text` with its control characters as escapes; tabs and new lines stay."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def one_line(text: str) -> str:
    """`text` as one cell or label: tabs and new lines are shown as escapes too."""
    return visible(text).replace("\t", "\\t").replace("\n", "\\n")


def console(**options: Any) -> "Console":
    """A console of rich on standard output."""
    from rich.console import Console

    unescaped = getattr(sys.stdout, "unescaped", None)
    return Console(file=unescaped() if unescaped else None, **options)
