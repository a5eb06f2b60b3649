"""exam: how well a student solves similar problems when it is shown a solution (learning by teaching, Ning et al. 2024).

* Every solution is the only demonstration before a few exam problems of its row, as plain text or as earlier turns of a chat; its score is
  the share of the student's answers that are right, over exam problems and repetitions. The student is one model.
* An answer on which the grader fails or takes too long is not right; such answers are counted apart.
* Exam problems are rows of a pool whose answers are known (`questions_from`), of the same level where the recipe has levels, drawn by the
  row id. The answer of the row itself is never read.
* Solutions of a row with the same text sit one exam.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from annotated_types import Ge

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Amounts, Edge, Pool, Role, RuleField, Spec, Traits, Work
from w2s_cli.stages._cautions import cut_texts, no_verdict
from w2s_cli.stages.generate import SHARD_TEXTS, engine, need_engine, writing_of
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.data.artifacts.completions import Completions
    from w2s_cli.data.artifacts.rows import Problems
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
NEUTRAL = {"chat_template": None, "engine": "w2s"}
TRAITS = Traits(gives="scores", shared=True)


def plan(
    job: "Planning",
    *,
    role: Role = "weak",
    student: Edge,
    rows: Pool,
    texts: Edge,
    questions_from: Pool,
    questions: Annotated[int, Ge(1)] = 3,
    repeats: Annotated[int, Ge(1)] = 1,
    generation: Mapping[str, Any] | None = None,
    grader: RuleField | None = None,
) -> Spec:
    """The scores of a stage's solutions.

    Args:
        student: a stage that makes a language model.
        rows: the pool of the solutions.
        texts: the solutions.
        questions_from: the pool of the exam problems.
        questions: exam problems of a row.
        repeats: texts that the student writes for each.
        generation: values of this stage that replace fields of generation.*.
        grader: {name, args}; None: the command's, else the data set's own.
    """
    from w2s_cli.stages.grade import rule_of

    fields, data, settings = job.config["generation"].over(generation or {}), job.config["data"], student.model
    job.need_problems("prompt", "answer")
    if settings is None:
        raise UserError(f'stage "{job.stage}": "{student.name}" is no stage that makes a model.')
    if repeats > 1 and not fields["temperature"]:
        raise UserError(
            f'stage "{job.stage}": repeats: {repeats} greedy answers are all the same; set generation.temperature above 0.'
        )
    template = job.chat_template(settings, fields["chat"], "generation.chat")
    params = {
        "questions": questions,
        "samples": repeats,
        **writing_of(job, fields),
        "separator": fields["separator"],
        "chat_template": template,
        "engine": fields["engine"],
        "grader": rule_of(job, grader),
        "max_length": settings["max_length"],
        "truncation": data["truncation"],
        "precision": settings["precision"],
        "seed": job.training_seed(settings, role),
        "shard_texts": SHARD_TEXTS,
    }
    job.need_room(settings, params["max_new_tokens"])
    need_engine(job, fields)
    return Spec(
        params,
        {"rows": rows, "texts": texts, "questions": questions_from, "model": student},
        slug=f"{settings['name']}-{data['name']}-{rows.name}",
        execution=job.opens(settings),
        about={**job.about(settings, rows, role), "seed": params["seed"]},
        words=[f"{questions} questions for each of {texts.name}", *(["chat"] if template else [])],
    )


def cost(params: Mapping[str, Any], amounts: Amounts) -> Work:
    """A text for each solution, question and repeat, as if no two solutions of a row were the same.

    A solution and a question are taken to be as long as the prompt of their row.
    """
    asked = amounts.texts("texts") * params["questions"] * params["samples"]
    written = amounts.rows("rows") * asked * params["max_new_tokens"]
    return Work(2 * amounts.parameters * (3 * asked * amounts.tokens("rows") + written), written=written)


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """The line of cut prompts, and one for answers on which the grader failed or took too long."""
    which = f"answers of {about['model']} in an exam on {about['rows']}"
    return cut_texts(metrics, params, about) + no_verdict(metrics, params["grader"]["name"], which)


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write scores.parquet (`data.artifacts.scores`), one score a solution.

    `params`: questions, samples (repeats), grader, separator, and the settings of `generate`; chat_template and engine only where they are
    not the neutral ones. `inputs`: rows, texts, questions (rows), model.

    Raises:
        UserError: fewer rows of a level than questions, or what `generate` and `grade` refuse.
    """
    import numpy as np

    from w2s_cli.data.artifacts.completions import read_completions
    from w2s_cli.data.artifacts.rows import Problems, read_problems
    from w2s_cli.data.artifacts.scores import write_scores
    from w2s_cli.graders import Problem, load_grader
    from w2s_cli.training.device import pick_device
    from w2s_cli.training.models.opening import made_folder, quiet

    fault("exam.start")
    quiet()
    device = pick_device(ctx.execution, params["precision"])
    folders = cast(dict[str, Path], inputs)
    problems, solutions = read_problems(folders["rows"]), read_completions(folders["texts"])
    pool = read_problems(folders["questions"])
    grader = load_grader(params["grader"], ctx.execution.get("folders", ()))
    asked = _questions(problems, pool, set(solutions.ids), int(params["questions"]), int(params["seed"]))
    prompts = dict(zip([*pool.ids, *problems.ids], [*pool.prompts, *problems.prompts], strict=True))
    posed = dict(zip(pool.ids, map(Problem, pool.prompts, pool.need("answer")), strict=True))
    sat = _distinct(solutions)
    names = [f"{sitting} {question}" for sitting in sat for question in range(len(asked[solutions.ids[sat[sitting]]]))]
    folder = made_folder(folders["model"], ctx)
    ask = _asking(params, folder, ctx)
    shown = [
        ask(prompts[solutions.ids[at]], solutions.texts[at], prompts[question])
        for at in sat.values()
        for question in asked[solutions.ids[at]]
    ]
    questions = [question for at in sat.values() for question in asked[solutions.ids[at]]]
    answers = grader.answers({question: posed[question] for question in dict.fromkeys(questions)})
    exam = Problems(solutions.path, names, shown, {})
    how = {**NEUTRAL, **params, "demonstrations": None}
    table, facts = engine(how)(how, folder, exam, [], device, ctx)
    marks: dict[str, list[bool]] = {}
    outcomes: Counter[str] = Counter()
    question_of = dict(zip(names, questions, strict=True))
    for name, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
        question = question_of[name]
        outcome = grader.grade(text, posed[question], answers[question]).outcome
        outcomes[outcome] += 1
        marks.setdefault(name.rpartition(" ")[0], []).append(outcome == "right")
    by_text = {(solutions.ids[at], solutions.texts[at]): float(np.mean(marks[sitting])) for sitting, at in sat.items()}
    scores = np.array([by_text[one] for one in zip(solutions.ids, solutions.texts, strict=True)], dtype=np.float64)
    write_scores(ctx.result, solutions.ids, solutions.samples.tolist(), scores)
    return {
        "texts": len(scores),
        "exams": len(sat),
        "mean_score": float(scores.mean()),
        "outcomes": dict(sorted(outcomes.items())),
        "truncated": facts["truncated"],
    }


def _questions(problems: "Problems", pool: "Problems", rows: set[str], count: int, seed: int) -> dict[str, list[str]]:
    """Row id → ids of its exam problems: other rows of the pool of the same level, drawn by the row's id."""
    from w2s_cli.statistics.draw import drawer

    alike: dict[str, list[str]] = {}
    for name, level in zip(pool.ids, pool.parts.get("level") or [""] * len(pool.ids), strict=True):
        alike.setdefault(level, []).append(name)
    asked = {}
    for name, level in zip(problems.ids, problems.parts.get("level") or [""] * len(problems.ids), strict=True):
        if name in rows:
            others = [other for other in alike.get(level, []) if other != name]
            if len(others) < count:
                raise UserError(
                    f"{pool.path}: there are {len(others)} rows of level {level or '(none)'}, and an exam has {count} questions: raise the "
                    "pool's limit, or ask fewer (questions)"
                )
            turn = drawer("exam", seed, name)
            asked[name] = sorted(others, key=lambda other: (turn(other), other))[:count]
    return asked


def _asking(params: Mapping[str, Any], model: Path, ctx: Context) -> Callable[[str, str, str], str]:
    """(problem, solution, question) → the prompt that asks the question after the solution.

    In a chat it lacks what the template prints around the first text of a user, since the writer adds that.

    Raises:
        UserError: a chat template that prints a later question otherwise than a first one.
    """
    template, separator = params.get("chat_template"), params["separator"]
    if template is None:
        return lambda problem, solution, question: f"{problem} {solution}{separator}{question}"
    from w2s_cli.training.chat import WITHOUT, around
    from w2s_cli.training.texts import open_format

    remote = bool(ctx.execution.get("trust_remote_code"))
    tokenizer = open_format(model, template, params["truncation"], "", trust_remote_code=remote).tokenizer
    begin, end = around(tokenizer, [], "")

    def turns(problem: str, solution: str, question: str) -> str:
        before, after = around(tokenizer, [(problem.strip(), solution.strip())], "")
        if not before.startswith(begin) or after != end:
            raise UserError(
                f"the model's chat template prints a question after a solution in another frame than a first question; {WITHOUT}"
            )
        return before[len(begin) :] + question.strip()

    return turns


def _distinct(solutions: "Completions") -> dict[str, int]:
    """Name of an exam → place of its solution: one for each different text of a row."""
    first: dict[tuple[str, str], int] = {}
    for at, one in enumerate(zip(solutions.ids, solutions.texts, strict=True)):
        first.setdefault(one, at)
    return {f"{solutions.ids[at]} {solutions.samples[at]}": at for at in first.values()}
