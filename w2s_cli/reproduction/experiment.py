"""configs/experiment/NAME.yaml: the runs of a published experiment, the changes at a smaller scale, and the comparisons.

* `runs` is a list. Each item maps names of overrides to a value, or to a list of values for a sweep. A value is text in Hydra's grammar,
  so a list as one value is written as a string: ladder: "[gpt2-medium,gpt2-large]".
* `scales.NAME.set` replaces overrides in every run, and null removes one; `scales.NAME.runs` replaces the runs themselves. Equal runs are
  one run.
* Every omission of a scale is listed under its `dropped` and printed.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from w2s_cli.config import compose, pairs
from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import configs_folder, read_mapping
from w2s_cli.store.places import check_name

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
    path: Path  # its YAML; the reported figures are in NAME.csv beside it
    names: dict[str, str] = field(default_factory=dict)  # name of a model or data set in the figures → its name in w2s
    compare: list[dict[str, Any]] = field(default_factory=list)
    bands: dict[str, dict[str, Any]] = field(default_factory=dict)  # measure → {within, why}

    def dropped(self, scale: str) -> list[str]:
        """The omissions at this scale."""
        return list(self.scales[scale].get("dropped", []))

    def comparable(self, scale: str) -> bool:
        """Whether figures at this scale are comparable with the reported ones."""
        return bool(self.scales[scale].get("comparable", scale == "paper"))


def files(folder: str | None = None) -> dict[str, Path]:
    """Name → file of every experiment; a file of the user's config folder replaces ours of the same name."""
    places = [configs_folder(), *([Path(folder)] if folder else [])]
    return {path.stem: path for place in places for path in sorted((place / "experiment").glob("*.yaml"))}


def load(name: str, folder: str | None = None) -> Experiment:
    """The experiment `name`.

    Raises:
        UserError: no such experiment, or an unknown or missing field in its YAML.
    """
    experiments = files(folder)
    if name not in experiments:
        raise UserError(f'unknown experiment "{name}".{did_you_mean(name, experiments)}')
    path = experiments[name]
    written = read_mapping(path)
    _check(written, path)
    return Experiment(**{f: written[f] for f in FIELDS if f in written}, path=path)


def _check(written: dict[str, Any], path: Path) -> None:
    for name in written:
        if name not in FIELDS:
            raise UserError(f'{path}: unknown field "{name}".{did_you_mean(name, FIELDS)}')
    for name in ("name", "title", "source", "runs", "scales"):
        if not written.get(name):
            raise UserError(f'{path}: the field "{name}" is missing.')
    check_name(str(written["name"]), f"{path}: the experiment")
    for scale, fields in written["scales"].items():
        if scale not in SCALES:
            raise UserError(f'{path}: unknown scale "{scale}".{did_you_mean(scale, SCALES)}')
        for name in fields:
            if name not in OF_A_SCALE:
                raise UserError(f'{path}: scales.{scale}: unknown field "{name}".{did_you_mean(name, OF_A_SCALE)}')


def check_scale(experiment: Experiment, scale: str) -> None:
    """Refuse (UserError) a scale that the experiment does not have."""
    if scale not in experiment.scales:
        raise UserError(
            f'{experiment.name}: unknown scale "{scale}".{did_you_mean(scale, [s for s in SCALES if s in experiment.scales])}'
        )


def runs_at(experiment: Experiment, scale: str, overrides: Run) -> list[Run]:
    """The runs at one scale, with the command line's `overrides` over them; equal runs once."""
    fields = experiment.scales[scale]
    changes = fields.get("set", {})
    runs = [{**run, **changes, **overrides} for run in fields.get("runs") or experiment.runs]
    kept = [{name: value for name, value in run.items() if value is not None} for run in runs]
    return [run for place, run in enumerate(kept) if run not in kept[:place]]


def words(run: Run) -> list[str]:
    """The words of `w2s train -m` for a run."""
    return [f"{name}={','.join(map(_word, v)) if isinstance(v, list) else _word(v)}" for name, v in run.items()]


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def configurations(runs: list[Run], folder: str | None = None) -> tuple[list[Composed], int]:
    """The composed jobs of all runs, and the number of jobs that their `pairs` rule leaves out."""
    jobs: list[Composed] = []
    extra = ["--config-dir", folder] if folder else []

    def take(composed: list[Composed], _: list[Path]) -> int:
        jobs.extend(composed)
        return 0

    for run in runs:
        compose.run(["-m", *extra, *words(run)], take)
    return pairs.keep(jobs)
