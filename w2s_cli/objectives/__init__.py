"""Objectives of a language model on texts or pairs of texts: one file each, with one public function of the file's name.

    def dpo(batch, *, beta: float = 0.1) -> Tensor

* `batch` has the log-probabilities of completions under the policy that is trained, and those that were stored before the training
  (stage kind `score`). The keyword arguments are the `args` of `configs/objective/<name>.yaml`. The result is one loss a row, [rows].
* A file states what it needs, and plans read it from the syntax tree: `NEEDS_PAIRS = True` (chosen and rejected texts, else single
  texts), `NEEDS_REFERENCE = True` (log-probabilities of a reference), `NEEDS_WEAK = True` (those of an aligned weak model and of the weak
  model before), `NEEDS_KL = True` (an estimate over the effective batch), `WHOLE = True` (the prompt is learned too).
* A row's loss may depend on its own texts and on figures of the whole effective batch (`mean_length`, `kl`), never on a micro-batch.
* To add an objective, put `objectives/<name>.py` into the package or into a `--config-dir` folder. No list has to be edited.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from w2s_cli.plugins import function_of, load_code

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = "objectives"  # the folder of the code
NEEDS = ("NEEDS_PAIRS", "NEEDS_REFERENCE", "NEEDS_WEAK", "NEEDS_KL", "WHOLE")


@dataclass(frozen=True)
class LogP:
    """Log-probabilities of completions, with their end tokens, in nats."""

    tokens: "Tensor"  # [tokens of all texts]
    lengths: "Tensor"  # [texts] int64

    @property
    def sums(self) -> "Tensor":
        """log p of each text, [texts]."""
        return self.per_text(self.tokens)

    @property
    def means(self) -> "Tensor":
        """Mean over the tokens of each text, [texts]."""
        return self.sums / self.lengths

    def per_text(self, values: "Tensor") -> "Tensor":
        """Sums over each text, [texts], of values [tokens of all texts]."""
        import torch

        place = torch.repeat_interleave(torch.arange(len(self.lengths), device=values.device), self.lengths)
        return values.new_zeros(len(self.lengths)).index_add(0, place, values)


@dataclass(frozen=True)
class Side:
    """The texts of one side of a batch: the texts to learn, or the rejected ones."""

    policy: LogP
    reference: LogP | None = None  # before the training
    aligned: LogP | None = None  # of a weak model after its own preference training
    unaligned: LogP | None = None  # … and before it

    @property
    def gain(self) -> "Tensor":
        """log π(y|x) − log π_ref(y|x), [texts]; without a reference log π(y|x)."""
        return self.policy.sums if self.reference is None else self.policy.sums - self.reference.sums

    @property
    def mean_gain(self) -> "Tensor":
        """`gain` per token, [texts]."""
        return self.gain / self.policy.lengths


@dataclass(frozen=True)
class Batch:
    """A part of an effective batch."""

    chosen: Side  # without pairs: the texts
    rejected: Side | None = None
    mean_length: float = 1.0  # tokens of a chosen completion, over the effective batch
    kl: "Tensor | None" = None  # KTO's estimate of KL(π ‖ π_ref), over the effective batch

    @property
    def worse(self) -> Side:
        """The rejected texts, of an objective with NEEDS_PAIRS."""
        assert self.rejected is not None
        return self.rejected


class Rule(NamedTuple):
    """An objective, its arguments and its needs."""

    name: str
    function: Callable[..., Any]
    args: Mapping[str, Any]
    needs: Mapping[str, bool]  # of NEEDS


def load_objective(rule: Mapping[str, Any], folders: Sequence[Path | str] = ()) -> Rule:
    """The objective of a stage's params: {name, args, code (its hash in the plan)}.

    Raises:
        UserError: no objective of that name, other code than planned, or an import that fails.
    """
    module, path = load_code(OBJECTIVES, str(rule["name"]), folders, planned=rule.get("code"))
    function = function_of(module, path, "batch, *, …")
    return Rule(path.stem, function, dict(rule["args"]), {word: getattr(module, word, False) is True for word in NEEDS})
