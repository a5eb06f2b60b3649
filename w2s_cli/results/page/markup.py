"""HTML that cannot be injected: text is escaped unless `tag` made it.

`Html` marks what is markup already. Only `tag` and `join` make it, and the one style sheet; every other string is somebody's text.
"""

import html
import re

VOID = {"meta", "img", "br", "rect", "path", "polyline", "line", "circle"}
CONTROL = re.compile(
    r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)  # not allowed in XML, or in a page


class Html(str):
    """Markup, not text."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Text as markup; control characters of logs (terminal colours) are left out."""
    return Html(html.escape(CONTROL.sub("", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)), quote=True))


def join(*parts: str) -> Html:
    """Parts after each other; those that are text are escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | None) -> Html:
    """An element; `class_` and `http_equiv` are written as HTML has them, and None leaves an attribute out."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{words}/>")
    return Html(f"<{name}{words}>{join(*children)}</{name}>")


def rows(table: list[list[str]], *, figures: bool = True) -> Html:
    """A table whose first row is the header; columns after the first hold figures, to the right, if `figures` says so."""
    head, *body = table
    names = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    lines = (tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in body)
    made = tag("table", names if any(head) else "", tag("tbody", *lines), class_="figures" if figures else None)
    return tag("div", made, class_="wide")


def pairs(values: list[tuple[str, str]]) -> Html:
    """Names and values as a table of two columns."""
    return rows([["", ""], *([name, value] for name, value in values)], figures=False) if values else Html("")


def plain(value: object) -> str:
    """A value of a metric or parameter as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def flat(values: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, text) of everything in nested dictionaries."""
    listed = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            listed += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            listed.append((f"{prefix}{name}", ", ".join(plain(item) for item in value)[:2000]))
        else:
            listed.append((f"{prefix}{name}", plain(value)[:2000]))
    return listed
