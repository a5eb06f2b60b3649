"""No memory: the training goes on with smaller micro-batches, or says what would fit; and a starved worker starves no other stage."""

import json
import os
import re
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import environment
from tests.tiny_models import make_model
from tests.unit.training.test_models import context, labelled, params, write_rows
from tests.warm import SERVER
from w2s_cli.stages import finetune, label
from w2s_cli.store import keys
from w2s_cli.store.store import Store

Run = Callable[..., subprocess.CompletedProcess[str]]
MIB = 1 << 20

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="address space and peak are Linux's")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """48 rows of 40 tokens, and a model whose activations take 0.5 MiB a token and whose weights take 36 MiB."""
    folder = tmp_path_factory.mktemp("task")
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcde !"), 40)) for _ in range(48)]
    rows = write_rows(folder / "rows", texts, [row % 2 for row in range(48)])
    wide = {"hidden_size": 64, "intermediate_size": 16384, "num_hidden_layers": 3}
    return {"rows": rows, "base": make_model(folder / "base", "llama", **wide)}


def limited(folder: Path, mib: int | None, point: str, work: Callable[..., None], arguments: Sequence[Any]) -> None:
    """Run `work(folder, …)`. From the point of faults.py on the process may have `mib` MiB more than it has then. Writes raised.txt."""
    from w2s_cli.training import loop, shards

    def limit(name: str) -> None:
        if name == point and mib is not None:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * os.sysconf("SC_PAGE_SIZE") + mib * MIB
            resource.setrlimit(resource.RLIMIT_AS, (most, most))

    loop.fault = shards.fault = limit  # type: ignore[attr-defined] # of this process only
    raised = ""
    try:
        work(folder, *arguments)
    except BaseException as error:
        raised = f"{type(error).__name__}: {error}"
        traceback.print_exc()
    (folder / "raised.txt").write_text(raised)


def within(mib: int | None, point: str, folder: Path, work: Callable[..., None], *arguments: Any) -> str:
    """What `work(folder, …)` raised in a process with limited memory. A fork of the test's process would have more: what that has freed."""
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        process = SERVER.Process(target=limited, args=(folder, mib, point, work, arguments))
        process.start()
        process.join()
        if (
            raised := (folder / "raised.txt").read_text()
        ) != "Restart: ":  # then a new process, as the scheduler has it
            return raised


def train(folder: Path, task: dict[str, Path]) -> None:
    """One epoch of a finetune with one batch of all rows; writes its measurements."""
    ctx = context(folder, model_path=str(task["base"]), micro_tokens=8192, gradient_checkpointing=False)
    finetune.run(params(batch_size=48, lr=1e-3, epochs=1.0), {"rows": task["rows"]}, ctx)
    (folder / "measured.json").write_text(json.dumps(ctx.measured))


def predict(folder: Path, rows: Path, model: Path) -> None:
    """Predictions of a finished finetune, in one micro-batch where memory allows it."""
    label.run(params(shard_rows=4096), {"rows": rows, "model": model}, context(folder, eval_tokens=32768))


@linux
@pytest.mark.slow
def test_a_micro_batch_that_does_not_fit_is_halved_until_it_does_and_the_weights_are_the_same(
    tmp_path: Path, task: dict[str, Path]
) -> None:
    weights = []
    for name, mib in (("plenty", None), ("little", 500)):
        assert within(mib, "finetune.step", tmp_path / name, train, task) == ""
        weights.append(load_file(tmp_path / name / "result" / "model" / "model.safetensors"))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=0, msg=name)
    log = (tmp_path / "little" / "log.txt").read_text()
    fitted = int(re.findall(r"out of memory: continuing with micro_tokens=(\d+)", log)[-1])
    assert 40 <= fitted <= 1024  # the first micro-batch had 1,920 tokens, whatever the launcher allowed
    assert json.loads((tmp_path / "little" / "measured.json").read_text())["micro_tokens"] == fitted
    assert "micro_tokens" not in json.loads((tmp_path / "plenty" / "measured.json").read_text())


@linux
@pytest.mark.slow
def test_predictions_are_halved_too(tmp_path: Path, task: dict[str, Path]) -> None:
    model = context(tmp_path / "model", model_path=str(task["base"]))
    finetune.run(params(epochs=0.1), {"rows": task["rows"]}, model)
    found = []
    for name, mib in (("plenty", None), ("little", 300)):
        assert within(mib, "label.step", tmp_path / name, predict, task["rows"], model.result) == ""
        found.append(labelled(tmp_path / name, "p"))
    assert "continuing with eval_tokens=" in (tmp_path / "little" / "log.txt").read_text()
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@linux
def test_a_row_that_does_not_fit_is_told_with_what_would(tmp_path: Path, task: dict[str, Path]) -> None:
    raised = within(30, "finetune.step", tmp_path / "full", train, task)  # gradients alone take 36
    assert re.search(
        r"^UserError: not enough memory for an update with one row, a text of 4\d tokens: .* take 0\.14 GiB of", raised
    )
    assert "train=lora (its weights take 0.04 GiB)" in raised
    assert "micro_tokens" not in raised


@pytest.mark.slow
def test_a_starved_stage_is_told_and_the_next_one_has_a_new_worker(
    w2s_inside: Run, tiny: list[str], tmp_path: Path
) -> None:
    quick = [*tiny, "data.limits={weak_train: 32, strong_train: 32, test: 32}", "outputs=out"]
    done = w2s_inside("train", *quick, code=2, W2S_FAULT="finetune.start:2=nomemory")
    assert "failed: not enough memory (DefaultCPUAllocator: can't allocate memory)" in done.stderr
    stages = {
        path.parent: json.loads(path.read_text()) for path in (tmp_path / "out").glob("stages/finetune/*/record.json")
    }
    processes = [record["run"].rpartition("-")[2] for record in stages.values()]
    assert len(processes) == len(set(processes)) == 2  # the one before and the one after
    w2s_inside("train", *quick)


def test_a_stage_whose_process_cannot_go_on_continues_in_a_new_one(
    w2s_inside: Run, tmp_path: Path, ran: list[str]
) -> None:
    (tmp_path / "mine" / "stages").mkdir(parents=True)
    (tmp_path / "mine" / "method").mkdir()
    (tmp_path / "mine" / "stages" / "halving.py").write_text(HALVING)
    (tmp_path / "mine" / "method" / "twice.yaml").write_text(
        "name: twice\nbase: naive\nstages: {more: {kind: halving}}\n"
    )
    done = w2s_inside("train", *ran, "--config-dir", "mine", "method=twice")
    assert "more: out of memory, continues in a new process with smaller micro-batches" in done.stdout
    (record,) = (tmp_path / "outputs").glob("stages/halving/*/record.json")
    metrics = json.loads((record.parent / "result" / "manifest.json").read_text())["metrics"]
    assert len(set(metrics["processes"])) == 3
    assert not (record.parent / "failed.json").exists()
    assert w2s_inside("train", *ran, "--config-dir", "mine", "method=twice").stdout.count("started") == 0


def test_a_killed_worker_is_told_with_a_micro_batch_that_is_smaller_than_its_own(
    w2s_inside: Run, tiny: list[str]
) -> None:
    done = w2s_inside("train", *tiny, code=1, W2S_FAULT="finetune.step:2")
    advised = re.search(
        r"killed by signal 9 \(out of memory\? What can help: launcher\.micro_tokens=(\d+)\)", done.stderr
    )
    assert advised
    assert int(advised[1]) < 32 * 8  # a batch of 32 rows with up to 8 tokens


HALVING = '''"""halving: works in the third process only."""

from w2s_cli.pipeline.contract import Spec, Traits

VERSION = 1
TRAITS = Traits()


def plan(job) -> Spec:
    return Spec({}, {})


def run(params, inputs, ctx):
    import json
    import os

    from w2s_cli.store.context import Restart

    notes = ctx.work / "processes.json"
    processes = (json.loads(notes.read_text()) if notes.exists() else []) + [os.getpid()]
    notes.write_text(json.dumps(processes))
    if len(processes) < 3:
        raise Restart
    return {"processes": processes}
'''
HUNGRY = """
VERSION = 1
NEUTRAL = {}


def run(params, inputs, ctx):
    import numpy as np

    return {"ones": int(np.ones(params["mib"] << 17).sum())}
"""


@linux
def test_the_peak_of_a_stage_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine" / "stages").mkdir(parents=True)
    traits = "from w2s_cli.pipeline.contract import Spec, Traits\n\nTRAITS = Traits(gives='labels')\n"
    plan = "\n\ndef plan(job, *, mib: int = 1) -> Spec:\n    return Spec(params={'mib': mib}, slug='hungry')\n"
    (tmp_path / "mine" / "stages" / "hungry.py").write_text(f'"""hungry: takes memory."""\n\n{traits}{HUNGRY}{plan}')
    store = Store(tmp_path / "outputs")
    folders = [
        store.prepare(
            keys.identity("hungry", 1, {"mib": mib}, {}),
            name="hungry",
            slug="hungry",
            execution={"folders": [str(tmp_path / "mine")]},
        )
        for mib in (600, 1)
    ]
    words = [sys.executable, "-m", "w2s_cli.run.worker", *map(str, folders)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = (json.loads((folder / "record.json").read_text())["peak_memory_mib"] for folder in folders)
    assert 600 < first < 900
    assert second < first - 500
