"""The plan as a drawing in inline SVG: stages in layers, inputs above their readers, by a small layout algorithm.

* A stage is in the layer just above its first reader, so that most edges are short. A long edge has an empty place in each layer that it
  crosses, so it never passes behind a stage.
* The order in a layer is the order of the plan; the empty place of a long edge has the order of its source stage.
* A sweep is drawn by names: one box for all its students. A box links to its stages.
"""

import itertools
from dataclasses import dataclass

from w2s_cli.results.page.markup import Html, join, tag
from w2s_cli.results.page.stages import detail
from w2s_cli.results.stages import Stage

STAGES_DRAWN = 24  # more are grouped by name
BOX, TALL, GAP, DROP = 148, 46, 18, 40  # pixels: a box, its height, between boxes, between layers
EMPTY = 10  # width of the empty place of a passing edge
LETTERS = 21
WORST_FIRST = ("failed", "damaged", "running", "queued", "resumable", "missing", "done")


@dataclass(frozen=True)
class Box:
    """One node of the drawing."""

    name: str
    line: str
    state: str
    detail: str
    link: str


def plan_graph(stages: list[Stage]) -> Html:
    """The drawing in a frame that scrolls where the window is narrow."""
    if not stages:
        return tag("p", "The plan is unknown.")
    boxes, edges = nodes(stages)
    layers = layered(list(boxes), edges)
    places, size = placed(layers)
    lines = [tag("path", d=path(chain, places, layers), class_="edge") for chain in layers.chains]
    drawn = [_box(boxes[node], *places[node]) for node in boxes]
    svg = tag(
        "svg",
        *lines,
        *drawn,
        viewBox=f"0 0 {size[0]} {size[1]}",
        width=str(size[0]),
        height=str(size[1]),
        role="img",
        aria_label=f"{len(stages)} stages and their inputs",
        class_="plan",
    )
    note = tag("p", f"{len(stages)} stages, drawn by name.", class_="note") if len(boxes) < len(stages) else ""
    return join(tag("div", svg, class_="wide"), note)


def nodes(stages: list[Stage]) -> tuple[dict[str, Box], set[tuple[str, str]]]:
    """Boxes by id (key, or name of a group of stages), and the edges between them."""
    names = list(dict.fromkeys(stage.name for stage in stages))
    if len(stages) <= STAGES_DRAWN:
        box_of = {stage.key: stage.key for stage in stages}
        boxes = {
            s.key: Box(
                s.name,
                f"{s.kind} {s.key}",
                s.state.word,
                detail(s) if s.state.word == "done" else "",
                f"#stage-{s.key}",
            )
            for s in stages
        }
    else:
        box_of = {stage.key: stage.name for stage in stages}
        boxes = {}
        for number, name in enumerate(names):
            group = [stage for stage in stages if stage.name == name]
            words = [stage.state.word for stage in group]
            worst = next(word for word in WORST_FIRST if word in words)
            share = f"{words.count(worst)} of {len(group)}" if words.count(worst) < len(group) else ""
            boxes[name] = Box(name, f"{group[0].kind} × {len(group)}", worst, share, f"#name-{number}")
    edges = {
        (box_of[key], box_of[stage.key])
        for stage in stages
        for _, key in stage.upstream()
        if key in box_of and box_of[key] != box_of[stage.key]
    }
    return boxes, edges


@dataclass(frozen=True)
class Layers:
    """Nodes by layer in their order, with the empty places of long edges, and each edge as a chain of nodes."""

    rows: list[list[str]]
    chains: list[list[str]]
    empty: set[str]


def layered(names: list[str], edges: set[tuple[str, str]]) -> Layers:
    """Layers of a graph. An edge that would close a circle (possible between names of a sweep) is left out."""
    below: dict[str, list[str]] = {name: [] for name in names}
    for source, target in sorted(edges, key=lambda edge: (names.index(edge[0]), names.index(edge[1]))):
        if not _reaches(below, target, source):
            below[source].append(target)
    height: dict[str, int] = {}

    def climb(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((climb(target) for target in below[name]), default=-1)
        return height[name]

    top = max(climb(name) for name in names)
    layer = {name: top - height[name] for name in names}
    order = {name: number for number, name in enumerate(names)}  # of the plan
    rows: list[list[str]] = [[name for name in names if layer[name] == n] for n in range(top + 1)]
    chains, empty = [], set()
    for source, targets in below.items():
        for target in targets:
            places = {n: f"{source}\n{target}\n{n}" for n in range(layer[source] + 1, layer[target])}
            for n, place in places.items():
                rows[n].append(place)
            empty |= set(places.values())
            order |= dict.fromkeys(places.values(), order[source])
            chains.append([source, *places.values(), target])
    return Layers([sorted(row, key=lambda name: order[name]) for row in rows], chains, empty)


def _reaches(below: dict[str, list[str]], start: str, goal: str) -> bool:
    """Whether `goal` is below `start`."""
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            waiting += below[name]
    return False


def placed(layers: Layers) -> tuple[dict[str, tuple[float, float]], tuple[int, int]]:
    """Upper left corner of every node, and the size of the drawing; every layer is centred."""
    widths = [sum(EMPTY if name in layers.empty else BOX for name in row) + GAP * (len(row) - 1) for row in layers.rows]
    whole = max(widths)
    places = {}
    for n, row in enumerate(layers.rows):
        x = 2 + (whole - widths[n]) / 2
        for name in row:
            places[name] = (x, 2.0 + n * (TALL + DROP))
            x += (EMPTY if name in layers.empty else BOX) + GAP
    return places, (round(whole) + 4, len(layers.rows) * (TALL + DROP) - DROP + 4)


def path(chain: list[str], places: dict[str, tuple[float, float]], layers: Layers) -> str:
    """An edge from the foot of its first node to the head of its last, through its empty places."""
    words: list[str] = []
    for upper, lower in itertools.pairwise(chain):
        x0, y0 = places[upper][0] + (EMPTY if upper in layers.empty else BOX) / 2, places[upper][1] + TALL
        x1, y1 = places[lower][0] + (EMPTY if lower in layers.empty else BOX) / 2, places[lower][1]
        start = f"M{x0:.1f} {y0:.1f}" if not words else f"L{x0:.1f} {y0:.1f}"
        words.append(f"{start}C{x0:.1f} {y0 + DROP / 2:.1f} {x1:.1f} {y1 - DROP / 2:.1f} {x1:.1f} {y1:.1f}")
    return "".join(words)


def _box(box: Box, x: float, y: float) -> Html:
    """A box with its name, kind and state."""
    short = box.name if len(box.name) <= LETTERS else box.name[: LETTERS - 1] + "…"
    inside = [
        tag("title", f"{box.name}, {box.line}, {box.state} {box.detail}"),
        tag("rect", x=f"{x:.1f}", y=f"{y:.1f}", width=str(BOX), height=str(TALL), rx="5", class_=f"box {box.state}"),
        tag("text", short, x=f"{x + 8:.1f}", y=f"{y + 15:.1f}", class_="name"),
        tag("text", box.line, x=f"{x + 8:.1f}", y=f"{y + 28:.1f}"),
        tag("text", f"{box.state} {box.detail}", x=f"{x + 8:.1f}", y=f"{y + 40:.1f}"),
    ]
    return tag("a", *inside, href=box.link)
