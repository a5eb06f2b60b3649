"""The memory that a stage needs, before anything starts: weights, gradients, optimizer and activations at the micro-batch.

* Weights are fp32, with a copy in bf16 of the linear layers while autocast runs. Adapters freeze the base, so only they and the head have
  gradients and moments.
* In bf16 the linear layers themselves are in bf16, without copies, where a stage only reads them, and where they are frozen and stored in
  bf16 (`training/models/bf16.py`); so are experts in MXFP4. A checkpoint of unknown type is taken for fp32. Adapters on a base in fp32
  are merged before the layers become bf16, so opening them takes the whole base in fp32.
* Experts in MXFP4 are opened matrix by matrix, and the largest one takes `UNPACKED` bytes a parameter meanwhile.
* Activations that wait for the backward pass, of one token in one layer: the inputs of its norms and linear layers, queries, keys and
  values, and the products of a gated layer. This is Korthikanti et al. 2022 (Reducing Activation Recomputation in Large Transformer Models,
  section 4), written out for RMS norms, gated layers and grouped keys, without dropout. With gradient checkpointing every layer keeps its
  input, and one layer at a time is computed again (their section 5).
* Attention that keeps its scores (a CPU, rows up to `LONG` tokens) has heads × row numbers for each token; fused attention keeps none.
* The output layer of a language model goes in chunks of `CHUNK` tokens (`training/objectives/`).
* The micro-batch is `launcher.micro_tokens`, or less where the update is smaller; on a CPU at most `PACKED` tokens, but one row at least.
  The longest row is taken for `SPREAD` times the mean.
* Of several processes each has a part of the update's tokens. With `fsdp` each has a part of weights, gradients and moments too; whole are
  one layer at a time, the head and the embeddings (`training/sharding.py`). On a CPU the first has the whole model at the end, when
  gradients and activations are gone; beside a GPU the host has it.
* `PROCESS` is what a worker takes before it opens a model. docs/large.md compares the estimate with measured peaks.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from w2s_cli.pipeline.contract import Amounts
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.shapes import Shape, of_size, read_shape

GIB = 1 << 30
PROCESS = 0.55 * GIB  # of a worker with torch and transformers, or on a GPU of its context and its kernels
FP32, BF16 = 4, 2  # bytes
NF4 = (
    0.5 + 0.5 / 64 + 0.03
)  # bytes of a weight in 4 bits, with one scale for 64 weights, itself in 8 bits (Dettmers et al. 2023)
# layers that are whole at once where weights lie in parts: the one at work, and the next one, which arrives
COLLECTED = 2
MOMENTS = {
    "adam": 8.0,
    "adamw": 8.0,
    "adamw8bit": 2.1,
}  # bytes of a trained parameter: two moments, in 8 bits with their scales
PACKED = 2048  # most tokens of a forward pass on a CPU (training/attention/cpu.py)
LONG = 1024  # tokens of a row, above which a CPU's attention is fused too
UNPACKED = 5  # the numbers, the same transposed, and indices of half of them
CHUNK = 512  # tokens that go through an output layer together
SPREAD = 3  # the longest row, in means
HEAD = 2  # outputs of a classifier, about
TRUSTED = (
    0.25  # largest relative difference between the parameters by a config.json and those that the model's YAML states
)


@dataclass(frozen=True)
class Setup:
    """What decides a stage's memory beside the shape of its model."""

    trains: bool
    adapters: int = 0  # their rank; 0: all weights are trained
    four_bits: bool = False  # the frozen linear layers in nf4
    probe: bool = False  # a head on stored features: no forward pass
    optimizer: str = "adam"
    offloaded: bool = False  # moments in the host's memory
    precision: str = "fp32"
    checkpointing: bool = False
    tokens: int = PACKED  # of a micro-batch
    row: int = PACKED  # tokens of the longest row
    words: bool = False  # the output layer of a language model is learned or read
    writes: bool = False  # keys and values of all tokens are kept
    gpu: bool = False
    pretrained: bool = False  # a training whose model comes from no other stage
    merges: bool = False  # adapters on a pretrained model are opened
    processes: int = 1  # that share the stage
    in_parts: bool = False  # weights, gradients and moments, on these processes


@dataclass(frozen=True)
class Memory:
    """Bytes of one process, by what they hold."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    process: float = PROCESS

    @property
    def total(self) -> float:
        """All of them at once."""
        return float(sum(asdict(self).values()))


def need(shape: Shape, setup: Setup) -> Memory:
    """The bytes that a stage, or one of its processes, needs on its device."""
    if not setup.words:
        shape = replace(shape, parameters=shape.parameters - shape.output)
    if setup.probe:
        return Memory(FP32 * shape.parameters, 0.0, 0.0, 0.0)
    trained = _trained(shape, setup)
    narrow = shape.linear if _in_bf16(shape, setup) else 0.0
    unpacked = shape.packed if _in_bf16(shape, setup) else 0.0
    copies = BF16 * (shape.linear - narrow) if setup.precision == "bf16" else 0.0
    weights = FP32 * (shape.parameters - narrow - unpacked) + BF16 * (narrow + unpacked) + copies
    if setup.adapters:
        weights += FP32 * trained
    if setup.four_bits:
        one_layer = BF16 * shape.linear / shape.layers  # opened for its matmuls
        weights = FP32 * (shape.parameters - shape.linear + trained) + NF4 * shape.linear + one_layer
    parts = setup.processes if setup.in_parts else 1
    gradients = FP32 * trained / parts
    moments = 0.0 if setup.offloaded else MOMENTS[setup.optimizer] * trained / parts
    activations = _kept(shape, setup) if setup.trains else _passing(shape, setup)
    activations = max(activations, UNPACKED * shape.packed * 2 / 3 / shape.layers)  # two of three matrices lie in one
    if setup.merges and not shape.in_bf16:
        weights = max(weights, FP32 * shape.parameters - activations)
    if setup.words:
        activations += CHUNK * shape.vocabulary * 2 * FP32
    if setup.writes:
        activations += setup.tokens * shape.layers * 2 * shape.keys * FP32
    if setup.in_parts:
        layers, collected = FP32 * (shape.linear - narrow) + BF16 * narrow, COLLECTED / shape.layers
        outside = weights - copies - layers
        waiting = copies * (collected if setup.checkpointing else 1)  # for the backward pass
        apart = layers * (1 / parts + collected) + outside * (1 / parts + 1) + waiting
        at_end = 0.0 if setup.gpu else (layers + outside) * (1 + 1 / parts) - gradients - activations
        weights = max(apart, at_end)
    return Memory(weights, gradients, moments, activations)


def _in_bf16(shape: Shape, setup: Setup) -> bool:
    """Whether the linear layers, and experts in MXFP4, are in bf16."""
    if setup.precision != "bf16":
        return False
    return not setup.trains or bool(setup.adapters and setup.pretrained and shape.in_bf16)


def _trained(shape: Shape, setup: Setup) -> float:
    """Parameters with gradients and moments."""
    if not setup.trains:
        return 0.0
    return setup.adapters * shape.sides + HEAD * shape.width if setup.adapters else shape.parameters


def _of_layer(shape: Shape, setup: Setup) -> float:
    """Bytes of one token in one layer that wait for the backward pass."""
    size = BF16 if setup.precision == "bf16" else FP32
    into_linear = 2 * shape.width + shape.queries + shape.inner
    if setup.adapters and setup.precision == "bf16":
        into_linear += 3 * shape.width  # each adapter has a copy of its input
    attended = shape.queries + 2 * shape.keys
    fed = (3 if shape.gated else 1) * shape.inner
    norms = 2 * shape.width * FP32 * (3 if setup.gpu else 1)  # a CPU's norms are fused (training/models/fused.py)
    scores = 0 if setup.gpu or setup.row > LONG else shape.heads * min(setup.row, LONG)
    return norms + size * (into_linear + attended + fed + scores)


def _kept(shape: Shape, setup: Setup) -> float:
    """Bytes of the activations of a training step."""
    of_layer = _of_layer(shape, setup)
    if setup.checkpointing:
        return setup.tokens * (shape.layers * shape.width * FP32 + 2 * of_layer)
    return setup.tokens * (shape.layers + 1) * of_layer


def _passing(shape: Shape, setup: Setup) -> float:
    """Bytes of the activations of a forward pass alone: those of about one layer."""
    return setup.tokens * _of_layer(shape, setup)


def setup_of(
    stage: Stage,
    graph: Graph,
    launcher: Mapping[str, Any],
    amounts: Amounts,
    *,
    gpu: bool,
    processes: int = 1,
    fsdp: bool = False,
) -> Setup:
    """A stage's setup from its params and the launcher; rows have the tokens that the plan expects.

    Args:
        graph: of the stage, which may read adapters that another stage makes.
        processes: that share the stage.
        fsdp: whether weights, gradients and moments lie in parts on them.
    """
    params = stage.identity["params"]
    made_by = stage.inputs.get("model")
    maker = graph.stages[made_by].identity["params"] if isinstance(made_by, str) and made_by in graph.stages else {}
    trains = stage.of.traits.trains
    limit = int(params.get("max_length") or PACKED)
    mean = min(limit, _mean(stage, params, amounts))
    row = int(min(limit, max(1.0, SPREAD * mean)))
    most = int(launcher["micro_tokens" if trains else "eval_tokens"])
    most = most if gpu else min(most, PACKED)
    batch = params.get("batch_tokens") or mean * float(params.get("batch_size") or params.get("batch_entries") or most)
    lora = params.get("lora") or {}
    probe = params.get("mode") == "probe" or "features" in stage.inputs
    adapters = int(lora.get("r", 0)) if params.get("mode") == "lora" else 0
    return Setup(
        trains,
        adapters=adapters,
        four_bits=lora.get("base") == "nf4",
        probe=probe,
        optimizer=str(params.get("optimizer", "adam")),
        offloaded=trains and bool(launcher["offload_optimizer"]) and gpu,
        precision=str(params.get("precision", "fp32")),
        checkpointing=trains and bool(stage.execution.get("gradient_checkpointing")),
        tokens=max(row, int(min(most, batch / processes))),
        row=row,
        words=bool({"objective", "architecture", "max_new_tokens"} & set(params)) or params.get("classifier") is False,
        writes="max_new_tokens" in params,
        gpu=gpu,
        pretrained=trains and params.get("model") is not None,
        merges=not trains and maker.get("mode") == "lora" and maker.get("model") is not None,
        processes=processes,
        in_parts=fsdp and not probe,
    )


def _mean(stage: Stage, params: Mapping[str, Any], amounts: Amounts) -> float:
    """Tokens of a row, with the completion that a language model learns or writes after it."""
    if "rows" not in stage.inputs or not amounts.rows("rows"):
        return float(params.get("max_length") or PACKED)
    mean = amounts.tokens("rows") / amounts.rows("rows")
    return mean * (2 if {"texts", "pairs"} & set(stage.inputs) else 1) + float(params.get("max_new_tokens") or 0)


def shape_of(stage: Stage, graph: Graph) -> Shape | None:
    """The shape of a stage's model: by its config.json, else by its number of parameters, else of the stage that made it.

    A stated number that is far from the config.json's holds: then the architecture has parts that the formulas do not know.
    """
    shape, stated = stage.about.get("shape"), float(stage.about.get("parameters") or 0) * 1e6
    if isinstance(shape, Shape) and (not stated or abs(shape.parameters / stated - 1) < TRUSTED):
        return shape
    if stated:
        return of_size(stated)
    made_by = stage.inputs.get("model")
    if isinstance(made_by, str) and made_by in graph.stages:
        return shape_of(graph.stages[made_by], graph)
    return read_shape(stage.identity["params"].get("architecture") or {})


Ways = list[tuple[str, Callable[[Setup], Setup]]]


def ways_out(setup: Setup, model: str = "strong", training: str = "train") -> Ways:
    """(words of a command line, the setup with them) of what makes a stage smaller.

    Args:
        model: the group of the stage's model.
        training: the group of its settings if it trains; a model of `pretrain` is new, so it has neither adapters nor a group of its own.
    """
    lora, qlora = f"{training}.mode=lora", f"{training}.mode=lora {training}.lora.base=nf4"
    if training == "train":  # it has recipes of these
        lora, qlora = "train=lora", "train=qlora"
    new = training == "pretrain"
    ways: Ways = []
    if setup.trains and not setup.checkpointing and not new:
        ways.append((f"{model}.gradient_checkpointing=true", lambda one: replace(one, checkpointing=True)))
    if setup.tokens > max(setup.row, 256):
        smaller = max(setup.row, setup.tokens // 4)
        ways.append((f"launcher.micro_tokens={smaller}", lambda one: replace(one, tokens=smaller)))
    if _can_lie_in_parts(setup) and setup.processes > 1 and not setup.in_parts:
        ways.append(("launcher.fsdp=true", lambda one: replace(one, in_parts=True)))
    if setup.trains and not setup.adapters:
        if setup.optimizer != "adamw8bit" and not setup.in_parts:
            ways.append((f"{training}.optimizer=adamw8bit", lambda one: replace(one, optimizer="adamw8bit")))
        if setup.gpu and not setup.offloaded:
            ways.append(("launcher.offload_optimizer=true", lambda one: replace(one, offloaded=True)))
        if not new:
            ways.append((lora, lambda one: replace(one, adapters=8, optimizer="adam", offloaded=False)))
    if setup.trains and not setup.four_bits and not setup.in_parts and not new:
        ways.append((qlora, lambda one: replace(one, adapters=one.adapters or 8, four_bits=True, offloaded=False)))
    return ways


def _can_lie_in_parts(setup: Setup) -> bool:
    """Whether the weights, gradients and moments of a stage can lie in parts on several processes."""
    return setup.trains and not setup.probe and not setup.four_bits and setup.optimizer != "adamw8bit"


def spread_out(setup: Setup, devices: int, fits: Callable[[Setup], bool]) -> Setup | None:
    """The setup of a training in parts on the fewest of so many devices on which it `fits`; None if none does, or if it cannot lie so.

    A process keeps the micro-batch of one alone, so its activations are not divided.
    """
    if not setup.gpu or not _can_lie_in_parts(setup):
        return None
    more = (replace(setup, processes=count, in_parts=True) for count in range(setup.processes + 1, devices + 1))
    return next((one for one in more if fits(one)), None)
