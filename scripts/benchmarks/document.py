"""docs/benchmarks.md from docs/benchmarks.json: a table of the targets, then one section a part with every number."""

from collections.abc import Iterable
from typing import Any

from scripts.benchmarks.records import Record

PROGRAM_FIGURES = (
    ("cpu_s", "CPU s", ".1f"),
    ("wall_s", "wall s", ".1f"),
    ("train_cpu_s", "of it training", ".1f"),
    ("peak_mib", "peak MiB", ",.0f"),
    ("accuracy", "test accuracy", ".3f"),
)
SIZES = {"full": "full size", "quick": "quick size (`--quick`)", "tiny": "tiny size"}
HEAD = """# Benchmarks

Made by `scripts/bench` (what each program does: `scripts/benchmarks/`); do not edit. Programs run in turn (A B A B), each in a
process of its own with the same number of threads; a ratio is the median of the ratios of the pairs, with their range. CPU seconds are
those of a program and its children. Each processor has a section of its own. `scripts/bench --check` measures again and fails if a ratio
is more than 20 % worse than in the section of the same processor, or says that there is none; with `--quick` it takes minutes and
compares with the quick size, which has no targets: start-up weighs more in less work. "The same test rows right" compares with the
reference loop of `scripts/benchmarks/programs/reference.py`, which takes the order of rows from w2s.
"""


def markdown(stored: dict[str, dict[str, dict[str, Any]]], headings: dict[str, tuple[str, str]]) -> str:
    """The whole page. `stored`: processor → size → part → records; `headings`: part → (title, text), in the order of the page."""
    pieces = [HEAD]
    for processor, size in (
        (processor, name) for processor, sizes in stored.items() for name in SIZES if name in sizes
    ):
        of_size = stored[processor][size]
        parts = {part: of_size[part] for part in headings if part in of_size}
        pieces.append(f"## {processor}: {SIZES[size]}\n")
        every = [Record(**one) for kept in parts.values() for one in kept["records"]]
        aimed = [one for one in every if one.target is not None or one.met is not None]
        if aimed:
            pieces.append("### Targets\n\n" + table(aimed, with_part=True))
        for part, kept in parts.items():
            title, text = headings[part]
            pieces.append(f"### {title}\n\n{text}\n\n{_circumstances(kept['circumstances'])}\n")
            records = [Record(**one) for one in kept["records"]]
            pieces.append(programs(records) + table(records) if records else "Not measured: this machine has no GPU.\n")
    return "\n".join(pieces)


def table(records: Iterable[Record], *, with_part: bool = False) -> str:
    """Records as a table."""
    lines = ["| what | measured | range | target | met |", "|---|---|---|---|---|"]
    for one in records:
        name = f"{one.part}: {one.name}" if with_part else one.name
        spread = "" if one.low is None or one.high is None else f"{number(one.low)} – {number(one.high)}"
        sign = "≥" if one.better == "more" else "≤"
        target = "" if one.target is None else f"{sign} {number(one.target)}"
        if one.target is None and one.met is not None:
            target = "0 within the interval"
        met = {True: "yes", False: "**no**", None: ""}[one.met]
        note = f" ({one.note})" if one.note else ""
        lines.append(f"| {name} | {number(one.value)} {one.unit}{note} | {spread} | {target} | {met} |")
    return "\n".join(lines) + "\n"


def programs(records: Iterable[Record]) -> str:
    """The medians of each program that the records bring along, each program once."""
    seen: dict[str, dict[str, float]] = {}
    for one in records:
        for name, figures in one.detail.items():
            if isinstance(figures, dict) and "cpu_s" in figures:
                model = one.name.split(",")[0] if one.part in ("training", "pipeline", "gpu") else ""
                seen.setdefault(f"{model} {name}".strip() if name != "w2s" else "", figures)
    seen.pop("", None)
    if not seen:
        return ""
    shown = [figure for figure in PROGRAM_FIGURES if any(figure[0] in figures for figures in seen.values())]
    lines = ["| program | " + " | ".join(title for _, title, _ in shown) + " |", "|---|" + "---|" * len(shown)]
    for name, figures in seen.items():
        cells = [format(figures[key], form) if key in figures else "" for key, _, form in shown]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\n"


def number(value: float) -> str:
    """Three digits, and thousands apart; what is only rounding is 0."""
    if abs(value) < 1e-9:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _circumstances(told: dict[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in told["libraries"].items())
    commit = (
        f"commit {told['commit'][:10]}{' with changes' if told['dirty'] else ''}" if told["commit"] else "no commit"
    )
    return (
        f"`{told['command']}` on {told['date']}: {told['machine']}; {told['threads']} thread(s) a program; Python {told['python']}, "
        f"{libraries}; w2s at {commit}; load average at the start {told['load']}."
    )
