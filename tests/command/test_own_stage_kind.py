"""A stage kind of the user's own folder, one .py and one method YAML, is a stage like any other: no line of the package knows it.

The kind trains a model that is averaged with its base (`average`); the method puts it between the student and its labels.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import command, environment, without_free_memory
from w2s_cli.store.keys import KEY_DIGITS

Run = Callable[..., subprocess.CompletedProcess[str]]

KIND = '''
"""average: a finetuned model whose weights are averaged with those that its training began with, step by step."""

import shutil
import time
from pathlib import Path

from w2s_cli.store.context import Stopped
from w2s_cli.pipeline.contract import Edge, Pool, Spec, Traits, Work
from w2s_cli.store.faults import fault
from w2s_cli.store.files import read_json, write_json

VERSION = 1
NEUTRAL = {"power": 1.0}
TRAITS = Traits(gives="model", trains=True)
STEPS = 4


def plan(job, *, model: Edge, rows: Pool, share: float = 0.5, power: float = 1.0) -> Spec:
    settings = model.model
    params = {"share": share, "power": power, "max_length": settings["max_length"]}
    return Spec(
        params,
        {"model": model, "rows": rows},
        slug=f"{settings['name']}-averaged",
        execution=job.opens(settings),
        about={"role": settings["role"], "model": settings["name"], "rows": rows.name},
        words=[f"share {share:g}"],
        model=dict(settings),
    )


def cost(params, amounts) -> Work:
    return Work(3 * amounts.parameters * amounts.tokens("rows"), amounts.tokens("rows"))


def cautions(metrics, params, about):
    return [f"Averaged by {params['share']:g}: mind the {about['role']}."]


def run(params, inputs, ctx):
    from safetensors.numpy import load_file, save_file

    fault("average.start")
    source = Path(inputs["model"]) / "model"
    position = ctx.work / "position.json"
    first = (read_json(position) or {"step": 0})["step"]
    tensors = load_file(ctx.work / "half.safetensors" if first else source / "model.safetensors")
    for step in range(first + 1, STEPS + 1):
        tensors = {name: value * (1 - params["share"] / STEPS) for name, value in tensors.items()}
        save_file(tensors, ctx.work / "half.safetensors.tmp")
        (ctx.work / "half.safetensors.tmp").rename(ctx.work / "half.safetensors")
        write_json(position, {"step": step})
        ctx.record_metric(step, loss=1 / step)
        ctx.progress(step, STEPS, loss=1 / step)
        fault("average.step")
    shutil.copytree(source, ctx.result / "model")
    save_file(tensors, ctx.result / "model" / "model.safetensors", {"format": "pt"})
    ctx.log(f"continued at step {first}")
    return {"steps": STEPS, "share": params["share"]}
'''

METHOD = """
name: averaged
base: naive
stages:
  mean: {kind: average, model: student, rows: strong_train}
  student_test: {model: mean}
"""


@pytest.fixture
def mine(tmp_path: Path) -> list[str]:
    """Words that choose the method of a folder with one kind and one method."""
    folder = tmp_path / "mine"
    (folder / "stages").mkdir(parents=True)
    (folder / "method").mkdir()
    (folder / "stages" / "average.py").write_text(KIND)
    (folder / "method" / "averaged.yaml").write_text(METHOD)
    return [f"--config-dir={folder}", "method=averaged"]


@pytest.mark.slow
def test_a_kind_of_the_users_own_is_planned_priced_run_killed_continued_shown_diffed_and_pruned(
    w2s: Run, w2s_inside: Run, ran: list[str], mine: list[str], tmp_path: Path
) -> None:
    words = [*mine, *ran]  # the stages of the finished run are its inputs
    planned = w2s_inside("plan", *words).stdout
    assert "mean" in planned
    assert "share 0.5" in planned

    killed = subprocess.run(
        command(["train", *words]),
        cwd=tmp_path,
        env=environment(W2S_FAULT="average.step:2"),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert killed.returncode == 1
    assert f"killed by signal {signal.SIGKILL.value}" in killed.stderr
    shutil.copytree(tmp_path / "outputs", tmp_path / "undisturbed", symlinks=True)
    shutil.rmtree(tmp_path / "undisturbed" / "stages" / "average")
    again = w2s("train", *words).stdout
    assert "mean (local): continues at step" in again
    assert "Averaged by 0.5: mind the student." in again
    [folder] = (tmp_path / "outputs" / "stages" / "average").glob("*-*")
    assert "continued at step 2" in (folder / "log.txt").read_text()
    key = folder.name[-KEY_DIGITS:]
    w2s("train", *words, "outputs=undisturbed")
    [other] = (tmp_path / "undisturbed" / "stages" / "average").glob("*-*")
    assert (other / "result" / "manifest.json").read_bytes() == (folder / "result" / "manifest.json").read_bytes()

    assert key in w2s_inside("ls", "average").stdout
    assert "share: 0.5" in w2s_inside("show", key).stdout.replace('"', "")
    assert "PGR" in w2s_inside("train", *words).stdout  # cached
    w2s_inside("report", "--out", "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "mean" in page
    assert key in page

    (tmp_path / "mine" / "method" / "averaged.yaml").write_text(
        METHOD.replace("rows: strong_train", "rows: strong_train, share: 0.2")
    )
    w2s("train", *words, "keep_weights=false")
    runs = sorted((tmp_path / "outputs" / "runs").glob("*/*"))
    differences = w2s_inside("diff", str(runs[-2]), str(runs[-1])).stdout
    assert "share" in differences
    [pruned] = [path for path in (tmp_path / "outputs" / "stages" / "average").glob("*-*") if path != folder]
    assert json.loads((pruned / "record.json").read_text())["pruned"]
    assert not (pruned / "result" / "model" / "model.safetensors").exists()
    assert (folder / "result" / "model" / "model.safetensors").exists()  # another run's


def test_a_kind_of_the_users_own_is_priced(w2s_inside: Run, tiny: list[str], mine: list[str], tmp_path: Path) -> None:
    from w2s_cli.config import compose
    from w2s_cli.config.sweeps import Composed
    from w2s_cli.pipeline import cost
    from w2s_cli.pipeline.build import build
    from w2s_cli.pipeline.resolve import Resolver
    from w2s_cli.store.store import Store

    store = Store(tmp_path / "outputs")
    priced: list[cost.Cost] = []

    def task(jobs: list[Composed], folders: list[Path]) -> int:
        graph = build(jobs, Resolver(store, folders))
        facts = cost.facts(graph, store, None)
        key = next(key for key, stage in graph.stages.items() if stage.kind == "average")
        priced.append(cost.estimate(facts, [key]))
        return 0

    compose.run([*mine, *tiny, "strong.parameters=2"], task)
    assert priced[0].trainings == 1
    assert priced[0].flops == pytest.approx(3 * 2e6 * priced[0].tokens)


WRONG_FIELDS = {
    "a text for a number": ("share: 0.2", "share: high", 'stage "mean" (average): share=high: must be a number'),
    "true for a number": ("share: 0.2", "share: true", 'stage "mean" (average): share=true: must be a number'),
    "a role that no stage has": (
        "share: 0.2}",
        "share: 0.2}\n  ceiling: {role: best}",
        "role=best: must be one of weak",
    ),
    "a model for labels": ("share: 0.2}", "share: 0.2}\n  student: {labels: ceiling}", 'stage "ceiling" gives model'),
    "truth where labels are read": (
        "share: 0.2}",
        "share: 0.2}\n  kept: {kind: boost, rows: strong_train, labels: truth}",
        'stage "kept" (boost): "labels" must name a stage that gives labels; ground truth is no such stage',
    ),
}


@pytest.mark.parametrize(("before", "after", "message"), WRONG_FIELDS.values(), ids=WRONG_FIELDS)
def test_a_wrong_field_of_a_method_is_refused_when_it_is_planned(
    w2s_inside: Run, tiny: list[str], mine: list[str], tmp_path: Path, before: str, after: str, message: str
) -> None:
    method = METHOD.replace("rows: strong_train", "rows: strong_train, share: 0.2").replace(before, after)
    (tmp_path / "mine" / "method" / "averaged.yaml").write_text(method)
    assert message in w2s_inside("plan", *mine, *tiny, code=2).stderr


def test_a_plain_value_has_the_type_of_its_argument_so_1_and_1_0_are_one_stage(
    w2s_inside: Run, tiny: list[str], mine: list[str], tmp_path: Path
) -> None:
    planned = []
    for share in ("1", "1.0"):
        method = METHOD.replace("rows: strong_train", f"rows: strong_train, share: {share}")
        (tmp_path / "mine" / "method" / "averaged.yaml").write_text(method)
        planned.append(w2s_inside("plan", *mine, *tiny).stdout)
    assert without_free_memory(planned[0]) == without_free_memory(planned[1])


WRONG = {
    "no plan": ("VERSION = 1\nTRAITS = None\ndef run(params, inputs, ctx): ...\n", "has no plan"),
    "an error at import": ("1 / 0\n", "failed: ZeroDivisionError"),
    "an annotation without meaning": (KIND.replace("rows: Pool", "rows: Poool"), "Poool"),
    "an error in plan": (KIND.replace("settings = model.model", "settings = model.modell"), "modell"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_kind_says_what_is_wrong(
    w2s_inside: Run, tiny: list[str], mine: list[str], tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "mine" / "stages" / "average.py").write_text(text)
    done = w2s_inside("plan", *mine, *tiny, code=2)
    assert message in done.stderr
    assert "average.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_kind_is_answered_with_the_users_own_too(
    w2s_inside: Run, tiny: list[str], mine: list[str], tmp_path: Path
) -> None:
    (tmp_path / "mine" / "method" / "averaged.yaml").write_text(METHOD.replace("kind: average", "kind: avrage"))
    assert 'unknown kind "avrage". Did you mean "average"?' in w2s_inside("plan", *mine, *tiny, code=2).stderr
