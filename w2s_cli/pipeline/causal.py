"""Stages that need a causal language model refuse another one while the run is planned: they come after other trainings.

The stage itself asks the same question of the model that it opens. Where a plan cannot tell (a config.json that is on the hub only, and no
network), the answer is left to it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.training.models.architectures import encoder, has_next_token

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Builder


def need_causal(
    b: "Builder", stage: str, role: str, settings: Mapping[str, Any], why: str, instead: str, *, probed: bool = False
) -> None:
    """Refuse a model that is no causal language model.

    Args:
        why: what the stage does with it, as the end of "the stage …".
        instead: what would help beside another model.
        probed: only its last token's state is read, so any model without an encoder will do.
    """
    config, known = b.resolver.architecture(settings["pretrained"]), b.resolver.causal_tables()
    if known is None or not config or "model_type" not in config:
        return
    if not encoder(config, known) if probed else has_next_token(config, known):
        return
    raise UserError(
        f'stage "{stage}" of method={b.config["method"]["name"]} {why}, and its {role} model "{settings["name"]}" '
        f"({config['model_type']}) is not a causal language model: choose one like gpt2, qwen or llama, or {instead}."
    )


def check_recipe(b: "Builder", recipe: Mapping[str, Any]) -> None:
    """Refuse to pretrain what is no causal language model."""
    known, model_type = b.resolver.causal_tables(), str(recipe["architecture"].get("model_type"))
    if known is None or has_next_token(recipe["architecture"], known):
        return
    hint = (
        " Choose one like gpt2, qwen2 or llama."
        if model_type in known.masked
        else did_you_mean(model_type, known.causal)
    )
    raise UserError(
        f"pretrain={recipe['name']}: architecture.model_type={model_type} is not a causal language model.{hint}"
    )
