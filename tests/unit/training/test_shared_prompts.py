"""Texts of one prompt in one row: the same log-probabilities and gradients as of each text alone, and no row costs more than it saves."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny_models import make_model
from tests.unit.training.test_packed import gradients
from w2s_cli.training.attention import packed
from w2s_cli.training.attention.cpu import BLOCK, LAYOUT, attention, runs
from w2s_cli.training.batching import ALONE
from w2s_cli.training.models.language_model import open_language_model
from w2s_cli.training.objectives.shared_prompts import grouped, length_of, rows_of
from w2s_cli.training.objectives.token_log_p import counted, sharing, token_log_p, tokens_of
from w2s_cli.training.texts import Written

CPU = torch.device("cpu")


def drawn(count: int, seed: int) -> list[int]:
    return torch.randint(3, 200, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


# one prompt with three texts, one with two, one of a single text; no prompt; a prompt and a text of one token
TEXTS = [
    *(Written(drawn(9, 0), drawn(length, length)) for length in (5, 1, 7)),
    Written(drawn(20, 1), drawn(4, 40)),
    Written([], drawn(6, 50)),
    Written(drawn(20, 1), drawn(6, 41)),
    Written(drawn(3, 2), drawn(8, 42)),
    Written([], drawn(6, 50)),
    Written(drawn(1, 3), drawn(1, 43)),
    Written([], drawn(1, 44)),  # nothing of it is predicted
]


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "opt", "gpt_neox"])
def test_log_probabilities_and_gradients_are_those_of_each_text_by_itself(tmp_path: Path, family: str) -> None:
    model = open_language_model(make_model(tmp_path / "base", family, initializer_range=0.3), CPU, {}, 48).train()
    assert sharing(model, TEXTS, "fp32") == [[0, 1, 2], [3, 5], [4], [6], [7], [8], [9]]
    taken = tokens_of(model, [TEXTS[:3], TEXTS[3:6], TEXTS[8:]], "fp32").tolist()
    assert taken == [9 + 4 + 0 + 6, (20 + 3 + 5) + 5, 1 + 1]
    model.double()
    found = token_log_p(model, TEXTS, packed.layout(model), "fp32")
    expected = []
    for text in TEXTS:
        ids = torch.tensor([*text.prompt, *text.completion])
        log_p = model(input_ids=ids.unsqueeze(0)).logits[0].log_softmax(-1)
        expected.append(
            log_p[:-1].gather(1, ids[1:, None])[-counted(text) :, 0] if counted(text) else log_p.new_empty(0)
        )
    assert [len(part) for part in expected] == [counted(text) for text in TEXTS]
    torch.testing.assert_close(found.double(), torch.cat(expected), atol=2e-5, rtol=0)  # log p is fp32
    weight = torch.arange(1.0, len(found) + 1).sin()
    ours, known = gradients(model, found * weight), gradients(model, torch.cat(expected) * weight)
    assert ours.keys() == known.keys()
    most = max(float(slope.norm()) for slope in known.values())  # that of a bias of keys is rounding alone
    for name in known:
        assert (ours[name] - known[name]).norm() <= 1e-5 * most, name  # norms compute in fp32


def test_a_text_costs_no_more_scores_than_its_prompt_saves() -> None:
    pair = [Written(drawn(40, 0), drawn(30, 1)), Written(drawn(40, 0), drawn(30, 2))]
    assert grouped(pair, 64, 1024) == [[0, 1]]
    assert grouped(pair, 64, 97) == [[0], [1]]  # 40 + 29 + 29 tokens are above the limit
    short = [Written(drawn(2, 0), drawn(500, 1)), Written(drawn(2, 0), drawn(500, 2))]
    assert grouped(short, 64, 4096) == [[0], [1]]
    many = [Written(drawn(30, 0), drawn(60, number)) for number in range(20)]
    groups = grouped(many, 64, 1024)
    assert sorted(number for group in groups for number in group) == list(range(20))
    assert 1 < len(groups) < 20
    assert all(length_of([many[number] for number in group]) <= 1024 for group in groups)
    assert grouped([Written([], drawn(6, 50)), Written([], drawn(6, 50))], 64, 1024) == [[0], [1]]


def test_rows_have_the_texts_positions_and_each_target_its_state() -> None:
    texts = [Written([7, 8], [1, 2, 3]), Written([9], [4]), Written([7, 8], [5, 6])]
    rows = rows_of(texts, grouped(texts, 64, 1024))
    assert rows.ids.tolist() == [[7, 8, 1, 2, 5], [9, 0, 0, 0, 0]]
    assert rows.mask.sum(1).tolist() == [5, 1]
    assert rows.branches is not None
    assert rows.branches.positions.tolist()[0] == [0, 1, 2, 3, 2]
    assert rows.branches.of == [[0, 0, 1, 1, 2], [0]]
    assert rows.tails == [4, 1]
    assert rows.targets.tolist() == [1, 2, 3, 4, 5, 6]
    assert rows.places.tolist() == [0, 1, 2, 4, 0, 3]  # 1 and 5 follow the prompt's last token, 6 follows 5


@pytest.mark.parametrize("tails", [False, True])
def test_a_branch_sees_its_beginning_and_itself(tails: bool) -> None:
    lengths, begins = [BLOCK + 150, 60, 58, 9], [100, 20, 58, 4]
    branches = [
        [0] * begin + [1 + (place % 3) // 2 for place in range(length - begin)]
        for length, begin in zip(lengths, begins, strict=True)
    ]
    branches = [sorted(branch) for branch in branches]
    ends = [length - begin + 1 if tails else length for length, begin in zip(lengths, begins, strict=True)]
    total, queries = LAYOUT.room(np.array(lengths)), LAYOUT.room(np.array(ends))
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 2, queries, 8, dtype=torch.float64, generator=generator)
    k, v = torch.randn(2, 1, 2, total, 8, dtype=torch.float64, generator=generator)
    ours = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    plain = [tensor.clone().requires_grad_() for tensor in (q, k, v)]
    found = attention(*ours, 0.3, runs(lengths, torch.float64, ends if tails else None, branches))  # type: ignore[call-arg]
    expected, start, query = [], 0, 0
    for length, end, branch in zip(lengths, ends, branches, strict=True):
        of = torch.tensor(branch)
        place = torch.arange(length - end, length)[:, None]
        seen = (torch.arange(length) <= place) & ((of == 0) | (of == of[place]))
        scores = 0.3 * plain[0][0, :, query : query + end] @ plain[1][0, :, start : start + length].transpose(1, 2)
        share = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        expected.append((share @ plain[2][0, :, start : start + length]).transpose(0, 1))
        start, query = start + length, query + end
    known = torch.cat(expected)
    torch.testing.assert_close(found[0, :query], known, atol=1e-10, rtol=0)
    slope = torch.randn(known.shape, dtype=torch.float64, generator=generator)
    found[0, :query].backward(slope)  # type: ignore[no-untyped-call]
    known.backward(slope)  # type: ignore[no-untyped-call]
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-10, rtol=0)


def test_a_model_whose_rows_stand_alone_shares_nothing(tmp_path: Path) -> None:
    model = open_language_model(make_model(tmp_path / "base", "llama"), CPU, {}, 48)
    together = token_log_p(model, TEXTS, packed.layout(model), "fp32")
    torch.testing.assert_close(token_log_p(model, TEXTS, ALONE, "fp32"), together, atol=1e-5, rtol=0)
