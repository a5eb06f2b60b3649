"""Combination rules: co-supervision, voters and options that mean nothing, and the rules' files."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.unit.combining.test_combining import soft_votes, votes_of
from w2s_cli.combining import Votes, load_rule
from w2s_cli.errors import UserError
from w2s_cli.plugins import code_names

ROOT = Path(__file__).parents[3]
RULES = sorted(path.stem for path in (ROOT / "configs" / "combine").glob("*.yaml"))


# -- co-supervision ----------------------------------------------------------------------------------------------------


def test_each_row_goes_to_the_supervisor_closest_to_the_student() -> None:
    rng = np.random.default_rng(2)
    votes = soft_votes(student_p=rng.dirichlet(np.ones(3), 50))
    assert votes.student_p is not None
    found = load_rule("co_supervised")(votes)
    assigned = []
    for row, student in enumerate(votes.student_p):
        who = [s for s in range(4) if votes.voted[s, row]]
        if not who:
            assert not found.covered[row]
            continue
        teacher = min(who, key=lambda s: float(-(votes.p[s, row] * np.log(student)).sum()))
        assigned.append(teacher)
        label = votes.p[teacher, row]
        assert found.covered[row] == (label.argmax() == student.argmax())
        if found.covered[row]:
            np.testing.assert_allclose(found.p[row], label)
    np.testing.assert_allclose(found.diagnostics["assigned"], np.bincount(assigned, minlength=4) / len(assigned))


def test_consensus_widens_with_top_k_and_margin_and_the_rate_keeps_as_many() -> None:
    student = np.array([[0.5, 0.3, 0.2], [0.45, 0.4, 0.15], [0.1, 0.2, 0.7], [0.6, 0.3, 0.1]])
    votes = votes_of([[1], [1], [2], [2]], 3, student_p=student)
    rule = load_rule("co_supervised")
    assert rule(votes).covered.tolist() == [False, False, True, False]
    assert rule(votes, margin=0.1).covered.tolist() == [False, True, True, False]
    assert rule(votes, top_k=2).covered.tolist() == [True, True, True, False]
    assert rule(votes, denoise="none").covered.all()
    most = rule(votes, denoise="rate", margin=0.1)  # two rows; by the student's probability of the label: rows 2 and 1
    assert most.covered.tolist() == [False, True, True, False]


# -- what means nothing ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["dawid_skene", "metal", "flyingsquid", "majority", "mean_probability"])
def test_voters_who_always_agree_are_believed(rule: str) -> None:
    said = np.random.default_rng(0).integers(0, 2, 200)
    votes = votes_of(np.repeat(said[:, None], 4, axis=1))
    found = load_rule(rule)(votes)
    assert (found.p.argmax(1) == said).all()
    assert np.isfinite(found.p).all()


@pytest.mark.parametrize("rule", [name for name in RULES if name not in ("metal", "flyingsquid")])
def test_one_voter_is_repeated(rule: str) -> None:
    p = np.array([[[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]]])
    found = load_rule(rule)(Votes(p, np.ones((1, 3), bool), np.array([1.0]), p[0]))
    assert found.covered.all()
    assert found.p.argmax(1).tolist() == [0, 1, 1]


@pytest.mark.parametrize("rule", ["metal", "flyingsquid"])
@pytest.mark.parametrize("silent", [0, 1], ids=["two", "three, one silent"])
def test_two_voters_are_too_few_for_label_models_of_pairs(rule: str, silent: int) -> None:
    votes = votes_of([[0, 1] + [-1] * silent] * 5)
    with pytest.raises(UserError, match="at least 3 supervisors that label rows, there are 2"):
        load_rule(rule)(votes)


@pytest.mark.parametrize("rule", RULES)
def test_rows_without_a_vote_have_the_class_balance_and_no_label(rule: str) -> None:
    rng = np.random.default_rng(3)
    table = np.where(rng.random((300, 1)) < 0.8, 1, 0) ^ (rng.random((300, 4)) < 0.2)
    table[7], table[3, 2] = -1, -1
    student = np.tile([0.3, 0.7], (300, 1))
    for prior in (np.array([0.25, 0.75]), None):
        votes = votes_of(table, weights=np.ones(4), student_p=student, prior=prior)
        found = load_rule(rule)(votes)
        balance = np.nanmean(votes.p, axis=1).mean(axis=0) if prior is None else prior
        assert not found.covered[7]
        np.testing.assert_allclose(found.p[7], balance)
        np.testing.assert_allclose(found.p.sum(1), 1)


def test_options_and_data_that_mean_nothing_are_refused() -> None:
    three = votes_of([[0, 1, 2]] * 4, 3)
    for rule, votes, args, message in [
        ("metal", three, {}, "for 2 classes"),
        ("flyingsquid", three, {}, "for 2 classes"),
        ("majority", three, {"output": "share"}, 'Did you mean "shares"'),
        ("weighted", three, {}, "use method=weighted_ensemble"),
        ("weighted", votes_of([[0, 1]], weights=np.array([-1.0, 0.0])), {}, "no supervisor is better than chance"),
        ("weighted", votes_of([[0, 1]], weights=np.ones(2)), {"pool": "logs"}, 'Did you mean "log"'),
        ("co_supervised", three, {}, "give the stage `student`"),
        ("co_supervised", three, {"top_k": 4}, "top_k must be 1 to 3"),
        ("dawid_skene", three, {"smoothing": 0.0}, "smoothing must be above 0"),
        ("metal", votes_of([[0, 0, 0]] * 4), {}, "has a class that never comes"),
        ("flyingsquid", votes_of([[0, 0, 0]] * 4), {}, "has a class that never comes"),
        ("flyingsquid", votes_of([[0, 0, 1], [1, 0, 0], [0, 1, 1], [1, 1, 0]]), {}, "has no triplet"),
        ("metal", votes_of([[0, 1, 0]] * 4), {"start": 0.5}, "start must be between"),
    ]:
        with pytest.raises(UserError, match=message):
            load_rule(rule)(votes, **args)


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "combine").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configuration_names_a_rule_and_all_its_arguments_with_their_defaults(path: Path) -> None:
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    parameters = inspect.signature(load_rule(config["name"])).parameters
    assert config["name"] == path.stem
    assert config["args"] == {name: p.default for name, p in parameters.items() if name != "votes"}


def test_every_rule_has_a_configuration() -> None:
    assert set(code_names("combining")) == set(RULES)
