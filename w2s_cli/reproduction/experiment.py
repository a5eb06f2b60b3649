"""configs/experiment/NAME.yaml: the runs of a published experiment, what changes at a smaller scale, and what is compared.

* `runs` is a list; each item maps the names of overrides to a value, or to a list of values that are swept. A value is text in Hydra's
  grammar, so a list that is one value is written as a string: ladder: "[gpt2-medium,gpt2-large]".
* `scales.NAME.set` replaces overrides in every run, null removes one; `scales.NAME.runs` replaces the runs themselves. Runs that become
  the same are one.
* Nothing is skipped in silence: what a scale leaves out stands under its `dropped` and is printed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.config import compose, pairs
from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import configs_folder
from w2s_cli.store.files import read_yaml

SCALES = ("paper", "small", "demo")
FIELDS = ("name", "title", "source", "runs", "scales", "names", "compare", "bands")
OF_A_SCALE = ("set", "runs", "dropped", "minutes", "comparable")
Run = dict[str, Any]  # override → value, or list of values


@dataclass(frozen=True)
class Experiment:
    """One published experiment."""

    name: str
    title: str
    source: str
    runs: list[Run]
    scales: dict[str, dict[str, Any]]
    path: Path  # its YAML; the reported figures lie beside it as NAME.csv
    names: dict[str, str] = field(default_factory=dict)  # what the figures call a model or data set → what w2s calls it
    compare: list[dict[str, Any]] = field(default_factory=list)
    bands: dict[str, dict[str, Any]] = field(default_factory=dict)  # measure → {within, why}

    def dropped(self, scale: str) -> list[str]:
        """What is left out at this scale."""
        return list(self.scales[scale].get("dropped", []))

    def comparable(self, scale: str) -> bool:
        """Whether figures at this scale may be held against the reported ones."""
        return bool(self.scales[scale].get("comparable", scale == "paper"))


def files(folder: str | None = None) -> dict[str, Path]:
    """Name → file of every experiment; those of the user's config folder come before ours."""
    places = [configs_folder(), *([Path(folder)] if folder else [])]
    return {path.stem: path for place in places for path in sorted((place / "experiment").glob("*.yaml"))}


def load(name: str, folder: str | None = None) -> Experiment:
    """The experiment `name`.

    Raises:
        UserError: there is none, or its YAML has a field that means nothing.
    """
    experiments = files(folder)
    if name not in experiments:
        raise UserError(f'unknown experiment "{name}".{did_you_mean(name, experiments)}')
    path = experiments[name]
    written = read_yaml(path.read_text(encoding="utf-8"))
    _check(written, path)
    return Experiment(**{f: written[f] for f in FIELDS if f in written}, path=path)


def _check(written: dict[str, Any], path: Path) -> None:
    for name in written:
        if name not in FIELDS:
            raise UserError(f'{path}: unknown field "{name}".{did_you_mean(name, FIELDS)}')
    for name in ("name", "title", "source", "runs", "scales"):
        if not written.get(name):
            raise UserError(f'{path}: the field "{name}" is missing.')
    for scale, fields in written["scales"].items():
        if scale not in SCALES:
            raise UserError(f'{path}: unknown scale "{scale}".{did_you_mean(scale, SCALES)}')
        for name in fields:
            if name not in OF_A_SCALE:
                raise UserError(f'{path}: scales.{scale}: unknown field "{name}".{did_you_mean(name, OF_A_SCALE)}')


def check_scale(experiment: Experiment, scale: str) -> None:
    """UserError for a scale that the experiment does not have."""
    if scale not in experiment.scales:
        raise UserError(
            f'{experiment.name}: unknown scale "{scale}".{did_you_mean(scale, [s for s in SCALES if s in experiment.scales])}'
        )


def runs_at(experiment: Experiment, scale: str, overrides: Run) -> list[Run]:
    """The runs at one scale with the overrides `overrides` on the command line over them, each once."""
    changes_of = experiment.scales[scale]
    changes = changes_of.get("set", {})
    every = [{**run, **changes, **overrides} for run in changes_of.get("runs") or experiment.runs]
    kept = [{name: value for name, value in run.items() if value is not None} for run in every]
    return [run for place, run in enumerate(kept) if run not in kept[:place]]


def words(run: Run) -> list[str]:
    """A run as the words of `w2s train -m`."""
    return [f"{name}={','.join(map(_word, v)) if isinstance(v, list) else _word(v)}" for name, v in run.items()]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def configurations(runs: list[Run], folder: str | None = None) -> tuple[list[Composed], int]:
    """The composed jobs of all runs, and how many their `pairs` rule left out."""
    jobs: list[Composed] = []
    extra = ["--config-dir", folder] if folder else []

    def take(composed: list[Composed], _: list[Path]) -> int:
        jobs.extend(composed)
        return 0

    for run in runs:
        compose.run(["-m", *extra, *words(run)], take)
    return pairs.keep(jobs)
