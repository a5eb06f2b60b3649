"""Whether few_shot prompts by chat is decided by the plan: by the model's template, which is in the key of the prompted stages alone."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command.test_hub import online
from tests.command.test_wrong_commands import assert_refused
from tests.conftest import without_free_memory
from tests.tiny_hub import COMMIT, tiny_hub
from tests.tiny_models import make_model
from tests.unit.pipeline.test_identity import fixed, graph_of, keys_of
from w2s_cli.errors import UserError

Run = Callable[..., subprocess.CompletedProcess[str]]
PROMPTED = {"student_test", "prompted_test"}
__all__ = ["fixed"]


def params_of(folder: Path, *words: str) -> dict[str, Any]:
    """The identity's params of the prompted student."""
    graph = graph_of(folder, *words, "method=few_shot")
    params: dict[str, Any] = graph.stages[graph.jobs[0].names["student_test"]].identity["params"]
    return params


def test_without_a_template_the_key_is_that_of_a_w2s_without_chats(fixed: list[str], tmp_path: Path) -> None:
    for words in ([], ["few_shot.chat=null"], ["few_shot.chat=false"]):
        params = params_of(tmp_path, *fixed, *words)
        assert "chat_template" not in params
        assert params["separator"] == "\n\n"


def test_the_bytes_of_the_template_are_in_the_key_of_what_is_prompted(fixed: list[str], tmp_path: Path) -> None:
    words, template = [*fixed, "method=few_shot"], tmp_path / "strong" / "chat_template.jinja"
    template.write_text("{{ messages }}")
    chat, plain = keys_of(tmp_path, *words), keys_of(tmp_path, *words, "few_shot.chat=false")
    assert {name for name in plain if plain[name] != chat[name]} == {*PROMPTED, "pgr", "pgr_prompted"}
    assert "separator" not in params_of(tmp_path, *fixed)  # a chat has none
    assert keys_of(tmp_path, *words, "few_shot.chat=true") == chat
    before = params_of(tmp_path, *fixed)["chat_template"]
    template.write_text("{{ messages }} ")
    assert params_of(tmp_path, *fixed)["chat_template"] != before
    edited = keys_of(tmp_path, *words)  # the template is a file of the model too
    assert {name for name in chat if chat[name] != edited[name]} > {*PROMPTED, "pgr", "pgr_prompted"}


def test_a_chat_without_a_template_is_refused_by_the_plan(fixed: list[str], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r'stage "student_test": few_shot\.chat=true, but the model "local" has no chat template'
    ):
        graph_of(tmp_path, *fixed, "method=few_shot", "few_shot.chat=true")  # fmt: skip


def test_the_plan_says_chat_and_refuses_a_separator_in_one(w2s_inside: Run, fixed: list[str], tmp_path: Path) -> None:
    words = ["plan", *fixed, "method=few_shot"]
    assert "5 shots chat" not in w2s_inside(*words).stdout
    (tmp_path / "strong" / "chat_template.jinja").write_text("{{ messages }}")
    assert "5 shots chat" in w2s_inside(*words).stdout
    done = w2s_inside(*words, "few_shot.separator=x", code=None)
    assert_refused(done, "few_shot.separator=x has no effect", "use it with few_shot.chat=false")
    assert_refused(w2s_inside("plan", "few_shot.chat=true", code=None), "no effect with method=naive", "few_shot")


@pytest.mark.slow
def test_of_a_hub_model_the_template_is_fetched_once_and_then_read_from_the_cache(w2s: Run, tmp_path: Path) -> None:
    make_model(tmp_path / "chatty", "qwen2")
    make_model(tmp_path / "plain", "qwen2")
    (tmp_path / "chatty" / "chat_template.jinja").write_text("{{ messages }}")
    words = ["plan", "strong=local", "method=few_shot", "strong.id=org/chatty"]
    (tmp_path / "outputs").mkdir()  # the commit is noted in it
    with tiny_hub({"org/chatty": tmp_path / "chatty", "org/plain": tmp_path / "plain"}) as address:
        environment = online(tmp_path, address)
        asked = w2s(*words, **environment)
        plain = [*words[:3], "strong.id=org/plain"]
        assert "5 shots chat" not in w2s(*plain, **environment).stdout
        assert_refused(w2s(*plain, "few_shot.chat=true", code=None, **environment), "has no chat template")
    assert "5 shots chat" in asked.stdout
    snapshot = tmp_path / "hf" / "hub" / "models--org--chatty" / "snapshots" / COMMIT
    assert {path.name for path in snapshot.iterdir()} == {"config.json", "chat_template.jinja", "tokenizer_config.json"}
    offline = {"HF_HOME": str(tmp_path / "hf")}
    assert without_free_memory(w2s(*words, **offline).stdout) == without_free_memory(asked.stdout)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (snapshot / name).unlink()
    unknown = w2s(*words, "few_shot.chat=true", **offline).stdout  # the stage will tell
    assert "the hub cannot be reached (model org/chatty)" in unknown
