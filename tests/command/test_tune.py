"""Language models that learn from texts and pairs, through the command: sft, a reference, DPO; adapters; own objectives; refused plans."""

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from tests.small_texts import PAIRS, SFT, words
from tests.stage_files import context
from w2s_cli.stages import tune
from w2s_cli.training.models.saving import merged_model

Run = Callable[..., subprocess.CompletedProcess[str]]
REFERENCE = 'reference: {kind: score, model: "${strong}", rows: strong_train, pairs: pairs}'
DPO = f"""{PAIRS}
  sft: {{kind: tune, model: "${{strong}}", rows: strong_train, texts: truth, tune: "${{tune}}"}}
  reference: {{kind: score, model: sft, rows: strong_train, pairs: pairs}}
  dpo: {{kind: tune, model: sft, rows: strong_train, pairs: pairs, reference: reference, objective: {{name: dpo, args: {{}}}}}}"""


def result_of(folder: Path, name: str) -> Path:
    """The result folder of the stage with this name in its method, of the only run in `folder`."""
    [record] = [
        path for path in folder.glob("outputs/stages/*/*/record.json") if json.loads(path.read_text())["name"] == name
    ]
    return record.parent / "result"


def metrics_of(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result_of(folder, name) / "manifest.json").read_text())["metrics"]
    return found


def losses_of(folder: Path, name: str) -> list[float]:
    lines = (result_of(folder, name).parent / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.slow
def test_a_model_learns_texts_is_a_reference_and_learns_pairs(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    w2s_inside("train", *words(tmp_path, tiny_models, DPO), "launcher.log_every=1")
    sft, dpo = (metrics_of(tmp_path, name) for name in ("sft", "dpo"))
    rows = sft["rows"]
    assert sft["steps"] == dpo["steps"] == 2 * math.ceil(rows / 8)
    assert losses_of(tmp_path, "sft")[-1] < losses_of(tmp_path, "sft")[0] - 0.5
    # before the first update the policy is its reference: no margin, log 2
    assert losses_of(tmp_path, "dpo")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses_of(tmp_path, "dpo")[-1] < 0.6
    assert dpo["preferred"] > 0.9
    trained = result_of(tmp_path, "dpo") / "model"
    before = weights_of(result_of(tmp_path, "sft") / "model")
    assert all((weight != before[name]).any() for name, weight in weights_of(trained).items())
    assert AutoTokenizer.from_pretrained(trained)("3 plus 4")["input_ids"]
    assert isinstance(AutoModelForCausalLM.from_pretrained(trained), LlamaForCausalLM)


def test_scores_are_the_log_probabilities_of_transformers(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    w2s_inside("train", *words(tmp_path, tiny_models, f"{PAIRS}\n  {REFERENCE}"))
    model = AutoModelForCausalLM.from_pretrained(tiny_models["strong"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_models["strong"])
    pairs, scores, rows = (
        pq.read_table(result_of(tmp_path, name) / f"{file}.parquet").to_pylist()
        for name, file in (("pairs", "pairs"), ("reference", "scores"), ("rows:strong_train", "rows"))
    )
    prompts = {row["id"]: row["prompt"] for row in rows}
    assert [row["id"] for row in scores] == [row["id"] for row in pairs]
    for pair, score in list(zip(pairs, scores, strict=True))[:5]:
        for side in ("chosen", "rejected"):
            prompt = tokenizer(prompts[pair["id"]])["input_ids"]
            ids = [*tokenizer(f"{prompts[pair['id']]} {pair[side]}")["input_ids"], tokenizer.eos_token_id]
            with torch.inference_mode():
                table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            expected = [float(table[at - 1, ids[at]]) for at in range(len(prompt), len(ids))]
            np.testing.assert_allclose(score[f"{side}_log_p"], expected, atol=1e-5)


@pytest.mark.slow
def test_adapters_are_kept_and_merged_they_change_every_layer_of_the_body(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    w2s_inside("train", *words(tmp_path, tiny_models, SFT), "tune.mode=lora", "tune.lora.dropout=0.1")
    kept = result_of(tmp_path, "sft") / "model"
    assert (kept / "adapter_config.json").exists()
    folder = merged_model(kept, tmp_path / "whole", {"base_path": str(tiny_models["strong"])})
    base, tuned = weights_of(tiny_models["strong"]), weights_of(folder)
    assert tuned.keys() == base.keys()
    changed = {name for name in base if (tuned[name] != base[name]).any()}
    assert changed == {
        name for name in base if "_proj" in name
    }  # neither the embedding nor the output layer, nor norms
    assert "lm_head.weight" in base
    assert losses_are_finite(folder)


def losses_are_finite(folder: Path) -> bool:
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([[5, 6, 7]])
    return math.isfinite(float(model(ids, labels=ids).loss.detach()))


@pytest.mark.slow
def test_no_second_model_is_in_memory_while_one_learns_from_pairs(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stage of a finished run once more, in this process: it opens the policy, and its reference is a file."""
    w2s_inside("train", *words(tmp_path, tiny_models, DPO))
    stage = json.loads((result_of(tmp_path, "dpo").parent / "stage.json").read_text())
    inputs = {
        edge: next(tmp_path.glob(f"outputs/stages/*/*-{key}")) / "result" for edge, key in stage["inputs"].items()
    }
    assert set(inputs) == {"rows", "pairs", "reference", "model"}
    made: list[object] = []
    plain = LlamaForCausalLM.__init__

    def counted(self: Any, *args: Any, **named: Any) -> None:
        made.append(type(self))
        plain(self, *args, **named)

    monkeypatch.setattr(LlamaForCausalLM, "__init__", counted)
    again = context(tmp_path / "again", device="cpu", threads=1)
    tune.run(stage["params"], inputs, again)
    assert made == [LlamaForCausalLM]
    assert weights_of(again.result / "model").keys() == weights_of(inputs["model"] / "model").keys()


WITH_SCORES = f"""{PAIRS}
  sft: {{kind: tune, model: "${{strong}}", rows: strong_train, texts: truth, tune: "${{tune}}"}}
  of_pairs: {{kind: score, model: sft, rows: strong_train, pairs: pairs, other: true}}
  of_texts: {{kind: score, model: "${{strong}}", rows: strong_train, texts: truth}}
  aligned: {{kind: score, role: weak, model: "${{weak}}", rows: strong_train, texts: truth}}
  kto: {{kind: tune, model: sft, rows: strong_train, pairs: pairs, reference: of_pairs, objective: {{name: kto, args: {{}}}}}}
  dpo: {{kind: tune, model: sft, rows: strong_train, pairs: pairs, reference: of_pairs, objective: {{name: dpo, args: {{}}}}}}
  wspo: {{kind: tune, model: "${{strong}}", rows: strong_train, texts: truth, reference: of_texts, aligned: aligned,
    unaligned: of_texts, objective: {{name: wspo, args: {{}}}}}}"""


@pytest.mark.slow
def test_kto_and_wspo_have_their_scores_and_a_reference_with_an_estimate_serves_dpo_too(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = [word for word in words(tmp_path, tiny_models, WITH_SCORES) if "batch_size" not in word]
    more = ["weak=local", f"weak.path={tiny_models['weak']}", "strong.batch_size=64"]  # all rows in each update
    w2s_inside("train", *given, *more, "launcher.log_every=1")
    # before the first update the policy is its reference: both texts of a pair have the gain of the estimate, 0
    assert losses_of(tmp_path, "kto")[0] == pytest.approx(0.5, abs=1e-5)
    assert losses_of(tmp_path, "dpo")[0] == pytest.approx(math.log(2), abs=1e-5)
    assert losses_of(tmp_path, "kto")[1] < 0.5 - 1e-3
    aligned, before = (
        pq.read_table(result_of(tmp_path, name) / "scores.parquet")["log_p"].to_pylist()
        for name in ("aligned", "of_texts")
    )
    changes = [np.square(np.subtract(a, b)).mean() for a, b in zip(aligned, before, strict=True)]
    assert losses_of(tmp_path, "wspo")[0] == pytest.approx(float(np.mean(changes)), rel=1e-4)


# plans


def tuned(fields: str) -> str:
    return f'{PAIRS}\n  {REFERENCE}\n  learned: {{kind: tune, model: "${{strong}}", rows: strong_train, {fields}}}'


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (tuned("objective: {name: sft, args: {}}"), "the objective sft learns completions, and the stage names none"),
        (tuned("texts: truth, pairs: pairs"), "learns from texts or from pairs: name one of the two"),
        (tuned("texts: truth, objective: {name: dpo, args: {}}"), "the objective dpo needs pairs of texts (pairs: STAGE)"),
        (
            tuned("pairs: pairs, objective: {name: dpo, args: {}}"),
            "the objective dpo needs a reference (reference: a stage of kind score)",
        ),
        (
            tuned("pairs: pairs, reference: reference, objective: {name: wspo, args: {}}"),
            "the objective wspo needs weak models (aligned and unaligned: stages of kind score)",
        ),
        (
            tuned("pairs: pairs, reference: reference, objective: {name: kto, args: {}}"),
            "the objective kto needs the scores of other prompts' texts too: set other: true in stage \"reference\"",
        ),
        (
            tuned("pairs: pairs, reference: own, objective: {name: dpo, args: {}}"),
            'reference must be the scores of what is learned, "pairs", and stage "own" is not',
        ),
        (
            tuned("pairs: more, reference: reference, objective: {name: dpo, args: {}}")
            + "\n  more: {kind: pair, rows: strong_train, texts: [own, truth], rule: {name: ranked}}",
            'reference must be the scores of what is learned, "more", and stage "reference" is not: name a stage of kind score with '
            "pairs: more",
        ),
        (
            tuned("pairs: pairs, reference: reference, objective: {name: text, args: {}}"),
            "the objective text learns prompts too (WHOLE), and scores are of completions only: leave reference out",
        ),
        (
            tuned("pairs: pairs, reference: reference, objective: {name: dpo, args: {beta: 0}}"),
            "beta",
        ),
        (
            tuned("pairs: pairs, objective: {name: dpoo, args: {}}"),
            'there is no "dpoo" in objectives/ of the package or of a --config-dir folder. Did you mean "dpo"?',
        ),
        (
            f'{PAIRS}\n  reference: {{kind: score, model: "${{strong}}", rows: strong_train}}',
            "scores texts or pairs: name one of the two",
        ),
    ],
    ids=[
        "nothing", "both", "no-pairs", "no-reference", "no-weak", "no-estimate", "no-scores", "other-pairs", "whole", "range", "name",
        "score",
    ],
)  # fmt: skip
def test_a_plan_refuses_objectives_without_their_inputs(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path, stages: str, said: str
) -> None:
    done = w2s_inside("plan", *words(tmp_path, tiny_models, stages), code=None)
    assert done.returncode != 0, done.stdout
    assert said in " ".join(done.stderr.split())


# own objectives

MINE = '''"""mine: the difference of the log-probabilities of both texts, above a margin."""

from typing import Annotated

from annotated_types import Ge

NEEDS_PAIRS = True


def mine(batch, *, margin: Annotated[float, Ge(0)] = 1.0):
    """A hinge."""
    gain = batch.chosen.policy.means - batch.worse.policy.means
    return (margin - gain).clamp(min=0)
'''
LEARNS = f'{PAIRS}\n  learned: {{kind: tune, model: "${{strong}}", rows: strong_train, pairs: pairs, objective: "${{objective}}"}}'


def with_own(tmp_path: Path, models: dict[str, Path], code: str = MINE, stages: str = LEARNS) -> list[str]:
    given = words(tmp_path, models, stages)
    for folder in ("objectives", "objective"):
        (tmp_path / "mine" / folder).mkdir()
    (tmp_path / "mine" / "objectives" / "mine.py").write_text(code)
    (tmp_path / "mine" / "objective" / "mine.yaml").write_text("name: mine\nargs: {margin: 2.0}\n")
    return [*given, "objective=mine"]


@pytest.mark.slow
def test_an_own_objective_trains_and_its_code_and_arguments_are_in_the_key(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = with_own(tmp_path, tiny_models)
    w2s_inside("train", *given, "launcher.log_every=1")
    losses = losses_of(tmp_path, "learned")
    assert losses[0] == pytest.approx(2.0, abs=0.5)  # the margin: an untrained model knows no difference
    assert losses[-1] < losses[0]
    stage = json.loads((result_of(tmp_path, "learned").parent / "stage.json").read_text())
    assert stage["params"]["objective"]["args"] == {"margin": 2.0}
    assert "1 to run" in w2s_inside("plan", *given, "objective.args.margin=1").stdout
    assert "0 to run" in w2s_inside("plan", *given).stdout
    path = tmp_path / "mine" / "objectives" / "mine.py"
    path.write_text(MINE.replace("margin - gain", "margin - 2 * gain"))
    assert "1 to run" in w2s_inside("plan", *given).stdout


def test_the_needs_of_an_own_objective_and_the_ranges_of_its_arguments_are_read_without_running_it(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    given = with_own(tmp_path, tiny_models, MINE + "\nNEEDS_REFERENCE = True\nraise RuntimeError\n")
    said = w2s_inside("plan", *given, code=None).stderr
    assert "the objective mine needs a reference" in said
    (tmp_path / "mine" / "objectives" / "mine.py").write_text(MINE)
    assert "margin" in w2s_inside("plan", *given, "objective.args.margin=-1", code=None).stderr
    assert (
        'mine has no argument "margn". Did you mean "margin"?'
        in w2s_inside("plan", *given, "objective.args.margn=1", code=None).stderr
    )


def test_an_own_objective_that_fails_is_named_with_its_line(
    w2s_inside: Run, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    broken = MINE.replace("return (margin", "return 1 / 0 * (margin")
    done = w2s_inside("train", *with_own(tmp_path, tiny_models, broken), code=2)
    assert "objective mine failed: ZeroDivisionError" in done.stderr
    assert "mine.py, line 13" in done.stderr
