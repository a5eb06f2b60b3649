"""From configurations to stages: a method's YAML becomes a graph of stages with keys.

* `method.py` writes the method's stages out (loops, labels from a file, controls, early stopping): plain dictionaries.
* `builder.py` walks them, inputs first; `trained.py` and `labelled.py` hold one function per kind, named as the kind, that says what
  determines the stage's result. Stages that are implied (`rows` of a pool, `features` of a probe) are added where they are needed.
* Several configurations (seeds, a sweep) give one union graph: a stage that two of them share has one key and exists once.
"""

from collections.abc import Sequence
from typing import Any

from w2s_cli.pipeline.builder import Builder
from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store import keys


def build(configs: Sequence[dict[str, Any]], resolver: Resolver, words: Sequence[Sequence[str]] = ()) -> Graph:
    """The graph of all `configs`; each with `seeds=n` stands for seeds 0 … n-1.

    Args:
        words: for each configuration the words of the command line that made it, for the record of the results.
    """
    graph = Graph()
    families: dict[str, list[Job]] = {}
    for config, own in zip(configs, words or [()] * len(configs), strict=True):
        seeds = range(config["seeds"]) if config["seeds"] else [config["seed"]]
        family = keys.canonical_json({**config, "seed": None, "seeds": None, "launcher": None})
        for seed in seeds:
            job = Builder({**config, "seed": seed}, resolver, graph).build()
            job.words = own
            graph.jobs.append(job)
            families.setdefault(family, []).append(job)
    for jobs in families.values():
        by_seed = {job.config["seed"]: job for job in jobs}
        distinct = [by_seed[seed] for seed in sorted(by_seed)]  # seed=2,0,1 is the same summary as seeds=3
        names = [name for name, key in distinct[0].names.items() if graph.stages[key].kind == "evaluate"]
        for name in names if len(distinct) > 1 else []:
            graph.summaries.append((distinct, name, _summary(graph, distinct, name, alone=len(names) == 1)))
    return graph


def _summary(graph: Graph, jobs: list[Job], name: str, *, alone: bool) -> str:
    """The key of the summary of one evaluate stage over several seeds."""
    config = jobs[0].config
    params = {
        "seeds": [job.config["seed"] for job in jobs],
        "bootstrap": config["bootstrap"],
        "confidence": config["confidence"],
    }
    inputs = {"runs": [job.names[name] for job in jobs]}
    slug = graph.stages[inputs["runs"][0]].slug.rsplit("-s", 1)[0] + f"-{len(jobs)}-seeds"
    return graph.add("summary" if alone else f"summary:{name}", "summary", params, inputs, slug, {}, {})
