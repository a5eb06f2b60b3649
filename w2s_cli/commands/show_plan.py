"""The printed plan: every stage with its settings, its key, and whether it has to run."""

from w2s_cli.commands.show_memory import table, too_large
from w2s_cli.pipeline import cost
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.states import REMOTE, Planned
from w2s_cli.results.text_table import print_table
from w2s_cli.store.store import Store

SHORT = 40  # more stages than this are only counted before a run; `w2s plan` lists them


def show_plan(graph: Graph, plans: dict[str, Planned], *, whole: bool) -> None:
    """Print the table of stages, the statistical power of the test rows, and warnings."""
    rows = listing(graph, plans) if whole or len(plans) <= SHORT else counts(graph, plans)
    to_run = sum(plan.to_run for plan in plans.values())
    asked = graph.asked_for(plans)
    shared = f" ({asked} asked for, {len(plans)} distinct)" if asked > len(plans) else ""
    total = f"{len(plans)} stages{shared}, {to_run} to run, {len(plans) - to_run} cached"
    elsewhere = sum(plan.word == REMOTE and not plan.to_run for plan in plans.values())
    total += f", {elsewhere} of them in another store" if elsewhere else ""
    print_table(rows, notes=[total, *notes(graph, plans)])
    print(flush=True)


def show_whole_plan(graph: Graph, plans: dict[str, Planned], store: Store) -> None:
    """Print every stage, its memory beside the device's, and the cost of all."""
    show_plan(graph, plans, whole=True)
    rows, remarks = table(graph, plans)
    if len(rows) > 1:
        print_table(rows, notes=remarks)
        print(flush=True)
        show_cost(graph, plans, store)


def show_cost(
    graph: Graph, plans: dict[str, Planned], store: Store, rate: float | None = None, *, option: bool = False
) -> None:
    """Print trainings, tokens, FLOPs and hours of the plan and of its stages to run; `rate` in TFLOPS, if the command has that option."""
    facts = cost.facts(graph, store, rate)
    whole, left = cost.estimate(facts, plans), cost.estimate(facts, [key for key in plans if plans[key].to_run])
    rows, notes = cost.table(whole, left, facts, option=option)
    print_table(rows, notes=notes)


def listing(graph: Graph, plans: dict[str, Planned]) -> list[list[str]]:
    """A row for every stage."""
    several = len(graph.jobs) > 1
    rows = [["stage", "kind", "what", "key", "state", "why"]]
    for key, stage in graph.stages.items():
        if key in plans:
            plan = plans[key]
            word = "to run" if plan.to_run and plan.word in ("missing", "done", REMOTE) else plan.word
            seed = f" s{stage.about['seed']}" if several and "seed" in stage.about else ""
            rows.append([stage.name + seed, stage.kind, what(stage), key, word, plan.why])
    return rows if any(row[-1] for row in rows[1:]) else [row[:-1] for row in rows]


def counts(graph: Graph, plans: dict[str, Planned]) -> list[list[str]]:
    """A row for every stage name: its numbers of stages and of stages to run."""
    to_run: dict[tuple[str, str], list[bool]] = {}
    for key, plan in plans.items():
        stage = graph.stages[key]
        to_run.setdefault((stage.name, stage.kind), []).append(plan.to_run)
    return [
        ["stage", "kind", "stages", "to run"],
        *([*name, str(len(run)), str(sum(run))] for name, run in to_run.items()),
    ]


def what(stage: Stage) -> str:
    """One stage's settings in a line."""
    about = stage.about
    words = [str(about[name]) for name in ("model", "data", "rows") if about.get(name) is not None]
    if about.get("revision"):
        words[0] += f"@{about['revision'][:7]}"
    return " ".join([*words, *about.get("words", [])])


def notes(graph: Graph, plans: dict[str, Planned]) -> list[str]:
    """Warnings about the data sets, and about edited code."""
    warnings = []
    for job in graph.jobs:
        warning = job.config["data"]["warning"]
        if warning:
            warnings.append(f"Caution: data set {job.config['data']['name']}: {' '.join(warning.split())}")
    warnings += too_large(graph, plans)
    warnings += power(graph, plans)
    drifted = sorted({graph.stages[key].kind for key, plan in plans.items() if plan.word == "drift"})
    if drifted:
        warnings.append(
            f"Caution: the code of {', '.join(drifted)} has changed since these results were made (drift); --force STAGE redoes one."
        )
    return list(dict.fromkeys(warnings))


def power(graph: Graph, plans: dict[str, Planned]) -> list[str]:
    """The smallest difference in accuracy that the planned test rows and seeds can show."""
    from w2s_cli.statistics.planning import minimum_detectable

    if not any(stage.of.traits.over_seeds for stage in graph.stages.values()):
        return []
    seeds = max((len(jobs) for jobs, _, _ in graph.summaries), default=1)
    sizes: list[int] = []
    for key, plan in plans.items():
        about = graph.stages[key].about
        if graph.stages[key].of.traits.gives == "rows" and about["rows"] == "test":
            counted = plan.state.metrics.get("rows")
            pool_sizes = [counted] if counted else [size for size in (about["limit"], about["expected"]) if size]
            if not pool_sizes:
                return []
            sizes.append(min(pool_sizes))
    if not sizes:
        return []
    rows = min(sizes)
    redrawn = any(job.config["data"]["seed"] is None for job in graph.jobs)
    detectable = minimum_detectable(rows, seeds, redrawn=redrawn)
    plural = f"{seeds} seeds" if seeds > 1 else "one seed"
    return [
        f"{rows:,} test rows and {plural} can show a difference of {detectable['accuracy_difference']:.3f} in accuracy "
        f"(80 % power, 95 % confidence, noise of {detectable['noise']})"
    ]
