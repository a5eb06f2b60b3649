"""The family of a result: what its seeds share, and nothing else does.

* Two results are of one family when the stages behind them are the same but for their seeds: same data, code, models, settings and
  graph. What a stage does not read (a licence, the outputs folder, a setting of another method) makes no family.
* A seed that the configuration pins (student.seed, data.seed) is a setting: it stays in the family, while the run's seed does not.
* How a result is computed from its predictions (draws of the bootstrap, confidence) is not part of it: seeds are joined all the same.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.store.keys import KEY_DIGITS, canonical_json

SEED = "seed"  # the name of every seed: of a stage's params, of a configuration, and of its blocks


def stage_families(graph: Graph) -> dict[str, str]:
    """Stage key → digest of what the stage computes, whatever the seeds of itself and of all that it was made from."""
    digests: dict[str, str] = {}
    for key, stage in graph.stages.items():  # inputs stand before what reads them
        ident = stage.identity
        params = {name: value for name, value in ident["params"].items() if name != SEED}
        inputs = _inputs(ident["inputs"], digests)
        digests[key] = _digest([ident["kind"], ident["version"], params, inputs])
    return digests


def result_family(graph: Graph, job: Job, stage: str, stages: Mapping[str, str]) -> str:
    """The family of what `stage`, a stage of the job that compares, came to.

    Args:
        stages: of `stage_families`.
    """
    compared = _inputs(graph.stages[job.names[stage]].inputs, stages)
    pinned = {name: value for name, value in _seeds(job.config) if value is not None and name != SEED}
    return _digest([stage, compared, pinned])


def _inputs(inputs: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Edge → digest, or list of digests."""
    return {
        edge: [digests[key] for key in value] if isinstance(value, list) else digests[value]
        for edge, value in inputs.items()
    }


def _seeds(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every seed in a configuration; a method's stages repeat other blocks."""
    for name, value in values.items():
        if isinstance(value, dict) and name != "method":
            yield from _seeds(value, f"{prefix}{name}.")
        elif name == SEED:
            yield f"{prefix}{name}", value


def _digest(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_DIGITS]
