"""choose: the texts from which a student learns, by a rule of choosing/ over the texts of one or more stages.

The rule sees texts, and where the stage names them, their answers (from `grade` stages) and scores. Whether an answer is right is shown
only to rules that say so. An empty text cannot be learned and is left out, unless the rule keeps it (`Chosen.with_empty`) to be graded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.pipeline.contract import Edge, Pool, RuleField, Spec, Traits
from w2s_cli.stages._chosen import applied, nothing_left, spec_of
from w2s_cli.store.context import Context
from w2s_cli.store.faults import fault

if TYPE_CHECKING:
    from w2s_cli.pipeline.builder import Planning

VERSION = 1
TRAITS = Traits(gives="texts")


def plan(
    job: "Planning",
    *,
    rows: Pool,
    texts: list[Edge],
    rule: RuleField,
    grades: list[Edge] | None = None,
    scores: list[Edge] | None = None,
) -> Spec:
    """Chosen texts.

    Args:
        rows: the pool of the texts.
        texts: completions, or texts that other stages chose.
        rule: {name, args} of a file in choosing/.
        grades, scores: stages of kinds grade and score (or exam), one for each of texts.
    """
    return spec_of(job, "choosing", rule, texts, grades, scores, rows)


def cautions(metrics: Mapping[str, Any], params: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """One line for a rule that reads the ground truth of its rows."""
    if not about["truth"]:
        return []
    return [
        f"The rule {about['rule']} reads the ground truth of {about['rows']}: a control or an arm of a comparison, not a method."
    ]


def run(params: dict[str, Any], inputs: dict[str, Path | list[Path]], ctx: Context) -> dict[str, Any]:
    """Write examples.parquet (`data.artifacts.completions`), in the pool's order.

    `params`: rule {name, args, code}, sources (names of the stages), seed. `inputs`: rows, texts, and grades and scores of each.

    Raises:
        UserError: no text is left, or an error inside the rule.
    """
    from w2s_cli.choosing import Chosen, Place
    from w2s_cli.data.artifacts.completions import completions_table, write_examples

    fault("choose.start")
    rule = params["rule"]
    texts, chosen = applied("choosing", Chosen, params, inputs, ctx)
    fault("choose.step")
    order = {row: place for place, row in enumerate(texts.rows)}

    def turn(place: Place) -> tuple[int, int, int]:
        return order[texts.sources[place.source].ids[place.at]], place.source, place.at

    places = sorted(set(chosen.places), key=turn)
    kept = [place for place in places if chosen.with_empty or texts.sources[place.source].texts[place.at]]
    left_out = {**chosen.diagnostics, "empty texts": len(places) - len(kept)}
    if not kept:
        raise nothing_left(str(inputs["rows"]), rule["name"], len(texts.rows), left_out, "text")
    sources = [texts.sources[place.source] for place in kept]
    ids = [source.ids[place.at] for source, place in zip(sources, kept, strict=True)]
    numbers: dict[str, int] = {}
    own = [numbers[row] for row in ids if not numbers.update({row: numbers.get(row, -1) + 1})]
    table = completions_table(
        list(zip(ids, own, strict=True)),
        [source.texts[place.at] for source, place in zip(sources, kept, strict=True)],
        [source.tokens[place.at] for source, place in zip(sources, kept, strict=True)],
        ["end" if source.whole[place.at] else "length" for source, place in zip(sources, kept, strict=True)],
        [None] * len(kept),
    )
    samples = [source.samples[place.at] for source, place in zip(sources, kept, strict=True)]
    write_examples(ctx.result, table, [source.name for source in sources], samples)
    ctx.progress(len(texts.rows), len(texts.rows), examples=len(kept))
    counted = {source.name: sum(one is source for one in sources) for source in texts.sources}
    return {
        "rows": len(texts.rows),
        "rows_chosen": len(set(ids)),
        "texts": len(kept),
        "of_source": counted,
        "tokens": sum(source.tokens[place.at] for source, place in zip(sources, kept, strict=True)),
        "left_out": left_out,
    }
