"""What a precision promises of the numbers on a CPU."""

import pytest
import torch

from w2s_cli.training.device import autocast, pick_device


@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-6), ("bf16", 2e-2)])
def test_products_have_the_rounding_errors_of_the_precision_that_was_asked_for(precision: str, error: float) -> None:
    device = pick_device({"device": "cpu"}, precision)
    a, b = torch.randn(300, 700), torch.randn(700, 200)
    exact = a.double() @ b.double()
    with autocast(device, precision):
        found = (a @ b).double()
    worst = float((found - exact).abs().max() / exact.abs().max())
    assert worst < error
    if precision == "bf16":
        assert worst > 1e-4  # it was bf16, and not fp32 under its name
