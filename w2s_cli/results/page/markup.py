"""HTML without injection: every string is escaped unless `tag` made it.

`Html` is a string of markup. Only `tag`, `join` and the style sheet make it; every other string is text.
"""

import html
import re

VOID = {"meta", "img", "br", "rect", "path", "polyline", "line", "circle"}
CONTROL = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # not allowed in XML or HTML


class Html(str):
    """Markup, not text."""

    __slots__ = ()


def escape(text: str) -> Html:
    """Text as markup; control characters of logs (terminal colours) are left out."""
    return Html(html.escape(CONTROL.sub("", re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)), quote=True))


def join(*parts: str) -> Html:
    """The parts joined; text among them is escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | None) -> Html:
    """An element; `class_` and `http_equiv` become HTML's class and http-equiv, and None leaves an attribute out."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Html(f"<{name}{words}/>")
    return Html(f"<{name}{words}>{join(*children)}</{name}>")


def rows(table: list[list[str]], *, figures: bool = True) -> Html:
    """A table whose first row is the header; with `figures` the columns after the first are right-aligned."""
    head, *body = table
    names = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in head)))
    lines = (tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in body)
    table_tag = tag("table", names if any(head) else "", tag("tbody", *lines), class_="figures" if figures else None)
    return tag("div", table_tag, class_="wide")


def pairs(values: list[tuple[str, str]]) -> Html:
    """Names and values as a table of two columns."""
    return rows([["", ""], *([name, value] for name, value in values)], figures=False) if values else Html("")


def plain(value: object) -> str:
    """A value of a metric or parameter as text."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def flat(values: dict[str, object], prefix: str = "") -> list[tuple[str, str]]:
    """(dotted name, text) of all values in nested dictionaries."""
    texts = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            texts += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            texts.append((f"{prefix}{name}", ", ".join(plain(item) for item in value)[:2000]))
        else:
            texts.append((f"{prefix}{name}", plain(value)[:2000]))
    return texts
