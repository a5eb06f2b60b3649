"""k-shot prompting of an instruct model: the prompt is the template's own, and a shared head changes no logit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny_models import make_model
from tests.unit.stages.test_few_shot import LABELS, TEXTS, params
from tests.unit.training.test_models import context, labelled, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import few_shot
from w2s_cli.training import shots
from w2s_cli.training.chat import at_answer, digest, template_of

CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# as Llama 2 and Mistral: the text joins the brackets, the answer follows a space, spaces at the ends are cut
BRACKETS = (
    "{{ bos_token }}{% for turn in messages %}{% if turn.role == 'user' %}[INST] {{ turn.content | trim }} [/INST]"
    "{% else %} {{ turn.content | trim }}{{ eos_token }}{% endif %}{% endfor %}"
)
TEMPLATES = {"chatml": CHATML, "brackets": BRACKETS}
EXAMPLES = ["ax", "cow", "bed", "newt", "a very long example", "elk"]


def chat_model(folder: Path, template: str | None, family: str = "qwen2") -> Path:
    """A tiny model of one token for each byte, or a space and a letter, whose tokenizer has a chat template."""
    make_model(folder, family, initializer_range=0.3, max_position_embeddings=512, vocab_size=300)
    file = folder / "tokenizer.json"
    written = json.loads(file.read_text())
    for letter in "nyram":
        written["model"]["vocab"][f"Ġ{letter}"] = 257 + len(written["model"]["merges"])
        written["model"]["merges"].append(["Ġ", letter])
    file.write_text(json.dumps(written))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 512
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def chat_params(folder: Path, **changed: Any) -> dict[str, Any]:
    """The params of a stage with turns: labels have a leading space, as the default ones."""
    template = template_of(folder)
    assert template is not None
    return {**params(tokens=[" n", " y"], max_length=512, **changed), "chat_template": digest(template)}


def turns(shown: list[tuple[str, str]], text: str) -> list[dict[str, str]]:
    """The same chat in transformers' own words."""
    chat = []
    for question, answer in shown:
        chat += [{"role": "user", "content": f"{question}:"}, {"role": "assistant", "content": answer}]
    return [*chat, {"role": "user", "content": f"{text}:"}]


@pytest.mark.parametrize("count", [0, 2, 6])
@pytest.mark.parametrize("name", TEMPLATES)
def test_logits_are_the_models_own_on_the_prompt_that_transformers_makes(tmp_path: Path, name: str, count: int) -> None:
    base = chat_model(tmp_path / "base", TEMPLATES[name])
    texts = [f" {text} " for text in TEXTS]  # spaces at the ends count for nothing
    rows = write_rows(tmp_path / "rows", texts, LABELS)
    examples = write_rows(tmp_path / "examples", EXAMPLES, [0, 1, 0, 1, 0, 1])
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)

    def prompt(shown: list[tuple[str, str]], text: str) -> torch.Tensor:
        made = tokenizer.apply_chat_template(turns(shown, text), add_generation_prompt=True, return_tensors="pt")
        ids: torch.Tensor = made["input_ids"]
        return ids

    ids = {f"r{i}": (text, "ny"[label]) for i, (text, label) in enumerate(zip(EXAMPLES, [0, 1] * 3, strict=True))}
    limit = prompt(list(ids.values()), "").shape[1] + 6  # the longest example gives way to a longer text
    ctx = context(tmp_path / "labels", model_path=str(base))
    edges: dict[str, Any] = {"rows": rows, "examples": examples}
    metrics = few_shot.run(chat_params(base, shots=count) | {"max_length": limit}, edges, ctx)

    drawn = [ids[row] for row in metrics["examples"]]
    answer = " {}" if name == "brackets" else "{}"  # after "[/INST]" an answer begins with a space
    words = [tokenizer(answer.format(word), add_special_tokens=False)["input_ids"] for word in "ny"]
    counts: dict[str, int] = {}
    for text, found in zip(TEXTS, labelled(tmp_path / "labels"), strict=True):
        kept = list(drawn)
        while prompt(kept, text).shape[1] > limit:
            kept.remove(max(reversed(kept), key=lambda one: len(one[0])))
        counts[str(len(kept))] = counts.get(str(len(kept)), 0) + 1
        with torch.no_grad():
            logits = model(prompt(kept, text)).logits[0, -1, np.ravel(words)].numpy()
        np.testing.assert_allclose(found, logits, atol=2e-4)
    assert metrics["shots_used"] == counts
    assert (len(counts) > 1) == (count == 6)


def test_the_shared_head_changes_no_logit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = chat_model(tmp_path / "base", CHATML)
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    edges: dict[str, Any] = {"rows": rows, "examples": rows}
    heads: list[int] = []
    read = shots.read_head

    def counting(model: Any, ids: list[int], *rest: Any) -> Any:
        heads.append(len(ids))
        return read(model, ids, *rest)

    monkeypatch.setattr(shots, "read_head", counting)
    few_shot.run(chat_params(base, shots=4), edges, context(tmp_path / "shared", model_path=str(base)))
    monkeypatch.setattr(shots, "read_head", lambda *_: None)
    few_shot.run(chat_params(base, shots=4), edges, context(tmp_path / "whole", model_path=str(base)))
    assert len(heads) == 1  # read once, and it holds all four examples
    assert heads[0] > 4 * len("user: assistant: y")
    np.testing.assert_allclose(labelled(tmp_path / "shared"), labelled(tmp_path / "whole"), atol=1e-5)


def test_a_text_too_long_for_the_context_is_cut_and_its_turn_stays_whole(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base", CHATML)
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = ["x" * 600 + "end", "b", " "]
    tokenizer.truncation_side = "left"
    heads, (queries, counts, cut, empty) = shots.chats(tokenizer, [("a", "n"), ("b", "y")], texts, ":", 100)
    assert (counts.tolist(), cut, empty) == ([0, 2, 2], 1, 1)
    tail = "end:<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(queries[0]).endswith("x" + tail)
    assert len(heads[0]) + len(queries[0]) == 100
    few = write_rows(tmp_path / "rows", ["word"], [1])
    edges: dict[str, Any] = {"rows": few, "examples": write_rows(tmp_path / "examples", EXAMPLES, [0, 1, 0, 1, 0, 1])}
    with pytest.raises(UserError, match=r"no example fits: .* context is 30"):
        few_shot.run(chat_params(base) | {"max_length": 30}, edges, context(tmp_path / "x", model_path=str(base)))


def test_a_prompt_has_the_same_date_every_day_and_no_thoughts_before_the_answer(tmp_path: Path) -> None:
    template = (
        "{{ strftime_now('%Y-%m-%d') }}\n{% for turn in messages %}{{ turn.content }}|{% endfor %}{% if "
        "add_generation_prompt %}A{% if enable_thinking is defined and not enable_thinking %}<none>{% endif %}{% endif %}"
    )
    tokenizer = AutoTokenizer.from_pretrained(chat_model(tmp_path / "base", template))
    prompt, space = at_answer(tokenizer, "?", "yes")
    assert prompt.startswith("26 Jul 2024\n")
    assert prompt.endswith("?|A<none>")
    assert space == ""


def test_the_template_is_the_one_that_the_tokenizer_uses(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base", CHATML)
    config = base / "tokenizer_config.json"
    written = json.loads(config.read_text())
    assert template_of(base) == CHATML  # of chat_template.jinja
    for value, expected in (
        (BRACKETS, CHATML),  # the file comes first
        (BRACKETS, BRACKETS),
        ([{"name": "tool_use", "template": "x"}, {"name": "default", "template": BRACKETS}], BRACKETS),
    ):
        config.write_text(json.dumps({**written, "chat_template": value}))
        assert template_of(base) == expected
        assert AutoTokenizer.from_pretrained(base).get_chat_template() == expected
        (base / "chat_template.jinja").unlink(missing_ok=True)
    for nothing in ({}, {"chat_template": None}, {"chat_template": [{"name": "rag", "template": "x"}]}, []):
        config.write_text(json.dumps(nothing))
        assert template_of(base) is None


def test_a_template_that_is_no_text_is_told_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe{")
    with pytest.raises(UserError, match=r"chat_template\.jinja is not UTF-8"):
        template_of(tmp_path)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('no assistant turns') }}", r"chat template fails: TemplateError: no assistant turns; few_shot\.chat=false"),
        ("{% for turn in messages %}", "chat template fails: TemplateSyntaxError"),
        ("hello", r"does not print the user's text; few_shot\.chat=false"),
    ],
)  # fmt: skip
def test_a_template_that_cannot_print_the_prompt_is_refused(tmp_path: Path, template: str, message: str) -> None:
    base = chat_model(tmp_path / "base", template)
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    edges: dict[str, Any] = {"rows": rows, "examples": rows}
    with pytest.raises(UserError, match=message):
        few_shot.run(chat_params(base), edges, context(tmp_path / "out", model_path=str(base)))


def test_a_template_that_changed_after_the_plan_is_refused(tmp_path: Path) -> None:
    base = chat_model(tmp_path / "base", CHATML)
    planned = chat_params(base)
    for changed in (CHATML + " ", None):
        chat_model(base, changed)
        if changed is None:
            (base / "chat_template.jinja").unlink()
        rows = write_rows(tmp_path / f"rows{changed is None}", TEXTS, LABELS)
        edges: dict[str, Any] = {"rows": rows, "examples": rows}
        with pytest.raises(UserError, match="has changed since the plan"):
            few_shot.run(planned, edges, context(tmp_path / "out", model_path=str(base)))
