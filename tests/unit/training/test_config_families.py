"""Every family of configs/model: a tiny checkpoint of it, trained, and its stored predictions beside plain transformers, row by row."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as CLASSIFIERS

from tests.tiny_models import make_model
from tests.unit.training.test_models import context, labelled, params, write_rows
from w2s_cli.errors import UserError
from w2s_cli.paths import configs_folder, locate
from w2s_cli.stages import finetune, label, tune
from w2s_cli.store.files import read_yaml

ARCHITECTURES = {  # beginning of a repository's name → transformers' model_type
    "bert-": "bert",
    "deberta-v3-": "deberta-v2",
    "gpt2": "gpt2",
    "Llama-3": "llama",
    "Llama-2-": "llama",
    "Llama-3.1-Tulu": "llama",
    "Meta-Llama-3": "llama",
    "Mistral-": "mistral",
    "opt-": "opt",
    "pythia-": "gpt_neox",
    "Qwen-": "own code",
    "Qwen-2.5-": "qwen2",
    "Qwen1.5-": "qwen2",
    "Qwen2.5-": "qwen2",
    "Qwen3-": "qwen3",
    "SmolLM2-": "llama",
    "SmolLM3-": "smollm3",
    "OLMo-2-": "olmo2",
    "Olmo-3-": "olmo3",
    "gemma-": "gemma",
    "gemma-3-": "gemma3",
    "gemma-3-1b": "gemma3_text",
    "gemma-4-": "gemma4",
    "gpt-oss-": "gpt_oss",
    "zephyr-": "mistral",
}
CODE = """
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

class QWenConfig(LlamaConfig):
    model_type = "qwen"

class QWenLMHeadModel(LlamaForCausalLM):
    config_class = QWenConfig

class QWenForSequenceClassification(LlamaPreTrainedModel):
    config_class = QWenConfig
    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()
    def forward(self, input_ids, attention_mask=None, **options):
        hidden = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        last = (input_ids != self.config.pad_token_id).sum(1) - 1
        return SequenceClassifierOutputWithPast(logits=self.score(hidden[torch.arange(len(hidden)), last]))
"""


def architecture(config: dict[str, Any]) -> str | None:
    """The model_type of a file of configs/model; None of a file that names no model."""
    if config.get("path"):
        return str(json.loads((locate(config["path"]) / "config.json").read_text())["model_type"])
    if not config.get("id"):
        return None
    repository = config["id"].rpartition("/")[2]
    found = [start for start in ARCHITECTURES if repository.startswith(start)]
    assert found, f"configs/model: {config['name']} ({repository}) needs a line of ARCHITECTURES"
    return ARCHITECTURES[max(found, key=len)]


def families() -> list[str]:
    """The architectures of all files of configs/model."""
    files = sorted((configs_folder() / "model").glob("*.yaml"))
    return sorted({family for path in files if (family := architecture(read_yaml(path.read_text()))) is not None})


def with_own_code(folder: Path, classes: dict[str, str]) -> Path:
    """A Llama whose config asks for code in its folder."""
    make_model(folder, "llama")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen", "auto_map": classes}))
    (folder / "own_code.py").write_text(CODE)
    return folder


OWN = {
    "AutoConfig": "own_code.QWenConfig",
    "AutoModelForCausalLM": "own_code.QWenLMHeadModel",
    "AutoModelForSequenceClassification": "own_code.QWenForSequenceClassification",
}


def texts(count: int) -> list[str]:
    drawn = random.Random(0)
    return ["".join(drawn.choice("abcde fgh!") for _ in range(drawn.randrange(1, 70))) or "a" for _ in range(count)]


TEXTS_ONLY = [family for family in families() if family not in CLASSIFIERS and family != "own code"]


@pytest.mark.parametrize("family", TEXTS_ONLY)
def test_a_family_without_a_classifier_learns_texts_and_transformers_reads_the_result(
    tmp_path: Path, family: str
) -> None:
    base, ids = make_model(tmp_path / "base", family), [f"r{number}" for number in range(16)]
    (tmp_path / "rows").mkdir()
    table = {"id": ids, "group": ids, "text": texts(16), "label": pa.array([0] * 16, pa.int32())}
    pq.write_table(pa.table(table), tmp_path / "rows" / "rows.parquet")
    given = {
        "objective": {"name": "text", "args": {}},
        "chat_template": None,
        "epochs": 4.0,
        "lr": 1e-2,
        "batch_size": 8,
    }
    ctx = context(tmp_path / "tuned", model_path=str(base))
    tune.run(params(**given), {"rows": tmp_path / "rows"}, ctx)
    losses = []
    for folder in (base, ctx.result / "model"):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
        batch = tokenizer(texts(16)[0], return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            losses.append(float(model(input_ids=batch, labels=batch).loss))
    assert losses[1] < losses[0] - 0.2
    with pytest.raises(UserError, match="cannot be loaded by AutoModelForSequenceClassification"):
        finetune.run(
            params(), {"rows": write_rows(tmp_path / "labelled")}, context(tmp_path / "f", model_path=str(base))
        )


@pytest.mark.parametrize("family", sorted(set(families()) - set(TEXTS_ONLY)))
@pytest.mark.slow
def test_fifty_stored_predictions_are_those_of_plain_transformers_row_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    own = family == "own code"
    base = with_own_code(tmp_path / "base", OWN) if own else make_model(tmp_path / "base", family)
    rows = write_rows(tmp_path / "rows", texts(50), [number % 2 for number in range(50)])
    trained = context(tmp_path / "trained", model_path=str(base), trust_remote_code=own)
    finetune.run(params(epochs=1.0, batch_size=8), {"rows": rows}, trained)
    said = context(tmp_path / "labels", trust_remote_code=own, eval_tokens=2048)
    label.run(params(shard_rows=4096), {"rows": rows, "model": trained.result}, said)

    folder = trained.result / "model"
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=own).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, truncation_side="left")
    expected = []
    for text in texts(50):
        ids = tokenizer(text, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            expected.append(model(ids["input_ids"], attention_mask=ids["attention_mask"]).logits[0].softmax(-1).numpy())
    np.testing.assert_allclose(labelled(tmp_path / "labels", "p"), np.array(expected), atol=1e-5)
    assert trained.measured["saved_difference"] < 1e-5


def test_a_model_whose_code_has_no_classifier_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    causal = {name: value for name, value in OWN.items() if not name.endswith("SequenceClassification")}
    base = with_own_code(tmp_path / "base", causal)
    ctx = context(tmp_path / "trained", model_path=str(base), trust_remote_code=True)
    with pytest.raises(UserError, match="AutoModelForSequenceClassification"):
        finetune.run(params(), {"rows": write_rows(tmp_path / "rows")}, ctx)
