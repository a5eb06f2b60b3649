"""One stage on two processes: the losses, weights, labels, features, scores and texts of one process, with DDP and with FSDP2."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from tests import opening_peak, parts_peak
from tests.conftest import sentences
from tests.ranks import LOST, STOPPED, curve, done, measured, returned, run_on
from tests.tiny_models import make_model
from tests.unit.stages import test_few_shot, test_pretrain
from tests.unit.stages.test_tune import SCORE, TUNE
from tests.unit.training.generation.rows import PROMPTS, SAMPLED, generate_params, write_problems
from tests.unit.training.test_models import params, write_rows
from tests.unit.training.test_reward import planted
from w2s_cli.data.artifacts.pairs import Origin, Pair, write_pairs

LORA = params()["lora"]
ADAMW = {"optimizer": "adamw", "weight_decay": 0.1, "max_grad_norm": 0.05, "warmup": 0.2, "schedule": "linear"}
STOPPING = {"metric": "accuracy", "every": 2, "patience": None}
TRAININGS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {  # kind, params, inputs
    "finetune": ("finetune", params(), ("rows",)),
    "adamw": ("finetune", params(**ADAMW, batch_size=5), ("rows",)),
    "logconf": (
        "finetune",
        params(loss={"name": "logconf", "args": {}}, labels="soft", batch_size=8),
        ("rows", "labels"),
    ),
    "bf16": ("finetune", params(precision="bf16", batch_size=8), ("rows",)),
    "lora": ("finetune", params(mode="lora", batch_size=8), ("rows",)),
    "lora in bf16": ("finetune", params(mode="lora", precision="bf16", batch_size=8), ("rows",)),
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
ROUNDED = {"bf16": 5e-3, "lora in bf16": 5e-3}  # other micro-batches have other sums, which are rounded to bf16
IN_BF16 = ("finetune", "bf16", "lora", "lora in bf16", "sft")  # on a base that is stored in bf16
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
    pairs = [
        Pair(row, Origin(text[::-1], "a", 0), Origin(text.upper(), "b", 0)) for row, text in zip(ids, said, strict=True)
    ]
    write_pairs(made["pairs"], pairs)
    base, other = make_model(folder / "base", "llama"), make_model(folder / "other", "llama", 1, initializer_range=0.1)
    pairs_of = {"rows": made["problems"], "pairs": made["pairs"]}
    done(run_on(1, "score", SCORE, pairs_of, folder / "reference", {"model_path": str(other)}))
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(said * 4))
    made |= {"rows": rows, "validation_rows": rows, "preferences": planted(folder / "preferences", 20)}
    return {**made, "reference": folder / "reference" / "result", "base": base, "corpus": corpus}


def train(
    count: int, name: str, made: dict[str, Path], folder: Path, *, fsdp: bool = False, **options: Any
) -> list[str]:
    """Run a training of TRAININGS; what its processes raised."""
    kind, settings, inputs = TRAININGS[name]
    if kind == "pretrain":
        settings = {**settings, "corpus": {"sha256": "0", "templates": []}}
    execution = {"model_path": str(made["base"]), "corpus_path": str(made["corpus"]), "fsdp": fsdp}
    execution |= options.pop("execution", {})
    return run_on(
        count, kind, settings, {EDGES.get(one, one): made[one] for one in inputs}, folder, execution, **options
    )


@pytest.fixture(scope="module")
def alone(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A training of TRAININGS on one process, made once."""
    folder = tmp_path_factory.mktemp("alone")

    def run(name: str) -> Path:
        if not (folder / name).exists():
            done(train(1, name, made, folder / name))
        return folder / name

    return run


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    """The weights that a training left, or its adapters and head."""
    (path,) = (folder / "result" / "model").glob("*.safetensors")
    return load_file(path)


def assert_alike(one: Path, other: Path, within: float = 1e-5) -> None:
    """The same losses and figures at every step, the same metrics, and weights that differ by rounding."""
    first, second = curve(one), curve(other)
    assert [line.keys() for line in first] == [line.keys() for line in second]
    for before, after in zip(first, second, strict=True):
        assert before == pytest.approx(after, abs=within)
    wanted, found = returned(one), returned(other)
    assert wanted.keys() == found.keys()
    for name in wanted.keys() - {"padding"}:  # of micro-batches
        assert found[name] == (
            pytest.approx(wanted[name], abs=within) if isinstance(wanted[name], float) else wanted[name]
        )
    weights = [weights_of(folder) for folder in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    for name, tensor in weights[0].items():
        np.testing.assert_allclose(weights[1][name], tensor, atol=20 * within, err_msg=name)


def some(names: Iterable[str]) -> list[Any]:
    """Names of trainings, of which only a few are quick tests: each needs seconds."""
    return [name if name in TELLING else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some(TRAININGS))
def test_two_processes_have_the_losses_of_one(name: str, made: dict[str, Path], alone: Any, tmp_path: Path) -> None:
    done(train(2, name, made, tmp_path / "two"))
    assert "2 processes share each update\n" in (tmp_path / "two" / "log.txt").read_text()
    assert_alike(alone(name), tmp_path / "two", ROUNDED.get(name, 1e-5))


@pytest.mark.slow
def test_three_processes_share_an_update_of_four_rows_and_one_of_two(
    made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    done(train(3, "finetune", made, tmp_path / "three"))
    assert_alike(alone("finetune"), tmp_path / "three")


@pytest.mark.parametrize("name", some(TRAININGS))
def test_weights_in_parts_give_the_losses_of_one_process(
    name: str, made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    done(train(2, name, made, tmp_path / "two", fsdp=True))
    assert "weights lie in parts on them" in (tmp_path / "two" / "log.txt").read_text()
    assert_alike(alone(name), tmp_path / "two", ROUNDED.get(name, 1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("name", some(IN_BF16))
def test_a_base_that_is_stored_in_bf16_may_lie_in_parts(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    """Its trained layers become fp32 one by one, and frozen ones stay in bf16: the numbers are those of whole weights."""
    stored = {**made, "base": make_model(tmp_path / "base", "llama", dtype="bfloat16")}
    done(train(1, name, stored, tmp_path / "one"))
    done(train(2, name, stored, tmp_path / "two"))
    done(train(2, name, stored, tmp_path / "parts", fsdp=True))
    assert_alike(tmp_path / "two", tmp_path / "parts", 1e-6)
    assert_alike(tmp_path / "one", tmp_path / "parts", ROUNDED.get(name, 1e-5))
    assert train(2, name, stored, tmp_path / "stopped", fsdp=True, stop_after=3) == [STOPPED] * 2
    done(train(1, name, stored, tmp_path / "stopped"))
    assert_alike(tmp_path / "one", tmp_path / "stopped", ROUNDED.get(name, 1e-5))


@pytest.mark.slow
def test_no_process_has_the_whole_model_while_its_weights_become_parts(tmp_path: Path) -> None:
    opening_peak.make("lora", tmp_path, 1024, 12)  # 510 MB in bf16, 1,018 MiB in fp32
    figures = [parts_peak.measure(tmp_path, 2, parts) for parts in ("parts", "whole")]
    parts, whole = ([dict(zip(line[::2], map(int, line[1::2]), strict=True)) for line in lines] for lines in figures)
    layer, embedding, more = 48, 125, 100  # MiB; `more`: what libraries allocate
    assert all(one["PEAK"] > one["HAS"] > 1000 for one in whole)
    for one in parts:
        assert one["HAS"] == pytest.approx((whole[0]["HAS"] - embedding) / 2 + embedding, abs=2)  # it is the output too
        assert one["PEAK"] < one["HAS"] + embedding + layer + more < whole[0]["HAS"]


@pytest.mark.parametrize(
    ("name", "first", "then", "fsdp"),
    [
        ("finetune", 2, 1, (False, False)),
        ("logconf", 1, 2, (False, False)),
        ("finetune", 2, 1, (True, False)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                ("adamw", 1, 2, (False, True)),
                ("stopping", 2, 1, (True, False)),
                ("stopping", 1, 2, (False, True)),
                ("lora", 2, 3, (True, True)),
                ("dpo", 2, 2, (False, True)),
                ("pretrain", 2, 1, (False, False)),
            ]
        ),
    ],
)
def test_a_checkpoint_of_some_processes_is_continued_by_others(
    name: str, first: int, then: int, fsdp: tuple[bool, bool], made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    stops = first - 1  # the last process is asked to stop, and all of them do
    assert train(first, name, made, tmp_path / "run", fsdp=fsdp[0], stop_after=3, stops=stops) == [STOPPED] * first
    (checkpoint,) = (tmp_path / "run" / "work").iterdir()
    assert checkpoint.name == "checkpoint-000000004"
    assert (checkpoint / "parts.json").exists() is fsdp[0]
    done(train(then, name, made, tmp_path / "run", fsdp=fsdp[1]))
    assert "resumed at step 4/" in (tmp_path / "run" / "log.txt").read_text()
    assert_alike(alone(name), tmp_path / "run")


@pytest.mark.parametrize("then", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_a_changed_part_of_a_checkpoint_is_told_by_whoever_reads_it(
    then: int, made: dict[str, Path], tmp_path: Path
) -> None:
    assert train(2, "finetune", made, tmp_path / "run", fsdp=True, stop_after=3) == [STOPPED] * 2
    (part,) = (tmp_path / "run" / "work").glob("checkpoint-*/part-1.safetensors")
    content = bytearray(part.read_bytes())
    content[-3] ^= 1  # of a weight, or of a moment: the file is as readable as before
    part.write_bytes(content)
    *others, last = train(then, "finetune", made, tmp_path / "run", fsdp=then == 2)
    assert "checkpoint-000000004 cannot be read (part-1.safetensors was changed); remove that folder" in last
    assert others == [LOST] * (then - 1)


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True])
def test_stopped_and_resumed_on_two_processes_equals_uninterrupted_bit_for_bit(
    made: dict[str, Path], tmp_path: Path, fsdp: bool
) -> None:
    done(train(2, "logconf", made, tmp_path / "one", fsdp=fsdp))
    assert train(2, "logconf", made, tmp_path / "two", fsdp=fsdp, stop_after=2) == [STOPPED] * 2
    done(train(2, "logconf", made, tmp_path / "two", fsdp=fsdp))
    weights = [tmp_path / name / "result" / "model" / "model.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert curve(tmp_path / "one") == curve(tmp_path / "two")


@pytest.mark.slow
def test_moments_on_the_host_change_nothing_where_weights_lie_in_parts(
    made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    off = {"offload_optimizer": True}
    done(train(2, "adamw", made, tmp_path / "one", fsdp=True))
    raised = train(2, "adamw", made, tmp_path / "two", fsdp=True, execution=off, stop_after=3)
    assert raised == [STOPPED] * 2
    done(train(2, "adamw", made, tmp_path / "two", fsdp=True, execution=off))
    weights = [tmp_path / name / "result" / "model" / "model.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert_alike(alone("adamw"), tmp_path / "two")


@pytest.mark.parametrize("name", ["finetune", pytest.param("lora", marks=pytest.mark.slow)])
def test_layers_that_keep_their_input_only_may_lie_in_parts(
    name: str, made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    done(train(2, name, made, tmp_path / "two", fsdp=True, execution={"gradient_checkpointing": True}))
    assert_alike(alone(name), tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [{"optimizer": "adamw8bit"}, {"mode": "lora", "lora": {**LORA, "base": "nf4"}}],
    ids=["moments in 8 bits", "a base in 4 bits"],
)
def test_two_processes_with_numbers_of_few_bits_train_as_one(
    made: dict[str, Path], tmp_path: Path, changed: dict[str, Any]
) -> None:
    pytest.importorskip("bitsandbytes", reason="the extra qlora is not installed")
    base = make_model(tmp_path / "base", "llama", hidden_size=64, intermediate_size=128)
    settings, inputs, execution = params(**changed), {"rows": made["rows"]}, {"model_path": str(base)}
    done(run_on(1, "finetune", settings, inputs, tmp_path / "one", execution))
    assert run_on(2, "finetune", settings, inputs, tmp_path / "two", execution, stop_after=3) == [STOPPED] * 2
    done(run_on(2, "finetune", settings, inputs, tmp_path / "two", execution))
    assert_alike(tmp_path / "one", tmp_path / "two", 1e-3 if "optimizer" in changed else 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_others_and_nothing_is_lost(
    made: dict[str, Path], tmp_path: Path, rank: int
) -> None:
    often = {"checkpoint_seconds": 0}
    done(train(2, "finetune", made, tmp_path / "one"))
    raised = train(2, "finetune", made, tmp_path / "two", fault=f"finetune.step:5@{rank}", execution=often)
    assert sorted(raised) == sorted([LOST, "exit -9"])
    done(train(2, "finetune", made, tmp_path / "two"))
    assert "resumed at step 4/" in (tmp_path / "two" / "log.txt").read_text()
    weights = [tmp_path / name / "result" / "model" / "model.safetensors" for name in ("one", "two")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("name", ["finetune", "logconf"])
def test_all_processes_repeat_an_update_when_memory_fails_in_one(
    name: str, made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    done(train(2, name, made, tmp_path / "two", fault="update.micro_batch:2@1=nomemory"))
    log = (tmp_path / "two" / "log.txt").read_text()
    assert log.count("out of memory: continuing with micro_tokens=") == 1
    assert measured(tmp_path / "two")["micro_tokens"] < 120
    assert_alike(alone(name), tmp_path / "two")


@pytest.mark.slow
def test_where_weights_lie_in_parts_a_lack_of_memory_goes_on_in_new_processes(
    made: dict[str, Path], alone: Any, tmp_path: Path
) -> None:
    often = {"checkpoint_seconds": 0}
    raised = train(
        2, "finetune", made, tmp_path / "two", fsdp=True, execution=often, fault="update.micro_batch:4@1=nomemory"
    )
    assert raised == [LOST, "Restart: "]
    done(train(2, "finetune", made, tmp_path / "two", fsdp=True))
    assert measured(tmp_path / "two")["micro_tokens"] < 120
    assert_alike(alone("finetune"), tmp_path / "two")


ROWS = [*PROMPTS, "two saws", "q", "the old hen of my big fox"]
READING: dict[str, tuple[str, dict[str, Any], tuple[str, ...], str]] = {  # kind, params, inputs, file of the result
    "label": ("label", params(shard_rows=9), ("rows", "model"), "labels.parquet"),
    "features": ("features", params(), ("rows",), "features.safetensors"),
    "score": ("score", SCORE, ("problems", "pairs"), "scores.parquet"),
    "few_shot": ("few_shot", test_few_shot.params(), ("rows", "examples"), "labels.parquet"),
    "greedy": ("generate", generate_params(), ("asked",), "completions.parquet"),
    "sampled": ("generate", generate_params(**SAMPLED, shard_texts=9), ("asked",), "completions.parquet"),
}


@pytest.fixture(scope="module")
def read(made: dict[str, Path], alone: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The inputs of stages that read rows with a finished model."""
    folder = tmp_path_factory.mktemp("read")
    writer = make_model(folder / "writer", "llama", initializer_range=0.5)
    return {**made, "model": alone("finetune") / "result", "asked": write_problems(folder / "asked", ROWS), "base": writer,
            "examples": made["rows"]}  # fmt: skip


def reads(count: int, name: str, read: dict[str, Path], folder: Path, **options: Any) -> list[str]:
    kind, settings, inputs, _ = READING[name]
    edges = {{"asked": "rows"}.get(one, EDGES.get(one, one)): read[one] for one in inputs}
    return run_on(count, kind, settings, edges, folder, {"model_path": str(read["base"])}, **options)


def assert_same_rows(one: Path, other: Path, file: str) -> None:
    """The same ids in the same order, and numbers that differ by rounding."""
    wanted, found = (
        pq.read_table(folder / "result" / file)
        if file.endswith(".parquet")
        else pa.table({k: list(v) for k, v in load_file(folder / "result" / file).items()})
        for folder in (one, other)
    )
    assert wanted.schema == found.schema
    for name in wanted.column_names:
        columns = [table[name].to_pylist() for table in (wanted, found)]
        if pa.types.is_floating(wanted.schema.field(name).type) or pa.types.is_list(wanted.schema.field(name).type):
            for before, after in zip(*columns, strict=True):
                np.testing.assert_allclose(after, before, atol=1e-6, rtol=1e-6, err_msg=name)
        else:
            assert columns[0] == columns[1]


@pytest.mark.parametrize("name", READING)
def test_rows_that_two_processes_share_are_read_as_by_one(name: str, read: dict[str, Path], tmp_path: Path) -> None:
    done(reads(1, name, read, tmp_path / "one"))
    done(reads(2, name, read, tmp_path / "two"))
    assert_same_rows(tmp_path / "one", tmp_path / "two", READING[name][3])
    wanted, found = returned(tmp_path / "one"), returned(tmp_path / "two")
    assert wanted.keys() == found.keys()
    assert [found[key] for key in ("rows",)] == [wanted[key] for key in ("rows",)]


@pytest.mark.parametrize("name", ["label", "sampled"])
@pytest.mark.parametrize("counts", [(2, 1), (1, 2)])
def test_shards_of_some_processes_are_continued_by_others(
    name: str, counts: tuple[int, int], read: dict[str, Path], tmp_path: Path
) -> None:
    kind, *_, file = READING[name]
    first, then = counts
    done(reads(then, name, read, tmp_path / "one"))
    raised = reads(first, name, read, tmp_path / "two", fault=f"{kind}.step:3@{first - 1}")
    assert sorted(raised) == sorted(["exit -9", *[LOST] * (first - 1)])
    assert len([path for path in (tmp_path / "two" / "work").glob("shard-*") if "part" not in path.name]) == 2
    done(reads(then, name, read, tmp_path / "two"))
    assert_same_rows(tmp_path / "one", tmp_path / "two", file)


def test_rows_that_are_shared_stop_in_all_processes(read: dict[str, Path], tmp_path: Path) -> None:
    assert reads(2, "label", read, tmp_path, stop_after=1, stops=1) == [STOPPED] * 2
    done(reads(2, "label", read, tmp_path))
