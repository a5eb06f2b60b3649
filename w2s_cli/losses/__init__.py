"""Losses: one file each, with one public function of the file's name.

    def xent(logits, labels, *, progress, …) -> Tensor

* `logits` [rows, classes] are fp32, `labels` [rows, classes] probabilities (one-hot for hard labels). `progress` in [0, 1) is the
  finished share of the training. The keyword arguments are the `args` of `configs/loss/<name>.yaml`. The result is a scalar, the mean
  over the rows.
* A file sets `PER_EXAMPLE = True` if its loss is a mean of terms that depend on one row each. Any other loss sees the whole effective
  batch, in whatever number of micro-batches.
* A file may have `prepare(labels, **args) -> args`, called once before the training with all labels [rows, classes] of the student. It
  returns the args of the training: a statistic over all labels (a median) is computed here.
* To add a loss, put `losses/<name>.py` into the package or into a `--config-dir` folder. No list has to be edited.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.plugins import call_code, function_of, load_code


class Loss(NamedTuple):
    """A loss function, and whether it can be computed on a part of the effective batch."""

    function: Callable[..., Any]
    per_example: bool
    prepare: Callable[..., dict[str, Any]] | None = None  # called once with all labels

    def prepared(self, labels: Any, args: dict[str, Any]) -> dict[str, Any]:
        """The args of the training; `labels` is a tensor [rows, classes] with all labels of the training."""
        if self.prepare is None:
            return args
        args = call_code(f"{self.called}, prepare", self.prepare, labels, args=args)
        return args

    @property
    def called(self) -> str:
        """The loss in messages."""
        return f"loss {getattr(self.function, '__name__', '?')}"


def load_loss(name: str, folders: Sequence[Path | str] = (), planned: str | None = None) -> Loss:
    """The loss of `<folder>/losses/<name>.py`, else of the package.

    Raises:
        UserError: no loss of that name, code other than `planned` (the hash in the plan), a failing import, or no function of the name.
    """
    module, path = load_code("losses", name, folders, planned=planned)
    function = function_of(module, path, "logits, labels, *, progress")
    return Loss(function, bool(getattr(module, "PER_EXAMPLE", False)), getattr(module, "prepare", None))
