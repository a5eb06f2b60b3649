"""The plan as people see it: every stage with what it got, its key, and whether it has to run."""

from w2s_cli.pipeline import Graph, Stage
from w2s_cli.plan import Planned
from w2s_cli.store.store import Store
from w2s_cli.tables import print_table


def show_plan(graph: Graph, plans: dict[str, Planned], store: Store) -> None:
    """Print the table of stages, what the rows can show, and warnings."""
    several = len(graph.jobs) > 1
    rows = [["stage", "kind", "what", "key", "state", "why"]]
    for key, stage in graph.stages.items():
        if key in plans:
            plan = plans[key]
            word = "to run" if plan.to_run and plan.word in ("missing", "done") else plan.word
            name = (
                f"{stage.name} s{stage.identity['params']['seed']}"
                if several and stage.kind == "finetune"
                else stage.name
            )
            rows.append([name, stage.kind, what(stage), key, word, plan.why])
    if all(not row[-1] for row in rows[1:]):
        rows = [row[:-1] for row in rows]
    to_run = sum(plan.to_run for plan in plans.values())
    print_table(
        rows,
        notes=[
            f"{len(plans)} stages ({graph.asked} asked for, {len(graph.stages)} distinct), {to_run} to run",
            *notes(graph, plans),
        ],
    )
    print(flush=True)


def what(stage: Stage) -> str:
    """One stage's settings in a line."""
    about = stage.about
    words = [str(about[name]) for name in ("model", "data", "rows") if about.get(name) is not None]
    if about.get("revision"):
        words[0] += f"@{about['revision'][:7]}"
    if about.get("limit"):
        words.append(f"≤ {about['limit']}")
    if "lr" in about:
        guess = " (a guess)" if about.get("lr_source") == "guess" else ""
        words.append(f"lr {about['lr']:g}{guess}")
    if "loss" in about:
        words.append(f"labels={about['labels']} {about['loss']}")
    if about.get("mode") not in (None, "full"):
        words.append(str(about["mode"]))
    return " ".join(words)


def notes(graph: Graph, plans: dict[str, Planned]) -> list[str]:
    """Warnings of the data sets, and of edited code."""
    found = []
    for job in graph.jobs:
        warning = job.config["data"]["warning"]
        if warning:
            found.append(f"Caution: data set {job.config['data']['name']}: {' '.join(warning.split())}")
    found += power(graph)
    drifted = sorted({graph.stages[key].kind for key, plan in plans.items() if plan.word == "drift"})
    if drifted:
        found.append(
            f"Caution: the code of {', '.join(drifted)} has changed since these results were made (drift); --force STAGE redoes one."
        )
    return list(dict.fromkeys(found))


def power(graph: Graph) -> list[str]:
    """The smallest difference in accuracy that the planned test rows and seeds can show."""
    from w2s_cli.statistics.planning import minimum_detectable

    if not any(stage.kind == "evaluate" for stage in graph.stages.values()):
        return []
    seeds = max((len(jobs) for jobs, _ in graph.summaries), default=1)
    limits = [
        stage.about.get("limit")
        for stage in graph.stages.values()
        if stage.kind == "rows" and stage.about.get("rows") == "test"
    ]
    if not limits or not limits[0]:
        return []
    shown = minimum_detectable(limits[0], seeds)
    plural = f"{seeds} seeds" if seeds > 1 else "one seed"
    return [
        f"up to {limits[0]:,} test rows and {plural} can show a difference of {shown['accuracy_difference']:.3f} in accuracy "
        f"(80 % power, 95 % confidence, {shown['noise']})"
    ]
