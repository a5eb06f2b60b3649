"""The configuration of the run, and the provenance of all its stages."""

from typing import Any

from w2s_cli.results.page.markup import Html, flat, join, pairs, plain, rows, tag
from w2s_cli.results.reader import Run
from w2s_cli.results.stages import Stage

JOBS_SHOWN = 200
VALUES_SHOWN = 8


def configuration(run: Run) -> Html:
    """The first job's configuration in full, and the different fields of all jobs."""
    if not run.configs:
        return tag("p", "config.yaml cannot be read.")
    import yaml

    text = yaml.safe_dump(run.configs[0], sort_keys=False, allow_unicode=True)
    which = f" of the first of {len(run.configs)} jobs" if len(run.configs) > 1 else ""
    full = tag("details", tag("summary", f"config.yaml{which}"), tag("pre", text))
    if len(run.configs) == 1:
        return full
    jobs = [dict(flat(config)) for config in run.configs]
    names = list(dict.fromkeys(name for job in jobs for name in job if not name.startswith("method.stages.")))
    differing = [name for name in names if len({job.get(name) for job in jobs}) > 1]
    table = [
        ["job", *differing],
        *([str(i), *(job.get(name, "–") for name in differing)] for i, job in enumerate(jobs)),
    ]
    cut = tag("p", f"The first {JOBS_SHOWN} of {len(jobs)} jobs.", class_="note") if len(jobs) > JOBS_SHOWN else ""
    return join(tag("h3", "Differences between the jobs"), rows(table[: JOBS_SHOWN + 1], figures=False), cut, full)


def provenance(run: Run, stages: list[Stage]) -> Html:
    """Code, versions, machine, seeds and data: every distinct value with its number of stages."""
    facts_of: dict[str, list[str]] = {}
    for stage in stages:
        record = stage.state.record.get("provenance")
        if isinstance(record, dict):
            for name, value in _facts(record):
                facts_of.setdefault(name, []).append(value)
    values = [(name, _counted(occurrences)) for name, occurrences in facts_of.items()]
    seeds = list(dict.fromkeys(plain(config.get("seed")) for config in run.configs))
    values += [("seeds", ", ".join(seeds))] if seeds else []
    data: dict[str, list[tuple[str, str]]] = {}
    for config in run.configs:
        block: Any = config.get("data")
        if isinstance(block, dict):
            names = ("hub", "hub_config", "revision", "path", "seed", "source", "licence")
            data.setdefault(
                plain(block.get("name")), [(name, plain(block[name])) for name in names if block.get(name) is not None]
            )
    sources = [
        (
            f"{stage.name} {stage.key}",
            ", ".join(f"{name} {value}" for name, value in flat(stage.params["source"]) if value != "–"),
        )
        for stage in stages
        if isinstance(stage.params.get("source"), dict)
    ]
    return join(
        pairs(values) if values else tag("p", "No stage has a record yet."),
        *(join(tag("h3", f"Data: {name}"), pairs(facts)) for name, facts in data.items()),
        join(tag("h3", "Sources of rows"), pairs(sources)) if sources else "",
    )


def _facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """One stage's provenance in words."""
    git = record.get("git")
    commit = f"{git.get('commit')}" if isinstance(git, dict) else "no git checkout"
    changed = (git.get("dirty") if isinstance(git, dict) else None) or "none"
    facts = [("commit", commit), ("local changes", str(changed))]
    names = ("w2s", "python", "host", "platform", "processor", "device", "command")
    facts += [(name, str(record[name])) for name in names if name in record]
    libraries = record.get("libraries")
    if isinstance(libraries, dict):
        facts.append(("libraries", ", ".join(f"{name} {version}" for name, version in libraries.items() if version)))
    return facts


def _counted(values: list[str]) -> str:
    """'a' if all values are equal; else 'a (10 stages); b (1 stage)'."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) == 1:
        return distinct[0]
    counted = [f"{value} ({values.count(value)} stage{'s' if values.count(value) > 1 else ''})" for value in distinct]
    more = f"; {len(counted) - VALUES_SHOWN} more" if len(counted) > VALUES_SHOWN else ""
    return "; ".join(counted[:VALUES_SHOWN]) + more
