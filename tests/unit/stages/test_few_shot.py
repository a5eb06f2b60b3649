"""k-shot prompting: examples teach (also wrong things), logits are the plain model's on the whole prompt, nothing is cut in silence."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.stage_files import killed
from tests.tiny_models import make_model
from tests.unit.training.test_models import context, labelled, write_rows
from w2s_cli.errors import UserError
from w2s_cli.stages import few_shot
from w2s_cli.training import shots

WORDS = ["saw", "hen"]
TEXTS = ["red hen", "a saw", "old axe", "my fox!", "the big cow", "", "bee", "one saw"]
LABELS = [1, 0, 0, 1, 1, 0, 1, 0]


def params(**changed: Any) -> dict[str, Any]:
    return {
        "model": {"sha256": "0"}, "shots": 2, "tokens": ["n", "y"], "suffix": ":", "separator": ";", "max_length": 64,
        "truncation": "left", "precision": "fp32", "seed": 0, "shard_rows": 4, **changed,
    }  # fmt: skip


def write_labels(folder: Path, classes: list[int], covered: list[bool] | None = None) -> Path:
    folder.mkdir(parents=True)
    p = [[0.8 - 0.6 * c, 0.2 + 0.6 * c] for c in classes]
    table = {"id": [f"r{i}" for i in range(len(classes))], "p": p, **({"covered": covered} if covered else {})}
    pq.write_table(pa.table(table), folder / "labels.parquet")
    return folder


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that learned to learn: in each text the two words have another meaning, said by what came before."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocab = {word: number for number, word in enumerate(["<end>", "<unk>", "no", "yes", *WORDS, ":"])}
    pieces = Tokenizer(models.WordLevel(vocab=vocab, unk_token="<unk>"))
    pieces.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, eos_token="<end>", unk_token="<unk>")
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("highest")  # whatever stages in this process have set
    width = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=7, max_position_embeddings=64, bos_token_id=0, eos_token_id=0, initializer_range=0.2, **width
        )
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, betas=(0.9, 0.98))
    steps = 500
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / steps)
        meaning = torch.randint(0, 2, (64, 2))  # [texts, words]
        words = torch.randint(0, 2, (64, 6))  # [texts, places]
        says = 2 + meaning.gather(1, words)
        ids = torch.stack([4 + words, torch.full_like(words, 6), says], 2).view(64, -1)
        at = torch.arange(1, ids.shape[1], 3)
        logits = model(ids).logits[:, at]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, at + 1].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("learner")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("shots", [2, 4])
def test_predictions_follow_the_examples_and_wrong_labels_turn_them_round(
    tmp_path: Path, learner: Path, shots: int
) -> None:
    rows = write_rows(tmp_path / "rows", WORDS * 3, [0, 1] * 3)
    examples = write_rows(tmp_path / "examples", WORDS * 4, [0, 1] * 4)
    wrong = write_labels(tmp_path / "wrong", [1, 0] * 4)
    chosen = params(tokens=[" no", " yes"], suffix=" :", separator=" ", shots=shots)
    found, edges = {}, {"rows": rows, "examples": examples}
    for name, extra in {"truth": {}, "wrong": {"labels": wrong}}.items():
        ctx = context(tmp_path / name, model_path=str(learner))
        found[name] = few_shot.run(chosen, {**edges, **extra}, ctx)
    assert (found["truth"]["accuracy"], found["wrong"]["accuracy"]) == (1.0, 0.0)
    assert (found["truth"]["examples_accuracy"], found["wrong"]["examples_accuracy"]) == (1.0, 0.0)
    assert found["truth"]["examples"] == found["wrong"]["examples"]  # the same texts, with other labels
    p = labelled(tmp_path / "truth", "p")
    assert p.max(1).min() > 0.8
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "llama", "opt", "gpt_neox"])
@pytest.mark.parametrize("shots", [0, 2, 6])
def test_logits_are_the_models_own_on_the_whole_prompt(tmp_path: Path, family: str, shots: int) -> None:
    base = make_model(tmp_path / "base", family, initializer_range=0.3)
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    examples = write_rows(
        tmp_path / "examples", ["ax", "cow", "bed", "newt", "a very long one", "elk"], [0, 1, 0, 1, 0, 1]
    )
    ctx = context(tmp_path / "labels", model_path=str(base))
    metrics = few_shot.run(params(shots=shots, max_length=56), {"rows": rows, "examples": examples}, ctx)

    truth = dict(
        zip(["r0", "r1", "r2", "r3", "r4", "r5"], pq.read_table(examples / "rows.parquet").to_pylist(), strict=True)
    )
    shown = [f"{truth[name]['text']}:{'ny'[truth[name]['label']]};" for name in metrics["examples"]]
    assert len(shown) == shots
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    words = [tokenizer(word, add_special_tokens=False)["input_ids"][0] for word in "ny"]
    counts: dict[str, int] = {}
    for text, found in zip(TEXTS, labelled(tmp_path / "labels"), strict=True):
        kept = list(shown)
        while len("".join(kept) + text + ":") > 56:  # one token per byte
            kept.remove(max(reversed(kept), key=len))
        counts[str(len(kept))] = counts.get(str(len(kept)), 0) + 1
        ids = tokenizer("".join(kept) + text + ":", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            np.testing.assert_allclose(found, model(ids).logits[0, -1, words].numpy(), atol=2e-4)
    assert metrics["shots_used"] == counts
    assert (len(counts) > 1) == (shots == 6)  # the long example is left out where the query needs its room
    assert metrics["truncated"]["rows"] == 0
    assert metrics["empty"] == TEXTS.count("") == 1


def test_a_query_that_does_not_fit_alone_is_cut_before_its_suffix_and_counted(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama", initializer_range=0.3)
    rows = write_rows(tmp_path / "rows", ["x" * 30 + "yz", "b"], [1, 0])
    examples = write_rows(tmp_path / "examples", ["a", "b"], [0, 1])
    ctx = context(tmp_path / "labels", model_path=str(base))
    metrics = few_shot.run(params(max_length=12), {"rows": rows, "examples": examples}, ctx)
    assert metrics["shots_used"] == {"0": 1, "2": 1}
    assert metrics["truncated"] == {"rows": 1, "share": 0.5, "limit": 12}
    model, tokenizer = AutoModelForCausalLM.from_pretrained(base).eval(), AutoTokenizer.from_pretrained(base)
    ids = tokenizer("x" * 9 + "yz:", return_tensors="pt")["input_ids"]
    words = [tokenizer(word)["input_ids"][0] for word in "ny"]
    with torch.no_grad():
        expected = model(ids).logits[0, -1, words].numpy()
    np.testing.assert_allclose(labelled(tmp_path / "labels")[0], expected, atol=2e-4)
    with pytest.raises(UserError, match=r"no example fits: .* 4 tokens .* context is 4"):
        few_shot.run(
            params(max_length=4), {"rows": rows, "examples": examples}, context(tmp_path / "x", model_path=str(base))
        )


def test_examples_are_balanced_and_drawn_by_seed_and_id_not_by_place() -> None:
    ids, classes = [f"r{n}" for n in range(40)], np.array([0] * 30 + [1] * 10)
    chosen = shots.draw(ids, classes, ["a", "b"], 6, 0)
    assert np.bincount(classes[chosen]).tolist() == [3, 3]
    order = np.random.default_rng(0).permutation(40)
    again = shots.draw([ids[i] for i in order], classes[order], ["a", "b"], 6, 0)
    assert [ids[order[row]] for row in again] == [ids[row] for row in chosen]
    others = [tuple(shots.draw(ids, classes, ["a", "b"], 6, seed)) for seed in range(1, 5)]
    assert len({tuple(chosen), *others}) == 5
    firsts = [int(classes[shots.draw(ids, classes, ["a", "b"], 5, seed)].sum()) for seed in range(20)]
    assert set(firsts) == {2, 3}  # with an odd number, the seed says which class has one more
    assert np.bincount(classes[shots.draw(ids, classes, ["a", "b"], 24, 0)]).tolist() == [14, 10]


def test_uncovered_rows_are_no_examples(tmp_path: Path) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    covered = [True, True, False, False, False, False, True, False]
    labels = write_labels(tmp_path / "labels", LABELS, covered)
    for seed in range(3):
        ctx = context(tmp_path / str(seed), model_path=str(base))
        edges = {"rows": rows, "examples": rows, "labels": labels}
        metrics = few_shot.run(params(shots=3, seed=seed), edges, ctx)
        assert sorted(metrics["examples"]) == ["r0", "r1", "r6"]
        assert metrics["rows_in_prompt"] == 3


@pytest.mark.parametrize("point", ["few_shot.start", "few_shot.step:2"])
def test_killed_and_run_again_has_the_same_bytes(tmp_path: Path, point: str) -> None:
    base = make_model(tmp_path / "base", "qwen2")
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    edges = {"rows": rows, "examples": rows}
    expected = few_shot.run(params(), edges, context(tmp_path / "one", model_path=str(base)))  # type: ignore[arg-type]
    two = context(tmp_path / "two", model_path=str(base))
    killed(lambda: few_shot.run(params(), edges, two), point, tmp_path)  # type: ignore[arg-type]
    assert len(list((tmp_path / "two" / "work").iterdir())) == (point != "few_shot.start")
    again = few_shot.run(params(), edges, context(tmp_path / "two", model_path=str(base)))  # type: ignore[arg-type]
    assert again == expected
    one, two = (tmp_path / name / "result" / "labels.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("changed", "classes", "message"),
    [
        ({"shots": 9}, LABELS, "shots=9, but there are 8 labelled examples"),
        ({}, [0] * 8, 'no example has the label "1"'),
        ({"tokens": ["no", "y"]}, LABELS, 'label token "no" must be one token'),
        ({"tokens": ["n", "y", "z"]}, LABELS, "3 label tokens, but there are 2 classes"),
        ({"truncation": "middle"}, LABELS, "truncation=middle"),
    ],
)
def test_what_cannot_be_prompted_is_refused(
    tmp_path: Path, changed: dict[str, Any], classes: list[int], message: str
) -> None:
    base = make_model(tmp_path / "base", "llama")
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    edges = {"rows": rows, "examples": rows, "labels": write_labels(tmp_path / "labels", classes)}
    with pytest.raises(UserError, match=message):
        few_shot.run(params(**changed), edges, context(tmp_path / "out", model_path=str(base)))  # type: ignore[arg-type]


def test_encoders_pairs_and_other_classes_are_refused(tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows", TEXTS, LABELS)
    three = write_rows(tmp_path / "three", TEXTS, [0, 1, 2, 0, 1, 2, 0, 1])
    base = make_model(tmp_path / "base", "bert")
    with pytest.raises(UserError, match="not a causal language model"):
        few_shot.run(params(), {"rows": rows, "examples": rows}, context(tmp_path / "a", model_path=str(base)))
    with pytest.raises(UserError, match="have the classes"):
        few_shot.run(params(), {"rows": rows, "examples": three}, context(tmp_path / "b", model_path=str(base)))
    pairs = tmp_path / "pairs"
    pairs.mkdir()
    table = pq.read_table(rows / "rows.parquet")
    pq.write_table(table.append_column("second", table["text"]), pairs / "rows.parquet")
    with pytest.raises(UserError, match="pairs"):
        few_shot.run(params(), {"rows": pairs, "examples": rows}, context(tmp_path / "c", model_path=str(base)))
