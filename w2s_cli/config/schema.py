"""The typed configuration: every field with its type, its range and its default, here, in `trainings.py` and in
  `search_schema.py`.

* A field's annotation states all allowed values; `w2s_cli/values.py` checks and converts (`lr=1` means 1.0). The comment behind or above
  a field documents it.
* YAML files under configs/ set the fields. A field that no file sets has the default of these files.
* Plain Python: `compose.py` gives Hydra the defaults as a plain dictionary, and returns plain dictionaries of the same fields.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

from w2s_cli.config.launching import LauncherConfig
from w2s_cli.config.notes import Unless, With
from w2s_cli.config.search_schema import SearchConfig
from w2s_cli.config.trainings import (
    Count,
    Positive,
    Precision,
    PreferenceConfig,
    PretrainConfig,
    Seed,
    TrainConfig,
    TuneConfig,
)
from w2s_cli.values import MISSING, Matches

Share = Annotated[float, Ge(0), Le(1)]
Arguments = dict[str, Any]  # of a loss or rule; its signature has their types
MOST_SEEDS, MOST_MEMBERS, MOST_ROUNDS = 1000, 100, 100
Members = Annotated[
    Annotated[int, Ge(1), Le(MOST_MEMBERS)] | Annotated[list[Any], MinLen(1)],
    f"a number of weak supervisors (seeds), 1 to {MOST_MEMBERS}, or a list of models, [gpt2,opt-125m]",
]


@dataclass
class ModelConfig:
    """One pretrained model and its settings for finetuning (configs/model/*.yaml)."""

    name: str = MISSING  # its name in tables
    id: str | None = None  # hub id
    revision: str = "main"  # branch, tag or commit; resolved to a commit at first use
    path: str | None = None  # instead of id: a local folder in the hub's format; "bundled:NAME" ships with w2s
    lr: Positive = 1e-5  # learning rate of full finetuning; given on the command line, of every mode (docs/methods.md has the rule)
    # "reference": from the W2SG reference code; "validation": chosen on validation rows; "given": weak.lr= or strong.lr=
    lr_source: str = "guess"
    batch_size: Count = 32  # effective batch; micro-batches are an execution detail
    epochs: Positive | None = None  # null: train.epochs
    seed: Seed | None = None  # null: the run's seed
    precision: Precision = "fp32"  # bf16: autocast over fp32 master weights; the same on every device
    max_length: Count = 1024  # tokens; longer texts are cut on the context side
    gradient_checkpointing: bool = False  # less memory for a third more time; does not change results
    trust_remote_code: bool = False  # run the Python code of a hub model
    parameters: Positive | None = None  # millions, for the order of models (pairs=upper), plots and estimates of cost
    # millions that one token goes through, of a mixture of experts; null: all
    active_parameters: Positive | None = None


@dataclass
class RoleConfig:
    """Settings of one role that replace those of its model (student.*, ceiling.*, hop.*); null: the model's setting."""

    lr: Positive | None = None
    batch_size: Count | None = None
    epochs: Positive | None = None
    seed: Seed | None = None
    precision: Precision | None = None
    max_length: Count | None = None


@dataclass
class SharesConfig:
    """Each pool's share of the source's training split. If the source has a test split, the others get the share of `test` too."""

    test: Share = 0.0
    weak_train: Share = 0.0
    weak_val: Share = 0.0
    strong_val: Share = 0.0
    strong_train: Share = 0.0


@dataclass
class SplitsConfig:
    """The splits of the training and the test rows: splits of the source, or files of a folder."""

    train: str | None = "train"  # the split of all other pools
    test: str | None = None  # null: a share of the training split, pools.test


@dataclass
class LimitsConfig:
    """The largest number of rows of each pool; null: all."""

    test: Count | None = None
    weak_train: Count | None = None
    weak_val: Count | None = None
    strong_val: Count | None = None
    strong_train: Count | None = None


@dataclass
class DataConfig:
    """One data set (configs/data/*.yaml)."""

    name: str = MISSING  # its name in tables
    hub: str | None = None  # hub id of a data set without loading script
    hub_config: str | None = None  # one of several configurations of a hub data set
    revision: str = "main"  # branch, tag or commit of the hub data set
    path: str | None = None  # a local file or folder instead of the hub; "bundled:…" ships with w2s
    format: str | None = None  # null: by suffix
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    text: str | None = None  # the text column …
    template: str | None = None  # … or a format string over the columns
    second: str | None = None  # for pairs: a format string for the second text; class 1: the second text is better
    # of problems whose answers are texts, each a column or a format string: what a model reads …
    prompt: str | None = None
    answer: str | None = None  # … what a grader compares with …
    solution: str | None = None  # … what a ceiling learns to write …
    level: str | None = None  # … and how hard the problem is
    # the rule that reads answers, graders/<name>.py, unless a command says grader=NAME
    grader: Annotated[str | None, Unless("grader")] = None
    # tokens that an answer needs at most, unless generation.max_new_tokens says
    new_tokens: Annotated[Count | None, Unless("generation.max_new_tokens")] = None
    # strings after which an answer is over, unless generation.stop says
    stop: Annotated[list[str], Unless("generation.stop")] = field(default_factory=list)
    label: str | None = None  # the label column
    transform: str | None = None  # a function in data/transforms/<name>.py, for rows that a template cannot make
    options: dict[str, Any] = field(default_factory=dict)  # arguments of the transform
    group: list[str] = field(default_factory=list)  # columns; rows with equal values in them are in one pool
    id: str | None = None  # a column of unique ids; null: <split>-<row number>
    classes: list[str] | None = None  # class names in the order of the labels
    balanced: bool = False  # drop rows of the larger classes, per pool
    drop_overlap: bool = False  # drop training rows whose text, or group, another pool has; test rows stay
    truncation: Literal["left", "right"] = "left"  # the side on which a long text is cut: the context's
    pools: SharesConfig = field(default_factory=SharesConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    # of the training pools and their drawn labels; null: the run's seed, so each seed draws its own rows
    seed: Seed | None = None
    test_seed: Seed = 0  # of the test rows and their drawn labels, which all seeds share
    # the models of a run that chooses none by weak= and strong=; null: config.yaml's
    models: dict[Literal["weak", "strong"], str] | None = None
    expected: dict[Literal["train", "test", "base_rate", "tokens"], Any] | None = None  # when the recipe was written
    warning: str | None = None  # a caution that every plan of the data set shows
    source: str | None = None  # where the data come from, for people
    licence: str | None = None  # for people


@dataclass
class LossConfig:
    """A loss of losses/<name>.py and its keyword arguments (configs/loss/*.yaml)."""

    name: str = "xent"  # a function in losses/<name>.py
    args: Arguments = field(default_factory=dict)  # its keyword arguments
    label: str | None = None  # name in tables; null: its name


@dataclass
class LabelsConfig:
    """The source of the weak labels (configs/labels/*.yaml)."""

    source: Literal["weak", "file"] = "weak"  # weak: the weak supervisor; file: a file keyed by row id
    path: Annotated[str | None, With("labels=file")] = None  # labels of the student's rows
    # labels of the test rows by the same labeller; needed for PGR
    test_path: Annotated[str | None, With("labels=file")] = None


@dataclass
class CombineConfig:
    """The rule that combines the labels of several weak supervisors (configs/combine/*.yaml): combining/<name>.py."""

    name: str = "mean_probability"  # a function in combining/<name>.py
    args: Arguments = field(default_factory=dict)  # its keyword arguments
    label: str | None = None  # name in tables; null: its name
    # a supervisor abstains on a row if its largest probability is below this value
    abstain_below: Annotated[float, Ge(0), Lt(1)] = 0.0
    prior: Annotated[list[Share], MinLen(2)] | None = None  # class balance; null: the mean of the supervisors' labels


@dataclass
class SelectConfig:
    """The rule that keeps or changes weak labels (configs/select/*.yaml): selection/<name>.py."""

    name: str = "confidence"  # a function in selection/<name>.py
    args: Arguments = field(default_factory=dict)  # its keyword arguments
    label: str | None = None  # name in tables; null: its name


@dataclass
class ControlConfig:
    """An experiment's control, for any method (configs/control/*.yaml)."""

    name: str = "none"  # its name in tables
    rule: str | None = None  # a rule of selection/<rule>.py over the labels of every student
    args: Arguments = field(default_factory=dict)  # its keyword arguments
    self_pair: bool = False  # the weak model is used as the strong model too


@dataclass
class StoppingConfig:
    """Early stopping, for any method (configs/stopping/*.yaml)."""

    name: str = "none"  # its name in tables
    by: Literal["weak", "truth"] | None = None  # weak: students by weak labels; truth: by ground truth, a diagnostic
    # against the validation labels
    metric: Annotated[Literal["accuracy", "auroc"], With("stopping=weak_labels")] = "accuracy"
    every: Annotated[int, Gt(0), With("stopping=weak_labels")] = 25  # optimizer steps between two evaluations
    # a training ends after this many evaluations without a gain; null: it takes all steps; the best weights are kept either way
    patience: Annotated[Annotated[int, Gt(0)] | None, With("stopping=weak_labels")] = None
    # whose trainings are stopped
    roles: list[Literal["weak", "student", "ceiling"]] = field(default_factory=lambda: ["weak", "student", "ceiling"])


@dataclass
class FewShotConfig:
    """Prompts with examples (method=few_shot)."""

    shots: Count = 5  # examples in a prompt
    tokens: list[str] = field(default_factory=lambda: [" no", " yes"])  # one token for each class
    suffix: str = "\nAnswer:"  # between a text and its label
    separator: Annotated[str, With("few_shot.chat=false")] = "\n\n"  # between two examples
    chat: bool | None = None  # examples as turns of a chat; null: if the model's tokenizer has a chat template


@dataclass
class GenerationConfig:
    """The writing of texts by a language model (stages of kind generate)."""

    samples: Count = 1  # texts for each prompt
    temperature: Annotated[float, Ge(0)] = 0.0  # 0: always the most probable token (greedy)
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0  # the smallest set of tokens with this probability; 1: all
    top_k: Count | None = None  # the most probable tokens; null: all
    repetition_penalty: Annotated[float, Ge(1)] = 1.0  # above 1: tokens of prompt and text become less probable
    max_new_tokens: Count | None = None  # tokens of a text; null: the data set's new_tokens, else 512
    stop: list[str] | None = None  # strings that end a text, and are no part of it; null: the data set's
    instruction: str | None = None  # a text after each prompt, such as "Let's think step by step."
    shots: Annotated[int, Ge(0)] = 4  # demonstrations before a prompt, of stages that name where these come from
    separator: str = "\n\n"  # between plain demonstrations
    demonstrations: str | None = None  # a file of demonstrations instead, JSON lines with prompt and completion
    chat: bool | None = None  # prompts as turns of a chat; null: if the model's tokenizer has a chat template
    engine: Literal["w2s", "vllm"] = "w2s"  # vllm: a package of its own, for large models on a GPU; its texts differ


@dataclass
class GraderConfig:
    """The rule that reads answers and compares them (configs/grader/*.yaml): graders/<name>.py."""

    name: str | None = None  # a function in graders/<name>.py; null: the data set's own
    args: Arguments = field(default_factory=dict)  # its keyword arguments


@dataclass
class ObjectiveConfig:
    """What a preference training learns (configs/objective/*.yaml): objectives/<name>.py."""

    name: str | None = None  # a function in objectives/<name>.py; null: the method's own
    args: Annotated[Arguments, With("objective=NAME")] = field(default_factory=dict)  # its keyword arguments
    label: Annotated[str | None, With("objective=NAME")] = None  # name in tables; null: its name


@dataclass
class MethodConfig:
    """A pipeline as data (configs/method/*.yaml)."""

    name: str = MISSING  # its name in tables
    base: str | None = None  # another method; `stages` then has only the differences (config/methods.py)
    stages: dict[str, Any] = field(default_factory=dict)  # name → kind and fields (pipeline/method.py)


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
    search: SearchConfig = field(default_factory=SearchConfig)
    few_shot: FewShotConfig = field(default_factory=FewShotConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    grader: GraderConfig = field(default_factory=GraderConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    preference: PreferenceConfig = field(default_factory=PreferenceConfig)
    ladder: list[Any] = field(default_factory=list)  # models between weak and strong (method=bootstrapping), by name
    ensemble: Members = 3  # weak supervisors: K seeds of the weak model, or a list of models by name
    rounds: Annotated[int, Ge(1), Le(MOST_ROUNDS)] = 2  # of methods with repeated rounds
    # of a sweep: upper keeps pairs with a weak model no larger than the strong one, strict pairs with a smaller weak model
    pairs: Literal["all", "upper", "strict"] = "all"
    most_jobs: Count = 1000  # of a sweep, seeds included; a sweep with more is refused: it may be a slip
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    # programs that show the figures, [tensorboard,wandb]: run/trackers/<name>.py; no key has it
    tracker: list[str] = field(default_factory=list)
    pretrain: PretrainConfig | None = None  # for `w2s pretrain`
    seed: Seed = 0  # of every training
    seeds: Annotated[int, Ge(1), Le(MOST_SEEDS)] | None = None  # run the seeds 0 … n-1 and a summary
    outputs: Annotated[str, Matches(r"(?s).+"), "a folder"] = "outputs"  # the folder of stages and runs
    # other stores, each a path or a URL (s3://, gs://, hf://): their finished stages count as cached and are copied when needed
    remotes: list[Annotated[str, Matches(r"\S(.*\S)?"), "a path or URL"]] = field(default_factory=list)
    # false: weights are removed once no stage of the command reads them; labels and metrics stay
    keep_weights: bool = True
    bootstrap: Count = 2000  # resamples behind each interval
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95  # of each interval


def defaults() -> dict[str, Any]:
    """The defaults of all fields as a plain dictionary, into which Hydra merges files and words.

    It has all fields of the recipe of `w2s pretrain`, so that each can be set. A recipe without a name is not chosen.
    """
    return {**asdict(Config()), "pretrain": asdict(PretrainConfig())}


def field_names(cls: type) -> list[str]:
    """The names of the fields of one group."""
    return [f.name for f in fields(cls)]
