"""The check at the end of a training: the saved folder gives, in plain transformers, the probabilities that w2s stores.

* Some rows, the shortest and the longest among them, go through the trained model as the rows of a prediction do: together, padded or
  packed, for a probe from their stored features. Then the saved folder is loaded as any user of transformers would load it, and reads each
  text by itself. A head that reads padding, a tokenizer that is not saved as it was, or weights that are lost give other probabilities.
* The two models are never in memory together: `sample` keeps only probabilities and texts, and the stage frees the trained model before
  `check` opens the saved one. At that point the gradients and the optimizer are gone too, so the check needs less than the training.
* Both sides use the precision of the stage. The bound is wide in bf16, whose rounding alone moves probabilities by some hundredths.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.errors import UserError
from w2s_cli.store.memory import give_back_much
from w2s_cli.training.batching import spread
from w2s_cli.training.device import autocast
from w2s_cli.training.inputs import Inputs
from w2s_cli.training.memory import Budget, gather
from w2s_cli.training.models import bf16
from w2s_cli.training.models.adapters import base_folder_of, on_nf4
from w2s_cli.training.models.folder import kept_adapters
from w2s_cli.training.models.forward_pass import softmax
from w2s_cli.training.models.nf4 import round_base
from w2s_cli.training.models.opening import on_base, open_part, open_typed
from w2s_cli.training.models.reading import DIRECT
from w2s_cli.training.models.reward import class_logits
from w2s_cli.training.prompting import SUFFIX, encode_with_suffix
from w2s_cli.training.tokens import encode, open_plain_tokenizer

LARGEST = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 0.1}  # difference of probabilities
ANY_PADDING = 1 << 40  # tokens of padding in a micro-batch: all rows go through together


class Sample(NamedTuple):
    """Some rows, and the trained model's probabilities for them."""

    ids: list[str]
    texts: list[str]
    second: list[str] | None  # of pairs
    p: np.ndarray  # [rows, classes]
    device: torch.device  # of the trained model; the saved one is opened there too


def sample(fed: Inputs, rows: Rows, budget: Budget, device: torch.device) -> Sample:
    """Rows from the shortest to the longest, through the trained model in micro-batches within the budget.

    Raises:
        UserError: a logit that is not finite.
    """
    lengths = [
        int(tokens) + len(text) for tokens, text in zip(fed.tokens, rows.texts, strict=True)
    ]  # a probe has no tokens
    chosen = spread(lengths)

    def forward(piece: list[int]) -> torch.Tensor:
        return fed.forward([chosen[row] for row in piece])

    with torch.inference_mode():
        logits = gather(forward, fed.lengths[chosen], budget, replace(fed.layout, waste=ANY_PADDING))
    if not np.isfinite(logits).all():
        raise UserError("the trained model gives logits that are not finite: train it with a lower learning rate")
    second = None if rows.second is None else [rows.second[row] for row in chosen]
    ids, texts = [rows.ids[row] for row in chosen], [rows.texts[row] for row in chosen]
    return Sample(ids, texts, second, softmax(logits), device)


def check(
    folder: Path,
    expected: Sample,
    precision: str,
    truncation: str,
    execution: dict[str, Any],
) -> float:
    """The largest difference between `expected` and the probabilities of the model that transformers loads from `folder`.

    Of adapters: of the model that transformers loads from the folder of their base, with these adapters on it by peft, not merged.

    Raises:
        UserError: the folder cannot be loaded, or the difference is above LARGEST.
    """
    give_back_much()  # of the training
    device = expected.device
    remote = bool(execution.get("trust_remote_code"))
    tokenizer = open_plain_tokenizer(folder, truncation, trust_remote_code=remote)
    model = _plain_model(folder, execution, device, precision).to(device).eval()
    suffix, limit = getattr(model.config, SUFFIX, None), tokenizer.model_max_length
    if suffix is None:
        tokens = encode(tokenizer, expected.texts, limit, expected.second)
    else:
        tokens = encode_with_suffix(tokenizer, expected.texts, suffix, limit)
    columns = [tokens.ids] if tokens.second is None else [tokens.ids, tokens.second]
    outputs = torch.stack([torch.stack([_alone(model, ids, precision) for ids in column]) for column in columns], 1)
    p = softmax(class_logits(outputs if tokens.second is not None else outputs[:, 0]).cpu().numpy())
    differences = np.abs(p - expected.p).max(1)  # [rows]
    worst = int(differences.argmax())
    if not differences[worst] <= LARGEST[precision]:
        ours, plain = (np.array2string(values[worst], precision=4) for values in (expected.p, p))
        raise UserError(
            f"the trained {model.config.model_type} is not the model that was saved: for row {expected.ids[worst]} w2s has the "
            f"probabilities {ours}, and the saved folder, loaded by transformers alone, {plain} (at most {LARGEST[precision]:g} apart "
            f"in {precision}). Its labels would be wrong, so the stage fails: use another model, and please report this one"
        )
    return float(differences[worst])


def _plain_model(folder: Path, execution: dict[str, Any], device: torch.device, precision: str) -> Any:
    """The classifier in `folder` without any code of w2s that acts on its layers.

    Of adapters in bf16 alone the base is in bf16, as it is stored.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    remote = bool(execution.get("trust_remote_code"))
    if not kept_adapters(folder):
        placed = {"device_map": {"": device}} if device.type in DIRECT else {}
        return open_part(AutoModelForSequenceClassification, folder, trust_remote_code=remote, **placed)
    from peft import PeftModel

    base, config = base_folder_of(folder, execution), open_part(AutoConfig, folder, trust_remote_code=remote)
    kept: bf16.Kept = "stored" if precision == "bf16" else "fp32"

    def load() -> Any:
        options = {"trust_remote_code": remote, "config": config}
        return open_typed(AutoModelForSequenceClassification, base, kept, device, **options)

    plain = on_base(load, config, open_part(AutoConfig, base, trust_remote_code=remote))
    if on_nf4(folder):
        round_base(plain)
    with bf16.hidden(plain):
        return PeftModel.from_pretrained(plain, str(folder), local_files_only=True)


@torch.inference_mode()
def _alone(model: Any, ids: np.ndarray, precision: str) -> torch.Tensor:
    """The outputs [outputs] of one text."""
    row = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0).to(model.device)  # [1, tokens]
    with autocast(model.device, precision):
        return model(input_ids=row, attention_mask=torch.ones_like(row)).logits[0].float()  # type: ignore[no-any-return]
