"""grade: the answers in texts, read by a rule of graders/ and compared with the right ones.

* A text without an answer is not right; a grader that takes too long or fails is an outcome of its own, counted apart.
* The right answers are read by the same rule, and one that it cannot read stops the stage: no model could be right on such a row.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.errors import UserError, excerpt
from w2s_cli.pipeline.contract import Edge, Pool, RuleField, Spec, Traits
from w2s_cli.stages._cautions import no_verdict
from w2s_cli.store.context import Context, Stopped
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="grades")
EXAMPLES = 3  # texts without an answer that the record shows
STEP = 500  # texts between two looks at the stop flag


def plan(job: "Planning", *, texts: Edge, rows: Pool, grader: RuleField | None = None) -> Spec:
    """The grades of a stage's texts.

    Args:
        grader: {name, args} of this stage; None: the command's, else the data set's own.
    """
    rule, data = rule_of(job, grader), job.config["data"]
    return Spec(
        {"grader": rule},
        {"texts": texts, "rows": rows},
        slug=f"{texts.name}-{data['name']}-{rows.name}",
        about={"rows": rows.name, "texts": texts.name, "grader": rule["name"]},
        words=[rule["name"]],
    )


def rule_of(job: "Planning", grader: RuleField | None) -> dict[str, Any]:
    """The identity of the grader: the stage's own, else the command's, else the data set's."""
    job.need_problems("answer")
    chosen, data = grader or job.config["grader"], job.config["data"]
    name = chosen["name"] or data["grader"]
    if not name:
        raise UserError(
            f'stage "{job.stage}": which rule reads the answers of data={data["name"]}? Choose one, grader=number, or name it in the '
            "recipe (data.grader)."
        )
    return job.rule("graders", {"name": name, "args": chosen.get("args")})


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """One line for texts whose grader failed or took too long; one if no text has an answer."""
    lines, outcomes = no_verdict(metrics, about["grader"], about["texts"]), metrics.get("outcomes", {})
    if outcomes and outcomes.get("no answer") == metrics["texts"]:
        lines.append(
            f"Caution: the grader {about['grader']} reads no answer in any text of {about['texts']}; "
            "w2s show KEY has examples, and w2s ls the keys of grade stages."
        )
    return lines


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write grades.parquet (`data.artifacts.grades`); the record has examples of texts without an answer.

    `params`: grader {name, args, code}. `inputs`: texts, rows.

    Raises:
        UserError: a text of another row, or right answers in which the grader reads none.
    """
    from w2s_cli.data.artifacts.completions import read_completions
    from w2s_cli.data.artifacts.grades import write_grades
    from w2s_cli.data.artifacts.rows import read_problems
    from w2s_cli.graders import Grade, Problem, load_grader

    fault("grade.start")
    problems = read_problems(cast(Path, inputs["rows"]))
    completions = read_completions(cast(Path, inputs["texts"]))
    problems.check_rows(completions.ids, completions.path)
    grader = load_grader(params["grader"], ctx.execution.get("folders", ()))
    asked = {
        name: Problem(prompt, answer)
        for name, prompt, answer in zip(problems.ids, problems.prompts, problems.need("answer"), strict=True)
    }
    answers = grader.answers({name: asked[name] for name in dict.fromkeys(completions.ids)})
    grades: list[Grade] = []
    for place, (name, text) in enumerate(zip(completions.ids, completions.texts, strict=True)):
        if place % STEP == 0:
            fault("grade.step")
            ctx.progress(place, len(completions.ids), examples=place)
            if ctx.stop_requested():
                raise Stopped
        grades.append(grader.grade(text, asked[name], answers[name]))
    write_grades(ctx.result, completions, grades)
    ctx.progress(len(grades), len(grades), examples=len(grades))
    unread = [
        excerpt(text) for text, grade in zip(completions.texts, grades, strict=True) if grade.outcome == "no answer"
    ]
    if unread:
        ctx.measure(without_answer=unread[:EXAMPLES])
    outcomes = Counter(grade.outcome for grade in grades)
    return {
        "texts": len(grades),
        "accuracy": outcomes["right"] / len(grades),
        "outcomes": dict(sorted(outcomes.items())),
        "well_formed": sum(grade.well_formed for grade in grades) / len(grades),
    }
