"""The contract of stage kinds with the pipeline: the types of a kind's fields, the result of its `plan`, and its traits.

A kind is one file, `stages/<kind>.py`, of the package or of a --config-dir folder:

    VERSION = 1                                   raised by hand when the same params would give another result
    NEUTRAL = {"sharpening": None}                params added later; with this value ("as before") they are not part of the key
    TRAITS = Traits(gives="model", trains=True)   the kind's properties for the rest of the program
    def plan(job, *, model: Model, rows: Pool, labels: Labels = TRUTH) -> Spec       the identity of the result, from one configuration
    def run(params, inputs, ctx) -> metrics       the work, in a worker process
    def cost(params, amounts) -> Work             optional: FLOPs and tokens, for estimates
    def flops_per_token(params) -> int            optional, of a training: FLOPs per token and parameter, to measure this machine's rate
    def cautions(metrics, params, about) -> list[str]     optional: lines under the result; of a comparison, about has also the seeds

* The keyword arguments of `plan` are the fields of the kind in a method's YAML. The type of an argument is the meaning of the field; an
  argument with a default is optional. A field of type Pool, Labels, Edge or Model can name another stage, a list of them several stages;
  of type RuleField, it names a loss or rule.
* Labels belong to the rows of the field `rows`. `Annotated[Labels, "examples"]` means that they belong to another pool of the same stage.
* The import of the file loads no torch, NumPy or pyarrow: `run` does its own imports.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

Role = Literal[
    "weak", "student", "hop", "ceiling"
]  # whose settings a model has; a hop is a student between weak and strong
FIRST_TURN = "first"  # in a stage with a loop: the fields of its first turn
NO_STAGE = "truth"  # in place of a stage's name in the YAML: the ground truth of the rows


@dataclass(frozen=True)
class RuleFields:
    """A note on a field that names a loss or rule, {name: …, args: {…}}: what stands in the mapping."""

    own: tuple[str, ...] = ()  # beside name, args and label

    def known(self) -> tuple[str, ...]:
        """All names in the mapping."""
        return ("name", "args", "label", *self.own)


RuleField = Annotated[Mapping[str, Any], RuleFields()]


@dataclass(frozen=True)
class Edge:
    """An input: another stage of the same method."""

    name: str
    key: str | None  # None: ground truth
    model: Mapping[str, Any] | None = None  # settings of the stage's model, if the stage makes a model


@dataclass(frozen=True)
class Labels(Edge):
    """A stage that gives labels, or TRUTH."""


@dataclass(frozen=True)
class Pool(Edge):
    """The rows stage of one pool; `name` is the pool's name."""


TRUTH = Labels(NO_STAGE, None)


@dataclass(frozen=True)
class Model:
    """A pretrained model, or the model of another stage; its settings depend on the role that trains it."""

    # (role, train) → name, lr, batch_size, …, base, path, trunk (see pipeline.builder)
    settings: Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Spec:
    """One planned stage. Its identity is `params` and `inputs` alone."""

    params: dict[str, Any]
    inputs: Mapping[str, Edge | list[Edge] | None] = field(default_factory=dict)  # ground truth and None are no inputs
    slug: str = ""  # beginning of the folder's name, for people
    execution: dict[str, Any] = field(default_factory=dict)  # settings for the worker beside the identity; not hashed
    about: dict[str, Any] = field(default_factory=dict)  # facts for plans: role, model, data, rows, seed, loss, …
    words: list[str] = field(default_factory=list)  # the stage's settings in a plan's table
    model: dict[str, Any] | None = None  # settings of the stage's model, for the stages that use the model
    unread: Sequence[Edge] = ()  # stages that the YAML names and these settings do not need


@dataclass(frozen=True)
class Traits:
    """A kind's properties for the rest of the program, so that no code has a list of kinds."""

    gives: str | None = (
        None  # the artifact: "rows", "labels", "model", "features", "weights", "texts", "comparison", … or None
    )
    trains: bool = False  # updates weights: has a message when it continues, counts as a training, has curves
    learns: bool = False  # learns from its `labels`: a control can replace them
    implied: bool = False  # added for the stages that need it; a method cannot name it
    # several processes (launcher.processes) share its work, up to ctx.rest_alone; of other kinds rank 0 alone does it
    shared: bool = False
    over_seeds: str | None = None  # the kind that joins the stages of several seeds


FP32_BYTES = 4  # of a saved weight, as w2s saves what it trains


@dataclass(frozen=True)
class Work:
    """The work of a stage."""

    flops: float = 0.0
    tokens: float = 0.0  # trained on, over all epochs
    bytes: float = 0.0  # of weights on the disk when it is done
    written: float = 0.0  # tokens of texts, at most


class Amounts(Protocol):
    """The sizes behind a stage, measured or expected (pipeline.cost)."""

    @property
    def parameters(self) -> float:
        """Of the stage's model."""

    def tokens(self, edge: str) -> float:
        """Tokens of the rows of the input `edge`, after the stage's cut to max_length."""

    def rows(self, edge: str) -> int:
        """Number of rows of the input `edge`."""

    def texts(self, edge: str) -> int:
        """Texts of a row of the input `edge`, at most."""

    def has(self, edge: str) -> bool:
        """Whether the stage has the input `edge`."""
