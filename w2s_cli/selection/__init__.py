"""Selection rules filter, change or replace the labels of a pool. One file each, with one public function of the file's name.

    def confidence(labels, *, …) -> Selected

* `labels` is one label artifact. The keyword arguments are the `args` of `configs/select/<name>.yaml` or
  `configs/control/<name>.yaml`.
* A file sets `NEEDS_FEATURES = True` if it uses frozen features of the rows, `NEEDS_TRUTH = True` if it uses the ground truth
  (controls, budgets of true labels). Plans read both from the syntax tree. Without them a rule gets neither.
* A rule that fits a model to labels and features (a probe, neighbours) fits it to the rows of `labels.fit`, if there are any, and
  applies it to its own rows: training rows judge the labels of validation rows. `covered_features` has both.
* A row that is not covered has no label; its `p` is never read. It takes no part in a rule (it is no row's neighbour), and stays
  uncovered unless the rule gives it a true label.
* A hash draws the order of the rows, so that a tie that goes to the first row is decided by chance, not by the order of a file. Other
  random numbers come from `chance`, a draw by row id.
* To add a rule, put `selection/<name>.py` into the package or into a `--config-dir` folder. No list has to be edited.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from w2s_cli.errors import UserError
from w2s_cli.errors import need_one_of as need_one_of  # for the rules
from w2s_cli.plugins import function_of, load_code
from w2s_cli.statistics.draw import drawer
from w2s_cli.statistics.figures import Booleans, Floats, Integers

ACTIONS = ("filter", "relabel")


@dataclass(frozen=True)
class Labels:
    """A supervisor's labels of the rows of one pool."""

    ids: list[str]
    p: Floats  # [rows, classes]
    covered: Booleans  # [rows]; False: no label
    features: NDArray[np.float32] | None  # [rows, width]; None unless the rule NEEDS_FEATURES
    truth: Integers | None  # [rows]; None unless the rule NEEDS_TRUTH
    seed: int
    fit: "Labels | None" = None  # the training rows' labels, of a rule with features on other rows; None: these rows


@dataclass(frozen=True)
class Selected:
    """The selected labels, with rows in the order of `Labels`."""

    p: Floats  # [rows, classes]
    covered: Booleans  # [rows]
    diagnostics: Mapping[str, Any] = field(default_factory=dict)  # JSON


class Examples(NamedTuple):
    """The labelled rows that a rule fits its model to."""

    p: Floats  # [examples, classes]
    features: Floats  # [examples, width]
    others: bool  # other rows than those that the rule judges


class Rule(NamedTuple):
    """A selection rule, and the inputs that it needs."""

    function: Callable[..., Selected]
    needs_features: bool
    needs_truth: bool


def load_rule(name: str, folders: Sequence[Path | str] = (), planned: str | None = None) -> Rule:
    """The rule of `<folder>/selection/<name>.py`, else of the package.

    Raises:
        UserError: no rule of that name, code other than `planned` (the hash in the plan), a failing import, or no function of the name.
    """
    module, path = load_code("selection", name, folders, planned=planned)
    function = function_of(module, path, "labels, *, …")
    return Rule(
        function, getattr(module, "NEEDS_FEATURES", False) is True, getattr(module, "NEEDS_TRUTH", False) is True
    )


def chance(labels: Labels, purpose: str, rows: Integers | None = None) -> Floats:
    """A number in [0, 1) for each of `rows` (None: all rows), by a hash of purpose, seed and row id."""
    draw = drawer("selection", purpose, labels.seed)
    return np.array([draw(labels.ids[row]) for row in (range(len(labels.ids)) if rows is None else rows)])


def need_share(value: float | None, what: str) -> float:
    """`value`, if it lies in [0, 1], else UserError."""
    if value is None or not 0 <= value <= 1:
        raise UserError(f"{what}={value}: must lie between 0 and 1")
    return float(value)


def need_truth(labels: Labels) -> Integers:
    """The ground truth, which the stage passes to rules with NEEDS_TRUTH."""
    if labels.truth is None:
        raise UserError("this selection rule needs the ground truth: its file must say NEEDS_TRUTH = True")
    return labels.truth


def covered_features(labels: Labels) -> tuple[Integers, Floats, Examples]:
    """The covered rows [n], their features [n, width], and the examples: the covered rows of `labels.fit`, else these rows.

    The features are minus the mean of the examples' features: distances and slopes stay, rounding errors shrink.
    """
    rows, features = _covered(labels)
    if labels.fit is None:
        features = features - features.mean(axis=0)
        return rows, features, Examples(labels.p[rows], features, others=False)
    fitted, of_examples = _covered(labels.fit)
    mean = of_examples.mean(axis=0)
    return rows, features - mean, Examples(labels.fit.p[fitted], of_examples - mean, others=True)


def _covered(labels: Labels) -> tuple[Integers, Floats]:
    """Covered rows [n] and their features [n, width]."""
    if labels.features is None:
        raise UserError("this selection rule needs features: its file must say NEEDS_FEATURES = True")
    rows = np.flatnonzero(labels.covered)
    if len(rows) < 2:
        raise UserError(f"this selection rule needs at least 2 labelled rows, there are {len(rows)}")
    if labels.features.ndim != 2 or not np.isfinite(labels.features[rows]).all():
        raise UserError(
            f"the features (shape {labels.features.shape}) must be one vector of finite numbers per row; "
            "compute them again, in fp32 if they overflow"
        )
    return rows, labels.features[rows].astype(np.float64)


def by_probe(labels: Labels, rows: Integers, probe: Floats, action: str, contamination: float) -> Selected:
    """Drop the rows whose labels differ most from a probe's prediction, or replace the labels by the prediction.

    The distance is half the sum over classes of |probe − label|; for two classes that is |probe − label| of either class. As in the
    EleutherAI code, ⌊contamination · rows⌋ rows are dropped.

    Args:
        rows: [n], the covered rows.
        probe: [n, classes], for those rows.
    """
    need_one_of(action, ACTIONS, "select.args.action")
    share = need_share(contamination, "select.args.contamination")
    distance = np.abs(probe - labels.p[rows]).sum(axis=1) / 2
    diagnostics = {"mean_distance": float(distance.mean())}
    if action == "relabel":
        p = labels.p.copy()
        p[rows] = probe
        return Selected(p, labels.covered.copy(), diagnostics)
    order = np.argsort(-distance, kind="stable")
    count = int(share * len(rows))
    covered = labels.covered.copy()
    covered[rows[order[:count]]] = False
    cut = {"dropped": count, "smallest_dropped": float(distance[order[count - 1]]) if count else None}
    return Selected(labels.p, covered, diagnostics | cut)
