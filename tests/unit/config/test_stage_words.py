"""Words of a method's stages and of rules: a stage of a base is changed like an own one, and the rule's code is the check."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.config.test_sweeps import configurations
from w2s_cli.cli import dispatch
from w2s_cli.config import compose
from w2s_cli.config.sweeps import Composed

PAIRS = ["method=w2s_reasoning_pairs", "data=arithmetic", "debug=tiny"]
TEXTS = ["method=naive_text", "data=arithmetic", "debug=tiny"]

REFUSED: dict[str, tuple[list[str], str]] = {
    "misspelt stage": (
        [*PAIRS, "method.stages.hybird.rule.args.keep=first"],
        'method "w2s_reasoning_pairs" has no stage "hybird". Did you mean "hybrid"?',
    ),
    "misspelt stage, added": ([*PAIRS, "+method.stages.hybird.rule.args.keep=first"], 'Did you mean "hybrid"'),
    "stage that the method removes": (["method=spin", "method.stages.student.texts=truth"], 'has no stage "student"'),
    "misspelt argument of an inherited stage": ([*PAIRS, "method.stages.hybrid.rule.args.kep=first"], 'mean "keep"'),
    "misspelt argument of an own stage": ([*PAIRS, "method.stages.pairs.rule.args.hgh=0.5"], 'Did you mean "high"'),
    "misspelt part of a rule": ([*PAIRS, "method.stages.hybrid.rule.nam=levels"], 'rule has no "nam"'),
    "unknown stage in an inherited field": ([*PAIRS, "method.stages.pgr.weak=nope"], 'there is no stage "nope"'),
    "field of a name": (
        [*PAIRS, "method.stages.student.texts.x=1"],
        "method.stages.student.texts=again: has no fields; set the whole",
    ),
    "rule without a name": (
        [*TEXTS, "method.stages.student.objective.args.beta=1"],
        "stage \"student\" (tune): objective={'args': {'beta': 1}} names no objective: write {name: NAME, args: {…}}.",
    ),
    "rule that is no mapping": ([*PAIRS, "method.stages.hybrid.rule=levels"], "rule=levels names no rule"),
    "field of a copied model": (
        ["method.stages.student.model.batch_size=4"],
        "method.stages.student.model is a copy of strong: change strong.*.",
    ),
    "argument of a copied loss": (
        ["loss=logconf", "method.stages.student.loss.args.alpha=0.5"],
        "is a copy of loss: change loss.*, or name one for this stage, method.stages.student.loss.name=NAME.",
    ),
    "nothing of a copied loss": (["method.stages.student.loss={}"], "is a copy of loss"),
    "model that is no name": ([*PAIRS, "method.stages.samples.model=[1]"], "model=[1]: must be the name of a stage"),
    "several values without a sweep": (
        [*PAIRS, "method.stages.hybrid.rule.args.keep=first,both"],
        "w2s: method.stages.hybrid.rule.args.keep=first,both: several values in one field are a sweep",
    ),
    "value that needs quotes": ([*PAIRS, "method.stages..x=5"], "cannot read method.stages..x=5"),
    "deleted stage of a base": ([*PAIRS, "~method.stages.pgr_icl"], "method.stages.pgr_icl=null"),
    "no mapping of stages": ([*PAIRS, "method.stages=5"], "stages=5: must be a mapping"),
    "misspelt argument of an objective": (
        [*PAIRS, "objective=dpo", "objective.args.bta=1"],
        'dpo has no argument "bta". Did you mean "beta"? Known: beta, smoothing.',
    ),
    "misspelt argument of a grader": ([*TEXTS, "grader=number", "grader.args.cmpare=1"], 'Did you mean "compare"'),
    "misspelt argument in a sweep": (
        ["-m", *PAIRS, "objective=dpo,ipo", "objective.args.bta=1,2"],
        'dpo has no argument "bta"',
    ),
    "misspelt argument as a name": (["loss=logconf", "loss.args.alpha.x=1"], "args.alpha={'x': 1}: must be a number"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=[name.replace(" ", "-") for name in REFUSED])
def test_a_misspelt_word_is_refused_for_what_is_wrong_with_it(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dispatch(["plan", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_an_inherited_stage_is_changed_like_an_own_one(sign: str) -> None:
    [plain] = configurations(*PAIRS)
    [changed] = configurations(
        *PAIRS, f"{sign}method.stages.hybrid.rule.args.keep=first", f"{sign}method.stages.pairs.rule.args.high=0.9"
    )
    stages, before = changed["method"]["stages"], plain["method"]["stages"]
    assert stages["hybrid"]["rule"] == {"name": "agreement", "args": {"keep": "first"}}
    assert stages["pairs"]["rule"] == {"name": "weak_side", "args": {"low": 0.6, "high": 0.9, "most": 1}}
    assert {**stages, "hybrid": None, "pairs": None} == {**before, "hybrid": None, "pairs": None}
    assert set(changed["method"]) == set(plain["method"])


def test_a_stage_is_removed_added_and_given_fields_of_its_own() -> None:
    [config] = configurations(
        *TEXTS,
        "method.stages.untuned_answers=null",
        "method.stages.more={kind: generate, model: student, rows: strong_train}",
        "method.stages.student.tune.epochs=7",
        "tune.epochs=2",
    )
    stages = config["method"]["stages"]
    assert "untuned_answers" not in stages
    assert stages["more"]["model"] == "student"
    assert stages["student"]["tune"] == {"epochs": 7.0}
    assert stages["ceiling"]["tune"]["epochs"] == 2.0


def test_inherited_stages_and_unwritten_arguments_can_be_swept() -> None:
    values = ["first", "second"]
    swept = configurations("-m", *PAIRS, f"method.stages.hybrid.rule.args.keep={','.join(values)}")
    single = [configurations(*PAIRS, f"method.stages.hybrid.rule.args.keep={value}")[0] for value in values]
    assert swept == single
    swept = configurations("-m", "loss=logconf", "loss.args.center=0.5,0.6", "seed=0,1")
    assert [(job["loss"]["args"]["center"], job["seed"]) for job in swept] == [(0.5, 0), (0.5, 1), (0.6, 0), (0.6, 1)]


def test_the_record_has_the_words_as_typed() -> None:
    words = ["method.stages.hybrid.rule.args.keep=first", "objective=dpo", "objective.args.beta=0.5"]
    found: list[Any] = []

    def take(jobs: list[Composed], folders: list[Path]) -> int:
        found.extend(jobs)
        return 0

    compose.run([*PAIRS, *words], take)
    assert found[0].words == [*PAIRS, *words]
    assert "changes" not in found[0].values["method"]
