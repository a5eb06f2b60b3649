"""Checks, while a run is planned, that a model is a causal language model and has room for a text, or can be a classifier: the stages
that need one come after other trainings.

The stage itself checks the model again when it opens it. If planning has no config.json (it is only on the hub, and the network is out of
reach), only the stage checks.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.training.models.architectures import encoder, has_next_token, lacks_classifier

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

POSITIONS = ("max_position_embeddings", "n_positions")  # fields of a config.json with the length of the context
CLASSIFIERS = ("full", "lora", "probe")  # modes of the models that finetune stages make


def need_causal(
    resolver: Resolver,
    method: str,
    stage: str,
    role: str,
    settings: Mapping[str, Any],
    why: str,
    instead: str,
    *,
    probed: bool = False,
) -> None:
    """Refuse a model that is no causal language model, or the result of a stage that made a classifier of one.

    Args:
        why: what the stage does with the model, as the end of "the stage …".
        instead: advice to follow instead of another model.
        probed: only the last token's state is read, so every model without an encoder will do.
    """
    if settings.get("mode") in CLASSIFIERS and not probed:
        raise UserError(
            f'stage "{stage}" of method={method} {why}, and its {role} model "{settings["name"]}" comes from a finetune stage, which makes '
            f"a classifier of it: name the model as it was, or a stage of kind tune, or {instead}."
        )
    architecture, causal = resolver.architecture(settings["pretrained"]), resolver.causal_tables()
    if causal is None or not architecture or "model_type" not in architecture:
        return
    if not encoder(architecture, causal) if probed else has_next_token(architecture, causal):
        return
    raise UserError(
        f'stage "{stage}" of method={method} {why}, and its {role} model "{settings["name"]}" '
        f"({architecture['model_type']}) is not a causal language model: choose one like gpt2, qwen or llama, or {instead}."
    )


def need_classifier(job: "Planning", role: str, settings: Mapping[str, Any]) -> None:
    """Refuse a language model for which transformers has no classifier (Gemma 4)."""
    architecture, tables = job.resolver.offered_architecture(settings["pretrained"]), job.resolver.causal_tables()
    if tables is None or not architecture or not lacks_classifier(architecture, tables):
        return
    raise UserError(
        f'stage "{job.stage}" of method={job.config["method"]["name"]} trains a classifier, and transformers has none for its {role} model '
        f'"{settings["name"]}" ({architecture["model_type"]}): use a method on texts (method=naive_text, and others in docs/text.md), or '
        "another model."
    )


def need_room(resolver: Resolver, stage: str, settings: Mapping[str, Any], new_tokens: int) -> None:
    """Refuse texts as long as the model's whole context: no token would be left for a prompt."""
    architecture, most = resolver.architecture(settings["pretrained"]) or {}, settings["max_length"]
    stated = [number for name in POSITIONS if isinstance(number := architecture.get(name), int) and number > 0]
    positions = min([most, *stated])
    if new_tokens < positions:
        return
    higher = (
        "raise the model's max_length" if not stated or most < min(stated) else "choose a model with a longer context"
    )
    raise UserError(
        f'stage "{stage}": a text may have {new_tokens:,} tokens, and {settings["name"]} reads at most {positions:,} with the prompt, so '
        f"none is left for a prompt: set data.new_tokens (or generation.max_new_tokens) lower, or {higher}."
    )


def need_causal_recipe(resolver: Resolver, recipe: Mapping[str, Any]) -> None:
    """Refuse a pretraining recipe whose architecture is no causal language model."""
    causal, model_type = resolver.causal_tables(), str(recipe["architecture"].get("model_type"))
    if causal is None or has_next_token(recipe["architecture"], causal):
        return
    hint = (
        " Choose one like gpt2, qwen2 or llama."
        if model_type in causal.masked
        else did_you_mean(model_type, causal.causal)
    )
    raise UserError(
        f"pretrain={recipe['name']}: architecture.model_type={model_type} is not a causal language model.{hint}"
    )
