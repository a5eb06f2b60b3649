"""The resources of a stage's job by what the stage is."""

from types import SimpleNamespace
from typing import Any

import pytest

from w2s_cli.errors import UserError
from w2s_cli.run.resources import check_names, resources

LAUNCHER = {
    **{"partition": "main", "account": None, "minutes": 240, "memory_gb": None, "cpus": 4, "gpus": 1, "processes": 1},
    "additional_parameters": {"qos": "long"},
    "resources": {
        "no_model": {"gpus": 0, "cpus": 1},
        "finetune": {"minutes": 600},
        "weak": {"gpus": 2, "minutes": None, "additional_parameters": {"constraint": "a100"}},
        "weak_test": {"gpus": 0},
    },
}


def stage(name: str, kind: str, role: str | None = None) -> Any:
    about = {"role": role, "model": "m"} if role else {}
    return SimpleNamespace(name=name, kind=kind, about=about, of=SimpleNamespace(traits=SimpleNamespace(shared=True)))


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
    check_names(stages, LAUNCHER | {"resources": {"weak": {}, "hop": {}, "pretrain": {}, "pgr": {}}})
    with pytest.raises(UserError, match=r'launcher.resources.weka: .* Did you mean "weak"'):
        check_names(stages, LAUNCHER | {"resources": {"weka": {}}})
