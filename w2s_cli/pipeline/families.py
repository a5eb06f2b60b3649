"""The family of a result: a digest that the seeds of one setting share, and no other result.

* Two results are of one family if their stages differ only in seeds: same data, code, models, settings and graph. A field that no stage
  reads (a licence, the outputs folder, a setting of another method) is not part of the family.
* A seed that the configuration pins (student.seed, data.seed, data.test_seed) is a setting, and so part of the family; the run's is not.
* The statistics on the predictions (bootstrap draws, confidence) are not part of the family either.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.store.keys import KEY_DIGITS, canonical_json

SEED = "seed"  # the name of every seed, in a stage's params, in a configuration and in its groups


def stage_families(graph: Graph) -> dict[str, str]:
    """Stage key → digest of the stage without its own seeds and those of all its inputs."""
    digests: dict[str, str] = {}
    for key, stage in graph.stages.items():  # inputs come before their readers
        ident = stage.identity
        inputs = _inputs(ident["inputs"], digests)
        digests[key] = digest([ident["kind"], ident["version"], seedless(ident["params"]), inputs])
    return digests


def result_family(graph: Graph, job: Job, stage: str, stages: Mapping[str, str]) -> str:
    """The family of the result of `stage`, a comparison of the job.

    Args:
        stages: the result of `stage_families`.
    """
    compared = _inputs(graph.stages[job.names[stage]].inputs, stages)
    pinned = {name: value for name, value in _seeds(job.config) if value is not None and name != SEED}
    return digest([stage, compared, pinned])


def _inputs(inputs: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    """Edge → digest, or list of digests."""
    return {
        edge: [digests[key] for key in value] if isinstance(value, list) else digests[value]
        for edge, value in inputs.items()
    }


def seedless(value: Any) -> Any:
    """A copy of a stage's params without the seeds in them."""
    if isinstance(value, Mapping):
        return {name: seedless(item) for name, item in value.items() if name != SEED}
    return [seedless(item) for item in value] if isinstance(value, list | tuple) else value


def _seeds(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every seed in a configuration, without the method's stages, which repeat other groups."""
    for name, value in values.items():
        if isinstance(value, dict) and name != "method":
            yield from _seeds(value, f"{prefix}{name}.")
        elif name == SEED or name.endswith(f"_{SEED}"):
            yield f"{prefix}{name}", value


def digest(value: Any) -> str:
    """A digest of plain values."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:KEY_DIGITS]
