"""Bounded logits, c · tanh(logits / c): the losses of next tokens and of completions are those of the model's own logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny_models import FIELDS, make_model
from w2s_cli.training.batching import PADDED, pad
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.objectives import next_token
from w2s_cli.training.objectives.token_log_p import token_log_p
from w2s_cli.training.texts import Written

ROWS = [[5, 9, 200, 3, 17, 80, 41], [7, 7, 120, 256]]


@pytest.fixture(params=["gemma2", "gemma4"])
def model(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Large weights and a small bound: without the bound the losses would be others."""
    fields: dict[str, Any] = {"final_logit_softcapping": 2.0, "initializer_range": 0.3}
    if request.param == "gemma4":
        fields = {"text_config": {**FIELDS["gemma4"]["text_config"], **fields}}
    return open_language_model(make_model(tmp_path / "base", request.param, **fields), torch.device("cpu"), {}, 48)


def gradients(model: Any, loss: Tensor) -> list[Tensor]:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    return list(torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True))


def expected(model: Any) -> Tensor:
    """The summed cross-entropy of all tokens after a row's first, by transformers' logits."""
    ids, mask = pad(ROWS, 0)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    assert float(logits.detach().abs().max()) <= 2.0
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return (losses * mask[:, 1:]).sum()


@pytest.mark.parametrize("objective", ["next tokens", "completions"])
def test_losses_and_gradients_are_those_of_the_bounded_logits(model: Any, objective: str) -> None:
    if objective == "next tokens":
        found = next_token.summed_loss(model, *pad(ROWS, 0), "fp32")
    else:
        found = -token_log_p(model, [Written([], row) for row in ROWS], PADDED, "fp32").sum()
    wanted = expected(model)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(gradients(model, found), gradients(model, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
