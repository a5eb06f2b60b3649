"""search.json in the folder of a search: its space, and every trial with its settings and its score.

* A trial is written before it runs, and again with its outcome. A killed search goes on with the trials that it had proposed.
* The scores are those of the `validate` stages, a copy for the reader: without the file, or with one that cannot be read, the search
  proposes the same trials again and finds their stages finished. Only that a trial failed is known from the file alone.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_args

from w2s_cli.search.space import Dimension, Params
from w2s_cli.store.files import is_broken, read_json, write_sealed
from w2s_cli.store.shapes import fits

RECORD = "search.json"
FORMAT = 1
State = Literal["open", "scored", "failed"]
LARGER = {"accuracy": True, "auroc": True, "cross_entropy": False}  # score → whether a larger one is better


@dataclass
class Trial:
    """One setting of a search."""

    params: Params
    state: State = "open"
    score: float | None = None  # the mean over seeds
    per_seed: list[float] = field(default_factory=list)
    why: str = ""  # a failed trial failed


@dataclass
class Study:
    """The trials of one setting of the words that are swept but not searched."""

    words: list[str]  # of that setting: loss=xent
    trials: list[Trial] = field(default_factory=list)

    def closed(self) -> list[Trial]:
        """The trials with an outcome."""
        return [trial for trial in self.trials if trial.state != "open"]

    def best(self, metric: str) -> int | None:
        """The number of the best trial, the earliest of equal ones; None without a score."""
        sign = 1 if LARGER[metric] else -1
        scored = [(sign * trial.score, -number) for number, trial in enumerate(self.trials) if trial.score is not None]
        return -max(scored)[1] if scored else None


class _Trial(TypedDict):
    params: dict[str, float | int | str]
    state: Annotated[str, lambda state: state in get_args(State)]
    score: float | None
    per_seed: list[float]
    why: str


class _Study(TypedDict):
    words: list[str]
    trials: list[_Trial]


class _Record(TypedDict):
    format: int
    identity: dict[str, Any]
    studies: list[_Study]


def write_record(folder: Path, identity: dict[str, Any], studies: Sequence[Study]) -> None:
    """Write search.json; `identity` is what determines the trials beside their scores."""
    write_sealed(
        folder / RECORD, {"format": FORMAT, "identity": identity, "studies": [asdict(study) for study in studies]}
    )


def read_record(
    folder: Path | None, identity: dict[str, Any], space: Sequence[Dimension], settings: Sequence[list[str]]
) -> list[Study]:
    """The studies of the settings, with the trials of search.json if it can be read and is of this search."""
    written = _read(folder) if folder else None
    if written and written["identity"] == identity:
        studies = [Study(item["words"], [_trial(trial) for trial in item["trials"]]) for item in written["studies"]]
        whole = all(_is_of(trial, space) for study in studies for trial in study.trials)
        if whole and [study.words for study in studies] == list(settings):
            return studies
    return [Study(list(words)) for words in settings]


def trials_in(folder: Path) -> Counter[str]:
    """State → number of the trials of a search; none if the folder has no sound search.json."""
    written = _read(folder)
    return (
        Counter(trial["state"] for study in written["studies"] for trial in study["trials"]) if written else Counter()
    )


def _read(folder: Path) -> _Record | None:
    """The search.json of a folder, if it can be read and was not changed."""
    written: Any = read_json(folder / RECORD)
    return written if fits(written, _Record) and not is_broken(written) and written["format"] == FORMAT else None


def _trial(written: Mapping[str, Any]) -> Trial:
    return Trial(**{name: written[name] for name in _Trial.__annotations__})


def _is_of(trial: Trial, space: Sequence[Dimension]) -> bool:
    """Whether a trial is one of this space, and has a score if and only if it says so."""
    names = [dimension.name for dimension in space]
    return (
        sorted(trial.params) == sorted(names)
        and all(d.has(trial.params[d.name]) for d in space)
        and (trial.score is not None) == (trial.state == "scored")
    )
