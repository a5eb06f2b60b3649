"""The typed configuration: every field with its type, its range and its default, in one place.

* A field's annotation says all that is allowed of it; `w2s_cli/values.py` checks and converts (`lr=1` means 1.0). The comment behind
  or above a field documents it.
* YAML files under configs/ fill the fields in; a field that no file mentions has the default of this file.
* Plain Python: `compose.py` gives Hydra the defaults as a plain dictionary, and hands out plain dictionaries of the same fields.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from w2s_cli.values import MISSING

Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Gt(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Warmup = Annotated[float, Ge(0), Lt(1)]  # a share of all steps
Share = Annotated[float, Ge(0), Le(1)]
Precision = Literal["fp32", "tf32", "bf16"]
Optimizer = Literal["adam", "adamw"]
Arguments = dict[str, Any]  # of a loss or rule; their types stand in its signature
MOST_SEEDS, MOST_MEMBERS = 1000, 100
Members = Annotated[
    Annotated[int, Ge(1), Le(MOST_MEMBERS)] | Annotated[list[Any], MinLen(1)],
    f"a number of weak supervisors (seeds), 1 to {MOST_MEMBERS}, or a list of models, [gpt2,opt-125m]",
]


@dataclass
class Optimization:
    """What every training has in its recipe: the shape of the learning rate, and the optimizer."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Warmup = 0.0
    optimizer: Optimizer = "adam"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    weight_decay: float = 0.0
    max_grad_norm: float | None = None


@dataclass
class ModelConfig:
    """One pretrained model and the settings it is finetuned with (configs/model/*.yaml)."""

    name: str = MISSING  # what tables call it
    id: str | None = None  # hub id
    revision: str = "main"  # branch, tag or commit; resolved to a commit at first use
    path: str | None = None  # a local folder in the hub's format instead; "bundled:NAME" ships with w2s
    lr: Positive = 1e-5  # learning rate of full finetuning
    lr_source: str = "guess"  # "reference": the W2SG reference code states it; "validation": chosen on validation rows
    batch_size: Count = 32  # effective batch; micro-batches are an execution detail
    epochs: Positive | None = None  # null: train.epochs
    seed: Seed | None = None  # null: the run's seed
    precision: Precision = "fp32"  # bf16: autocast over fp32 master weights; the same on every device
    max_length: Count = 1024  # tokens; longer texts are cut on the context side
    gradient_checkpointing: bool = False  # less memory for a third more time; does not change results
    trust_remote_code: bool = False  # run Python code that comes with a hub model
    parameters: Positive | None = None  # millions, for the order of models (pairs=upper), plots and estimates of cost


@dataclass
class RoleConfig:
    """Settings of one role that differ from its model's (student.*, ceiling.*, hop.*); null: as the model says."""

    lr: Positive | None = None
    batch_size: Count | None = None
    epochs: Positive | None = None
    seed: Seed | None = None
    precision: Precision | None = None
    max_length: Count | None = None


@dataclass
class SharesConfig:
    """Share of the source's training split that each pool gets; of `test` only where there is no test split."""

    test: Share = 0.0
    weak_train: Share = 0.0
    weak_val: Share = 0.0
    strong_val: Share = 0.0
    strong_train: Share = 0.0


@dataclass
class SplitsConfig:
    """Where the training and the test rows lie: splits of the source, or files of a folder."""

    train: str | None = "train"
    test: str | None = None  # null: a share of the training split, pools.test


@dataclass
class LimitsConfig:
    """At most so many rows of each pool; null: all."""

    test: Count | None = None
    weak_train: Count | None = None
    weak_val: Count | None = None
    strong_val: Count | None = None
    strong_train: Count | None = None


@dataclass
class DataConfig:
    """One data set (configs/data/*.yaml)."""

    name: str = MISSING
    hub: str | None = None  # hub id of a data set without loading script
    hub_config: str | None = None
    revision: str = "main"
    path: str | None = None  # a local file or folder instead of the hub; "bundled:…" ships with w2s
    format: str | None = None  # null: by suffix
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    text: str | None = None  # the text column …
    template: str | None = None  # … or a format string over the columns
    second: str | None = None  # of pairs: a format string for the other text; class 1 means that it is the better one
    label: str | None = None  # the label column
    transform: str | None = None  # a function in data/transforms/<name>.py, where a template cannot say it
    options: dict[str, Any] = field(default_factory=dict)
    group: list[str] = field(default_factory=list)  # rows that agree here never cross pools
    id: str | None = None  # a column of unique ids; null: <split>-<row number>
    classes: list[str] | None = None  # class names in the order of the labels
    balanced: bool = False  # drop rows of the larger classes, per pool
    truncation: Literal["left", "right"] = "left"  # the side on which a long text is cut: the context's
    pools: SharesConfig = field(default_factory=SharesConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    seed: Seed = 0  # of the split and of drawn labels; not touched by the run's seed
    expected: dict[str, Any] | None = None
    warning: str | None = None
    source: str | None = None
    licence: str | None = None


@dataclass
class HeadConfig:
    """Label as token: the head starts as the language model's rows of one token for each class."""

    tokens: list[str] = field(default_factory=list)  # none: a new linear head
    suffix: str = "\nAnswer:"  # after every text


@dataclass
class TrainConfig(Optimization):
    """How a classifier is trained (configs/train/*.yaml)."""

    mode: Literal["full", "lora", "probe"] = "full"
    lr: Positive | None = None  # null: each model's own
    epochs: Positive = 2.0
    labels: Literal["soft", "hard", "sharpened"] = "soft"  # what the student sees of the weak labels
    sharpening: Positive = 0.5  # temperature of sharpened labels: p^(1/T), renormalised
    head: HeadConfig = field(default_factory=HeadConfig)
    lora_r: Count = 8
    lora_alpha: int = 16


@dataclass
class LossConfig:
    """A loss of losses/<name>.py and its keyword arguments (configs/loss/*.yaml)."""

    name: str = "xent"
    args: Arguments = field(default_factory=dict)
    label: str | None = None  # what tables call it; null: its name


@dataclass
class LabelsConfig:
    """Where the weak labels come from (configs/labels/*.yaml)."""

    source: Literal["weak", "file"] = "weak"  # weak: the weak supervisor; file: a file keyed by row id
    path: str | None = None  # labels of the student's rows
    test_path: str | None = None  # the same labeller's labels of the test rows; without it there is no PGR


@dataclass
class CombineConfig:
    """How the labels of several weak supervisors become one (configs/combine/*.yaml): a rule of combining/<name>.py."""

    name: str = "mean_probability"
    args: Arguments = field(default_factory=dict)
    label: str | None = None  # what tables call it; null: its name
    # a supervisor abstains on a row where its largest probability is below this
    abstain_below: Annotated[float, Ge(0), Lt(1)] = 0.0
    prior: list[float] | None = None  # class balance; null: the mean of the supervisors' labels


@dataclass
class SelectConfig:
    """Which weak labels are kept or changed (configs/select/*.yaml): a rule of selection/<name>.py."""

    name: str = "confidence"
    args: Arguments = field(default_factory=dict)
    label: str | None = None  # what tables call it; null: its name


@dataclass
class ControlConfig:
    """An experiment's control, for any method (configs/control/*.yaml)."""

    name: str = "none"
    rule: str | None = None  # a rule of selection/<rule>.py over the labels of every student
    args: Arguments = field(default_factory=dict)
    self_pair: bool = False  # the weak model is the strong one too


@dataclass
class StoppingConfig:
    """Early stopping, for any method (configs/stopping/*.yaml)."""

    name: str = "none"
    by: Literal["weak", "truth"] | None = None  # weak: students by weak labels; truth: by ground truth, a diagnostic
    metric: Literal["accuracy", "auroc"] = "accuracy"  # against the validation labels
    every: Count = 25  # optimizer steps between two evaluations
    # evaluations without a gain after which a training ends; null: all steps, and the best weights are kept
    patience: Count | None = None
    roles: list[Literal["weak", "student", "ceiling"]] = field(default_factory=lambda: ["weak", "student", "ceiling"])


@dataclass
class GenerativeConfig(Optimization):
    """Language-model training on the task's texts before the transfer (method=generative_finetuning)."""

    epochs: Positive = 1.0
    lr: Positive | None = None  # null: the model's own
    batch_size: Count = 32


@dataclass
class FewShotConfig:
    """Prompts with examples (method=few_shot)."""

    shots: Count = 5
    tokens: list[str] = field(default_factory=lambda: [" no", " yes"])  # one token for each class
    suffix: str = "\nAnswer:"  # between a text and its label
    separator: str = "\n\n"  # between two examples


@dataclass
class LauncherConfig:
    """How stages are run (configs/launcher/*.yaml); nothing here changes a result or a key."""

    name: str = "local"  # how workers are started: run/launchers/<name>.py
    jobs: Count = 1  # stages at a time
    isolate: bool = False  # a fresh process for every stage
    device: str = "auto"  # auto | cpu | cuda | cuda:1 | mps
    threads: Count | None = None  # CPU threads of one stage; null: all cores / jobs
    micro_tokens: Count = 8192  # padded tokens in a training micro-batch
    eval_tokens: Count = 32768  # … and in an inference batch
    checkpoint_seconds: float = 30.0  # between two checkpoints: what a kill -9 loses at most
    compile: bool = False  # layers through torch.compile; docs/speed.md says what it is worth
    log_every: int = 10  # optimizer steps between two lines of metrics.jsonl


@dataclass
class PretrainConfig(Optimization):
    """One language model made from scratch (configs/pretrain/*.yaml)."""

    name: str = MISSING
    corpus: dict[str, Any] = field(default_factory=dict)  # path, and templates over its fields (jsonl) or none (text)
    tokenizer: dict[str, Any] = field(default_factory=lambda: {"vocab_size": 4096, "add_prefix_space": True})
    architecture: dict[str, Any] = field(default_factory=dict)  # model_type and fields of its transformers config
    # entries: each text its own row; packed: texts joined to rows of max_length
    sequence: Literal["entries", "packed"] = "entries"
    max_length: Count = 64
    batch_entries: int | None = None  # rows of an update …
    batch_tokens: int | None = None  # … or tokens
    epochs: Positive = 1.0  # passes over the corpus
    lr: Positive = 1e-3
    warmup: Warmup = 0.05
    optimizer: Optimizer = "adamw"
    betas: list[float] = field(default_factory=lambda: [0.9, 0.95])
    weight_decay: float = 0.1
    max_grad_norm: float | None = 1.0
    precision: Precision = "bf16"
    validation_share: float = 0.0  # entries held out, for the validation loss
    seed: Seed = 0
    save_dtype: Literal["fp32", "bf16"] = "fp32"  # of the saved weights


@dataclass
class MethodConfig:
    """A pipeline as data (configs/method/*.yaml)."""

    name: str = MISSING
    base: str | None = None  # another method; `stages` then says only what differs (config/methods.py)
    stages: dict[str, Any] = field(default_factory=dict)


@dataclass
class Config:
    """One run."""

    weak: ModelConfig = field(default_factory=ModelConfig)
    strong: ModelConfig = field(default_factory=ModelConfig)
    student: RoleConfig = field(default_factory=RoleConfig)
    ceiling: RoleConfig = field(default_factory=RoleConfig)
    hop: RoleConfig = field(default_factory=RoleConfig)  # models of a ladder between weak and strong
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    combine: CombineConfig = field(default_factory=CombineConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    generative: GenerativeConfig = field(default_factory=GenerativeConfig)
    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    ladder: list[Any] = field(default_factory=list)  # models between weak and strong (method=bootstrapping), by name
    ensemble: Members = 3  # weak supervisors of an ensemble: K seeds of the weak model, or a list of models by name
    rounds: Count = 2  # of methods that repeat themselves
    # of a sweep: upper keeps pairs whose weak model is no larger than the strong one, strict those where it is smaller
    pairs: Literal["all", "upper", "strict"] = "all"
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    pretrain: PretrainConfig | None = None  # for `w2s pretrain`
    seed: Seed = 0  # of every training
    seeds: Annotated[int, Ge(1), Le(MOST_SEEDS)] | None = None  # run seeds 0 … n-1 and summarise
    outputs: str = "outputs"
    # false: a model's weights go once nothing in the command reads them; labels and metrics stay
    keep_weights: bool = True
    bootstrap: Count = 2000  # resamples behind each interval
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95


def defaults() -> dict[str, Any]:
    """The defaults of all fields as a plain dictionary, as Hydra merges files and words into it.

    The recipe of `w2s pretrain` is in it with all its fields, so that each can be set; without a name it was not chosen.
    """
    return {**asdict(Config()), "pretrain": asdict(PretrainConfig())}


def field_names(cls: type) -> list[str]:
    """The fields of one group."""
    return [f.name for f in fields(cls)]
