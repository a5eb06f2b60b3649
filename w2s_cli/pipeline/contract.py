"""What a stage kind and the pipeline agree on: the types of a kind's fields, what its `plan` returns, and its traits.

A kind is one file, `stages/<kind>.py`, of the package or of a --config-dir folder:

    VERSION = 1                                   raised by hand when the same params would give another result
    NEUTRAL = {"sharpening": None}                params added later; with the value given here ("as before") they stay out of the key
    TRAITS = Traits(gives="model", trains=True)   what the rest of the program asks about the kind
    def plan(job, *, model: Model, rows: Pool, labels: Labels = TRUTH) -> Spec       what determines the result, from one configuration
    def run(params, inputs, ctx) -> metrics       the work, in a worker process
    def cost(params, amounts) -> Work             optional: what the work takes, for estimates
    def flops_per_token(params) -> int            optional, of a training: FLOPs in parameters of its model, to measure this machine's rate
    def cautions(metrics, params, about) -> list[str]     optional: what a reader of the result must know

* The keyword arguments of `plan` are the fields of the kind in a method's YAML; their types say what a field means, their defaults that it
  is optional. A field of type Pool, Labels, Edge or Model may name another stage; a list of them names several.
* Labels are about the rows of the field `rows`. `Annotated[Labels, "examples"]` says that they are about another pool of the same stage.
* Importing the file takes no torch, NumPy or pyarrow: `run` imports what it needs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

NO_STAGE = "truth"  # the word of a YAML in place of a stage: the ground truth of the rows


@dataclass(frozen=True)
class Edge:
    """Another stage of the same method that this one reads."""

    name: str
    key: str | None  # None: ground truth
    model: Mapping[str, Any] | None = None  # settings of the model that the stage makes, if it makes one


@dataclass(frozen=True)
class Labels(Edge):
    """A stage that gives labels, or TRUTH."""


@dataclass(frozen=True)
class Pool(Edge):
    """The rows stage of one pool; `name` is the pool's."""


TRUTH = Labels(NO_STAGE, None)


@dataclass(frozen=True)
class Model:
    """A pretrained model, or the model of another stage; its settings depend on who trains it."""

    settings: Callable[
        ..., dict[str, Any]
    ]  # (role, train) → name, lr, batch_size, …, base, path, trunk (see pipeline.builder)


@dataclass(frozen=True)
class Spec:
    """One planned stage. `params` and `inputs` are its identity; nothing else is."""

    params: dict[str, Any]
    inputs: Mapping[str, Edge | list[Edge] | None] = field(default_factory=dict)  # ground truth and None are no inputs
    slug: str = ""  # for people: the beginning of the folder's name
    execution: dict[str, Any] = field(default_factory=dict)  # what the worker needs beside the identity; not hashed
    about: dict[str, Any] = field(
        default_factory=dict
    )  # names that a plan shows: role, model, data, rows, seed, loss, labels, …
    words: list[str] = field(default_factory=list)  # what a plan shows of the stage's own settings
    model: dict[str, Any] | None = None  # settings of the model that the stage makes, for the stages that use it


@dataclass(frozen=True)
class Traits:
    """What others ask of a kind, so that nobody keeps a list of kinds."""

    gives: str | None = None  # the artifact: "rows", "labels", "model", "features", "weights", "comparison" or None
    trains: bool = False  # updates weights: announced when it continues, counted as a training, has curves
    learns: bool = False  # its `labels` stand for the truth: a control can change them
    implied: bool = False  # added where another stage needs it; a method cannot name it
    over_seeds: str | None = None  # the kind that puts the stages of several seeds together


@dataclass(frozen=True)
class Work:
    """What a stage takes."""

    flops: float = 0.0
    tokens: float = 0.0  # trained on


class Amounts(Protocol):
    """The sizes behind a stage, measured or expected (pipeline.cost)."""

    parameters: float  # of the stage's model

    def tokens(self, edge: str) -> float:
        """Tokens of the rows that the input `edge` holds, as this stage reads them."""

    def rows(self, edge: str) -> int:
        """Rows that the input `edge` holds."""

    def has(self, edge: str) -> bool:
        """Whether the stage has such an input."""
