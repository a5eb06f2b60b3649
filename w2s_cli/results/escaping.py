"""Text in a format that gives some characters a meaning: LaTeX, Markdown, CSV. HTML has `page.markup.escape`.

* Names, paths and texts of data are never markup, a comment's end or a formula. Each format has one function here, and its writer passes
  every text through it.
* A line break or another control character of a text is a blank.
* Figures are texts too; `is_figure` recognises them, so that LaTeX has a minus and Markdown keeps an interval as it is.
"""

import re
import unicodedata

# a number with its interval, count and number of seeds; or the dash of a missing cell with the number of its note
FIGURE = re.compile(r"[\[(]?[-–+]?[\d.][\d.,\[\]() %n=!–-]*|–(\[\d+\])?")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
LATEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",  # \textquotedbl needs another font encoding than LaTeX's own
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "→": r"$\rightarrow$",
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": "$-$",
}
LAST_LETTER = 0x17F  # the end of Unicode's Latin letters with accents
MARKDOWN = "\\`*_|<>[]!~&#$"
FORMULA = "=+-@＝＋－＠"  # first characters of a spreadsheet's formula; the last four are their full-width forms


def one_line(text: str) -> str:
    """`text` without line breaks and other control characters."""
    shown = "".join(" " if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") else sign for sign in text)
    return " ".join(shown.split())


def is_figure(text: str) -> bool:
    """Whether a cell holds figures only: '0.33 [0.12, 0.53]', '-0.05', '0.31 (2)'."""
    return bool(FIGURE.fullmatch(text))


def latex(text: str) -> str:
    """A cell of a LaTeX tabular; the minus of a figure or difference is a minus."""
    line = one_line(text)
    minus = r"(?<![\d.])-(?=[\d.])" if is_figure(line) else r"(?<= )-(?= )"  # of a number; of a difference: "a - b"
    line = re.sub(minus, "−", line)
    pairs = zip(f" {line}", line, strict=False)  # each character with the one before it
    escaped = "".join("{}-" if last == sign == "-" else LATEX.get(sign, sign) for last, sign in pairs)  # -- is a dash
    return "{" + escaped + "}" if escaped.startswith(("[", "*")) else escaped  # \\[…] is a length, \\* a command


def beyond_latex(text: str) -> str:
    """The characters of `text` that pdfLaTeX does not have: neither European letters nor signs of `LATEX`."""
    return "".join(sorted({sign for sign in one_line(text) if ord(sign) > LAST_LETTER and sign not in LATEX}))


def latex_comment(text: str) -> str:
    """A line of comment: the text cannot end it."""
    return f"% {one_line(text)}"


def markdown(text: str) -> str:
    """A cell or line of GitHub's Markdown, without links, pictures and addresses."""
    line = one_line(text)
    if is_figure(line):
        return line
    escaped = "".join(f"\\{sign}" if sign in MARKDOWN else sign for sign in line)
    return re.sub(r"(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.", lambda match: f"\\{match[0]}", escaped, flags=re.IGNORECASE)


def csv_cell(value: object) -> object:
    """A cell of a CSV file: a text that a spreadsheet would run as a formula begins with an apostrophe; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = value if value.isprintable() else one_line(value)
    formula = text.startswith(tuple(FORMULA)) and text != "-" and not NUMBER.fullmatch(text)
    return f"'{text}" if formula else text
