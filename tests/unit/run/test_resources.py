"""The resources of a stage's job by what the stage is."""

from types import SimpleNamespace
from typing import Any

import pytest

from w2s_cli.errors import UserError
from w2s_cli.run.resources import check, in_parts, most_processes, processes_of, resources

LAUNCHER = {
    **{"partition": "main", "account": None, "minutes": 240, "memory_gb": None, "cpus": 4, "gpus": 1},
    **{"name": "slurm", "processes": 1, "fsdp": False},
    "additional_parameters": {"qos": "long"},
    "resources": {
        "no_model": {"gpus": 0, "cpus": 1},
        "finetune": {"minutes": 600},
        "weak": {"gpus": 2, "minutes": None, "additional_parameters": {"constraint": "a100"}},
        "weak_test": {"gpus": 0},
    },
}


def stage(name: str, kind: str, role: str | None = None, **params: Any) -> Any:
    """A stage; one without a role has no model."""
    about = {"role": role, "model": "m"} if role else {}
    traits = SimpleNamespace(shared=True, trains=kind == "finetune")
    return SimpleNamespace(
        name=name, kind=kind, about=about, of=SimpleNamespace(traits=traits), identity={"params": params}
    )


STAGES = [
    stage("weak", "finetune", "weak"),
    stage("weak_test", "label", "weak"),
    stage("student", "finetune", "student"),
    stage("pgr", "evaluate"),
]


def with_resources(own: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return LAUNCHER | {"resources": own} | changed


def test_the_narrowest_name_has_the_last_word() -> None:
    weak = resources(stage("weak", "finetune", "weak"), LAUNCHER)
    assert (weak["gpus"], weak["minutes"], weak["cpus"], weak["partition"]) == (2, 600, 4, "main")
    assert weak["additional_parameters"] == {"qos": "long", "constraint": "a100"}
    assert resources(stage("weak_test", "label", "weak"), LAUNCHER)["gpus"] == 0
    assert resources(stage("pgr", "evaluate"), LAUNCHER)["gpus"] == 0
    assert resources(stage("student", "finetune", "student"), LAUNCHER)["gpus"] == 1


def test_each_process_has_a_gpu_where_the_stage_has_any() -> None:
    two = LAUNCHER | {"processes": 4}
    assert resources(stage("student", "finetune", "student"), two)["gpus"] == 4
    assert resources(stage("weak_test", "label", "weak"), two)["gpus"] == 0
    assert resources(stage("pgr", "evaluate"), two)["gpus"] == 0


def test_a_misspelt_name_is_refused_and_a_role_of_another_run_is_not() -> None:
    stages = [stage("pgr", "evaluate")]
    check(stages, with_resources({"weak": {}, "hop": {}, "pretrain": {}, "pgr": {}}), batch=True)
    for batch in (True, False):
        with pytest.raises(UserError, match=r'launcher.resources.weka: .* Did you mean "weak"'):
            check(stages, with_resources({"weka": {}}), batch=batch)


def test_one_stage_has_several_processes_and_parts_and_the_others_have_none() -> None:
    launcher = with_resources({"student": {"processes": 2, "fsdp": True}})
    assert [processes_of(one, launcher) for one in STAGES] == [1, 1, 2, 1]
    assert [in_parts(one, launcher) for one in STAGES] == [False, False, True, False]
    check(STAGES, launcher, batch=False)
    launcher = with_resources({"finetune": {"processes": 4}, "weak": {"processes": 1}}, processes=2, fsdp=True)
    assert [processes_of(one, launcher) for one in STAGES] == [1, 1, 4, 1]
    assert [in_parts(one, launcher) for one in STAGES] == [False, False, True, False]
    check(STAGES, launcher, batch=False)
    assert [processes_of(one, with_resources({}, processes=3)) for one in STAGES] == [3, 3, 3, 1]


def test_each_process_of_one_stage_has_a_gpu_of_its_job() -> None:
    launcher = with_resources({"student": {"processes": 4}})
    assert [resources(one, launcher)["gpus"] for one in STAGES] == [1, 1, 4, 1]


def test_the_setting_with_the_most_processes_is_named() -> None:
    assert most_processes(with_resources({"weak": {"processes": None}})) == ("launcher.processes", 1)
    assert most_processes(with_resources({"weak": {"processes": 3}}, processes=2)) == (
        "launcher.resources.weak.processes",
        3,
    )


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"no_model": {"processes": 2}}, "launcher.resources.no_model.processes has no effect"),
        ({"pgr": {"processes": 2}}, "launcher.resources.pgr.processes has no effect"),
        (
            {"weak_test": {"processes": 2, "fsdp": True}},
            "launcher.resources.weak_test.fsdp has no effect: .* train nothing",
        ),
        ({"student": {"fsdp": True}}, "set launcher.resources.student.processes=2 or more"),
        (
            {"weak": {"minutes": 5}},
            "launcher.resources.weak.minutes is a setting of a job, and launcher=local has no jobs",
        ),
        ({"weak": {"additional_parameters": {"qos": 1}}}, "weak.additional_parameters is a setting of a job"),
    ],
)
def test_what_has_no_effect_is_refused(own: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(STAGES, with_resources(own, name="local"), batch=False)


def test_the_jobs_of_a_batch_system_have_their_settings() -> None:
    check(STAGES, with_resources({"weak": {"minutes": 5, "additional_parameters": {"qos": 1}}}), batch=True)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer": "adamw8bit"}, "optimizer=adamw8bit has a scale for each 256 values"),
        ({"lora": {"base": "nf4"}}, "a base in nf4 cannot lie in parts"),
    ],
)
def test_quantised_values_are_refused_in_parts_and_only_there(params: dict[str, Any], message: str) -> None:
    stages = [stage("student", "finetune", "student", **params), stage("weak", "finetune", "weak")]
    with pytest.raises(UserError, match=f'stage "student": {message}.*launcher.resources.student.fsdp=false'):
        check(stages, with_resources({"student": {"processes": 2, "fsdp": True}}), batch=False)
    with pytest.raises(UserError, match=r"launcher\.fsdp=false"):
        check(stages, with_resources({}, processes=2, fsdp=True), batch=False)
    check(stages, with_resources({"weak": {"processes": 2, "fsdp": True}}), batch=False)
    probe = stage("student", "finetune", "student", mode="probe", **params)
    check([probe], with_resources({}, processes=2, fsdp=True), batch=False)


def test_parts_need_the_torch_that_can_sum_them(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, whole = with_resources({"student": {"processes": 2, "fsdp": True}}), with_resources({}, processes=2)
    for version in ("2.8.0", "2.10.1+cu128", "3.0.0"):
        monkeypatch.setattr("importlib.metadata.version", lambda _, version=version: version)
        check(STAGES, parts, batch=False)
    for version in ("2.6.0", "2.7.1+cpu"):
        monkeypatch.setattr("importlib.metadata.version", lambda _, version=version: version)
        check(STAGES, whole, batch=False)
        with pytest.raises(
            UserError,
            match=r"launcher\.resources\.student\.fsdp=true needs torch 2\.8 or newer, and 2\.[67]\..* is installed",
        ):
            check(STAGES, parts, batch=False)
