"""`w2s report`: a run or sweep as one self-contained HTML page: no network, no script, no second file.

* Text from data, logs, configurations and names is never markup: `markup.tag` escapes every string that is not `Html`, and the page's
  Content-Security-Policy forbids all scripts and addresses.
* The stages are the source: states, figures and logs are read from their folders. The page of a broken or unfinished run lists the
  missing parts.
* The same files give the same page: it has no date.
"""

import base64
import hashlib
from io import BytesIO
from pathlib import Path

from w2s_cli.results.drawing import NoDataError
from w2s_cli.results.drawing.names import heading
from w2s_cli.results.drawing.style import PAGE_INCHES, SUFFIXES, settings
from w2s_cli.results.figures import MAIN, caption, draw_kind, kinds, page_inches
from w2s_cli.results.page.graph import plan_graph
from w2s_cli.results.page.markup import Html, join, tag
from w2s_cli.results.page.results import missing, result, table
from w2s_cli.results.page.run import configuration, provenance
from w2s_cli.results.page.stages import stage_list
from w2s_cli.results.page.texts import texts
from w2s_cli.results.reader import Run
from w2s_cli.results.stages import Stage


def page(run: Run) -> str:
    """The HTML text of the page."""
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    title = heading(run.settings) if run.settings else run.folder.name
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"w2s: {title}"),
        tag("style", Html(style)),
    )
    parts = [
        ("result", "Result", join(result(run), table(run), texts(run))),
        ("figures", "Figures", figures(run)),
        ("plan", "Plan", plan_graph(run.stages)),
        ("stages", "Stages", stage_list(run.stages)),
        ("config", "Configuration", configuration(run)),
        ("provenance", "Provenance", provenance(run, run.stages)),
    ]
    body = tag(
        "body",
        tag(
            "header",
            tag("h1", title),
            tag("p", f"{'/'.join(run.folder.parts[-3:])}: {progress(run.stages)}", class_="run"),
            missing(run, run.stages),
            tag("nav", *(tag("a", name, href=f"#{anchor}") for anchor, name, _ in parts)),
        ),
        tag(
            "main",
            *(tag("section", tag("h2", name), content, id=anchor) for anchor, name, content in parts),
        ),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def progress(stages: list[Stage]) -> str:
    """'11 stages, 10 done, 1 failed'"""
    words = [stage.state.word for stage in stages]
    counts = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words))
    return f"{len(stages)} stages, {counts}" if stages else "no stages"


def figures(run: Run) -> Html:
    """Every figure that the run has data for, and the reasons for the missing figures."""
    drawn, missing_kinds = [], []
    for kind in sorted(kinds(), key=lambda name: name != MAIN):
        try:
            figure = draw_kind(kind, run, inches=page_inches(kind))
        except NoDataError as error:
            missing_kinds.append(tag("li", f"{kind}: {error}"))
            continue
        buffer = BytesIO()
        with settings():
            figure.savefig(buffer, format="svg", metadata=SUFFIXES[".svg"])
        source = "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()
        width = round(figure.get_figwidth() * 115)
        wide = "page" if figure.get_figwidth() == PAGE_INCHES else None
        picture = tag("div", tag("img", src=source, alt=caption(kind), width=str(width), class_=wide), class_="wide")
        drawn.append(
            tag("figure", picture, tag("figcaption", tag("b", kind), ". ", caption(kind)), id=f"figure-{kind}")
        )
    absent = tag("details", tag("summary", "Figures that this run has no data for"), tag("ul", *missing_kinds))
    return join(*drawn, absent if missing_kinds else "")
