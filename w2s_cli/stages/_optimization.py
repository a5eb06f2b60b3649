"""The params that all kinds of training share: how weights are updated, and the adapters.

Keys are those of before the fields were named as they are: `rank` is `r` there, and a plain base is left out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from w2s_cli.pipeline.reads import plain

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

OPTIMIZATION = (
    "schedule",
    "warmup",
    "optimizer",
    "betas",
    "weight_decay",
    "max_grad_norm",
)  # of config.trainings.Optimization


def optimization(job: "Planning", fields: Mapping[str, Any]) -> dict[str, Any]:
    """The params of how weights are updated, from the fields of train.* or tune.*."""
    check_optimizer(job, fields)
    return {field: fields[field] for field in OPTIMIZATION}


def check_optimizer(job: "Planning", fields: Mapping[str, Any]) -> None:
    """Refuse (UserError) an optimizer without its package."""
    if fields["optimizer"] == "adamw8bit":
        job.resolver.need_package("bitsandbytes", "optimizer=adamw8bit needs the package")


def mode_words(mode: str, lora: Mapping[str, Any] | None) -> list[str]:
    """What a plan's line says of a training of less than all weights: 'lora', 'qlora' with the base in four bits, 'probe'."""
    quantized = lora is not None and "base" in lora
    return [] if mode == "full" else ["q" + mode if quantized else mode]


def adapters(job: "Planning", fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The param `lora` of a training; None if all weights are trained."""
    if fields["mode"] != "lora":
        return None
    settings: dict[str, Any] = plain(fields["lora"])
    settings["r"] = settings.pop("rank")
    if settings["base"] == "plain":
        del settings["base"]
    else:
        job.resolver.need_package("bitsandbytes", f"a base in {settings['base']} needs the package")
    return settings
