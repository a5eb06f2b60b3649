"""Whether a model is a causal language model, and can be a classifier, from its config.json and transformers' tables of architectures.

* A plan, and the stage that later opens the model, give the same answer: both call `encoder` and `has_next_token`. That a model can be no
  classifier is found by a plan only before transformers finds it.
* A plan must not import transformers (seconds, and torch). So `tables` reads the tables from the source of the installed package,
  where they are plain literals (0.05 s). A stage imports transformers' own.
* Only causal models have a next token: an encoder (BERT, DeBERTa) has none, and an encoder-decoder reads its texts another way. For a
  model with code of its own, the config.json tells.
"""

import ast
import importlib.util
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

SOURCE = "models/auto/modeling_auto.py"
CAUSAL, MASKED = "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"
CLASSIFIER = "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"
READ = (CAUSAL, MASKED, CLASSIFIER)


class Tables(NamedTuple):
    """The model_types for which transformers has a causal language model, a masked one, and a classifier of texts."""

    causal: Collection[str]
    masked: Collection[str]
    classifiers: Collection[str] = ()


def tables() -> Tables | None:
    """The tables of the installed transformers; None if its source has another form: then only the stage can tell."""
    package = importlib.util.find_spec("transformers")
    if package is None or package.origin is None:
        return None
    model_types: dict[str, list[str]] = {}
    try:
        tree = ast.parse((Path(package.origin).parent / SOURCE).read_text(encoding="utf-8"))
        for node in tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=[pairs])) if name in READ:
                    model_types[name] = list(dict(ast.literal_eval(pairs)))  # OrderedDict([(model_type, class), …])
    except (OSError, SyntaxError, ValueError):
        return None
    return Tables(*(model_types[name] for name in READ)) if len(model_types) == len(READ) else None


def encoder(config: Mapping[str, Any], tables: Tables) -> bool:
    """Whether a model with this config.json has an encoder."""
    return not _own_code(config) and (
        config.get("model_type") in tables.masked or bool(config.get("is_encoder_decoder"))
    )


def has_next_token(config: Mapping[str, Any], tables: Tables) -> bool:
    """Whether a model with this config.json is a causal language model."""
    return _own_code(config) or (config.get("model_type") in tables.causal and not encoder(config, tables))


def lacks_classifier(config: Mapping[str, Any], tables: Tables) -> bool:
    """Whether transformers has a language model for this config.json and no classifier; False for a model with code of its own."""
    model_type = config.get("model_type")
    language_model = model_type in tables.causal or model_type in tables.masked
    return language_model and model_type not in tables.classifiers and "auto_map" not in config


def _own_code(config: Mapping[str, Any]) -> bool:
    classes = config.get("auto_map")
    return isinstance(classes, dict) and "AutoModelForCausalLM" in classes
