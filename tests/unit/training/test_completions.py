"""The training objective over completions: what carries a loss, the same for any micro-batches and layouts, and stored scores that fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests.stage_files import context
from tests.tiny_models import make_model
from w2s_cli.data.artifacts.completions import completions_table, write_completions
from w2s_cli.data.artifacts.pairs import Origin, Pair, read_pairs, write_pairs
from w2s_cli.data.artifacts.rows import read_problems
from w2s_cli.data.artifacts.scores import LogP, write_log_p
from w2s_cli.errors import UserError
from w2s_cli.objectives import NEEDS, Batch, Rule, load_objective
from w2s_cli.training.attention import packed
from w2s_cli.training.batching import ALONE, PADDED, Layout
from w2s_cli.training.memory import Budget
from w2s_cli.training.models import lora
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.objectives import completions, token_log_p
from w2s_cli.training.objectives.completions import Material
from w2s_cli.training.texts import Written, open_format
from w2s_cli.training.texts_material import cut, cut_sides, digest, material, summary

CPU = torch.device("cpu")
CAUSAL = ("gpt2", "llama", "qwen2", "opt", "gpt_neox")
ROWS = 32
END = 256
Grads = dict[str, Tensor]


def opened(folder: Path, family: str = "llama", seed: int = 0) -> Any:
    """A random model in train mode; its weights are large, so that texts differ in their probability."""
    scale = {"init_std": 0.2} if family == "opt" else {"initializer_range": 0.2}
    return open_language_model(make_model(folder, family, seed, **scale), CPU, {}, 64).train()


def drawn(rows: int = ROWS, seed: int = 0) -> list[Written]:
    random = np.random.default_rng(seed)
    return [
        Written(
            random.integers(0, 256, random.integers(1, 12)).tolist(), [*random.integers(0, 256, size).tolist(), END]
        )
        for size in random.integers(1, 20, rows)
    ]


def with_prompts(texts: Sequence[Written], others: Sequence[Written]) -> list[Written]:
    """The completions of `texts` after the prompts of `others`."""
    return [Written(other.prompt, text.completion) for text, other in zip(texts, others, strict=True)]


def rule_of(name: str, **args: Any) -> Rule:
    return load_objective({"name": name, "args": args})


def material_for(rule: Rule, folder: Path) -> Material:
    """Drawn texts or pairs with log-probabilities under other models, as the rule needs them."""
    chosen = drawn()
    sides = {"chosen": chosen}
    if rule.needs["NEEDS_PAIRS"]:
        sides["rejected"] = with_prompts(drawn(seed=1), chosen)
    if rule.needs["NEEDS_KL"]:
        sides["other"] = with_prompts([*chosen[1:], chosen[0]], chosen)
    names = [
        *(["reference"] if rule.needs["NEEDS_REFERENCE"] else []),
        *(["aligned", "unaligned"] if rule.needs["NEEDS_WEAK"] else []),
    ]
    stored: dict[str, dict[str, Any]] = {side: {} for side in sides}
    for number, name in enumerate(names, start=1):
        model = opened(folder / name, seed=number)
        for side, texts in sides.items():
            budget = Budget(context(folder / "scores", eval_tokens=128), "eval_tokens")
            scores = token_log_p.all_log_p(model, texts, PADDED, "fp32", budget)
            stored[side][name] = [values - 0.5 for values in scores]  # KTO's estimate is then above its bound of 0
    return Material(sides["chosen"], sides.get("rejected"), sides.get("other"), stored)


def update(
    model: Any, learned: Material, rule: Rule, pieces: list[list[int]], layout: Layout | None = None
) -> tuple[float, Grads]:
    """Loss and gradients of one effective batch in these micro-batches."""
    layout = completions.layout_of(model, learned.chosen, "fp32") if layout is None else layout
    made = completions.objective(model, learned, rule, "fp32", layout)
    model.zero_grad()
    loss = 0.0
    for part in made.parts(pieces, 0.0):
        part.backward.backward()  # type: ignore[no-untyped-call]
        loss += float(part.sums["loss"])
    return loss, {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def pieces_of(size: int) -> list[list[int]]:
    order = np.random.default_rng(2).permutation(ROWS).tolist()
    return [order[at : at + size] for at in range(0, ROWS, size)]


def assert_same(found: tuple[float, Grads], expected: tuple[float, Grads], bound: float = 1e-6) -> None:
    assert found[0] == pytest.approx(expected[0], rel=bound)
    assert found[1].keys() == expected[1].keys()
    total = float(torch.stack([slope.norm() for slope in expected[1].values()]).norm())
    apart = float(torch.stack([(found[1][name] - slope).norm() for name, slope in expected[1].items()]).norm())
    assert total > 1e-3
    assert apart < bound * total


@pytest.mark.parametrize("name", ["sft", "text", "dpo", "ipo", "orpo", "kto", "wspo"])
def test_an_effective_batch_is_the_same_in_micro_batches_of_1_4_and_32_rows(tmp_path: Path, name: str) -> None:
    rule = rule_of(name, **({"beta": 0.02} if name in ("dpo", "kto") else {}))
    learned, model = material_for(rule, tmp_path), opened(tmp_path / "model")
    expected = update(model, learned, rule, pieces_of(32))
    for size in (1, 4):
        assert_same(update(model, learned, rule, pieces_of(size)), expected)


@pytest.mark.parametrize("size", [1, 4, 32])
def test_the_estimate_of_kto_is_over_the_effective_batch(tmp_path: Path, size: int) -> None:
    seen: list[float] = []

    def spying(batch: Batch) -> Tensor:
        assert batch.kl is not None
        seen.append(float(batch.kl))
        return batch.chosen.gain

    rule = rule_of("kto")
    learned = material_for(rule, tmp_path)
    model, reference = opened(tmp_path / "model", seed=5), learned.stored["other"]["reference"]
    update(model, learned, rule._replace(function=spying, args={}), pieces_of(size))
    assert learned.other is not None
    own = [float(transformers_log_p(model, text).detach().sum()) for text in learned.other]
    estimate = np.mean([mine - float(theirs.sum()) for mine, theirs in zip(own, reference, strict=True)])
    assert estimate > 1  # else the clamp at 0 would hide it
    assert seen == pytest.approx([estimate] * len(pieces_of(size)), rel=1e-5)


def test_sft_is_the_mean_over_the_completion_tokens_of_the_effective_batch(tmp_path: Path) -> None:
    """As transformers' own loss with −100 on the prompt and on padding."""
    model, texts = opened(tmp_path), drawn()
    longest = max(len(text.ids) for text in texts)
    ids = torch.zeros(ROWS, longest, dtype=torch.long)
    labels = torch.full((ROWS, longest), -100)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.from_numpy(text.ids)
        labels[row, len(text.prompt) : len(text.ids)] = torch.tensor(text.completion)
    model.zero_grad()
    loss = model(ids, labels=labels).loss
    loss.backward()
    slopes = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    assert_same(update(model, Material(texts), rule_of("sft"), pieces_of(4)), (float(loss.detach()), slopes), 2e-6)


@pytest.mark.parametrize("name", ["sft", "dpo"])
def test_packed_rows_padded_rows_and_rows_by_themselves_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rule = rule_of(name)
    learned, model = material_for(rule, tmp_path), opened(tmp_path / "model")
    layout = completions.layout_of(model, learned.chosen, "fp32")
    assert layout.packed
    assert not layout.alone
    together = update(model, learned, rule, pieces_of(32), layout)
    assert_same(update(model, learned, rule, pieces_of(32), ALONE), together)
    monkeypatch.setattr(packed, "usable", lambda model, precision: False)
    assert_same(update(model, learned, rule, pieces_of(32), PADDED), together)


def test_the_random_numbers_of_adapters_are_the_same_whatever_was_drawn_before(tmp_path: Path) -> None:
    """They are a function of the seed, the update and the micro-batch (models/lora.py), in the passes of an estimate too."""
    rule = rule_of("kto")
    learned, model = material_for(rule, tmp_path), opened(tmp_path / "model", seed=5)
    lora.add(model, {"targets": "all-linear", "r": 4, "alpha": 8, "rslora": False, "dropout": 0.5}, 0)
    model.train()
    layout = completions.layout_of(model, learned.chosen, "fp32")
    losses = []
    for state in (1, 2):
        torch.manual_seed(state)
        made = completions.objective(
            model, learned, rule, "fp32", layout, draw=lambda progress, row: lora.seed_dropout(0, progress, row)
        )
        with torch.no_grad():
            for weight in model.parameters():
                if weight.requires_grad and not weight.any():
                    weight.fill_(0.1)  # the second matrix of an adapter begins at 0, and would hide the masks
        losses.append([float(part.sums["loss"]) for part in made.parts(pieces_of(8), 0.25)])
    assert losses[0] == losses[1]


# what carries a loss


def transformers_log_p(model: Any, text: Written) -> Tensor:
    """log softmax of transformers' own logits at the completion's tokens."""
    ids = torch.from_numpy(text.ids.astype(np.int64))[None]
    table = torch.log_softmax(model(ids).logits[0].float(), -1)
    first = max(len(text.prompt), 1)
    return table[first - 1 : -1].gather(1, ids[0, first:, None])[:, 0]


@pytest.mark.parametrize("family", CAUSAL)
def test_token_log_p_is_log_softmax_of_transformers_logits_with_its_gradients(tmp_path: Path, family: str) -> None:
    texts = [*drawn(6), Written([], [5, 6, 7, END])]
    plain = AutoModelForCausalLM.from_pretrained(
        make_model(tmp_path, family, **({"init_std": 0.2} if family == "opt" else {"initializer_range": 0.2}))
    ).eval()  # without dropout
    model = open_language_model(tmp_path, CPU, {}, 64).train()
    expected = torch.cat([transformers_log_p(plain, text) for text in texts])
    found = token_log_p.token_log_p(model, texts, completions.layout_of(model, texts, "fp32"), "fp32")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-6)
    assert len(found) == sum(len(text.completion) for text in texts) - 1  # the first token of a row has no context
    slopes = torch.randn(len(found), generator=torch.Generator().manual_seed(0))
    (expected * slopes).sum().backward()
    (found * slopes).sum().backward()
    known = {name: weight.grad for name, weight in plain.named_parameters() if weight.grad is not None}
    mine = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    assert_same((0.0, mine), (0.0, known), 5e-6)


def test_chunks_of_the_output_layer_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, texts = opened(tmp_path), drawn()
    expected = update(model, Material(texts), rule_of("sft"), pieces_of(32))
    monkeypatch.setattr(token_log_p, "_CHUNK", 7)
    assert_same(update(model, Material(texts), rule_of("sft"), pieces_of(32)), expected)


def asked(model: Any, texts: Sequence[Written], rule: Rule, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens whose probability an update asks for."""
    seen: list[int] = []
    apply = token_log_p._TokenLogP.apply

    def spying(hidden: Tensor, weight: Tensor, targets: Tensor, *others: Any) -> Tensor:
        seen.extend(targets.tolist())
        return apply(hidden, weight, targets, *others)  # type: ignore[no-any-return, no-untyped-call]

    with monkeypatch.context() as patched:
        patched.setattr(token_log_p._TokenLogP, "apply", spying)
        update(model, Material(texts), rule, [list(range(len(texts)))])
    return seen


def test_the_completion_and_its_end_token_carry_the_loss_and_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, texts = opened(tmp_path), drawn(4)
    assert asked(model, texts, rule_of("sft"), monkeypatch) == [token for text in texts for token in text.completion]
    whole = [Written([], [*text.prompt, *text.completion]) for text in texts]
    assert asked(model, whole, rule_of("text"), monkeypatch) == [
        token for text in texts for token in text.ids[1:].tolist()
    ]


def test_the_loss_is_without_the_probability_of_the_prompt_and_with_that_of_the_end(tmp_path: Path) -> None:
    model = opened(tmp_path)
    [text] = drawn(1)
    prompt, end = text.prompt, text.completion[-1:]
    count = len(text.completion)

    def summed(one: Written) -> float:
        return update(model, Material([one]), rule_of("sft"), [[0]])[0] * len(one.completion)

    loss = summed(text)
    log_p = transformers_log_p(model, Written([], text.ids.tolist())).detach()  # of all tokens but the first
    assert loss == pytest.approx(-float(log_p[-count:].sum()), rel=1e-5)
    with_prompt = summed(Written(prompt[:-1], [*prompt[-1:], *text.completion]))
    assert with_prompt - loss == pytest.approx(
        -float(log_p[-count - 1]), rel=1e-4
    )  # the prompt's last token, now learned
    without_end = summed(Written(prompt, text.completion[:-1]))
    assert end == [END]
    assert loss - without_end == pytest.approx(-float(log_p[-1]), rel=1e-4)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (
            lambda batch: batch.chosen.policy.sums.mean(),
            "the objective mine must return one loss for each of 2 rows, not shape []",
        ),
        (lambda batch: 1.0, "for each of 2 rows, not float"),
        (lambda batch: batch.chosen.policy.sums.detach(), "mine returns losses without a gradient"),
        (
            lambda batch: batch.chosen.policy.sums * float("nan"),
            "the objective mine gives nan although all log-probabilities are finite: the fault is in the objective",
        ),
    ],
    ids=["scalar", "float", "no-gradient", "nan"],
)
def test_an_own_objective_that_gives_no_loss_a_row_is_refused(tmp_path: Path, returned: Any, said: str) -> None:
    rule = Rule("mine", returned, {}, dict.fromkeys(NEEDS, False))
    with pytest.raises(UserError) as refused:
        update(opened(tmp_path), Material(drawn(2)), rule, [[0, 1]])
    assert said in str(refused.value)


# cut texts


def test_a_long_prompt_is_cut_on_its_side_in_the_same_way_for_both_texts_of_a_pair() -> None:
    chosen, rejected = Written([1, 2, 3, 4, 5], [6, END]), Written([1, 2, 3, 4, 5], [6, 7, 8, END])
    left, right = (cut([[chosen], [rejected]], 7, side) for side in ("left", "right"))
    assert [one.texts[0].prompt for one in left] == [[3, 4, 5], [3, 4, 5]]
    assert [one.texts[0].prompt for one in right] == [[1, 2, 3], [1, 2, 3]]
    assert [one.texts[0].completion for one in left] == [chosen.completion, rejected.completion]
    assert [(one.prompts, one.completions) for one in left] == [(1, 0), (1, 0)]
    assert summary(left, 7) == {"rows": 1, "share": 1.0, "limit": 7, "completions": 0}


@pytest.mark.parametrize(
    ("side", "room", "kept"),
    [("left", 5, [1, 2, 5, 6, 7]), ("right", 5, [1, 2, 3, 4, 7]), ("left", 3, [5, 6, 7]), ("right", 3, [1, 2, 3])],
)
def test_the_tokens_of_a_template_stay_in_a_cut_prompt_while_there_is_room(
    side: str, room: int, kept: list[int]
) -> None:
    [found] = cut([[Written([1, 2, 3, 4, 5, 6, 7], [8, END], (2, 1))]], room + 2, side)
    assert found.texts == [Written(kept, [8, END])]


def test_a_completion_longer_than_the_context_loses_its_end_and_is_counted() -> None:
    short, long = Written([1, 2], [3, END]), Written([1, 2], [*range(10, 20), END])
    [found] = cut([[short, long]], 8, "left")
    assert found.texts[0] == short
    assert found.texts[1] == Written([2], list(range(10, 17)))
    assert (found.prompts, found.completions) == (1, 1)
    assert summary([found], 8) == {"rows": 1, "share": 0.5, "limit": 8, "completions": 1}


def test_the_texts_of_an_estimate_change_no_cut_of_the_pairs() -> None:
    """A reference that was scored with them serves the objectives without an estimate."""
    pair = {"chosen": [Written([1, 2, 3, 4], [5, END])], "rejected": [Written([1, 2, 3, 4], [6, END])]}
    other = {"other": [Written([1, 2, 3, 4], [7, 8, 9, END])]}
    with_other = cut_sides({**pair, **other}, 5, "left")
    assert {name: with_other[name] for name in pair} == cut_sides(pair, 5, "left")
    assert with_other["other"].texts[0].prompt == [4]


# stored scores


def stage_folders(
    tmp_path: Path, prompts: Sequence[str], chosen: Sequence[str], rejected: Sequence[str]
) -> dict[str, Path]:
    """Folders of rows, texts, and pairs of the same rows."""
    folders = {name: tmp_path / name for name in ("rows", "texts", "pairs", "reference")}
    for folder in folders.values():
        folder.mkdir()
    ids = [f"r{number}" for number in range(len(prompts))]
    pq.write_table(pa.table({"id": ids, "prompt": list(prompts)}), folders["rows"] / "rows.parquet")
    names, count = [(row, 0) for row in ids], len(ids)
    write_completions(folders["texts"], completions_table(names, chosen, [1] * count, ["end"] * count, [None] * count))
    pairs = zip(ids, chosen, rejected, strict=True)
    write_pairs(folders["pairs"], [Pair(row, Origin(a, "truth", 0), Origin(b, "own", 0)) for row, a, b in pairs])
    return folders


PROMPTS, CHOSEN, REJECTED = ["What?", "Why so?"], ["good", "because"], ["no", "well, no"]


def learned_from(
    tmp_path: Path, name: str, folders: dict[str, Path], limit: int = 64
) -> tuple[Material, dict[str, Any]]:
    form = open_format(make_model(tmp_path / "model", "llama"), None, "left", "", trust_remote_code=False)
    return material(form, read_problems(folders["rows"]), folders, rule_of(name), limit, "left")


def tokens_of(text: str) -> int:
    return len(text) + 2  # bytes, with the space before, and the end token


def log_p(texts: Sequence[str], value: float = -1.0) -> list[np.ndarray]:
    return [np.full(tokens_of(text), value, dtype=np.float32) for text in texts]


def test_scores_are_joined_with_the_pairs_that_they_score(tmp_path: Path) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    scores = {"chosen": log_p(CHOSEN, -2.0), "rejected": log_p(REJECTED, -3.0)}
    write_log_p(folders["reference"], ["r0", "r1"], scores)
    learned, facts = learned_from(tmp_path, "dpo", {name: folders[name] for name in ("rows", "pairs", "reference")})
    for side, values in scores.items():
        stored = learned.stored[side]["reference"]
        assert [part.tolist() for part in stored] == [part.tolist() for part in values]
    assert facts["learned"] == sum(map(tokens_of, CHOSEN))
    assert facts["tokens"] == 2 * sum(map(len, PROMPTS)) + sum(map(tokens_of, [*CHOSEN, *REJECTED]))
    assert facts["truncated"] == {"rows": 0, "share": 0.0, "limit": 64, "completions": 0}


@pytest.mark.parametrize(
    ("ids", "chosen", "said"),
    [
        (["r0", "r2"], log_p(CHOSEN), "scores other texts than those of this stage; score these (kind: score)"),
        (["r1", "r0"], log_p(CHOSEN), "scores other texts than those of this stage"),
        (
            ["r0", "r1"],
            log_p(["good", "becaus"]),
            "its model has 8 tokens for a completion of which the trained model has 9: the two must share one tokenizer",
        ),
        (["r0", "r1"], log_p(CHOSEN, float("nan")), "has log-probabilities that are not finite; make it again"),
        (["r0", "r1"], log_p(CHOSEN, float("-inf")), "has log-probabilities that are not finite"),
    ],
    ids=["other-rows", "other-order", "other-tokens", "nan", "infinite"],
)
def test_wrong_scores_are_refused_with_their_reason(
    tmp_path: Path, ids: list[str], chosen: list[np.ndarray], said: str
) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    write_log_p(folders["reference"], ids, {"chosen": chosen, "rejected": log_p(REJECTED)})
    with pytest.raises(UserError) as refused:
        learned_from(tmp_path, "dpo", {name: folders[name] for name in ("rows", "pairs", "reference")})
    assert said in str(refused.value)
    assert str(folders["reference"]) in str(refused.value)


def test_scores_of_texts_are_no_scores_of_pairs(tmp_path: Path) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    write_log_p(folders["reference"], ["r0", "r1"], {"": log_p(CHOSEN)})
    with pytest.raises(UserError, match='has no column "chosen_log_p"'):
        learned_from(tmp_path, "dpo", {name: folders[name] for name in ("rows", "pairs", "reference")})


def test_the_estimate_of_kto_has_the_next_pairs_text_after_the_own_prompt(tmp_path: Path) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    write_log_p(
        folders["reference"],
        ["r0", "r1"],
        {"chosen": log_p(CHOSEN), "rejected": log_p(REJECTED), "other": log_p(CHOSEN[::-1])},
    )
    learned, _ = learned_from(tmp_path, "kto", {name: folders[name] for name in ("rows", "pairs", "reference")})
    assert learned.other == with_prompts(learned.chosen[::-1], learned.chosen)


def test_of_rows_with_one_pair_each_the_estimate_is_that_of_an_older_w2s(tmp_path: Path) -> None:
    """In the pairs' order, and the first one's after the last: published figures stay, and so do stored scores."""
    chosen = ["one", "two", "three", "four"]
    folders = stage_folders(tmp_path, ["a?", "b?", "c?", "d?"], chosen, ["no"] * 4)
    scores = {"chosen": log_p(chosen), "rejected": log_p(["no"] * 4), "other": log_p([*chosen[1:], chosen[0]])}
    write_log_p(folders["reference"], [f"r{number}" for number in range(4)], scores)
    learned, _ = learned_from(tmp_path, "kto", {name: folders[name] for name in ("rows", "pairs", "reference")})
    assert learned.other == with_prompts([*learned.chosen[1:], learned.chosen[0]], learned.chosen)


def write_repeated_pairs(folders: dict[str, Path], rows: Sequence[str], chosen: Sequence[str]) -> None:
    """Pairs of these rows, of which some come several times."""
    pairs = [
        Pair(row, Origin(text, "weak", 0), Origin(f"no {at}", "own", at))
        for at, (row, text) in enumerate(zip(rows, chosen, strict=True))
    ]
    write_pairs(folders["pairs"], pairs)


def scores_of(folders: dict[str, Path], chosen: Sequence[str], others: Sequence[str]) -> dict[str, LogP]:
    rejected = read_pairs(folders["pairs"]).texts("rejected")
    return {"chosen": log_p(chosen), "rejected": log_p(rejected), "other": log_p(others)}


@pytest.mark.parametrize(
    ("rows", "next_rows"),
    [
        (["r0", "r0", "r0", "r1", "r1"], [3, 3, 3, 0, 0]),
        (["r0", "r1", "r1", "r0"], [1, 3, 3, 1]),  # the last pair's next one is of its own row
        (["r1", "r0", "r1"], [1, 2, 1]),
    ],
)
def test_the_estimate_of_kto_has_no_text_of_the_own_row(tmp_path: Path, rows: list[str], next_rows: list[int]) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    chosen = [f"{row} {at}" for at, row in enumerate(rows)]
    write_repeated_pairs(folders, rows, chosen)
    scores = scores_of(folders, chosen, [chosen[place] for place in next_rows])
    inputs = {name: folders[name] for name in ("rows", "pairs", "reference")}
    write_log_p(folders["reference"], rows, scores, digests=dict.fromkeys(scores, "of other tokens"))
    with pytest.raises(UserError, match="reads the same texts as other tokens than the trained model"):
        learned_from(tmp_path, "kto", inputs)
    write_log_p(folders["reference"], rows, scores)  # as an older w2s, which gave such a row its own next text
    with pytest.raises(UserError, match=r"made by an older w2s, which took the row's own text .* \(w2s rm\)"):
        learned_from(tmp_path, "kto", inputs)
    learned, _ = learned_from(tmp_path, "dpo", inputs)  # for which the estimate's scores are not read
    others = with_prompts([learned.chosen[place] for place in next_rows], learned.chosen)
    write_log_p(folders["reference"], rows, scores, digests={"other": digest(others)})
    learned, _ = learned_from(tmp_path, "kto", inputs)
    assert learned.other == others


def test_an_estimate_from_the_pairs_of_a_single_row_is_refused(tmp_path: Path) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    write_repeated_pairs(folders, ["r1"] * 3, ["good"] * 3)
    write_log_p(folders["reference"], ["r1"] * 3, scores_of(folders, ["good"] * 3, ["good"] * 3))
    inputs = {name: folders[name] for name in ("rows", "pairs", "reference")}
    with pytest.raises(
        UserError, match="all its pairs are of row r1, and the estimate of kto needs texts of other prompts"
    ):
        learned_from(tmp_path, "kto", inputs)
    assert len(learned_from(tmp_path, "dpo", inputs)[0].chosen) == 3


def test_a_whole_text_learns_its_prompt_too_and_a_completion_does_not(tmp_path: Path) -> None:
    folders = stage_folders(tmp_path, PROMPTS, CHOSEN, REJECTED)
    inputs = {name: folders[name] for name in ("rows", "texts")}
    whole, facts = learned_from(tmp_path, "text", inputs)
    completion, less = learned_from(tmp_path, "sft", inputs)
    assert facts["tokens"] == less["tokens"] == sum(map(len, PROMPTS)) + sum(map(tokens_of, CHOSEN))
    assert facts["learned"] == facts["tokens"] - len(PROMPTS)  # all but the first of each
    assert less["learned"] == sum(map(tokens_of, CHOSEN))
    assert [text.ids.tolist() for text in whole.chosen] == [text.ids.tolist() for text in completion.chosen]


def test_cut_texts_are_counted_in_the_facts_of_a_stage(tmp_path: Path) -> None:
    folders = stage_folders(tmp_path, ["What? " * 5, "Why?"], ["good", "x" * 40], REJECTED)
    _, facts = learned_from(tmp_path, "sft", {name: folders[name] for name in ("rows", "texts")}, limit=20)
    assert facts["truncated"] == {"rows": 2, "share": 1.0, "limit": 20, "completions": 1}
