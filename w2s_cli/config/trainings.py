"""The typed configuration of trainings (see `schema.py`): the optimizer, the classifier's recipe, and language-model training."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt, MinLen

from w2s_cli.config.notes import Renamed, With
from w2s_cli.values import MISSING

Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Gt(0)]
Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
Warmup = Annotated[float, Ge(0), Lt(1)]  # a share of all steps
Betas = Annotated[list[Annotated[float, Ge(0), Lt(1)]], Len(2, 2), "two numbers, β₁ and β₂ of Adam, [0.9,0.999]"]
Decay = Annotated[float, Ge(0)]
Norm = Annotated[float, Gt(0)]  # a bound of 0 would stop every update; no clipping is null
Precision = Literal["fp32", "tf32", "bf16"]
Optimizer = Literal["adam", "adamw", "adamw8bit"]


@dataclass
class Optimization:
    """The common part of every training's recipe: the learning rate's schedule and the optimizer."""

    schedule: Literal["cosine", "linear", "constant"] = "cosine"  # of the learning rate after the warm-up
    warmup: Warmup = 0.0  # share of all updates in which the learning rate rises
    optimizer: Optimizer = (
        "adam"  # adamw: decoupled weight decay; adamw8bit: its moments in 8 bits (needs bitsandbytes)
    )
    betas: Betas = field(default_factory=lambda: [0.9, 0.999])  # decay of Adam's two means
    weight_decay: Decay = 0.0
    max_grad_norm: Norm | None = None  # global norm of the gradient; null: no clipping


@dataclass
class HeadConfig:
    """Label as token: the head starts from the language model's output rows of one token for each class."""

    tokens: list[str] = field(default_factory=list)  # empty: a new linear head
    suffix: Annotated[str, With("train=token_head")] = "\nAnswer:"  # appended to every text
    # the head keeps the language model's rows, and the body (or its adapters) learns
    frozen: Annotated[bool, With("train=token_head")] = False
    # a language model's loss, over the whole vocabulary, on the label token and the end token after it; with frozen and hard labels
    next_token: Annotated[bool, With("train=token_head")] = False


@dataclass
class LoraConfig:
    """Low-rank adapters (train=lora)."""

    # the linear layers with adapters: all of the body, never the head; or names of layers, [q_proj,v_proj]
    targets: Annotated[
        Literal["all-linear"] | Annotated[list[str], MinLen(1)], "all-linear or a list of names, [q_proj,v_proj]"
    ] = "all-linear"
    rank: Annotated[Count, Renamed("r")] = 8
    alpha: Count = 16  # the update is scaled by alpha / rank …
    rslora: bool = False  # … or by alpha / √rank
    # the frozen weights under the adapters: as they are, or in 4 bits (QLoRA; needs bitsandbytes)
    base: Literal["plain", "nf4"] = "plain"
    # of the adapters' inputs; the draws depend on the micro-batches, so above 0 launcher.micro_tokens is part of the key
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass
class TrainConfig(Optimization):
    """The training of a classifier (configs/train/*.yaml)."""

    # what learns: all weights, adapters, or a linear head on fixed features
    mode: Literal["full", "lora", "probe"] = "full"
    lr: Positive | None = None  # of all models without a rate of their own on the command line; null: each model's
    epochs: Positive = 2.0  # passes over the training rows
    labels: Literal["soft", "hard", "sharpened"] = "soft"  # the form of the weak labels for the student
    # temperature of sharpened labels: p^(1/T), renormalised
    sharpening: Annotated[float, Gt(0), With("train.labels=sharpened")] = 0.5
    head: HeadConfig = field(default_factory=HeadConfig)
    lora: Annotated[LoraConfig, With("train=lora")] = field(default_factory=LoraConfig)


@dataclass
class TuneConfig(Optimization):
    """The training of a language model on texts or pairs of texts (stages of kind tune)."""

    mode: Literal["full", "lora"] = "full"  # what learns: all weights, or adapters
    lr: Positive | None = None  # null: the model's learning rate, times lr_scale
    lr_scale: Positive = 1.0  # of the model's learning rate
    epochs: Positive = 3.0  # passes over the texts
    lora: Annotated[LoraConfig, With("tune.mode=lora")] = field(default_factory=LoraConfig)


@dataclass
class PreferenceConfig(TuneConfig):
    """The same for preference training, whose steps are smaller (stages of kind tune that learn pairs)."""

    lr_scale: Positive = 0.1  # of the model's learning rate
    epochs: Positive = 1.0  # passes over the pairs


@dataclass
class PretrainConfig(Optimization):
    """The pretraining of a language model from scratch (configs/pretrain/*.yaml)."""

    name: str = MISSING  # its name in tables
    # path, and templates over its fields (jsonl) or none (text)
    corpus: dict[Literal["path", "templates"], Any] = field(default_factory=dict)
    # of a byte-pair encoding that is trained on the corpus
    tokenizer: dict[Literal["vocab_size", "add_prefix_space"], Any] = field(
        default_factory=lambda: {"vocab_size": 4096, "add_prefix_space": True}
    )
    architecture: dict[str, Any] = field(default_factory=dict)  # model_type and fields of its transformers config
    # entries: each text its own row; packed: texts joined to rows of max_length
    sequence: Literal["entries", "packed"] = "entries"
    max_length: Count = 64  # tokens of a row
    batch_entries: Count | None = None  # rows of an update …
    batch_tokens: Count | None = None  # … or tokens
    epochs: Positive = 1.0  # passes over the corpus
    lr: Positive = 1e-3
    warmup: Warmup = 0.05
    optimizer: Optimizer = "adamw"
    betas: Betas = field(default_factory=lambda: [0.9, 0.95])
    weight_decay: Decay = 0.1
    max_grad_norm: Norm | None = 1.0  # null: no clipping
    precision: Precision = "bf16"
    validation_share: Annotated[float, Ge(0), Lt(1)] = 0.0  # share of entries held out for the validation loss
    seed: Seed = 0
    save_dtype: Literal["fp32", "bf16"] = "fp32"  # of the saved weights
