"""The writer: its greedy texts are transformers' own, and nothing but a row's own prompt and draw decides its text."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny_models import make_model
from tests.unit.training.generation.rows import (
    END_ID,
    PROMPTS,
    generated,
    tokens_of,
    units_of,
    writer_of,
    written,
)
from w2s_cli.training.generation import completing
from w2s_cli.training.generation.completing import END, LENGTH, STOP, Unit, Writer, needs_alone

WIDE: dict[str, Any] = {"initializer_range": 0.5}  # texts that differ between prompts, and do not repeat one token
TOGETHER = {
    "gpt2": WIDE,
    "llama": WIDE,
    "grouped": {**WIDE, "num_attention_heads": 4, "num_key_value_heads": 2},
    "qwen2": {**WIDE, "initializer_range": 1.0},
    "qwen3": WIDE,
    "opt": {"init_std": 0.5},
    "gpt_neox": WIDE,
}
APART = {"bloom": WIDE, "mistral": {**WIDE, "sliding_window": 4}, "gemma2": {**WIDE, "sliding_window": 4}}


def model_of(folder: Path, name: str, fields: dict[str, Any]) -> Path:
    return make_model(folder, "llama" if name == "grouped" else name, **fields)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("llama") / "model", "llama", **TOGETHER["grouped"])


@pytest.fixture(scope="module")
def writer(llama: Path) -> Writer:
    return writer_of(llama)


@pytest.mark.parametrize("name", [*TOGETHER, *APART])
def test_greedy_texts_are_transformers_own_alone_and_in_a_padded_batch(tmp_path: Path, name: str) -> None:
    writer = writer_of(model_of(tmp_path, name, {**TOGETHER, **APART}[name]))
    assert writer.alone == (name in APART)
    expected = [generated(writer, ids.tolist()) for ids in tokens_of(writer, PROMPTS)]
    assert len({tuple(ids) for ids in expected}) > 5
    units = units_of(writer, PROMPTS)
    assert [text.ids for text in written(writer, units)] == expected
    assert [written(writer, [unit])[0].ids for unit in units] == expected


@pytest.mark.parametrize("name", APART)
def test_the_trial_tells_models_whose_rows_disturb_each_other(tmp_path: Path, name: str) -> None:
    """Without it their texts would be other ones."""
    writer = writer_of(model_of(tmp_path, name, APART[name]))
    with pytest.raises((NotImplementedError, ValueError, RuntimeError, TypeError, IndexError, AttributeError)):
        written(replace(writer, alone=False), units_of(writer, PROMPTS))


def test_the_trial_tells_a_model_that_ignores_the_mask(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not needs_alone(writer, tokens_of(writer, PROMPTS))
    assert not needs_alone(writer, tokens_of(writer, ["abc", "xyz"]))  # of one length: the trial shortens one
    assert not needs_alone(writer, tokens_of(writer, ["a"]))
    monkeypatch.setattr(completing.decoding, "mask_of", lambda visible: torch.zeros(visible.shape))
    assert needs_alone(writer, tokens_of(writer, PROMPTS))
    assert needs_alone(writer, tokens_of(writer, ["abc", "xyz"]))


def test_the_trial_of_prompts_as_long_as_the_context_stays_within_the_positions(tmp_path: Path) -> None:
    """A GPT-2 has a table of positions: one more would be an error, on a GPU one that ends the process."""
    writer = writer_of(make_model(tmp_path, "gpt2", **WIDE), most=1)
    assert not needs_alone(writer, tokens_of(writer, ["x" * 63, "y" * 63]))


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_texts_are_the_same_in_batches_of_1_7_and_64(tmp_path: Path, family: str, temperature: float) -> None:
    writer = writer_of(make_model(tmp_path, family, initializer_range=0.3), temperature=temperature, seed=3)
    units = units_of(writer, PROMPTS, samples=8)
    whole = written(writer, units)
    for size in (1, 7):
        parts = [text for at in range(0, 64, size) for text in written(writer, units[at : at + size])]
        assert [(text.ids, text.finish) for text in parts] == [(text.ids, text.finish) for text in whole]
        np.testing.assert_allclose([text.log_p for text in parts], [text.log_p for text in whole], atol=1e-3)
    backwards = written(writer, units[::-1])[::-1]
    assert [text.ids for text in backwards] == [text.ids for text in whole]
    mixed = sorted(range(64), key=lambda at: at % 8)  # the samples of a prompt far from each other
    beside = dict(zip(mixed, written(writer, [units[at] for at in mixed]), strict=True))
    assert [beside[at].ids for at in range(64)] == [text.ids for text in whole]
    of_a_prompt = {tuple(text.ids) for text in whole[:8]}
    assert len(of_a_prompt) == (8 if temperature else 1)


def test_rows_that_end_early_leave_the_others_as_they_are(writer: Writer) -> None:
    """Many end tokens: rows leave at different steps, and a row from the end takes the place of each."""
    many = replace(writer, ends=frozenset(range(0, 256, 5)))
    expected = [generated(many, ids.tolist()) for ids in tokens_of(many, PROMPTS)]
    assert len({len(ids) for ids in expected}) > 2
    texts = written(many, units_of(many, PROMPTS))
    assert [text.ids for text in texts] == expected
    assert [text.finish for text in texts] == [END if len(ids) < many.most else LENGTH for ids in expected]


def test_a_common_beginning_is_read_once_and_changes_no_text(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    head, passes = "Q: ab A: no; ", list[tuple[int, ...]]()
    units = units_of(writer, PROMPTS, samples=2)
    expected = [generated(writer, [*tokens_of(writer, [head])[0].tolist(), *unit.prompt.tolist()]) for unit in units]
    forward = Writer._logits

    def counting(self: Writer, ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        passes.append(tuple(ids.shape))
        return forward(self, ids, *rest)

    monkeypatch.setattr(Writer, "_logits", counting)
    begun = writer.read(tokens_of(writer, [head])[0].tolist())
    texts = [
        text for at in (0, 6) for text in writer.write(units[at : at + 6 + 4 * at], begun, lambda done, tokens: None)
    ]
    assert [text.ids for text in texts] == expected
    assert passes[0] == (1, len(head))
    assert [shape for shape in passes[1:] if shape[1] > 1] == [
        (3, len(PROMPTS[2])),
        (4, len(PROMPTS[6])),
        (1, 2),  # beside the longest it would be padding for the most part
    ]  # each distinct prompt once, without the head


def test_all_samples_of_a_prompt_are_in_their_own_draw(writer: Writer) -> None:
    drawing = replace(writer, sampling=replace(writer.sampling, temperature=1.0))
    four = written(drawing, units_of(drawing, PROMPTS, samples=4))
    two = written(drawing, units_of(drawing, PROMPTS, samples=2))
    assert [text.ids for text in two] == [text.ids for at, text in enumerate(four) if at % 4 < 2]
    other = replace(drawing, sampling=replace(drawing.sampling, seed=1))
    assert all(
        a.ids != b.ids for a, b in zip(two, written(other, units_of(other, PROMPTS, samples=2)), strict=True)
    )  # another seed


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_log_p_is_that_of_a_forward_pass_before_all_settings(writer: Writer, temperature: float) -> None:
    settings = {"temperature": temperature, "top_p": 0.9, "top_k": 50, "repetition_penalty": 1.3}
    changed = replace(
        writer, sampling=replace(writer.sampling, **settings), ends=frozenset([END_ID, *range(0, 256, 9)])
    )
    units = units_of(changed, PROMPTS, samples=2)
    finishes = set()
    for unit, text in zip(units, written(changed, units), strict=True):
        prompt = unit.prompt.tolist()
        logits = changed.model(torch.tensor([[*prompt, *text.ids]])).logits[0].log_softmax(-1).detach()
        told = sum(float(logits[len(prompt) - 1 + at, token]) for at, token in enumerate(text.ids))
        finishes.add(text.finish)
        if text.finish == END:  # the end token is one of several
            ends = logits[-1, sorted(changed.ends)]
            assert np.abs(told + ends.numpy() - text.log_p).min() < 1e-3
        else:
            assert told == pytest.approx(text.log_p, abs=1e-3)
    assert finishes == {END, LENGTH}


def test_a_repetition_penalty_counts_prompt_head_and_text(writer: Writer) -> None:
    strong = replace(
        writer, sampling=replace(writer.sampling, repetition_penalty=1.8), ends=frozenset(range(0, 256, 17))
    )
    units = units_of(strong, PROMPTS)
    likely = sorted({token for prompt in units for token in generated(writer, prompt.prompt.tolist())})
    for head in ([], likely[:20]):
        texts = strong.write(units, strong.read(head), lambda done, tokens: None)
        assert [text.ids for text in texts] == [generated(strong, [*head, *unit.prompt.tolist()]) for unit in units]
        assert [text.ids for text in texts] != [generated(writer, [*head, *unit.prompt.tolist()]) for unit in units]


def scripted(writer: Writer, text: str, monkeypatch: pytest.MonkeyPatch, ids: list[int] | None = None) -> Writer:
    """The writer of a model that always writes `text`, or the tokens `ids`, and then end tokens."""
    tokens = [*(tokens_of(writer, [text])[0].tolist() if ids is None else ids), END_ID]

    def logits(
        self: Writer, given: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        steps.append(None)
        made = torch.zeros(len(given), 300)
        made[:, tokens[min(len(steps), len(tokens)) - 1]] = 9.0
        cache.layers[0].length += given.shape[1]
        return made

    steps: list[None] = []
    monkeypatch.setattr(Writer, "_logits", logits)
    monkeypatch.setattr(Writer, "_new_cache", lambda self: completing.new_cache(1))
    return replace(writer, closing={})


@pytest.mark.parametrize(
    ("text", "stop", "finish", "tokens"),
    [
        ("yes.\n\nno", ["\n\n"], STOP, 6),  # over a border of tokens: one token a byte
        ("yes. Question: no", ["Question"], STOP, 13),
        ("yes", ["no"], END, 3),
        ("", ["no"], END, 0),
        ("answer 答え:終わり more", ["答え:終わり"], STOP, 7 + 16),  # 16 tokens, one for each byte, of 6 characters
        ("one two three four", ["four", "two"], STOP, 7),
    ],
)
def test_a_stop_string_ends_a_text_with_the_token_that_completes_it(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, text: str, stop: list[str], finish: str, tokens: int
) -> None:
    one = replace(scripted(writer, text, monkeypatch), stop=tuple(stop), most=40)
    [made] = written(one, units_of(one, ["a"]))
    assert (made.finish, len(made.ids)) == (finish, tokens)


def test_a_stop_string_inside_of_a_token_ends_the_text_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<end>", "<unk>", "▁so", "▁a.b", "\n\nQ", "▁x"]
    tokens = Tokenizer(models.WordLevel(vocab={piece: at for at, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.WhitespaceSplit(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token="<end>", unk_token="<unk>")
    writer = Writer(None, tokenizer, completing.Sampling(), 9, frozenset([0]), (), "fp32")
    for stop, places in {".": [3], "\n": [4], "\n\n": [4], " x": [5], "a.b\n": [4], "so ": [3], "so x": []}.items():
        stopping = replace(writer, stop=(stop,), closing={})
        found = [at for at in (2, 3, 4, 5) if stopping._stopped([2, 3, 4, 5][: at - 1])]
        assert found[:1] == places, stop


@pytest.mark.parametrize("alone", [False, True])
def test_every_text_tells_its_progress_once_also_row_by_row(writer: Writer, alone: bool) -> None:
    told: list[tuple[int, int]] = []
    changed = replace(writer, alone=alone, ends=frozenset(range(0, 256, 5)))
    texts = changed.write(units_of(changed, PROMPTS), changed.read([]), lambda *counts: told.append(counts))
    assert told == sorted(told)
    assert told[-1] == (len(PROMPTS), sum(len(text.ids) + (text.finish == END) for text in texts))


def test_a_prompt_of_another_length_beside_it_moves_no_position(writer: Writer) -> None:
    """A row of one token beside one of 50: the shorter has 49 padded places."""
    one, fifty = Unit("a", 0, np.array([5])), Unit("b", 0, np.arange(50, dtype=np.int64))
    beside = written(writer, [one, fifty])
    assert [text.ids for text in beside] == [written(writer, [unit])[0].ids for unit in (one, fifty)]
    assert beside[0].ids == generated(writer, [5])
