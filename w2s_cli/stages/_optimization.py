"""The params that all kinds of training share: how weights are updated, and the adapters.

Keys are those of before the fields were named as they are: `rank` is `r` there, and a plain base is left out.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError
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
    """Refuse (UserError) an optimizer without its package, or that cannot have its moments in parts on several processes."""
    if fields["optimizer"] != "adamw8bit":
        return
    job.resolver.need_package("bitsandbytes", "optimizer=adamw8bit needs the package")
    if job.config["launcher"]["fsdp"] and fields.get("mode") != "probe":
        raise UserError(
            f'stage "{job.stage}": optimizer=adamw8bit has a scale for each 256 values of a weight, and launcher.fsdp=true cuts weights '
            "elsewhere, so the number of processes would change the result: use optimizer=adamw, whose moments lie in parts too, or "
            "launcher.fsdp=false."
        )


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
        if job.config["launcher"]["fsdp"]:
            raise UserError(
                f'stage "{job.stage}": a base in {settings["base"]} cannot lie in parts on the processes: use launcher.fsdp=false, with '
                "which each process has a whole one, or lora.base=plain."
            )
    return settings
