"""Objectives against the library TRL: the same texts and the same tiny model, through its trainers and through ours.

A trainer of TRL is built as its users build it (a data set of texts, a tokenizer, a model), and makes the batch and the loss itself; only
the optimizer is left out. Ours gets the same prompts and completions as texts too, so the tokens are compared with the rest. The loss of
the whole batch and the gradients of all weights must agree. Both compute in fp32: what remains is rounding.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.tiny_models import make_model
from w2s_cli.objectives import load_objective
from w2s_cli.store.context import Context
from w2s_cli.training.batching import PADDED
from w2s_cli.training.memory import Budget
from w2s_cli.training.objectives import completions, token_log_p
from w2s_cli.training.objectives.completions import Material
from w2s_cli.training.texts import Format, as_written, open_format
from w2s_cli.training.texts_material import whole

pytest.importorskip("trl", reason="the library TRL is not installed (pip install -e .[test])")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, about arguments that TRL passes

PROMPTS = ["Question: 2 + 3?\nAnswer:", "Say why", "a", "Which animals are here?", "One more"]
CHOSEN = ["5", "because it is so", "b c d e f g", "A dog and a fox.", "and another one"]
REJECTED = ["The answer is 6.", "no", "b", "Two saws, an axe and a drill.", "x y"]
SAME = 1e-5  # of the loss and of the gradients' norm
Grads = dict[str, Tensor]


class Setting(NamedTuple):
    """What both sides get."""

    policy: Any
    reference: Any
    form: Format
    folder: Path

    @property
    def trl_tokenizer(self) -> Any:
        """The tokenizer as TRL wants it: with a pad token, and without a first token, which ORPO and CPO would add."""
        tokenizer = copy.deepcopy(self.form.tokenizer)
        tokenizer.pad_token, tokenizer.bos_token = tokenizer.eos_token, None
        return tokenizer


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    """Two random models with weights so large that the log-ratios of texts differ by nats."""
    for name, seed in (("policy", 0), ("reference", 1)):
        make_model(tmp_path / name, "llama", seed, initializer_range=0.2)
    policy, reference = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("policy", "reference"))
    form = open_format(tmp_path / "policy", None, "left", "", trust_remote_code=False)
    return Setting(policy.train(), reference.eval(), form, tmp_path)


def gradients(model: Any, loss: Tensor) -> Grads:
    model.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def of_ours(
    setting: Setting, name: str, args: Mapping[str, Any], others: list[str] | None = None
) -> tuple[float, Grads]:
    """Loss and gradients of our training objective for one effective batch of all rows, in two micro-batches."""
    sides = {"chosen": CHOSEN, "rejected": REJECTED, "other": others or [*CHOSEN[1:], CHOSEN[0]]}
    written = {side: as_written(setting.form, PROMPTS, texts) for side, texts in sides.items()}
    rule = load_objective({"name": name, "args": args})
    if rule.needs["WHOLE"]:
        written = {side: whole(texts) for side, texts in written.items()}
    ctx = Context(setting.folder, setting.folder, setting.folder, {"eval_tokens": 64})
    stored: dict[str, Any] = {side: {} for side in written}
    if rule.needs["NEEDS_REFERENCE"]:
        for side, texts in written.items():
            scores = token_log_p.all_log_p(setting.reference, texts, PADDED, "fp32", Budget(ctx, "eval_tokens"))
            stored[side]["reference"] = scores
    pairs = rule.needs["NEEDS_PAIRS"]
    material = Material(
        written["chosen"],
        written["rejected"] if pairs else None,
        written["other"] if rule.needs["NEEDS_KL"] else None,
        stored,
    )
    model = setting.policy
    layout = completions.layout_of(model, written["chosen"], "fp32")
    made = completions.objective(model, material, rule, "fp32", layout)
    model.zero_grad()
    loss = 0.0
    for part in made.parts([[3, 1], [0, 2, 4]], 0.0):
        part.backward.backward()  # type: ignore[no-untyped-call]
        loss += float(part.sums["loss"])
    return loss, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def difference(found: tuple[float, Grads], expected: tuple[float, Grads]) -> tuple[float, float]:
    """Relative difference of the losses, and of the gradients by their norm."""
    assert found[1].keys() == expected[1].keys()
    total = torch.stack([slope.norm() for slope in expected[1].values()]).norm()
    apart = torch.stack([(found[1][name] - slope).norm() for name, slope in expected[1].items()]).norm()
    assert float(total) > 1e-3
    return abs(found[0] - expected[0]) / max(1e-3, abs(expected[0])), float(apart / total)


def assert_same(found: tuple[float, Grads], expected: tuple[float, Grads]) -> None:
    loss, slopes = difference(found, expected)
    print(f"relative difference of the loss {loss:.1e}, of the gradients {slopes:.1e}")  # pytest -rP shows it
    assert loss < SAME
    assert slopes < SAME


def options(setting: Setting, **more: Any) -> dict[str, Any]:
    """Arguments of any trainer of TRL: one batch of all rows, on the CPU, in fp32."""
    quiet = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "gradient_checkpointing": False}
    sizes = {"per_device_train_batch_size": len(PROMPTS), "max_length": 64, "remove_unused_columns": False}
    return {"output_dir": str(setting.folder / "trl"), **quiet, **sizes, **more}


def pairs_of_texts() -> Any:
    from datasets import Dataset

    spaced = {"chosen": [f" {text}" for text in CHOSEN], "rejected": [f" {text}" for text in REJECTED]}
    return Dataset.from_dict({"prompt": PROMPTS, **spaced})


def batch_of(trainer: Any, rows: list[int] | None = None) -> Any:
    """The batch of these rows, or of all, as the trainer's own collator makes it."""
    data = trainer.train_dataset
    return trainer.data_collator([data[row] for row in (range(len(data)) if rows is None else rows)])


def of_trl(trainer: Any, rows: list[int] | None = None) -> tuple[float, Grads]:
    loss = trainer.compute_loss(trainer.model, batch_of(trainer, rows))
    return float(loss.detach()), gradients(trainer.model, loss)


def dpo_trainer(setting: Setting, **args: Any) -> Any:
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=setting.policy,
        ref_model=setting.reference,
        args=DPOConfig(**options(setting, **args)),
        train_dataset=pairs_of_texts(),
        processing_class=setting.trl_tokenizer,
    )


def cpo_trainer(setting: Setting, **args: Any) -> Any:
    """CPO without its likelihood term: SimPO, and the loss of an autoregressive reward model."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    return CPOTrainer(
        model=setting.policy,
        args=CPOConfig(**options(setting, cpo_alpha=0.0, **args)),
        train_dataset=pairs_of_texts(),
        processing_class=setting.trl_tokenizer,
    )


@pytest.mark.parametrize(
    ("name", "args", "theirs"),
    [
        ("dpo", {"beta": 0.3}, {"loss_type": "sigmoid", "beta": 0.3}),
        ("dpo_norm", {"beta": 5.0}, {"loss_type": "sigmoid_norm", "beta": 5.0}),
        ("ipo", {"beta": 0.2, "per_token": True}, {"loss_type": "ipo", "beta": 0.2}),
        ("spin", {"beta": 0.3, "loss": "sigmoid"}, {"loss_type": "sigmoid", "beta": 0.3}),
        ("spin", {"beta": 0.01, "loss": "hinge"}, {"loss_type": "hinge", "beta": 0.01}),
    ],
    ids=["dpo", "dpo_norm", "ipo", "spin-sigmoid", "spin-hinge"],
)
def test_losses_with_a_reference_are_those_of_its_dpo_trainer(
    setting: Setting, name: str, args: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """TRL's ipo divides log-ratios by the lengths, which equation 17 of Azar et al. does not; `per_token` is that form. Its loss on whole
    texts exists nowhere in TRL and is compared in float64 only (test_formulas.py). SPIN's losses are DPO's with the opponent as reference.
    """
    assert_same(of_ours(setting, name, args), of_trl(dpo_trainer(setting, **theirs)))


def test_dpo_with_smoothing_is_its_loss_aot_of_one_pair(setting: Setting) -> None:
    """TRL no longer smooths its sigmoid loss. Its optimal-transport loss `aot` sorts the margins of a batch; of one pair it is cDPO."""
    trainer = dpo_trainer(setting, loss_type="aot", beta=0.3, label_smoothing=0.2)
    rows = [of_trl(trainer, [row]) for row in range(len(PROMPTS))]
    mean = sum(loss for loss, _ in rows) / len(rows)
    slopes = {name: torch.stack([slope[name] for _, slope in rows]).mean(0) for name in rows[0][1]}
    assert_same(of_ours(setting, "dpo", {"beta": 0.3, "smoothing": 0.2}), (mean, slopes))


@pytest.mark.parametrize(
    ("name", "args", "theirs"),
    [
        ("simpo", {"beta": 2.0, "margin": 1.0}, {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0}),
        ("arm", {"beta": 0.05}, {"loss_type": "sigmoid", "beta": 0.05}),
    ],
    ids=["simpo", "arm"],
)
def test_losses_without_a_reference_are_those_of_its_cpo_trainer(
    setting: Setting, name: str, args: dict[str, Any], theirs: dict[str, Any]
) -> None:
    assert_same(of_ours(setting, name, args), of_trl(cpo_trainer(setting, **theirs)))


def test_the_odds_ratio_of_orpo_is_that_of_its_orpo_trainer(setting: Setting) -> None:
    """Only the odds ratio is compared. TRL's likelihood term is over prompt and completion, and a mean over all tokens of the batch. In
    Hong et al. it is over the completion, and a mean for each text (equations 2 and 6); ours is the paper's.
    """
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    trainer = ORPOTrainer(
        model=setting.policy,
        args=ORPOConfig(**options(setting, beta=0.7)),
        train_dataset=pairs_of_texts(),
        processing_class=setting.trl_tokenizer,
    )
    chosen, rejected, *_ = trainer.concatenated_forward(trainer.model, batch_of(trainer))
    ratio = -trainer.odds_ratio_loss(chosen, rejected)[0].mean()
    expected = float(ratio.detach()), gradients(trainer.model, ratio)
    with_ratio, without = (of_ours(setting, "orpo", {"weight": weight}) for weight in (0.7, 0.0))
    assert with_ratio[0] - without[0] == pytest.approx(expected[0], rel=SAME)
    slopes = {name: slope - without[1][name] for name, slope in with_ratio[1].items()}
    assert_same((with_ratio[0] - without[0], slopes), expected)


@pytest.mark.parametrize("swapped", [False, True], ids=["estimate-below-0", "estimate-above-0"])
def test_kto_is_that_of_its_kto_trainer_with_the_same_texts_for_the_estimate(setting: Setting, swapped: bool) -> None:
    """TRL estimates the KL divergence over a micro-batch of its own, with the texts, desirable or not, rotated once before the training;
    ours is over the effective batch, with the chosen texts. So TRL gets our texts for the estimate; all else is its own.
    """
    from trl import KTOConfig, KTOTrainer

    if swapped:
        setting = setting._replace(policy=setting.reference.train(), reference=setting.policy.eval())
    weights = {"desirable_weight": 1.5, "undesirable_weight": 0.6}
    trainer = KTOTrainer(
        model=setting.policy,
        ref_model=setting.reference,
        args=KTOConfig(**options(setting, beta=0.02, **weights)),
        train_dataset=pairs_of_texts(),
        processing_class=setting.trl_tokenizer,
    )
    others = [*CHOSEN[1:], CHOSEN[0]]
    ids = [
        one.completion for one in as_written(setting.form, PROMPTS, others)
    ] * 2  # the rejected texts come after the chosen ones
    examples = [{**row, "KL_completion_ids": other} for row, other in zip(trainer.train_dataset, ids, strict=True)]
    assert [row["label"] for row in examples] == [True] * len(CHOSEN) + [False] * len(CHOSEN)
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    [estimate] = trainer._metrics["train"]["kl"]
    assert (estimate > 1) == swapped
    expected = float(loss.detach()), gradients(trainer.model, loss)
    args = {"beta": 0.02, "desirable": 1.5, "undesirable": 0.6}
    assert_same(of_ours(setting, "kto", args, others), expected)


def sft_trainer(setting: Setting, columns: Mapping[str, list[str]]) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=setting.policy,
        args=SFTConfig(**options(setting, packing=False)),
        train_dataset=Dataset.from_dict(dict(columns)),
        processing_class=setting.trl_tokenizer,
    )


def test_sft_is_its_sft_trainer_on_prompts_and_completions(setting: Setting) -> None:
    trainer = sft_trainer(setting, {"prompt": PROMPTS, "completion": [f" {text}" for text in CHOSEN]})
    assert_same(of_ours(setting, "sft", {}), of_trl(trainer))


def test_text_is_its_sft_trainer_on_whole_texts(setting: Setting) -> None:
    joined = [f"{prompt} {text}" for prompt, text in zip(PROMPTS, CHOSEN, strict=True)]
    assert_same(of_ours(setting, "text", {}), of_trl(sft_trainer(setting, {"text": joined})))
