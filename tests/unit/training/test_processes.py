"""One stage on two processes: the losses, weights, labels, features, scores and texts of one process, with DDP and with FSDP2."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from tests.conftest import sentences
from tests.ranks import LOST, STOPPED, curve, done, measured, returned, run_on
from tests.tiny_models import make_model
from tests.unit.stages import test_few_shot, test_pretrain
from tests.unit.stages.test_tune import SCORE, TUNE
from tests.unit.training.generation.rows import PROMPTS, SAMPLED, generate_params, write_problems
from tests.unit.training.test_models import params, write_rows
from tests.unit.training.test_reward import planted
from w2s_cli.data.artifacts.pairs import Origin, Pair, write_pairs
from w2s_cli.training.generation import completing

LORA = params()["lora"]
ADAMW = {"optimizer": "adamw", "weight_decay": 0.1, "max_grad_norm": 0.05, "warmup": 0.2, "schedule": "linear"}
STOPPING = {"metric": "accuracy", "every": 2, "patience": None}
TRAININGS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {  # kind, params, inputs
    "finetune": ("finetune", params(), ("rows",)),
    "adamw": ("finetune", params(**ADAMW, batch_size=5), ("rows",)),
    "logconf": ("finetune", params(loss={"name": "logconf", "args": {}}, labels="soft", batch_size=8), ("rows", "labels")),
    "bf16": ("finetune", params(precision="bf16", batch_size=8), ("rows",)),
    "lora": ("finetune", params(mode="lora", batch_size=8), ("rows",)),
    "dropout": ("finetune", params(mode="lora", lora={**LORA, "dropout": 0.3}, batch_size=12), ("rows",)),
    "next token": (
        "finetune",
        params(head={"tokens": ["n", "y"], "suffix": ":", "frozen": True, "next_token": True}, batch_size=7),
        ("rows",),
    ),
    "stopping": ("finetune", params(stopping=STOPPING), ("rows", "validation_rows")),
    "reward": ("finetune", params(batch_size=8), ("preferences",)),
    "sft": ("tune", {**TUNE, "objective": {"name": "sft", "args": {}}}, ("problems", "pairs")),
    "dpo": ("tune", {**TUNE, "objective": {"name": "dpo", "args": {"beta": 0.1}}}, ("problems", "pairs", "reference")),
    "kto": ("tune", {**TUNE, "objective": {"name": "kto", "args": {"beta": 0.01}}}, ("problems", "pairs", "reference")),
    "pretrain": ("pretrain", test_pretrain.params(epochs=1), ()),
}
EDGES = {"preferences": "rows", "problems": "rows"}  # the name of an input where it is another one's
TELLING = ("finetune", "logconf", "dpo")  # trainings for tests that need not have all


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The inputs of all stages, and a base model."""
    folder = tmp_path_factory.mktemp("inputs")
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcde !"), random.integers(1, 30))) for _ in range(26)]
    made = {name: folder / name for name in ("labels", "problems", "pairs")}
    for one in made.values():
        one.mkdir()
    rows = write_rows(folder / "rows", texts, [int("!" in text) for text in texts])
    p = random.uniform(0.1, 0.9, 26)
    table = pa.table({"id": [f"r{i}" for i in range(26)], "p": np.stack([1 - p, p], 1).tolist()})
    pq.write_table(table, made["labels"] / "labels.parquet")
    said = [str(row["text"]) for row in sentences(23)]
    ids = [f"r{number}" for number in range(len(said))]
    pq.write_table(pa.table({"id": ids, "prompt": said}), made["problems"] / "rows.parquet")
    pairs = [Pair(row, Origin(text[::-1], "a", 0), Origin(text.upper(), "b", 0)) for row, text in zip(ids, said, strict=True)]
    write_pairs(made["pairs"], pairs)
    base, other = make_model(folder / "base", "llama"), make_model(folder / "other", "llama", 1, initializer_range=0.1)
    pairs_of = {"rows": made["problems"], "pairs": made["pairs"]}
    done(run_on(1, "score", SCORE, pairs_of, folder / "reference", {"model_path": str(other)}))
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(said * 4))
    made |= {"rows": rows, "validation_rows": rows, "preferences": planted(folder / "preferences", 20)}
    return {**made, "reference": folder / "reference" / "result", "base": base, "corpus": corpus}


def train(count: int, name: str, made: dict[str, Path], folder: Path, *, fsdp: bool = False, **options: Any) -> list[str]:
    """Run a training of TRAININGS; what its processes raised."""
    kind, settings, inputs = TRAININGS[name]
    if kind == "pretrain":
        settings = {**settings, "corpus": {"sha256": "0", "templates": []}}
    execution = {"model_path": str(made["base"]), "corpus_path": str(made["corpus"]), "fsdp": fsdp}
    execution |= options.pop("execution", {})
    return run_on(count, kind, settings, {EDGES.get(one, one): made[one] for one in inputs}, folder, execution, **options)


@pytest.fixture(scope="module")
def alone(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A training of TRAININGS on one process, made once."""
    folder = tmp_path_factory.mktemp("alone")

    def run(name: str) -> Path:
        if not (folder / name).exists():
            done(train(1, name, made, folder / name))
        return folder / name

    return run


def assert_alike(one: Path, other: Path, within: float = 1e-5) -> None:
    """The same losses and figures at every step, the same metrics, and weights that differ by rounding."""
    first, second = curve(one), curve(other)
    assert [line.keys() for line in first] == [line.keys() for line in second]
    for before, after in zip(first, second, strict=True):
        assert before == pytest.approx(after, abs=within)
    wanted, found = returned(one), returned(other)
    assert wanted.keys() == found.keys()
    for name in wanted.keys() - {"padding"}:  # of micro-batches
        assert found[name] == (pytest.approx(wanted[name], abs=within) if isinstance(wanted[name], float) else wanted[name])
    weights = [load_file(folder / "result" / "model" / "model.safetensors") for folder in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(weights[1][name], tensor, atol=20 * within, err_msg=name)


@pytest.mark.parametrize("name", TRAININGS)
def test_two_processes_have_the_losses_of_one(name: str, made: dict[str, Path], alone: Any, tmp_path: Path) -> None:
    done(train(2, name, made, tmp_path / "two"))
    assert_alike(alone(name), tmp_path / "two", 2e-3 if name == "bf16" else 1e-5)


@pytest.mark.parametrize("name", [name for name in TRAININGS if name != "bf16"])
def test_weights_in_parts_give_the_losses_of_one_process(
    name: str, made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    done(train(2, name, made, tmp_path / "two", fsdp=True))
    assert_alike(alone(name), tmp_path / "two")
