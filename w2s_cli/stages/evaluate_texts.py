"""evaluate_texts: the comparison of the roles' graded answers to the test rows; arithmetic on files, no model, no torch.

Beside weak supervisor, student and ceiling it shows, where the method names them, the student before its training (`untuned`), the strong
model with demonstrations (`prompted`) or an instruction to reason (`cot`, zero-shot) in its prompt, and a better weak model (`better`).
`floor` says from which role the recovered gap is counted. Test rows of some levels can be left out, for a method that trains on easy
problems and asks about hard ones.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from w2s_cli.errors import UserError
from w2s_cli.pipeline.contract import Edge, Pool, Spec, Traits
from w2s_cli.stages._cautions import comparison
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 2
TRAITS = Traits(gives="comparison", over_seeds="summary_texts")
ROLE_FIELDS = ("weak", "better", "student", "ceiling", "untuned", "cot", "prompted")
FEW_FORMED = 0.9  # share of well-formed answers below which an accuracy may be one of form


def plan(
    job: "Planning",
    *,
    weak: Edge | None = None,
    better: Edge | None = None,
    student: Edge | None = None,
    ceiling: Edge | None = None,
    untuned: Edge | None = None,
    cot: Edge | None = None,
    prompted: Edge | None = None,
    floor: Literal["weak", "better", "untuned", "cot", "prompted"] = "weak",
    without_levels: list[str] | None = None,
    rows: Pool,
) -> Spec:
    """A comparison of graded answers.

    Args:
        weak, better, student, ceiling, untuned, cot, prompted: stages of kind grade.
        floor: from which role the recovered gap is counted.
        without_levels: levels of the test rows that are left out; None: all rows count.
        rows: the test rows.
    """
    if without_levels:
        job.need_problems("level")
    config, seed = job.config, job.config["seed"]
    given = (weak, better, student, ceiling, untuned, cot, prompted)
    graded = dict(zip(ROLE_FIELDS, given, strict=True))
    if graded[floor] is None and student and ceiling:
        raise UserError(
            f'stage "{job.stage}": floor: {floor}, but the stage names no "{floor}"; name its grades, or another floor.'
        )
    params = {
        "bootstrap": config["bootstrap"],
        "confidence": config["confidence"],
        "floor": floor,
        "without_levels": sorted(without_levels or ()),
    }
    names = [job.supervisor, *(config.plain[group]["name"] for group in ("strong", "data"))]
    return Spec(
        params, {**graded, "rows": rows}, slug=f"{'-'.join(names)}-s{seed}", about={"rows": rows.name, "seed": seed}
    )


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """The lines of any comparison, and one for roles whose answers are often not well-formed."""
    lines = comparison(metrics, params, about, "tune.epochs")
    blocks = {role: metrics.get(role) or metrics.get("others", {}).get(role) for role in ROLE_FIELDS}
    loose = {
        role: block["texts"]["well_formed"]
        for role, block in blocks.items()
        if block and "texts" in block and block["texts"]["well_formed"] < FEW_FORMED
    }
    if loose:
        listed = ", ".join(f"{role} {share:.0%}" for role, share in loose.items())
        lines.append(
            f"Caution: answers are often not where the task asks for them (well-formed: {listed}): a gain over these roles may be one of "
            "form, not of skill."
        )
    return lines


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write graded.parquet and return the metrics of `statistics.graded`.

    `params`: bootstrap (draws), confidence, floor, without_levels. `inputs`: rows, and at least one role's grades.

    Raises:
        UserError: grades of other rows, or none; or every row is of a level that is left out.
    """
    from w2s_cli.data.artifacts.graded import answers_of, write_graded
    from w2s_cli.data.artifacts.grades import read_graded
    from w2s_cli.data.artifacts.rows import read_problems
    from w2s_cli.statistics.graded import report

    fault("evaluate_texts.start")
    sources = {role: cast(Path, inputs[role]) for role in ROLE_FIELDS if role in inputs}
    if not sources:
        raise UserError(
            f"{inputs['rows']}: the stage has no graded answers; name at least one of {', '.join(ROLE_FIELDS)}"
        )
    problems = read_problems(cast(Path, inputs["rows"]))
    answers = {}
    for step, (role, folder) in enumerate(sources.items(), start=1):
        answers[role] = answers_of(read_graded(folder, problems.ids))
        ctx.progress(step, len(sources), examples=step * len(problems.ids))
        fault("evaluate_texts.step")
    ids, levels = problems.ids, problems.parts.get("level")
    if params["without_levels"]:
        every = problems.need("level")
        kept = [row for row, level in enumerate(every) if level not in params["without_levels"]]
        if not kept:
            raise UserError(
                f"{inputs['rows']}: all {len(ids)} test rows are of the levels {', '.join(params['without_levels'])}, which "
                "without_levels leaves out; the data set has no other, so choose fewer"
            )
        ids, levels = [ids[row] for row in kept], [every[row] for row in kept]
        answers = {role: own.of_rows(kept) for role, own in answers.items()}
    write_graded(ctx.result, ids, levels, answers)
    return report(answers, levels, floor=params["floor"], draws=params["bootstrap"], confidence=params["confidence"])
