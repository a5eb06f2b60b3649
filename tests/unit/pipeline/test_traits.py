"""What the rest of the program asks of a kind is asked of every kind: each that makes a model, trains, or cuts texts is treated alike."""

from pathlib import Path

import pytest

from tests.unit.pipeline.test_identity import graph_of
from w2s_cli.pipeline import kinds
from w2s_cli.run.pruning import passing_models

READERS = (
    "finetune",
    "few_shot",
    "tune",
)  # labels and features are of the models that these kinds train or prompt


def test_keep_weights_false_prunes_the_models_of_every_kind_that_other_stages_read(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "method=generative_finetuning", "debug=tiny")
    pruned = {graph.stages[key].name for key in passing_models(graph, list(graph.stages))}
    made = {stage.name for stage in graph.stages.values() if stage.of.traits.gives == "model"}
    assert pruned == made
    assert {graph.stages[key].kind for key in passing_models(graph, list(graph.stages))} == {"finetune", "tune"}


def test_a_model_that_no_stage_reads_is_the_result_and_is_kept(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "method=pretrain", "pretrain=wordnet-xs")
    assert passing_models(graph, list(graph.stages)) == []


@pytest.mark.parametrize("name", kinds.kind_names())
def test_a_kind_whose_model_trains_gives_that_model(name: str) -> None:
    traits = kinds.find(name).traits
    assert traits.gives == "model" or not traits.trains


@pytest.mark.parametrize("name", READERS)
def test_cut_texts_are_cautioned_by_every_kind_that_trains_or_prompts(name: str) -> None:
    cautions = kinds.find(name).optional("cautions")
    about = {"model": "gpt2", "role": "student"}
    metrics = {"truncated": {"rows": 30, "share": 0.3}}
    assert cautions is not None
    [line] = cautions(metrics, {"max_length": 64}, about)
    assert "30% of the texts were cut to 64 tokens, the most that gpt2 reads (student)" in line
    [line] = cautions({"truncated": {**metrics["truncated"], "limit": 32}}, {"max_length": 64}, about)
    assert "were cut to 32 tokens" in line  # of a model that reads less than the setting
    assert cautions({"truncated": {"share": 0.001}}, {"max_length": 64}, about) == []
