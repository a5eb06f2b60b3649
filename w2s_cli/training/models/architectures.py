"""Which models are causal language models: said by their config.json and transformers' tables of architectures.

* One answer for a plan and for the stage that later opens the model: both ask `encoder` and `has_next_token`.
* A plan must not import transformers (seconds, and torch), so `tables` reads them from the source of the installed package, where they are
  plain literals (0.05 s). A stage has them imported.
* Only causal models have a next token: an encoder (BERT, DeBERTa) has none, and an encoder-decoder reads its texts another way. A model
  that brings its own code says itself what it is.
"""

import ast
import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = "models/auto/modeling_auto.py"
CAUSAL, MASKED = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"


class Tables(NamedTuple):
    """The values of model_type that transformers has a causal, and a masked, language model for."""

    causal: Collection[str]
    masked: Collection[str]


def tables() -> Tables | None:
    """The tables of the installed transformers; None where its source is not as expected: then only the stage can tell."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        return None
    found: dict[str, list[str]] = {}
    try:
        tree = ast.parse((Path(package.origin).parent / SOURCE).read_text(encoding="utf-8"))
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[pairs])) if name in (CAUSAL, MASKED):
                    found[name] = list(dict(ast.literal_eval(pairs)))  # OrderedDict([(model_type, class), …])
    except (OSError, SyntaxError, ValueError):
        return None
    return Tables(found[CAUSAL], found[MASKED]) if len(found) == 2 else None


def encoder(config: Mapping[str, Any], known: Tables) -> bool:
    """Whether a config.json is that of a model with an encoder."""
    return not _own_code(config) and (
        config.get("model_type") in known.masked or bool(config.get("is_encoder_decoder"))
    )


def has_next_token(config: Mapping[str, Any], known: Tables) -> bool:
    """Whether a config.json is that of a causal language model."""
    return _own_code(config) or (config.get("model_type") in known.causal and not encoder(config, known))


def _own_code(config: Mapping[str, Any]) -> bool:
    return "AutoModelForCausalLM" in (config.get("auto_map") or {})
