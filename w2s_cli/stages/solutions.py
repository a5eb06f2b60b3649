"""solutions: the true solutions of a pool, in the form of written texts, for a ceiling to learn and for rules to choose from.

Their length is counted in words, since no model wrote them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from w2s_cli.pipeline.contract import Pool, Spec, Traits
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="texts")


def plan(job: "Planning", *, rows: Pool) -> Spec:
    """The true solutions of a pool."""
    job.need_problems("solution")
    return Spec({}, {"rows": rows}, slug=f"{job.config['data']['name']}-{rows.name}", about={"rows": rows.name})


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write completions.parquet, one text a row."""
    from w2s_cli.data.artifacts.completions import completions_table, write_completions
    from w2s_cli.data.artifacts.rows import read_problems

    fault("solutions.start")
    problems = read_problems(cast(Path, inputs["rows"]))
    texts = [solution.strip() for solution in problems.need("solution")]
    count = len(texts)
    words = [len(text.split()) for text in texts]
    names = [(name, 0) for name in problems.ids]
    fault("solutions.step")
    write_completions(ctx.result, completions_table(names, texts, words, ["end"] * count, [None] * count))
    ctx.progress(count, count, examples=count)
    return {"rows": count, "texts": count, "mean_words": round(sum(words) / count, 2)}
