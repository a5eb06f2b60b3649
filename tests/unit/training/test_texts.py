"""Prompts and completions as tokens: what is learned begins with the tokens after which a model is asked to write, and is the text."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from tests.tiny_models import byte_tokenizer, make_model
from tests.unit.stages.test_few_shot_chat import BRACKETS, CHATML, chat_model
from w2s_cli.errors import UserError
from w2s_cli.training.chat import digest
from w2s_cli.training.texts import Format, as_prompts, as_written, check_written, open_format, text_of
from w2s_cli.training.texts_material import cut

PROMPTS = [
    "Q: 1+1?\nA:", "Q: 1+1?\nA: ", "Q: n\n", "two\n\n", "ends with space ", "x", "é ünï 答え", "<b>tag</b>", "a <|endoftext|>", "  lead",
]  # fmt: skip
COMPLETIONS = [
    "2",
    " 2 ",
    "\n2\n",
    "n",
    "r am",
    "multi\nline\n\ntext",
    "答え: 二",
    "café",
    "🙂 smile",
    "y" * 30,
    "#### 7",
    "- list",
]
LIMIT = 1 << 20
THINKING = (
    "{% for turn in messages %}<|im_start|>{{ turn.role }}\n{{ turn.content.split('</think>')[-1].lstrip('\\n') }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)  # drops reasoning from the assistant's turns, as the templates of DeepSeek-R1


def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama 2's: every text gets a space before it, unknown characters are bytes, and a begin token stands first."""
    characters = [chr(code) for code in range(33, 127)]
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *characters,
        "▁2",
        "▁n",
        ":▁",
        "▁r",
        "ne",
    ]
    merges = [("▁", "2"), ("▁", "n"), (":", "▁"), ("▁", "r"), ("n", "e")]
    vocab = {piece: at for at, piece in enumerate(pieces)}
    tokens = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokens.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokens.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokens.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokens, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def merging() -> PreTrainedTokenizerFast:
    """As GPT-2's, with pieces that reach over the border of prompt and completion."""
    import json

    tokenizer = byte_tokenizer()
    written = json.loads(tokenizer.backend_tokenizer.to_str())
    vocab, merges = written["model"]["vocab"], written["model"]["merges"]
    for first, second in (("Ġ", "2"), ("Ġ", "n"), ("Ċ", "n"), ("Ċ", "Ċ"), (":", "Ġ"), ("#", "#")):
        vocab[first + second] = 256 + len(merges)
        merges.append([first, second])
    written["added_tokens"] = []
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)), eos_token="<|end|>", bos_token="<|end|>"
    )


def ending() -> PreTrainedTokenizerFast:
    """A tokenizer that adds an end token to every text."""
    tokenizer = sentencepiece()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return tokenizer


TOKENIZERS = {"bytes": byte_tokenizer, "merging": merging, "sentencepiece": sentencepiece, "ending": ending}


def plain(tokenizer: Any) -> Format:
    return Format(tokenizer, False, frozenset([int(tokenizer.eos_token_id)]), "\n\n")


def chatting(folder: Path, template: str = CHATML, end: str = "<|im_end|>") -> Format:
    """The format of a chat model whose turns end with `end`."""
    make_model(folder, "llama", vocab_size=300)
    (folder / "generation_config.json").unlink()  # its end token is of another tokenizer
    tokenizer = merging()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "eos_token": end})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return open_format(folder, digest(template), "left", "", trust_remote_code=False)


def pairs() -> tuple[list[str], list[str]]:
    both = [(prompt, completion) for prompt in PROMPTS for completion in COMPLETIONS]
    return [prompt for prompt, _ in both], [completion for _, completion in both]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_learned_prompts_are_the_written_ones_and_completions_decode_to_their_text(name: str) -> None:
    form = plain(TOKENIZERS[name]())
    prompts, completions = pairs()
    asked = as_prompts(form, prompts, (), LIMIT)[1].ids
    learned = as_written(form, prompts, completions)
    for ids, one, completion in zip(asked, learned, completions, strict=True):
        assert one.prompt == ids.tolist()
        assert one.ids[: len(ids)].tolist() == ids.tolist()
        assert one.completion[-1] == form.end
        assert text_of(form, one.completion[:-1]) == completion.strip()
    check_written(form, learned, completions)


@pytest.mark.parametrize("name", ["bytes", "merging"])
def test_prompt_and_completion_are_one_text_with_a_space_between_unless_there_is_one(name: str) -> None:
    form = plain(TOKENIZERS[name]())
    for prompt, text in {"A:": "A: 2", "A: ": "A: 2", "A:\n": "A:\n2"}.items():
        [one] = as_written(form, [prompt], [" 2\n"])
        assert form.tokenizer.decode([*one.prompt, *one.completion[:-1]]) == text


def test_where_no_token_reaches_over_the_border_the_tokens_are_those_of_the_whole_text() -> None:
    form = plain(merging())
    for prompt, apart in {"A:": False, "A: ": True}.items():
        [one] = as_written(form, [prompt], ["n"])
        whole = form.tokenizer(prompt + ("" if prompt[-1].isspace() else " ") + "n")["input_ids"]
        assert ([*one.prompt, *one.completion[:-1]] != whole) == apart


@pytest.mark.parametrize(("template", "end"), [(CHATML, "<|im_end|>"), (BRACKETS, "<|end|>")])
def test_turns_begin_with_the_written_prompt_and_end_with_the_end_of_the_turn(
    tmp_path: Path, template: str, end: str
) -> None:
    form = chatting(tmp_path, template, end)
    prompts, completions = pairs()
    asked = as_prompts(form, prompts, (), LIMIT)
    learned = as_written(form, prompts, completions)
    check_written(form, learned, completions)
    head = asked[0][0]
    for ids, one, prompt, completion in zip(asked[1].ids, learned, prompts, completions, strict=True):
        assert one.prompt == [*head, *ids.tolist()]
        printed = form.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt.strip()}, {"role": "assistant", "content": completion.strip()}],
            tokenize=False,
        )
        assert printed.startswith(form.tokenizer.decode([*one.prompt, *one.completion]))
        assert one.completion[-1] in form.ends
        assert form.tokenizer.convert_ids_to_tokens(one.completion[-1]) == end
        assert text_of(form, one.completion[:-1]) == completion.strip()


def test_demonstrations_of_a_chat_are_earlier_turns(tmp_path: Path) -> None:
    form = chatting(tmp_path)
    heads, asked = as_prompts(form, ["three"], [("one", "1"), ("two", "2")], LIMIT)
    text = form.tokenizer.decode([*heads[2], *asked.ids[0].tolist()])
    turns = [("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2"), ("user", "three")]
    assert (
        text == "".join(f"<|im_start|>{role}\n{said}<|im_end|>\n" for role, said in turns) + "<|im_start|>assistant\n"
    )
    assert asked.shots.tolist() == [2]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("chat", [False, True])
def test_a_prompt_beyond_the_limit_is_cut_on_the_chosen_side_and_its_turn_stays_whole(
    tmp_path: Path, side: str, chat: bool
) -> None:
    form = chatting(tmp_path) if chat else plain(sentencepiece())
    form.tokenizer.truncation_side = side
    heads, asked = as_prompts(form, ["L" + "x" * 300 + "R", "short"], (), 90)
    assert (asked.truncated, asked.empty) == (1, 0)
    ids = [*heads[0], *asked.ids[0].tolist()]
    assert len(ids) == 90
    text = form.tokenizer.decode(ids)
    assert ("R" in text, "Lx" in text) == (side == "left", side == "right")
    if chat:
        assert text.startswith("<|im_start|>user\n")
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
    else:
        assert ids[0] == form.tokenizer.bos_token_id
    [learned] = as_written(form, ["L" + "x" * 300 + "R"], ["yes"])
    [shorter] = cut([[learned]], 90 + len(learned.completion), side)
    assert (shorter.texts[0].prompt, shorter.prompts) == (ids, 1)  # what is learned is what is asked


@pytest.mark.parametrize("chat", [False, True])
def test_an_empty_completion_is_refused_with_its_prompt(tmp_path: Path, chat: bool) -> None:
    form = chatting(tmp_path) if chat else plain(byte_tokenizer())
    for nothing in ("", " \n\t "):
        with pytest.raises(
            UserError, match='an empty completion cannot be learned or scored; its prompt is "the second'
        ):
            as_written(form, ["the first", "the second"], ["text", nothing])
    assert as_written(form, [], []) == []


def test_a_template_that_drops_reasoning_is_refused_with_what_it_prints(tmp_path: Path) -> None:
    form = chatting(tmp_path, THINKING)
    [kept] = as_written(form, ["q"], ["a plain answer"])
    assert text_of(form, kept.completion[:-1]) == "a plain answer"
    message = (
        r'does not print the completion "<think> so </think> four" after its prompt, but "four<\|im_end\|>".*chat=false'
    )
    with pytest.raises(UserError, match=message):
        as_written(form, ["q"], ["<think>\nso\n</think>\n\nfour"])


def test_a_template_without_an_end_token_is_refused(tmp_path: Path) -> None:
    form = chatting(tmp_path, CHATML, "<|end|>")  # its turns end with <|im_end|>, which is no end token
    with pytest.raises(UserError, match=r'prints no end token after the completion "yes".*eos_token.*chat=false'):
        as_written(form, ["q"], ["yes"])


def test_an_end_token_inside_of_a_completion_is_refused(tmp_path: Path) -> None:
    for form, end in ((chatting(tmp_path), "<|im_end|>"), (plain(sentencepiece()), "</s>")):
        texts = [f"one{end}two"]
        with pytest.raises(UserError, match="do not decode to it"):
            check_written(form, as_written(form, ["q"], texts), texts)


def test_a_tokenizer_that_changes_the_text_is_refused_at_the_first_difference() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    form = plain(tokenizer)
    with pytest.raises(UserError, match=r'at character 3 they say "d" instead of "D"'):
        check_written(form, as_written(form, ["q"], ["abcD"]), ["abcD"])


def test_a_text_without_a_token_is_one_end_token_in_writing_and_in_training() -> None:
    form = plain(byte_tokenizer())
    heads, asked = as_prompts(form, ["", "x"], [("a", "b")], LIMIT)
    assert [ids.tolist() for ids in asked.ids] == [[form.end], form.tokenizer("x")["input_ids"]]
    assert (asked.shots.tolist(), asked.empty, len(heads[1])) == ([0, 1], 1, len("a b\n\n"))
    assert as_written(form, [""], ["y"])[0].prompt == [form.end]


def test_the_format_is_refused_without_an_end_token_and_with_another_template(tmp_path: Path) -> None:
    bert = make_model(tmp_path / "bert", "bert")
    with pytest.raises(UserError, match=r"has no end token \(eos_token\), so no text would ever end"):
        open_format(bert, None, "left", "", trust_remote_code=False)
    chat = chat_model(tmp_path / "chat", CHATML)
    for template in (digest("another"), "0" * 64):
        with pytest.raises(UserError, match="has changed since the plan: run the command again"):
            open_format(chat, template, "left", "", trust_remote_code=False)


def test_the_text_of_tokens_ends_before_the_first_stop_string_and_has_no_spaces_at_its_ends() -> None:
    form = plain(byte_tokenizer())
    ids = form.tokenizer("  one. two\n\nthree Q ")["input_ids"]
    assert text_of(form, ids) == "one. two\n\nthree Q"
    assert text_of(form, ids, ["\n\n", "three"]) == "one. two"
    assert text_of(form, ids, ["three", "two"]) == "one."
    assert text_of(form, [*ids, form.end]) == "one. two\n\nthree Q"
    assert text_of(form, []) == ""


@pytest.mark.parametrize("name", TOKENIZERS)
def test_drawn_texts_keep_their_prompt(name: str) -> None:
    draw = random.Random(0)
    letters = "ab 2n:\n#é答r"
    form = plain(TOKENIZERS[name]())
    prompts = ["x" + "".join(draw.choices(letters, k=draw.randrange(12))) for _ in range(300)]
    completions = ["".join(draw.choices(letters, k=draw.randrange(12))) + "z" for _ in range(300)]
    learned = as_written(form, prompts, completions)
    check_written(form, learned, completions)
    asked = as_prompts(form, prompts, (), LIMIT)[1].ids
    assert all(np.array_equal(one.prompt, ids) for one, ids in zip(learned, asked, strict=True))
