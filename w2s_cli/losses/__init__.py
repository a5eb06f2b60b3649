"""Losses: one file each, with one public function of the file's name.

    def xent(logits, labels, *, progress, …) -> Tensor

* `logits` [rows, classes] fp32, `labels` [rows, classes] probabilities (one-hot for hard labels), `progress` in [0, 1)
  is the share of the training that is done; the keyword arguments are the `args` of `configs/loss/<name>.yaml`.
  It returns a scalar: the mean over the given rows.
* A file says `PER_EXAMPLE = True` if its loss is a mean of terms that each depend on one row. Others, and files that
  do not say it, are given the whole effective batch, however many micro-batches it takes.
* A file may have `prepare(labels, **args) -> args`: it is called once before training with all labels [rows, classes] that the
  student will see and the args, and returns the args to use. What needs the labels as a whole (a median) is computed there.
* To add one: put `losses/<name>.py` into the package or into a folder given by `--config-dir`. There is no list.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from w2s_cli.errors import UserError
from w2s_cli.plugins import function_of, load_code


class Loss(NamedTuple):
    """A loss function, and whether micro-batches may call it on a part of the effective batch."""

    function: Callable[..., Any]
    per_example: bool
    prepare: Callable[..., dict[str, Any]] | None = None  # called once with all labels

    def prepared(self, labels: Any, args: dict[str, Any]) -> dict[str, Any]:
        """The args to train with; `labels` is a tensor [rows, classes] of all rows that are trained on."""
        if self.prepare is None:
            return args
        try:
            return self.prepare(labels, **args)
        except TypeError as error:
            name = getattr(self.function, "__name__", "?")
            raise UserError(f"loss {name} cannot be prepared with the arguments {args}: {error}") from error


def load_loss(name: str, folders: Sequence[Path | str] = (), planned: str | None = None) -> Loss:
    """The loss of `<folder>/losses/<name>.py`, else of the package.

    Raises:
        UserError: there is none of that name, it is not the code that was `planned` with, its file fails, or it defines no function of
            its name.
    """
    module, path = load_code("losses", name, folders, planned=planned)
    function = function_of(module, path, "logits, labels, *, progress")
    return Loss(function, bool(getattr(module, "PER_EXAMPLE", False)), getattr(module, "prepare", None))
