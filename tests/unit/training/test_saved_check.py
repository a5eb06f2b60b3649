"""The check at the end of every training: a model that is not the one that was saved fails its stage."""

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_models import make_model
from tests.unit.training.test_models import TEXTS, context, params, write_rows
from tests.unit.training.test_reward import planted
from w2s_cli.errors import UserError
from w2s_cli.stages import features, finetune
from w2s_cli.store import memory
from w2s_cli.training import saved_check
from w2s_cli.training.models import adapters, classifier, forward_pass, saving


def test_a_forward_pass_that_pads_with_another_id_fails_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward_pass, "_pad_id", lambda model: 0)  # CTRL finds a row's end by its pad id
    monkeypatch.setattr(forward_pass, "depends_on_others", lambda *args: False)  # the trial would find that, too
    ctx = context(tmp_path / "out", model_path=str(make_model(tmp_path / "base", "ctrl")))
    with pytest.raises(UserError, match=r"for row r\d+ w2s has the probabilities .* please report this one"):
        finetune.run(params(lr=5e-2), {"rows": write_rows(tmp_path / "rows")}, ctx)


def without_head_of(save: Any, tuner: Any, *rest: Any) -> None:
    """Save adapters with a head of zeros; the model keeps its own."""
    head = tuner.model.score.weight
    own = head.detach().clone()
    with torch.no_grad():
        head.zero_()
        save(tuner, *rest)
        head.copy_(own)


@pytest.mark.parametrize("mode", ["full", "lora", "probe"])
def test_weights_that_are_lost_on_the_way_to_the_folder_fail_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    saved = saving.save_model

    def without_head(model: Any, *rest: Any) -> None:
        with torch.no_grad():
            model.score.weight.zero_()
        saved(model, *rest)

    monkeypatch.setattr(saving, "save_model", without_head)
    kept = adapters.save
    monkeypatch.setattr(adapters, "save", lambda tuner, *rest: without_head_of(kept, tuner, *rest))
    rows = write_rows(tmp_path / "rows")
    edges: Any = {"rows": rows}
    base = make_model(tmp_path / "base", "llama")
    if mode == "probe":
        stored = context(tmp_path / "features", model_path=str(base))
        features.run(params(), edges, stored)
        edges["features"] = stored.result
    with pytest.raises(UserError, match="is not the model that was saved"):
        finetune.run(params(mode=mode, epochs=20.0), edges, context(tmp_path / "out", model_path=str(base)))


@pytest.mark.parametrize("changed", [{}, {"mode": "lora"}, {"head": {"tokens": ["n", "y"], "suffix": "\nA:"}}])
def test_every_way_of_training_passes_it(tmp_path: Path, changed: dict[str, Any]) -> None:
    ctx = context(tmp_path / "out", model_path=str(make_model(tmp_path / "base", "llama")))
    finetune.run(params(**changed), {"rows": write_rows(tmp_path / "rows")}, ctx)
    assert ctx.measured["saved_difference"] < 1e-5


def test_pairs_and_probes_pass_it(tmp_path: Path) -> None:
    base, rows = make_model(tmp_path / "base", "gpt2"), planted(tmp_path / "rows", 12)
    stored = context(tmp_path / "features", model_path=str(base))
    features.run(params(), {"rows": rows}, stored)
    for mode, edges in (("full", {}), ("probe", {"features": stored.result})):
        ctx = context(tmp_path / mode, model_path=str(base))
        finetune.run(params(mode=mode), {"rows": rows, **edges}, ctx)
        assert ctx.measured["saved_difference"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "lora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_trained_weights_are_freed_before_the_saved_ones_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpointing: bool, mode: str
) -> None:
    monkeypatch.setattr(memory, "MUCH", 0)
    alive: list[weakref.ref[Any]] = []
    opened, sampled, load = classifier.open_base, saved_check.sample, saved_check._plain_model

    def watched(*args: Any, **named: Any) -> Any:
        model = opened(*args, **named)
        alive.extend(weakref.ref(weight) for weight in model.parameters() if weight.ndim > 1)
        return model

    def failing_import(*args: Any) -> Any:
        try:
            raise ImportError
        except ImportError as error:  # its frames hold the trained model, and it holds itself
            error.args = (error,)
        return sampled(*args)

    def at_the_load(*args: Any) -> Any:
        assert alive
        assert all(weight() is None for weight in alive)
        return load(*args)

    monkeypatch.setattr(classifier, "open_base", watched)
    monkeypatch.setattr(saved_check, "sample", failing_import)
    monkeypatch.setattr(saved_check, "_plain_model", at_the_load)
    for family in ("gpt2", "bert", "llama"):
        alive.clear()
        base = str(make_model(tmp_path / family, family))
        ctx = context(tmp_path / f"{family}-out", model_path=base, gradient_checkpointing=checkpointing)
        finetune.run(params(epochs=1.0, mode=mode), {"rows": write_rows(tmp_path / f"{family}-rows")}, ctx)


def test_the_rows_are_the_shortest_the_longest_and_some_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[saved_check.Sample] = []
    check = saved_check.check

    def watched(folder: Path, expected: saved_check.Sample, *args: Any, **named: Any) -> float:
        seen.append(expected)
        return check(folder, expected, *args, **named)

    monkeypatch.setattr(saved_check, "check", watched)
    ctx = context(tmp_path / "out", model_path=str(make_model(tmp_path / "base", "llama")))
    finetune.run(params(epochs=1.0), {"rows": write_rows(tmp_path / "rows")}, ctx)
    [sample] = seen
    assert len(sample.texts) == 4
    assert sample.texts[0] == min(TEXTS, key=len)
    assert sample.texts[-1] == max(TEXTS, key=len)
    np.testing.assert_allclose(sample.p.sum(1), 1, atol=1e-6)
