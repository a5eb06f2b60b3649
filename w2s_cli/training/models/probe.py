"""A probe: a linear head on the stored features of a frozen trunk.

`features` come from the `features` stage: last-token hidden states of the trunk, joined to rows by id. A single text has [width]; a pair
has [2, width], the first text and the second.
"""

from pathlib import Path

import numpy as np
from safetensors import safe_open
from torch import nn

from w2s_cli.data.artifacts.features import read_features
from w2s_cli.data.artifacts.rows import Rows
from w2s_cli.errors import UserError
from w2s_cli.training.models.reward import check_outputs

HEAD = "score.weight"  # the head's name in every causal AutoModelForSequenceClassification


def row_features(folder: Path, rows: Rows) -> np.ndarray:
    """Features of `rows`: [rows, width] fp32, of pairs [rows, 2, width]; UserError for pairs' features of single texts, or the reverse."""
    features = read_features(folder, rows.ids)
    if features.ndim != (2 if rows.second is None else 3):
        raise UserError(
            f"{folder} and {rows.path}: one is about pairs of texts and the other about single ones; compute the features again"
        )
    return features


def new_head(width: int, outputs: int) -> nn.Linear:
    """A head of zeros without bias, as a causal model's `score`."""
    head = nn.Linear(width, outputs, bias=False)
    nn.init.zeros_(head.weight)
    return head


def logits(folder: Path, features: np.ndarray, rows: Rows) -> np.ndarray:
    """Logits [rows, classes] fp32 of `rows` by the probe in the model folder `folder`; only the head is read.

    Raises:
        UserError: no probe, a probe for pairs and rows of single texts, or the reverse.
    """
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            if HEAD in file.keys():  # noqa: SIM118 (not a dict)
                weight = file.get_tensor(HEAD)  # [outputs, width]
                check_outputs(len(weight), rows, folder)
                outputs: np.ndarray = (features @ weight.T).astype(np.float32)
                return outputs if rows.second is None else outputs.squeeze(-1)  # [rows, 2, 1]: one reward for each text
    raise UserError(f"{folder} has no {HEAD}: it is not the model of a probe")
