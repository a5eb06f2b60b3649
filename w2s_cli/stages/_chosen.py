"""What the kinds `choose` and `pair` share: their sources as a rule sees them, and the fields that name these sources."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from w2s_cli.errors import UserError, of_user_code
from w2s_cli.pipeline.contract import Edge, Pool, RuleField, Spec
from w2s_cli.plugins import call_code, function_of, load_code
from w2s_cli.store.context import Context

if TYPE_CHECKING:
    from w2s_cli.choosing import Chosen, Source, Texts
    from w2s_cli.pairing import Paired
    from w2s_cli.pipeline.builder import Planning

Result = TypeVar("Result", bound="Chosen | Paired")


def spec_of(
    job: "Planning",
    folder: str,
    rule: RuleField,
    texts: Sequence[Edge],
    grades: Sequence[Edge] | None,
    scores: Sequence[Edge] | None,
    rows: Pool,
) -> Spec:
    """The plan of a stage with a rule of `folder` over texts; about.truth: whether the rule may read the ground truth."""
    if not texts:
        raise UserError(
            f'stage "{job.stage}": texts names no stage; name at least one whose texts the rule sees, texts: [STAGE].'
        )
    for name, edges in (("grades", grades), ("scores", scores)):
        if edges and len(edges) != len(texts):
            raise UserError(
                f'stage "{job.stage}": {name} are {len(edges)}, and texts {len(texts)}: name one for each of texts, in their order.'
            )
    params = {
        "rule": job.rule(folder, rule),
        "sources": [edge.name for edge in texts],
        "seed": job.config["seed"],
    }
    inputs: dict[str, Edge | list[Edge] | None] = {
        "texts": list(texts),
        "rows": rows,
        "grades": _listed(grades),
        "scores": _listed(scores),
    }
    return Spec(
        params,
        inputs,
        slug=f"{rule['name']}-{job.config['data']['name']}-{rows.name}",
        about={
            "rows": rows.name,
            "rule": rule["name"],
            "truth": job.says(folder, str(rule["name"]), "NEEDS_TRUTH") and bool(grades),
        },
        words=[f"{rule['name']} of {', '.join(params['sources'])}"],
    )


def _listed(edges: Sequence[Edge] | None) -> list[Edge] | None:
    return list(edges) if edges else None


def applied(
    folder: str,
    returns: type[Result],
    params: Mapping[str, Any],
    inputs: Mapping[str, Any],
    ctx: Context,
) -> "tuple[Texts, Result]":
    """The texts of a stage, and what its rule of `folder` makes of them.

    Raises:
        UserError: an error inside the rule, or a result that is no `returns` or names a text that is not there.
    """
    rule = params["rule"]
    module, path = load_code(folder, rule["name"], ctx.execution.get("folders", ()), planned=rule["code"])
    texts = texts_of(params, inputs, truth=getattr(module, "NEEDS_TRUTH", False) is True)
    result = call_code(f"rule {rule['name']}", function_of(module, path, "texts, *, …"), texts, args=rule["args"])
    if not isinstance(result, returns):
        what = f"{rule['name']} returns {type(result).__name__}, not {returns.__name__}"
        raise of_user_code(str(path), TypeError(what))
    for place in result.each:
        if problem := _misplaced(place, texts):
            raise UserError(f"{path}: {rule['name']} returns {place!r}, {problem}")
    return texts, result


def _misplaced(place: Any, texts: "Texts") -> str | None:
    """Why it is not the place of a text; None if it is."""
    from w2s_cli.choosing import Place

    if not isinstance(place, Place) or not all(isinstance(number, Integral) for number in place):
        return "which is not a Place(source, at) of two whole numbers"
    if not 0 <= place.source < len(texts.sources):
        return f"and the stage's sources are numbered 0 to {len(texts.sources) - 1}"
    source = texts.sources[place.source]
    if not 0 <= place.at < len(source.texts):
        return f'and the texts of its source "{source.name}" are numbered 0 to {len(source.texts) - 1}'
    return None


def texts_of(params: Mapping[str, Any], inputs: Mapping[str, Any], *, truth: bool) -> "Texts":
    """The sources of a stage as its rule sees them."""
    from w2s_cli.choosing import Texts
    from w2s_cli.data.artifacts.rows import read_problems

    problems = read_problems(inputs["rows"])
    none: list[Path | None] = [None] * len(inputs["texts"])
    columns = (params["sources"], inputs["texts"], inputs.get("grades", none), inputs.get("scores", none))
    sources = [_source(*one, truth=truth) for one in zip(*columns, strict=True)]
    for source, folder in zip(sources, inputs["texts"], strict=True):
        problems.check_rows(source.ids, folder)
    levels = dict(zip(problems.ids, problems.parts.get("level", []), strict=False))
    return Texts(problems.ids, sources, int(params["seed"]), levels)


def _source(name: str, folder: Path, grades: Path | None, scores: Path | None, *, truth: bool) -> "Source":
    from w2s_cli.choosing import Source
    from w2s_cli.data.artifacts.completions import read_completions
    from w2s_cli.data.artifacts.grades import read_grades
    from w2s_cli.data.artifacts.scores import read_scores

    completions = read_completions(folder)
    graded = None if grades is None else read_grades(grades, completions)
    return Source(
        name,
        completions.ids,
        completions.samples.tolist(),
        completions.texts,
        completions.tokens.tolist(),
        completions.whole,
        None if graded is None else [answer or None for answer in graded.answers],
        graded.right if graded is not None and truth else None,
        None if scores is None else read_scores(scores, completions.names),
    )


def nothing_left(where: str, rule: str, rows: int, diagnostics: Mapping[str, Any], what: str) -> UserError:
    """The message of a rule that leaves nothing, with its counts."""
    counts = ", ".join(f"{name} {count}" for name, count in diagnostics.items())
    return UserError(
        f"{where}: the rule {rule} leaves no {what} of {rows} rows ({counts or 'it counts nothing'}). Loosen it (its args in the method), "
        "or make more texts (data.limits, generation.samples)"
    )
