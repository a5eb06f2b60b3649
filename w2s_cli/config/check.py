"""What the types of the configuration cannot say: allowed values, ranges, and fields that were added by force."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

from w2s_cli.config.schema import Config
from w2s_cli.errors import UserError, did_you_mean

PRECISIONS = ("fp32", "tf32", "bf16")
CHOICES = {
    "pretrain.schedule": ("cosine", "linear", "constant"),
    "pretrain.optimizer": ("adam", "adamw"),
    "pretrain.precision": PRECISIONS,
    "pretrain.sequence": ("entries", "packed"),
    "pretrain.save_dtype": ("fp32", "bf16"),
    "train.mode": ("full", "lora", "probe"),
    "train.schedule": ("cosine", "linear", "constant"),
    "train.optimizer": ("adam", "adamw"),
    "train.labels": ("soft", "hard", "sharpened"),
    "labels.source": ("weak", "file"),
    "stopping.by": (None, "weak", "truth"),
    "stopping.metric": ("accuracy", "auroc"),
    "generative.schedule": ("cosine", "linear", "constant"),
    "generative.optimizer": ("adam", "adamw"),
    "data.truncation": ("left", "right"),
    "weak.precision": PRECISIONS,
    "strong.precision": PRECISIONS,
    "student.precision": (*PRECISIONS, None),
    "ceiling.precision": (*PRECISIONS, None),
    "hop.precision": (*PRECISIONS, None),
}

POSITIVE = (
    "batch_size",
    "epochs",
    "lr",
    "max_length",
    "jobs",
    "threads",
    "micro_tokens",
    "eval_tokens",
    "lora_r",
    "seeds",
    "bootstrap",
    "sharpening",
    "every",
    "patience",
    "shots",
    "rounds",
    "parameters",
)
PAIRS = ("all", "upper", "strict")
MOST_MEMBERS = 100


MOST_SEEDS = 1000


def check(config: dict[str, Any]) -> None:
    """Refuse fields that were added by force (+group.field=…), and values that have the right type and no meaning."""
    for part in fields(Config):
        if is_dataclass(part.default_factory):
            known = [f.name for f in fields(part.default_factory)]
            for name in config[part.name]:
                if name not in known:
                    raise UserError(f'unknown field "{part.name}.{name}".{did_you_mean(name, known)}')
    for where, allowed in CHOICES.items():
        group, name = where.split(".")
        if config[group] is not None and config[group][name] not in allowed:
            listed = ", ".join(str(choice) for choice in allowed if choice is not None)
            raise UserError(f"{where}={config[group][name]}: choose one of {listed}.")
    for group, values in [("", config), *((g, v) for g, v in config.items() if isinstance(v, dict))]:
        for name, value in values.items():
            if name in POSITIVE and isinstance(value, int | float) and not value > 0:
                raise UserError(f"{group + '.' if group else ''}{name}={value}: must be greater than 0.")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"{group + '.' if group else ''}{name}={value}: must be a finite number.")
            if (
                name in ("seed", "seeds")
                and value is not None
                and not 0 <= value <= (MOST_SEEDS if name == "seeds" else 2**32 - 1)
            ):
                most = f"{MOST_SEEDS}" if name == "seeds" else "2^32 - 1"
                raise UserError(f"{group + '.' if group else ''}{name}={value}: must lie between 0 and {most}.")
    if not 0 <= config["combine"]["abstain_below"] < 1:
        raise UserError(f"combine.abstain_below={config['combine']['abstain_below']}: must be at least 0 and below 1.")
    if config["pairs"] not in PAIRS:
        raise UserError(f"pairs={config['pairs']}: choose one of {', '.join(PAIRS)}.")
    members = config["ensemble"]
    if (
        isinstance(members, bool)
        or not isinstance(members, int | list)
        or members in (0, [])
        or (isinstance(members, int) and not 0 < members <= MOST_MEMBERS)
    ):
        raise UserError(
            f"ensemble={members}: a number of weak supervisors (seeds) or a list of models, [gpt2,opt-125m]."
        )
    for role in config["stopping"]["roles"]:
        if role not in ("weak", "student", "ceiling"):
            raise UserError(f"stopping.roles: {role!r} is no role that is trained: weak, student, ceiling.")
    if not 0 < config["confidence"] < 1:
        raise UserError(f"confidence={config['confidence']}: must lie between 0 and 1, for example 0.95.")
    if not 0 <= config["train"]["warmup"] < 1:
        raise UserError(
            f"train.warmup={config['train']['warmup']}: a share of all steps, from 0 up to but not including 1."
        )
