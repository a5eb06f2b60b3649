"""The way from configurations to stages: a method's YAML becomes a graph of stages with keys.

* `method.py` expands the method's stages (base, loops, labels from a file, controls, early stopping) into plain dictionaries.
* `builder.py` plans them, inputs first: each stage's kind (`stages/<kind>.py`) states the identity of its result. Implied stages (`rows`
  of a pool, `features` of a probe) are added for the stages that need them.
* Several configurations (seeds, a sweep) make one union graph: a stage of two configurations has one key and exists once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from w2s_cli.pipeline import kinds
from w2s_cli.pipeline.builder import Builder, Planning
from w2s_cli.pipeline.contract import Edge
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store.keys import canonical_json


def build(
    jobs: Iterable[tuple[dict[str, Any], Sequence[str], Mapping[str, Any]]],
    resolver: Resolver,
    graph: Graph | None = None,
) -> Graph:
    """The graph of all jobs, with a summary for every comparison of a setting that has several seeds.

    Args:
        jobs: each its configuration, its words on the command line (for the record of the results), and its setting as written, equal for
            jobs that differ in their seed only (config.sweeps.Composed). All seeds of a setting are in one call.
        graph: an earlier result, to which the jobs are added.
    """
    graph = graph or Graph()
    by_setting: dict[str, dict[int, Builder]] = {}
    for config, words, setting in jobs:
        builder = Builder(config, resolver, graph)
        graph.jobs.append(graph.without_unread(builder.build()))
        builder.job.words, builder.job.setting = words, setting
        by_setting.setdefault(canonical_json(setting), {})[config["seed"]] = builder
    for by_seed in by_setting.values():
        builders = [by_seed[seed] for seed in sorted(by_seed)]  # seed=2,0,1 and seeds=3 have the same summary
        if len(builders) > 1:
            _add_summaries(graph, builders)
    return graph


def _add_summaries(graph: Graph, builders: list[Builder]) -> None:
    """Add for every comparison of one configuration a stage that joins the comparisons of all seeds."""
    jobs = [builder.job for builder in builders]
    compared = {
        name: graph.stages[key] for name, key in jobs[0].names.items() if graph.stages[key].of.traits.over_seeds
    }
    for name, stage in compared.items():
        kind = kinds.find(stage.of.traits.over_seeds, builders[0].resolver.folders)
        runs = [Edge(name, job.names[name]) for job in jobs]
        spec = kind.plan(Planning(builders[0], name), seeds=[job.config["seed"] for job in jobs], runs=runs)
        slug = stage.slug.rsplit("-s", 1)[0] + f"-{len(jobs)}-seeds"
        summary = "summary" if len(compared) == 1 else f"summary:{name}"
        key = graph.add(
            summary, kind, spec.params, {"runs": [run.key for run in runs]}, slug, {}, {"words": spec.words}
        )
        graph.summaries.append((jobs, name, key))
