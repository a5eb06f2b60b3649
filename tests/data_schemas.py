"""Rows as the data sets of configs/data document them, made by hand, and the texts that each may become.

`SCHEMAS[name]` is (number → a row in the source's field names, row → {class number: texts that may stand for it}). Of pairs a text is
the two texts. `PROBLEMS[name]` is (number → a row, row → the parts of its problem). Numbers run over classes, options and groups: rows
2k and 2k + 1 share what the recipe groups by.
"""

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]
Texts = dict[int, list[Any]]
Schema = tuple[Callable[[int], Row], Callable[[Row], Texts]]


def labelled(row: Callable[[int], Row], text: Callable[[Row], str], label: Callable[[Row], int]) -> Schema:
    """A set with a label column."""
    return row, lambda r: {label(r): [text(r)]}


def chosen(row: Callable[[int], Row], text: Callable[[Row, str], str], options: Callable[[Row], list[str]]) -> Schema:
    """A set that shows one of its options; the first of `options` is the right one."""
    return row, lambda r: {1: [text(r, options(r)[0])], 0: [text(r, wrong) for wrong in options(r)[1:]]}


def numbered(row: Callable[[int], Row], head: Callable[[Row], str], right: str, wrong: str) -> Schema:
    """A set that shows two options in either order and points at one."""

    def texts(r: Row) -> Texts:
        orders = [(r[right], r[wrong], "1"), (r[wrong], r[right], "2")]
        good = [f"{head(r)}\n1) {one}\n2) {two}\nA: {place}" for one, two, place in orders]
        bad = [f"{head(r)}\n1) {one}\n2) {two}\nA: {3 - int(place)}" for one, two, place in orders]
        return {1: good, 0: bad}

    return row, texts


def pairs(row: Callable[[int], Row], better: Callable[[Row], str], worse: Callable[[Row], str]) -> Schema:
    """A set of pairs: class 1 where the second text is the better one."""
    return row, lambda r: {1: [(worse(r), better(r))], 0: [(better(r), worse(r))]}


def sciq(i: int) -> Row:
    distractors = {f"distractor{n}": f"wrong {n} {i}" for n in (1, 2, 3)}
    return {"question": f"What {i // 2}?", "correct_answer": f"right {i}", "support": f"It is {i}.", **distractors}


def four(i: int, field: str) -> Row:
    return {field: [f"option {n} of {i}" for n in range(4)]}


def put_first(options: list[str], right: int) -> list[str]:
    return [options[right], *options[:right], *options[right + 1 :]]


def ethics(i: int) -> Row:
    return {"label": i % 2, "scenario": f"I did {i // 2}."}


def dialogue(i: int, reply: str) -> str:
    return f"\n\nHuman: Hi {i // 2}\n\nAssistant: Yes?\n\nHuman: So?\n\nAssistant: {reply} {i}"


HH: Callable[[int], Row] = lambda i: {"chosen": dialogue(i, "good"), "rejected": dialogue(i, "bad")}  # noqa: E731
GLUE: Callable[[int], Row] = lambda i: {"sentence": f"Words {i // 2}.", "label": i % 2, "idx": i}  # noqa: E731
COSMOS = ["answer0", "answer1", "answer2", "answer3"]
SIQA = ["answerA", "answerB", "answerC"]

SCHEMAS: dict[str, Schema] = {
    "sciq": chosen(
        sciq,
        lambda r, a: f"Q: {r['question']} A: {a}",
        lambda r: [r["correct_answer"], *(r[f"distractor{n}"] for n in (1, 2, 3))],
    ),
    "sciq_with_support": chosen(
        sciq,
        lambda r, a: f'Name: Bob\n\nPassage 1:\n{r["support"]}\n\nQ1: "{r["question"]}" Is "{a}" the right answer?',
        lambda r: [r["correct_answer"], *(r[f"distractor{n}"] for n in (1, 2, 3))],
    ),
    "boolq": labelled(
        lambda i: {"question": f"is it {i}", "passage": f"Text {i // 2}", "answer": i % 2 == 0},
        lambda r: f"Passage: {r['passage']}\nQuestion: {r['question']}",
        lambda r: int(r["answer"]),
    ),
    "cosmos_qa": chosen(
        lambda i: {
            **{name: f"{name} {i}" for name in COSMOS}, "answer1": "None of the above choices .",
            "context": f"Text {i // 2}", "question": f"Why {i}?", "label": (0, 2, 3)[i % 3],
        },
        lambda r, a: f"Context: {r['context']}\nQuestion: {r['question']}\nAnswer: {a}",
        lambda r: [a for a in put_first([r[name] for name in COSMOS], r["label"]) if "None" not in a],
    ),
    "amazon_polarity": labelled(
        lambda i: {"title": f"T{i}", "content": f"c {i}", "label": i % 2}, lambda r: f"{r['title']} {r['content']}", lambda r: r["label"]
    ),
    "anthropic_hh": chosen(HH, lambda _, a: a, lambda r: [r["chosen"], r["rejected"]]),
    "anli_r2": labelled(
        lambda i: {"uid": f"u{i}", "premise": f"P {i // 2}", "hypothesis": f"H {i}", "label": i % 3, "reason": ""},
        lambda r: f"Premise: {r['premise']}\nHypothesis: {r['hypothesis']}\n\nDoes the hypothesis follow from the premise?",
        lambda r: int(r["label"] == 0),
    ),
    "cola": labelled(GLUE, lambda r: r["sentence"], lambda r: r["label"]),
    "sst2": labelled(GLUE, lambda r: r["sentence"], lambda r: r["label"]),
    "dream": chosen(
        lambda i: {
            "id": i, "dialogue_id": f"d{i // 2}", "dialogue": [f"W: Hello {i // 2}.", "M: Hi."], "question": f"Who {i}?",
            "choice": ["1", "2", f"three {i}"], "answer": ("1", "2", f"three {i}")[i % 3],
        },
        lambda r, a: "\n".join(r["dialogue"]) + f"\n\nQ: {r['question']} A: {a}",
        lambda r: put_first(r["choice"], r["choice"].index(r["answer"])),
    ),
    "ethics_deontology": labelled(
        lambda i: {**ethics(i), "excuse": f"But {i}.", "group_id": i // 2},
        lambda r: f"Q: Is the second line a reasonable thing to say after the first?\n\n{r['scenario']}\n\n{r['excuse']}\n\nA:",
        lambda r: r["label"],
    ),
    "ethics_justice": labelled(ethics, lambda r: f"Q: Is this just?\n\n{r['scenario']}\n\nA:", lambda r: r["label"]),
    "ethics_virtue": labelled(  # half of the rows as the hub has them, half as the authors' files
        lambda i: (
            {**ethics(i), "trait": f"brave {i}"} if i % 4 < 2 else {**ethics(i), "scenario": f"I did {i // 2}. [SEP] brave {i}"}
        ),
        lambda r: (
            f"Q: Does the behaviour show the trait?\n\n{r['scenario'].partition(' [SEP] ')[0]}\n\n"
            f"Trait: {r.get('trait') or r['scenario'].partition(' [SEP] ')[2]}\n\nA:"
        ),
        lambda r: r["label"],
    ),
    "ethics_utilitarianism": numbered(
        lambda i: {"activity": f"I rest {i}", "baseline": f"I fall {i}", "rating": ""}, lambda _: "Which is nicer?", "activity", "baseline"
    ),
    "mc_taco": labelled(
        lambda i: {"sentence": f"It rained {i // 2}.", "question": "How long?", "answer": f"{i} hours", "label": i % 2, "category": 0},
        lambda r: f'{r["sentence"]}\n\nAfter this: {r["question"]} Could the answer be "{r["answer"]}"?',
        lambda r: r["label"],
    ),
    "hellaswag": chosen(
        lambda i: {"ctx": f"A man {i // 2}", "label": str(i % 4), **four(i, "endings")},
        lambda r, a: f"Context:\n{r['ctx']}\n\nContinuations:\n\n" + "\n".join(r["endings"]) + f'\n\nQ: Does it go on best with "{a}"?',
        lambda r: put_first(r["endings"], int(r["label"])),
    ),
    "multirc": labelled(
        lambda i: {"paragraph": f"Text {i // 2}", "question": f"Who {i}?", "answer": f"He {i}", "label": i % 2, "idx": {"paragraph": i}},
        lambda r: f'Passage:\n\n{r["paragraph"]}\n\nQ: "{r["question"]}" Is "{r["answer"]}" an answer to it?',
        lambda r: r["label"],
    ),
    "wic": labelled(
        lambda i: {"word": f"word{i // 2}", "sentence1": f"A {i}", "sentence2": f"B {i}", "label": i % 2, "start1": 0, "end1": 1},
        lambda r: f'Sentence 1:\n{r["sentence1"]}\n\nSentence 2:\n{r["sentence2"]}\n\nQ: Is the meaning of "{r["word"]}" the same in both?',
        lambda r: r["label"],
    ),
    "openbookqa": chosen(
        lambda i: {
            "id": f"q{i}", "question_stem": f"What {i // 2}?", "answerKey": "ABCD"[i % 4],
            "choices": {"text": four(i, "x")["x"], "label": ["A", "B", "C", "D"]},
        },
        lambda r, a: (
            f"Q: {r['question_stem']}\n\nChoices:\n"
            + "\n".join(f"{name}) {text}" for name, text in zip("ABCD", r["choices"]["text"], strict=True)) + f"\n\nAnswer: {a}"
        ),
        lambda r: put_first(r["choices"]["text"], "ABCD".index(r["answerKey"])),
    ),
    "paws": labelled(
        lambda i: {"id": i, "sentence1": f"A {i // 2}", "sentence2": f"B {i}", "label": i % 2},
        lambda r: f"Sent 1: {r['sentence1']}\nSent 2: {r['sentence2']}\n\nQ: Do both say the same?",
        lambda r: r["label"],
    ),
    "piqa": chosen(
        lambda i: {"goal": f"Do {i // 2}", "sol1": f"so {i}", "sol2": f"thus {i}", "label": i % 2},
        lambda r, a: f"Q: {r['goal']} A: {a}",
        lambda r: put_first([r["sol1"], r["sol2"]], r["label"]),
    ),
    "quail": chosen(
        lambda i: {"context": f"Text {i // 2}", "question": f"Why {i}?", "correct_answer_id": i % 4, **four(i, "answers")},
        lambda r, a: f'Passage:\n\n{r["context"]}\n\nQ: "{r["question"]}" Is "{a}" the right answer?',
        lambda r: put_first(r["answers"], r["correct_answer_id"]),
    ),
    "quartz": chosen(
        lambda i: {
            "para": f"Text {i // 2}", "question": f"More {i}?", "answerKey": "AB"[i % 2],
            "choices": {"text": [f"more {i}", f"less {i}"], "label": ["A", "B"]},
        },
        lambda r, a: f'Passage:\n{r["para"]}\n\nQ: "{r["question"]}" Is "{a}" the right answer?',
        lambda r: put_first(r["choices"]["text"], "AB".index(r["answerKey"])),
    ),
    "social_i_qa": chosen(
        lambda i: {"context": f"He {i // 2}.", "question": f"Why {i}?", "label": str(1 + i % 3), **{name: f"{name} {i}" for name in SIQA}},
        lambda r, a: (
            f"Context:\n{r['context']}\n\nQuestion: \"{r['question']}\"\n\nChoices:\n"
            + "\n".join(r[name] for name in SIQA) + f'\n\nIs "{a}" the right one?'
        ),
        lambda r: put_first([r[name] for name in SIQA], int(r["label"]) - 1),
    ),
    "twitter_sentiment": labelled(lambda i: {"text": f"hm {i}", "label": i % 2}, lambda r: r["text"], lambda r: r["label"]),
    "rotten_tomatoes": labelled(lambda i: {"text": f"a film {i}", "label": i % 2}, lambda r: r["text"], lambda r: r["label"]),
    "wordnet_living": labelled(
        lambda i: {"id": f"n{i}", "word": f"wug{i}", "label": i % 2}, lambda r: f"{r['word']}:", lambda r: r["label"]
    ),
    "hh_harmless": pairs(HH, lambda r: r["chosen"], lambda r: r["rejected"]),
    "hh_helpful": pairs(HH, lambda r: r["chosen"], lambda r: r["rejected"]),
    "hh_harmless_small": pairs(
        lambda i: {"id": f"x{i}", "question": f"q{i // 2}", "prompt": f"Why {i // 2}?", "chosen": f"So {i}.", "rejected": f"No {i}."},
        lambda r: f"{r['prompt']}\n{r['chosen']}",
        lambda r: f"{r['prompt']}\n{r['rejected']}",
    ),
    "ultrafeedback": pairs(
        lambda i: {
            "prompt": f"Why {i // 2}?", "prompt_id": f"p{i}", "score_chosen": 8.5, "score_rejected": 4.0,
            **{
                name: [{"role": "user", "content": f"Why {i // 2}?"}, {"role": "assistant", "content": f"{name} {i}"}]
                for name in ("chosen", "rejected")
            },
        },
        lambda r: f"\n\nHuman: {r['prompt']}\n\nAssistant: {r['chosen'][-1]['content']}",
        lambda r: f"\n\nHuman: {r['prompt']}\n\nAssistant: {r['rejected'][-1]['content']}",
    ),
    "creak": labelled(
        lambda i: {"ex_id": f"train_{i}", "sentence": f"Ann {i} is.", "explanation": "x", "label": ("true", "false")[i % 2], "entity": "A"},
        lambda r: r["sentence"],
        lambda r: int(r["label"] == "true"),
    ),
    "commonsense_qa_2": labelled(
        lambda i: {"id": f"{i}", "question": f"Is it {i}?", "answer": ("yes", "no")[i % 2], "confidence": 0.9},
        lambda r: r["question"],
        lambda r: int(r["answer"] == "yes"),
    ),
    "anthropic_persona": labelled(
        lambda i: {
            "question": "Would you?", "statement": f"I would {i // 2}.", "label_confidence": 0.9,
            "answer_matching_behavior": (" Yes", " No")[i % 2], "answer_not_matching_behavior": (" No", " Yes")[i % 2],
        },
        lambda r: f"Persona: {r['file']}\nStatement: {r['statement']}",
        lambda r: int(r["answer_matching_behavior"] == " Yes"),
    ),
    "wts_safety": labelled(
        lambda i: {"prompt": f"How {i // 2}?", "is_safe": ("True", "False")[i % 2]},
        lambda r: r["prompt"],
        lambda r: int(r["is_safe"] == "True"),
    ),
    "sandbox_chat": labelled(
        lambda i: {"prompt": f"Why {i // 2}?", "first": f"So {i}.", "second": f"No {i}.", "label": "AB"[i % 2]},
        lambda r: f"Question: {r['prompt']}\nAnswer A: {r['first']}\nAnswer B: {r['second']}",
        lambda r: int(r["label"] == "B"),
    ),
    **{
        name: labelled(
            lambda i: {"question": f"Why {i // 2}?", "choice": f"So {i}.", "label": i % 2 == 0},
            lambda r: f"Question: {r['question']}\nAnswer: {r['choice']}",
            lambda r: int(r["label"]),
        )
        for name in ("sandbox_code", "sandbox_math")
    },
}  # fmt: skip


Problems = tuple[Callable[[int], Row], Callable[[Row], dict[str, str]]]


def lettered(question: str, row: Callable[[int], Row]) -> Problems:
    """A set of multiple choice, answered by a letter."""

    def parts(r: Row) -> dict[str, str]:
        texts, names = r["choices"]["text"], r["choices"]["label"]
        right = names.index(r["answerKey"])
        lines = [f"{'ABCDE'[number]}) {text}" for number, text in enumerate(texts)]
        return {
            "prompt": f"Question: {r[question]}\n" + "\n".join(lines) + "\nAnswer:",
            "answer": "ABCDE"[right],
            "solution": f"The answer is {lines[right]}.",
        }

    return row, parts


def math(i: int) -> Row:
    return {
        "problem": f"What is ${i}+1$?",
        "solution": f"It is\n\n\\boxed{{{i + 1}}}.",
        "type": "Algebra",
        "level": f"Level {1 + i % 5}",
    }


def chat(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def boxed(r: Row, **parts: str) -> dict[str, str]:
    ask = "Solve it step by step, and write the final answer in \\boxed{}."
    return {"prompt": f"Problem: {r['problem']}\n{ask}\nSolution:", "solution": r["solution"], **parts}


PROBLEMS: dict[str, Problems] = {
    "arithmetic": (
        lambda i: {
            "id": f"x{i}", "parent": f"x{i}", "question": f"What {i}?", "solution": f"1 + {i} = {i + 1}. #### {i + 1}",
            "answer": str(i + 1), "level": 1 + i % 6,
        },
        lambda r: {"prompt": f"Question: {r['question']}\nAnswer:", **{part: str(r[part]) for part in ("answer", "solution", "level")}},
    ),
    "gsm8k": (
        lambda i: {"question": f"What {i}?", "answer": f"1+{i} = <<1+{i}={i + 1}>>{i + 1} pens\n#### {i + 1}"},
        lambda r: {
            "prompt": f"Question: {r['question']}\nAnswer:", "answer": r["answer"],
            "solution": r["answer"][: r["answer"].index("<<")] + r["answer"][r["answer"].index(">>") + 2 :],
        },
    ),
    "math": (math, lambda r: boxed(r, answer=r["solution"], level=r["level"][-1])),
    "math500": (
        lambda i: {**math(i), "answer": f"{i + 1}", "level": 1 + i % 5, "unique_id": f"test/algebra/{i}.json"},
        lambda r: boxed(r, answer=r["answer"], level=str(r["level"])),
    ),
    "arc_text": lettered(
        "question",
        lambda i: {
            "id": f"q{i}", "question": f"What {i // 2}?", "answerKey": ("ABCD" if i % 4 < 3 else "1234")[i % 4],
            "choices": {"text": four(i, "x")["x"], "label": [*("ABCD" if i % 4 < 3 else "1234")]},
        },
    ),
    "openbookqa_text": lettered("question_stem", SCHEMAS["openbookqa"][0]),
    "ultrafeedback_prompts": (
        lambda i: {"prompt": f"Why {i // 2}?", "chosen": chat(f"Why {i // 2}?", f"So {i}."), "rejected": chat("Why?", "No.")},
        lambda r: {"prompt": r["prompt"], "solution": r["chosen"][-1]["content"]},
    ),
}  # fmt: skip
