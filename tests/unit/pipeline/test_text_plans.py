"""Plans of stages that write, choose and pair texts: what is in their keys, and what is refused before anything runs."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command.test_wrong_commands import assert_refused
from tests.tiny_problems import BOTH, words_of
from tests.unit.pipeline.test_identity import graph_of
from w2s_cli.stages import choose, pair
from w2s_cli.training.chat import digest

Run = Callable[..., subprocess.CompletedProcess[str]]
CLASSIFIER = 'judge: {kind: finetune, role: weak, model: "${weak}", rows: weak_train, labels: truth, train: "${train}"}'
LABELS = ["data.text=question", "data.label=answer"]
WRONG: dict[str, tuple[list[str], list[str], list[str]]] = {  # case → further stages, words, what is said
    "no sample": ([], ["generation.samples=0"], ["generation.samples"]),
    "no token": ([], ["generation.max_new_tokens=0"], ["generation.max_new_tokens"]),
    "no room for a prompt": (
        [], ["generation.max_new_tokens=5000"],
        ['stage "weak_texts": a text may have 5,000 tokens', "reads at most", "none is left for a prompt: set data.new_tokens"],
    ),
    "a negative temperature": ([], ["generation.temperature=-1"], ["generation.temperature"]),
    "no probability": ([], ["generation.top_p=0", "generation.temperature=1"], ["generation.top_p"]),
    "no word": ([], ["generation.top_k=0", "generation.temperature=1"], ["generation.top_k"]),
    "a reward for repeating": ([], ["generation.repetition_penalty=0.5"], ["generation.repetition_penalty"]),
    "an unknown engine": ([], ["generation.engine=tgi"], ["generation.engine", "vllm"]),
    "several greedy samples": (
        [], ["generation.samples=3"],
        ['stage "weak_texts": generation.samples=3 greedy texts of a prompt are all the same: set generation.temperature above 0'],
    ),
    "an empty stop string": ([], ["generation.stop=['']"], ['stage "weak_texts": a stop string is empty']),
    "an empty stop string of the recipe": ([], ["data.stop=[X,'']"], ["a stop string is empty"]),
    "chat without a template": (
        [], ["generation.chat=true"], ["generation.chat=true, but the model", "has no chat template", "choose an instruct model"],
    ),
    "a classifier that should write": (
        [CLASSIFIER, "said: {kind: generate, role: weak, model: judge, rows: test}"], LABELS,
        ['stage "said"', 'its weak model "local" comes from a finetune stage, which makes a classifier of it', "of kind tune"],
    ),
    "a classifier that should learn to write": (
        [CLASSIFIER, 'said: {kind: tune, role: weak, model: judge, rows: weak_train, texts: truth, tune: "${tune}"}'], LABELS,
        ['stage "said"', "comes from a finetune stage"],
    ),
    "no prompt": ([], ["data.prompt=null", *LABELS], ["data.answer is part of a problem: what does a model read? data.prompt=COLUMN"]),
    "no solution": ([], ["data.solution=null"], ['stage "truth" needs the solution of each problem', "data.solution=COLUMN"]),
    "no grader": ([], ["data.grader=null"], ["which rule reads the answers of data=local", "grader=number"]),
    "an unknown grader": ([], ["grader=nummer"], ["nummer", "number"]),
    "an unknown rule": (
        [f"c: {{kind: choose, {BOTH}, rule: {{name: agreemnt}}}}"], [], ['there is no "agreemnt" in choosing/', 'Did you mean "agreement"'],
    ),
    "a rule that pairs, to choose": ([f"c: {{kind: choose, {BOTH}, rule: {{name: ranked}}}}"], [], ['there is no "ranked" in choosing/']),
    "an unknown argument": (
        [f"c: {{kind: pair, {BOTH}, rule: {{name: weak_side, args: {{hihg: 0.9}}}}}}"], [], ['weak_side has no argument "hihg"', '"high"'],
    ),
    "an argument out of its range": (
        [f"c: {{kind: choose, {BOTH}, rule: {{name: errors, args: {{rate: 1.5}}}}}}"], [], ["rate", "1.5"],
    ),
    "an argument with another name": (
        [f"c: {{kind: choose, {BOTH}, rule: {{name: graded, args: {{keep: good}}}}}}"], [], ["keep", "right", "wrong"],
    ),
    "grades of one source of two": (
        ["c: {kind: choose, rows: strong_train, texts: [weak_texts, own_texts], grades: [weak_graded], rule: {name: agreement}}"], [],
        ['stage "c": grades are 1, and texts 2: name one for each of texts, in their order'],
    ),
    "completions that no stage wrote": (
        ['t: {kind: tune, model: "${strong}", rows: strong_train, objective: {name: sft}}'], [],
        ['stage "t": the objective sft learns completions, and the stage names none: texts: STAGE', "(WHOLE), such as text"],
    ),
    "a reference of whole texts": (
        [
            "s: {kind: score, model: \"${strong}\", rows: strong_train, texts: truth}",
            't: {kind: tune, model: "${strong}", rows: strong_train, reference: s, objective: {name: text}}',
        ], [], ["the objective text learns prompts too (WHOLE), and scores are of completions only: leave reference out"],
    ),
    "a stage that is none": ([f"c: {{kind: choose, {BOTH.replace('own_texts', 'own_text')}, rule: {{name: union}}}}"], [], ['"own_text"']),
    "an unknown field of a stage's generation": (
        ['t: {kind: generate, model: "${strong}", rows: test, generation: {temprature: 1.0}}'], [], ["temprature", "temperature"],
    ),
    "a wrong value of a stage's generation": (
        ['t: {kind: generate, model: "${strong}", rows: test, generation: {samples: 0}}'], [], ["generation.samples"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_a_plan_can_see_is_refused_by_the_plan(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path], case: str
) -> None:
    stages, words, said = WRONG[case]
    fields = {word.partition("=")[0] for word in words}  # in place of the usual ones
    usual = [word for word in words_of(tmp_path, tiny_models, *stages) if word.partition("=")[0] not in fields]
    assert_refused(w2s_inside("plan", *usual, *words, code=None), *said)


def keys(w2s_inside: Run, words: list[str]) -> dict[str, str]:
    """Stage → key, as the plan prints them."""
    lines = w2s_inside("plan", *words).stdout.splitlines()
    return {line.split()[0]: line.split()[-3] for line in lines if line.endswith("to run")}


def test_the_plan_names_rules_samples_shots_and_their_sources(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    stages = [
        f"agreed: {{kind: choose, {BOTH}, rule: {{name: agreement}}}}",
        f"pairs: {{kind: pair, {BOTH}, rule: {{name: weak_side}}}}",
        'shown: {kind: generate, model: "${strong}", rows: test, examples: strong_train, texts: weak_texts}',
    ]
    plan = w2s_inside("plan", *words_of(tmp_path, tiny_models, *stages)).stdout
    for text in (
        "local strong_train greedy ", "local strong_train 4 × T 1 ", "local test greedy 4 shots", "strong_train number",
        "strong_train agreement of weak_texts, own_texts", "strong_train weak_side of weak_texts, own_texts", "sft on weak_texts",
    ):  # fmt: skip
        assert text in plan, plan


@pytest.mark.slow
def test_only_what_determines_a_text_is_in_its_key(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    shown = 'shown: {kind: generate, model: "${strong}", rows: test, examples: strong_train, texts: weak_texts}'
    words = words_of(tmp_path, tiny_models, shown, 'bare: {kind: generate, model: "${strong}", rows: test}')
    base = keys(w2s_inside, words)
    assert keys(w2s_inside, [*words, "launcher.eval_tokens=99"]) == base
    other = keys(w2s_inside, [*words, "student.seed=5"])
    assert other["bare"] == base["bare"]  # a greedy text has no seed
    assert other["shown"] != base["shown"]  # the demonstrations are drawn
    told = keys(w2s_inside, [*words, "generation.instruction='Think.'"])
    assert (told["bare"] != base["bare"], told["weak"] == base["weak"]) == (True, True)
    none = keys(w2s_inside, [*words, "generation.shots=0"])
    assert "bare" not in none  # one stage with `shown`: what is not read is no input
    assert none["shown"] == base["bare"]
    file = tmp_path / "shown.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n')
    file_words = [*words, f"generation.demonstrations={file}"]
    assert_refused(w2s_inside("plan", *file_words, "generation.shots=2", code=None), "has 1 demonstrations", "shots=2")
    of_file = keys(w2s_inside, [*words, f"generation.demonstrations={file}", "generation.shots=1"])
    file.write_text('{"prompt": "a", "completion": "c"}\n')
    changed = keys(w2s_inside, [*words, f"generation.demonstrations={file}", "generation.shots=1"])
    assert len({run["shown"] for run in (base, none, of_file, changed)}) == 4
    weak = keys(w2s_inside, [*words, f"generation.demonstrations={file}", "generation.shots=1", "weak.seed=4"])
    assert (weak["weak_texts"] != changed["weak_texts"], weak["shown"] == changed["shown"]) == (True, True)
    sampled = [
        keys(w2s_inside, [*words, "generation.temperature=1", f"student.seed={seed}"])["bare"] for seed in (0, 1)
    ]
    assert len({base["bare"], *sampled}) == 3


def test_an_exam_is_a_chat_where_its_student_is_one_and_its_key_is_as_before_where_it_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    stage = "exam: {kind: exam, student: weak, rows: strong_train, texts: weak_texts, questions_from: weak_train}"
    copied = {"strong": tiny_models["strong"], "weak": tmp_path / "chatty"}
    shutil.copytree(tiny_models["weak"], copied["weak"])
    words = words_of(tmp_path, copied, stage)

    def planned(*more: str) -> tuple[dict[str, Any], str]:
        graph = graph_of(tmp_path, *words, *more)
        found = graph.stages[graph.jobs[0].names["exam"]]
        return found.identity["params"], " ".join(found.about["words"])

    plain, _ = planned()
    assert not {"chat_template", "engine"} & set(plain)
    needed: list[str] = []
    monkeypatch.setattr("w2s_cli.pipeline.resolve.need", lambda module, what: needed.append(module))
    assert planned("method.stages.exam.generation={engine: vllm}")[0] == {**plain, "engine": "vllm"}
    assert needed == ["vllm"]
    (copied["weak"] / "chat_template.jinja").write_text("{{ messages }}")
    params, said = planned()
    assert params == {**plain, "chat_template": digest("{{ messages }}")}
    assert said == "3 questions for each of weak_texts chat"
    assert planned("generation.chat=false")[0] == plain


def test_demonstrations_need_solutions_only_if_they_are_read(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    words = words_of(tmp_path, tiny_models)
    words[words.index("method=tiny_texts")] = "method=shown"
    text = 'name: shown\nstages:\n  shown: {kind: generate, model: "${strong}", rows: test, examples: strong_train}\n'
    (tmp_path / "mine" / "method" / "shown.yaml").write_text(text)
    unread = ("data.solution", "data.grader", "weak", "tune")
    bare = [word for word in words if not word.startswith(unread)]
    assert_refused(w2s_inside("plan", *bare, code=None), 'stage "shown" needs the solution of each problem')
    w2s_inside("plan", *bare, "data.solution=solution")
    w2s_inside("plan", *bare, "generation.shots=0")


def test_a_missing_file_of_demonstrations_is_refused(
    w2s_inside: Run, tmp_path: Path, tiny_models: dict[str, Path]
) -> None:
    shown = 'shown: {kind: generate, model: "${strong}", rows: test, examples: strong_train, texts: weak_texts}'
    words = words_of(tmp_path, tiny_models, shown)
    done = w2s_inside("plan", *words, "generation.demonstrations=none.jsonl", code=None)
    assert_refused(done, "generation.demonstrations", "none.jsonl")


def test_a_rule_that_reads_the_truth_is_told_after_the_run_only_if_it_does() -> None:
    about = {"rows": "strong_train", "rule": "graded", "truth": True}
    assert "graded reads the ground truth of strong_train: a control" in choose.cautions({}, {}, about)[0]
    assert pair.cautions({}, {}, {**about, "truth": False}) == []


@pytest.mark.slow
def test_a_reference_is_computed_only_for_objectives_that_need_it(w2s_inside: Run) -> None:
    words = ["method=w2s_reasoning_pairs", "data=arithmetic"]
    assert "reference" in keys(w2s_inside, [*words, "objective=dpo"])
    free = keys(w2s_inside, [*words, "objective=orpo"])
    assert "reference" not in free
    both = w2s_inside("plan", "-m", *words, "objective=orpo,dpo,simpo").stdout
    assert both.count(" score ") == 1
    plan = w2s_inside("plan", *words, "objective=kto").stdout
    assert "kto on pairs" in plan  # its reference has the texts of other rows without a word in the YAML
