"""The stages of the run: state, key, time, metrics, the end of the log, and curves.

The page of a sweep with a hundred stages must open at once: logs are cut to their end, and each stage is folded until a click.
"""

from w2s_cli.results.page.markup import Html, flat, join, pairs, plain, tag
from w2s_cli.results.stages import Stage
from w2s_cli.results.written_metrics import Curve, read_curve

LOG_LINES, LOG_LETTERS = 40, 4000
FAILED_LETTERS = 12000  # of a failed stage's log, whose end has the reason
POINTS_DRAWN = 200
WIDTH, HEIGHT = 300, 90


def detail(stage: Stage) -> str:
    """The wall seconds of a finished stage; else the reason why it is not finished."""
    if stage.state.word == "done":
        return f"{stage.state.record['wall_s']:.1f} s" if "wall_s" in stage.state.record else ""
    if stage.folder is None:
        return "not begun"
    return stage.state.detail or "not ended"


def stage_list(stages: list[Stage]) -> Html:
    """All stages, grouped by name."""
    if not stages:
        return tag("p", "The stages are unknown.")
    names = {stage.key: stage.name for stage in stages}
    groups: dict[str, list[Stage]] = {}
    for stage in stages:
        groups.setdefault(stage.name, []).append(stage)
    parts = []
    for number, (name, group) in enumerate(groups.items()):
        inside = join(*(_stage(stage, names) for stage in group))
        many = tag("h3", f"{name} × {len(group)}") if len(group) > 1 else Html("")
        parts.append(tag("div", many, inside, id=f"name-{number}"))
    return join(*parts)


def _stage(stage: Stage, names: dict[str, str]) -> Html:
    """One stage, folded."""
    head = tag(
        "summary",
        tag("b", stage.name),
        " ",
        tag("code", stage.key),
        " ",
        tag("span", stage.state.word, class_=f"state {stage.state.word}"),
        f" {detail(stage)}",
        tag("span", f" {about(stage)}", class_="about"),
    )
    inputs = [
        tag(
            "li",
            f"{edge}: {names.get(key, '')} ",
            tag("a", tag("code", key), href=f"#stage-{key}") if key in names else tag("code", key),
        )
        for edge, key in stage.upstream()
    ]
    times = [
        (name, plain(stage.state.record[name]))
        for name in ("wall_s", "cpu_s", "peak_memory_mib")
        if name in stage.state.record
    ]
    curve = read_curve(stage.folder / "metrics.jsonl") if stage.folder else {}
    body = join(
        tag("p", f"kind {stage.kind}; folder {stage.folder.name if stage.folder else 'none'}"),
        join(tag("h4", "inputs"), tag("ul", *inputs)) if inputs else "",
        join(tag("h4", "curves"), _curves(curve)) if curve else "",
        join(tag("h4", "metrics"), pairs(flat(stage.state.metrics))) if stage.state.metrics else "",
        join(tag("h4", "cost"), pairs([*times, *flat(stage.state.record.get("measured") or {})])) if times else "",
        join(tag("h4", "parameters"), pairs(flat(stage.params))) if stage.params else "",
        join(tag("h4", "log"), tag("pre", log_end(stage))),
    )
    return tag("details", head, tag("div", body, class_="stage"), id=f"stage-{stage.key}")


def about(stage: Stage) -> str:
    """The fields that distinguish stages of one name: seed, loss, rows, learning rate, accuracy."""
    words = []
    loss = stage.params.get("loss")
    if isinstance(loss, dict) and "name" in loss:
        words.append(str(loss["name"]))
    words += [
        f"{name} {plain(stage.params[name])}" for name in ("lr", "seed", "pool") if stage.params.get(name) is not None
    ]
    for name in ("rows", "accuracy", "final_loss"):
        if isinstance(stage.state.metrics.get(name), int | float):
            words.append(f"{name.replace('_', ' ')} {plain(stage.state.metrics[name])}")
    return ", ".join(words)


def log_end(stage: Stage) -> str:
    """The last lines of the stage's log; more of them for a failed stage."""
    if stage.folder is None:
        return "no log"
    path = stage.folder / "log.txt"
    limit = FAILED_LETTERS if stage.state.word == "failed" else LOG_LETTERS
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(max(0, size - 2 * limit))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "no log"
    lines = text.splitlines()
    end = "\n".join(lines[-LOG_LINES:])[-limit:]
    cut = size > 2 * limit or len(lines) > LOG_LINES or len(end) < len("\n".join(lines))
    return (f"… (the end of log.txt, {size:,} bytes)\n" if cut else "") + (end or "the log is empty")


def _curves(curve: Curve) -> Html:
    """A small drawing for each quantity."""
    return tag("div", *(_curve(name, points) for name, points in list(curve.items())[:6]), class_="curves")


def _curve(name: str, points: list[tuple[float, float]]) -> Html:
    """A curve with the figures of its ends and its range; of a long curve every n-th point."""
    step = -(-len(points) // POINTS_DRAWN)
    drawn = points[::step] if points[-1] in points[::step] else [*points[::step], points[-1]]
    low, high = min(v for _, v in drawn), max(v for _, v in drawn)
    first, last = drawn[0][0], drawn[-1][0]
    inner = HEIGHT - 30
    places = [
        (44 + (WIDTH - 52) * (s - first) / ((last - first) or 1), 8 + inner * (1 - (v - low) / ((high - low) or 1)))
        for s, v in drawn
    ]
    shape = (
        tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places), class_="curve")
        if len(places) > 1
        else tag("circle", cx=f"{places[0][0]:.1f}", cy=f"{places[0][1]:.1f}", r="2.5", class_="dot")
    )
    drawing = tag(
        "svg",
        tag("line", x1="44", y1=str(8 + inner + 3), x2=str(WIDTH - 8), y2=str(8 + inner + 3), class_="axis"),
        shape,
        tag("text", f"{high:.3g}", x="40", y="12", text_anchor="end"),
        tag("text", f"{low:.3g}", x="40", y=str(8 + inner), text_anchor="end") if high > low else "",
        tag("text", f"step {first:g}", x="44", y=str(HEIGHT - 4)) if last > first else "",
        tag("text", f"{last:g}", x=str(WIDTH - 8), y=str(HEIGHT - 4), text_anchor="end"),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=str(WIDTH),
        height=str(HEIGHT),
        role="img",
        aria_label=f"{name} from {drawn[0][1]:.3g} to {drawn[-1][1]:.3g}",
    )
    return tag("figure", drawing, tag("figcaption", f"{name}: {drawn[0][1]:.4g} → {drawn[-1][1]:.4g}"))
