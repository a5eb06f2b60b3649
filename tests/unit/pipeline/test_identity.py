"""What is in a stage's key, and what is not: one test walks every field of the configuration."""

import gzip
import json
import os
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from tests.conftest import ROOT, sentences, write_jsonl
from w2s_cli.config import compose
from w2s_cli.config import schema as config
from w2s_cli.config.sweeps import Composed
from w2s_cli.data.form import PROBLEM, template_fields
from w2s_cli.errors import UserError
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.graph import Graph
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.store.store import Store


def graph_of(folder: Path, *overrides: str) -> Graph:
    """The graph that a command line means; nothing runs."""
    found: list[Graph] = []

    def plan(jobs: list[Composed], folders: list[Path]) -> int:
        found.append(build(jobs, Resolver(Store(folder / "outputs"), folders)))
        return 0

    compose.run([*overrides, f"outputs={folder / 'outputs'}"], plan)
    return found[0]


def keys_of(folder: Path, *overrides: str) -> dict[str, str]:
    """Stage name → key of a single run."""
    return graph_of(folder, *overrides).jobs[0].names


@pytest.fixture
def fixed(tmp_path: Path) -> list[str]:
    """A run whose models and data are a few bytes that never change; planning does not open them."""
    for name, size in (("weak", 1), ("strong", 2)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text('{"model_type": "gpt2"}')
        (tmp_path / name / "model.safetensors").write_bytes(b"\0" * size)
        (tmp_path / name / "tokenizer.json").write_text("{}")
    data = write_jsonl(tmp_path / "rows.jsonl", sentences(10))
    return [
        "weak=local",
        f"weak.path={tmp_path / 'weak'}",
        "strong=local",
        f"strong.path={tmp_path / 'strong'}",
        "data=local",
        f"data.path={data}",
        "data.text=text",
        "data.label=label",
    ]


GOLDEN = "tests/golden_keys.json"


def test_golden_keys(fixed: list[str], tmp_path: Path) -> None:
    """If this fails, every artifact that users have is lost to them.

    Right, when a loss was changed on purpose, or a version was raised; then run this file with W2S_WRITE_GOLDEN=1.
    """
    found = keys_of(tmp_path, *fixed)
    if os.environ.get("W2S_WRITE_GOLDEN"):
        (ROOT / GOLDEN).write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads((ROOT / GOLDEN).read_text())


STUDENT_SIDE = {"student", "student_test", "pgr"}
STRONG_SIDE = STUDENT_SIDE | {"ceiling", "ceiling_test"}
WEAK_SIDE = {"weak", "labels", "weak_test", *STUDENT_SIDE}
ALL_TRAINED = STRONG_SIDE | WEAK_SIDE

# What a field changes: the stages whose keys differ. () = nothing: it is no part of any identity.
CHANGES: dict[str, tuple[str, set[str]]] = {
    "weak.name": ("other", set()),
    "weak.lr": ("7e-4", WEAK_SIDE),
    "weak.batch_size": ("16", WEAK_SIDE),
    "weak.epochs": ("3", WEAK_SIDE),
    "weak.seed": ("5", WEAK_SIDE),
    "weak.precision": ("bf16", WEAK_SIDE),
    "weak.max_length": ("77", WEAK_SIDE),
    "weak.lr_source": ("reference", set()),
    "weak.gradient_checkpointing": ("true", set()),
    "weak.trust_remote_code": ("true", set()),
    "strong.lr": ("7e-4", STRONG_SIDE),
    "strong.batch_size": ("16", STRONG_SIDE),
    "strong.epochs": ("3", STRONG_SIDE),
    "strong.seed": ("5", STRONG_SIDE),
    "strong.precision": ("bf16", STRONG_SIDE),
    "strong.max_length": ("77", STRONG_SIDE),
    "student.lr": ("7e-4", STUDENT_SIDE),
    "student.batch_size": ("16", STUDENT_SIDE),
    "student.epochs": ("3", STUDENT_SIDE),
    "student.seed": ("5", STUDENT_SIDE),
    "student.precision": ("bf16", STUDENT_SIDE),
    "student.max_length": ("77", STUDENT_SIDE),
    "ceiling.lr": ("7e-4", {"ceiling", "ceiling_test", "pgr"}),
    "train.lr": ("7e-4", ALL_TRAINED),
    "train.epochs": ("1", ALL_TRAINED),
    "train.schedule": ("constant", ALL_TRAINED),
    "train.warmup": ("0.1", ALL_TRAINED),
    "train.optimizer": ("adamw", ALL_TRAINED),
    "train.betas": ("[0.9,0.95]", ALL_TRAINED),
    "train.weight_decay": ("0.1", ALL_TRAINED),
    "train.max_grad_norm": ("1.0", ALL_TRAINED),
    "train.labels": ("hard", STUDENT_SIDE),
    "train.sharpening": ("0.7", set()),  # of sharpened labels only
    "train.head": ('{tokens: [" no", " yes"]}', ALL_TRAINED),
    "stopping.every": ("7", set()),  # nothing is stopped early
    "loss": ("product", STUDENT_SIDE),
    "seed": ("4", {"rows:weak_train", "rows:strong_train", *ALL_TRAINED}),
    "bootstrap": ("100", {"pgr"}),
    "confidence": ("0.9", {"pgr"}),
    "data.name": ("other", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.seed": ("4", {"rows:weak_train", "rows:strong_train", *ALL_TRAINED}),
    "data.test_seed": ("4", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.truncation": ("right", ALL_TRAINED),
    "data.limits.strong_train": ("3", {"rows:strong_train", "labels", *STRONG_SIDE}),
    "data.limits.weak_train": ("3", {"rows:weak_train", *WEAK_SIDE}),
    "data.limits.test": ("3", {"rows:test", "weak_test", "student_test", "ceiling_test", "pgr"}),
    "data.label": ("id", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.balanced": ("true", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.id": ("id", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.group": ("[id]", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.second": ("'{id}'", {"rows:weak_train", "rows:strong_train", "rows:test", *ALL_TRAINED}),
    "data.licence": ("none", set()),
    "data.warning": ("careful", set()),
    "launcher.name": ("cluster", set()),
    "launcher.device": ("cuda", set()),
    "launcher.threads": ("7", set()),
    "launcher.jobs": ("4", set()),
    "launcher.isolate": ("true", set()),
    "launcher.micro_tokens": ("64", set()),
    "launcher.offload_optimizer": ("true", set()),
    "launcher.eval_tokens": ("64", set()),
    "launcher.checkpoint_seconds": ("1", set()),
    "launcher.log_every": ("1", set()),
    "launcher.compile": ("true", set()),
    "tracker": ("[wandb]", set()),
    "launcher.processes": ("2", set()),
    "launcher.fsdp": ("true", set()),
    "launcher.claims": ("lease", set()),
    "launcher.template": ("'ssh node {worker}'", set()),
    "launcher.partition": ("long", set()),
    "launcher.account": ("team", set()),
    "launcher.minutes": ("9", set()),
    "launcher.memory_gb": ("9", set()),
    "launcher.gpu_memory_gb": ("9", set()),
    "launcher.cpus": ("9", set()),
    "launcher.gpus": ("0", set()),
    "launcher.resources.weak": ("{gpus: 0}", set()),
    "launcher.resources": ("{weak: {gpus: 0}}", set()),
    "launcher.additional_parameters.qos": ("long", set()),
    "launcher.additional_parameters": ("{qos: long}", set()),
    "launcher.setup": ("['module load cuda']", set()),
    "launcher.signal_seconds": ("9", set()),
    "launcher.timeouts": ("9", set()),
    "launcher.array_size": ("9", set()),
    "launcher.poll_seconds": ("9", set()),
    "launcher.detach": ("true", set()),
    "keep_weights": ("false", set()),
}


@pytest.mark.parametrize("field", CHANGES)
def test_a_field_changes_the_keys_it_determines_and_no_other(fixed: list[str], tmp_path: Path, field: str) -> None:
    value, expected = CHANGES[field]
    others = [word for word in fixed if not word.startswith(f"{field}=")]
    before, after = keys_of(tmp_path, *fixed), keys_of(tmp_path, *others, f"{field}={value}")
    assert {name for name in before if before[name] != after[name]} == expected


def test_the_walk_covers_every_field_of_a_role_and_of_training() -> None:
    changed = {".".join(name.lstrip("+").split(".")[:2]) for name in CHANGES}
    for group, cls in (("student", config.RoleConfig), ("launcher", config.LauncherConfig)):
        assert {f"{group}.{f.name}" for f in fields(cls)} <= changed
    for field in fields(config.TrainConfig):
        assert f"train.{field.name}" in CHANGES or field.name in ("mode", "lora")


def test_keys_do_not_change_with_the_place_or_the_time_of_the_files(fixed: list[str], tmp_path: Path) -> None:
    before = keys_of(tmp_path, *fixed)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("weak", "strong", "rows.jsonl"):
        shutil.move(tmp_path / name, moved / name)
        os.utime(moved / name, (1, 1))
    (moved / "weak" / "README.md").write_text("a note")
    after = keys_of(tmp_path, *(word.replace(str(tmp_path), str(moved)) for word in fixed))
    assert before == after


def test_keys_change_with_the_bytes_of_data_and_weights(fixed: list[str], tmp_path: Path) -> None:
    before = keys_of(tmp_path, *fixed)
    (tmp_path / "weak" / "model.safetensors").write_bytes(b"\1")
    weights = keys_of(tmp_path, *fixed)
    assert {name for name in before if before[name] != weights[name]} == WEAK_SIDE
    write_jsonl(tmp_path / "rows.jsonl", sentences(10, seed=1))
    rows = keys_of(tmp_path, *fixed)
    assert all(weights[name] != rows[name] for name in rows)


def test_an_integer_for_a_float_is_the_same_value(fixed: list[str], tmp_path: Path) -> None:
    assert keys_of(tmp_path, *fixed, "train.epochs=1", "weak.lr=1") == keys_of(
        tmp_path, *fixed, "train.epochs=1.0", "weak.lr=1.0"
    )


def test_an_edited_loss_changes_the_keys_of_what_it_trains(fixed: list[str], tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "loss").mkdir(parents=True)
    (mine / "losses").mkdir()
    (mine / "loss" / "halved.yaml").write_text("name: halved\n")
    code = "def halved(logits, labels, *, progress, by: float = 2):\n    return (logits - labels).pow(2).mean() / by\n"
    words = [*fixed, "--config-dir", str(mine), "loss=halved"]

    def keys_with(text: str) -> dict[str, str]:
        (mine / "losses" / "halved.py").write_text(text)
        return keys_of(tmp_path, *words)

    before = keys_with(code)
    assert keys_with('"""Half of it."""\n\n' + code + "# the end\n") == before
    after = keys_with(code.replace("/ by", "/ by / by"))
    assert {name for name in before if before[name] != after[name]} == STUDENT_SIDE


def test_seeds_are_the_same_stages_as_a_sweep_over_seed(fixed: list[str], tmp_path: Path) -> None:
    many, sweep = graph_of(tmp_path, *fixed, "seeds=3"), graph_of(tmp_path, "-m", *fixed, "seed=2,0,1")
    assert set(many.stages) == set(sweep.stages)
    assert len(many.summaries) == len(sweep.summaries) == 1


def test_a_sweep_asks_for_shared_stages_once(fixed: list[str], tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "-m", *fixed, "loss=xent,logconf,product", "seed=0,1")
    finetuned = [stage for stage in graph.stages.values() if stage.kind == "finetune"]
    assert sum(stage.name == "weak" for stage in finetuned) == 2
    assert sum(stage.name == "ceiling" for stage in finetuned) == 2
    assert sum(stage.name == "student" for stage in finetuned) == 6


def test_labels_from_a_file_leave_no_weak_model_in_the_graph(fixed: list[str], tmp_path: Path) -> None:
    labels = write_jsonl(tmp_path / "labels.jsonl", [{"id": f"train-{n}", "label": 1} for n in range(10)])
    names = keys_of(tmp_path, *fixed, "labels=file", f"labels.path={labels}")
    assert "weak" not in names
    assert "weak_test" not in names
    assert names["student"] != keys_of(tmp_path, *fixed)["student"]


def test_every_yaml_composes_and_binds_to_its_code(fixed: list[str], tmp_path: Path) -> None:
    for group in ("loss", "train", "launcher", "debug"):
        for path in sorted((ROOT / "configs" / group).glob("*.yaml")):
            graph_of(tmp_path, *fixed, f"{group}={path.stem}")


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_model_yaml_fits_the_schema(path: Path) -> None:
    import yaml

    known = set(config.field_names(config.ModelConfig))
    written = yaml.safe_load(path.read_text())
    assert set(written) <= known
    given = [name for name in ("id", "path") if written.get(name)]
    assert len(given) == (0 if path.stem == "local" else 1)
    assert written["lr_source"] in ("reference", "guess", "validation")


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "data").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_data_yaml_fits_the_schema_and_its_recipe(path: Path, fixed: list[str], tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    import yaml

    given = [] if path.stem == "local" else [word for word in fixed if not word.startswith("data")]
    words = fixed if path.stem == "local" else [*given, f"data={path.stem}", f"data.path={tmp_path / 'folder'}"]
    recipe = yaml.safe_load(path.read_text())
    columns = [recipe.get("text"), recipe.get("label"), recipe.get("id"), *(recipe.get("group") or [])]
    columns += [*template_fields(recipe.get("template") or ""), *template_fields(recipe.get("second") or "")]
    parts = [recipe.get(part) or "" for part in PROBLEM]
    columns += [column for part in parts for column in (template_fields(part) if "{" in part else [part])]
    row = {column: "a" for column in columns if column}  # the plan looks for them
    for split in filter(None, recipe["splits"].values()):
        file = tmp_path / "folder" / (split if "." in split else f"{split}.jsonl").replace("*", "h")
        file.parent.mkdir(exist_ok=True, parents=True)
        write_jsonl(file, [row])
        if file.suffix == ".gz":
            file.write_bytes(gzip.compress(file.read_bytes()))
        elif file.suffix == ".json":
            file.write_text(json.dumps([row]))
        elif file.suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist([row]), file)
    if not recipe.get("prompt"):
        assert "pgr" in keys_of(tmp_path, *words)
    elif recipe.get("answer"):
        assert {"texts", "grades"} <= set(keys_of(tmp_path, *words, "method=zero_shot"))
    else:
        with pytest.raises(UserError, match="needs the answer of each problem"):
            keys_of(tmp_path, *words, "method=zero_shot")
