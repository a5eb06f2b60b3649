"""The state of a search: its trials and their jobs, the batch that comes next, and what every field of the space changes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from w2s_cli.commands.train import opened_store, refuse_resources, refuse_unread_words
from w2s_cli.config.searching import GROUP, Searched
from w2s_cli.config.sweeps import refuse_many
from w2s_cli.errors import UserError
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.graph import Graph, Job
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.pipeline.validation import VALIDATION
from w2s_cli.results.stages import read_stage
from w2s_cli.results.writer import run_folder
from w2s_cli.search import sampler
from w2s_cli.search.record import LARGER, Study, Trial, read_record
from w2s_cli.search.space import Params, as_json
from w2s_cli.store.keys import canonical_json

Place = tuple[int, int]  # number of a study, number of its trial


class Search:
    """The state of a search: the trials so far, their jobs, and the union graph of these."""

    def __init__(self, command: str, searched: Searched, folders: list[Path]) -> None:
        self.searched = searched
        ends, probes = _probes(searched)
        configs = searched.jobs(ends)
        config = configs[0][0].values
        self.config: dict[str, Any] = config[GROUP]
        self._refuse_many(config["most_jobs"], len(configs[0]))
        if config["launcher"]["detach"]:
            raise UserError("a search reads the scores of a batch before it chooses the next: leave out --detach.")
        self.store = opened_store(command, config, folders)
        self.remotes: list[str] = config["remotes"]
        self.resolver = Resolver(self.store, folders, hub="if reachable" if command == "plan" else "required")
        probe = Graph()
        built = [_added(probe, jobs, self.resolver) for jobs in configs]
        refuse_unread_words(
            list(dict.fromkeys(word for jobs in configs for job in jobs for word in job.words)), probe, folders
        )
        refuse_resources(probe)
        _check(probe, built, probes)
        first = [
            [job.names[VALIDATION] for job in built[place]]
            for place, (setting, name) in enumerate(probes)
            if name is None
        ]
        self.identity = {
            "space": as_json(searched.space),
            "trials of": first,
            **{name: self.config[name] for name in ("batch", "metric", "seed")},
        }
        self.probe = probe
        self.graph = Graph()
        self.jobs: dict[Place, list[Job]] = {}
        self.studies = read_record(self.folder(), self.identity, searched.space, searched.settings)
        self.compose([(s, t) for s, study in enumerate(self.studies_kept()) for t in range(len(study.trials))])

    def _refuse_many(self, limit: int, seeds: int) -> None:
        jobs = self.config["trials"] * seeds * len(self.searched.settings)
        if jobs > limit:
            refuse_many(jobs, limit, f"search.trials={self.config['trials']}, with all settings and seeds")

    @property
    def name(self) -> list[str]:
        """What names the folder of the search."""
        return [canonical_json(self.identity)]

    def folder(self) -> Path | None:
        """The folder of the search, if an earlier command made it."""
        folder = run_folder(self.probe, self.store, "train", self.name)
        return folder if folder.is_dir() else None

    def studies_kept(self) -> list[Study]:
        """The studies without the trials of an earlier command that had more of them."""
        return [Study(study.words, study.trials[: self.config["trials"]]) for study in self.studies]

    def propose(self) -> list[Place]:
        """The next batch of trials, of every setting; [] after the last one. Open trials of an interrupted batch come first."""
        batch, trials, places = self.config["batch"], self.config["trials"], []
        for number, study in enumerate(self.studies):
            done = len(study.closed()) // batch * batch  # the beginning of the batch
            end = min(done + batch, trials)
            if len(study.trials) < end:
                seed = [self.config["seed"], number, done // batch]
                larger = LARGER[self.config["metric"]]
                proposed = sampler.propose(self.searched.space, study.trials[:done], batch, larger=larger, seed=seed)
                study.trials += [Trial(params) for params in proposed[len(study.trials) - done : end - done]]
            places += [(number, trial) for trial in range(done, end) if study.trials[trial].state == "open"]
        self.compose([place for place in places if place not in self.jobs])
        return places

    def compose(self, places: Sequence[Place]) -> None:
        """Add the jobs of trials to the graph."""
        if not places:
            return
        asked = [(study, self.studies[study].trials[trial].params) for study, trial in places]
        for place, jobs in zip(places, self.searched.jobs(asked), strict=True):
            self.jobs[place] = _added(self.graph, jobs, self.resolver)

    def scores(self, places: Sequence[Place]) -> list[str]:
        """Keys of the stages with the scores of these trials."""
        return list(dict.fromkeys(job.names[VALIDATION] for place in places for job in self.jobs[place]))

    def wholes(self, places: Sequence[Place]) -> list[str]:
        """Keys of the last stages of these trials: their scores and comparisons, and the summaries of these over seeds."""
        jobs = [job for place in places for job in self.jobs[place]]
        ours = {id(job) for job in jobs}
        keys = {key for job in jobs for key in job.names.values()}
        read = {key for name in keys for key in self.graph.stages[name].upstream()}
        summaries = [key for of, _, key in self.graph.summaries if {id(job) for job in of} <= ours]
        return [key for key in self.graph.stages if key in keys - read] + summaries

    def scored(self) -> list[Place]:
        """The trials with a score."""
        numbered = (
            (s, t, trial) for s, study in enumerate(self.studies_kept()) for t, trial in enumerate(study.trials)
        )
        return [(s, t) for s, t, trial in numbered if trial.state == "scored"]

    def tested(self) -> list[Place]:
        """The trials that are run on the test rows: the best one of each setting, or all with a score."""
        best = [study.best(self.config["metric"]) for study in self.studies_kept()]
        chosen = [(number, trial) for number, trial in enumerate(best) if trial is not None]
        return self.scored() if self.config["test"] == "all" else chosen

    def tests(self) -> dict[Place, dict[str, Any]]:
        """Trial → the metrics of its student on the test rows, over its seeds; without the trials that have none."""
        of_places = {}
        for place, jobs in self.jobs.items():
            name = self._comparison(jobs[0])
            over_seeds = [key for of, stage, key in self.graph.summaries if of[0] is jobs[0] and stage == name]
            key = over_seeds[0] if over_seeds else jobs[0].names[name]
            if metrics := read_stage(self.store, key).metrics:
                of_places[place] = metrics
        return of_places

    def _comparison(self, job: Job) -> str:
        """The name of the comparison of the student that was scored."""
        stages = {name: self.graph.stages[key] for name, key in job.names.items()}
        scored = stages[VALIDATION].inputs["student"]
        student = next(name for name, stage in stages.items() if stage.key == scored).rpartition("@")[0]
        compared = [name for name, stage in stages.items() if stage.inputs.get("student") == stages[student].key]
        return next(name for name in compared if stages[name].of.traits.over_seeds)

    def close(self, places: Sequence[Place], failed: dict[str, str]) -> bool:
        """Take the outcomes of a batch; False, and nothing is taken, if no trial of it has a score.

        Args:
            failed: stage → why it failed.
        """
        for study, number in places:
            trial = self.studies[study].trials[number]
            keys = self.scores([(study, number)])
            values = [read_stage(self.store, key).metrics.get(self.config["metric"]) for key in keys]
            if all(isinstance(value, float | int) for value in values):
                trial.state, trial.per_seed = "scored", [float(value) for value in values]  # type: ignore[arg-type]
                trial.score = sum(trial.per_seed) / len(trial.per_seed)
            else:
                above = self.graph.upstream_closure(keys)
                trial.state = "failed"
                trial.why = next(
                    (why for key, why in failed.items() if key in above), f"its {self.config['metric']} is not defined"
                )
        if any(self.studies[study].trials[number].state == "scored" for study, number in places):
            return True
        for study, number in places:
            self.studies[study].trials[number].state = "open"
        return False


def _added(graph: Graph, jobs: Sequence[Any], resolver: Resolver) -> list[Job]:
    """The jobs of one trial, after they were added to the graph."""
    before = len(graph.jobs)
    build(jobs, resolver, graph)
    return graph.jobs[before:]


def _probes(searched: Searched) -> tuple[list[tuple[int, Params]], list[tuple[int, str | None]]]:
    """Trials of every setting that show what each field changes: one at the first ends, and for each field one at each other end.

    Returns:
        The trials, and for each its setting and the field in which it differs from the first.
    """
    trials: list[tuple[int, Params]] = []
    changed: list[tuple[int, str | None]] = []
    for setting in range(len(searched.settings)):
        first: Params = {dimension.name: dimension.ends()[0] for dimension in searched.space}
        trials.append((setting, first))
        changed.append((setting, None))
        for dimension in searched.space:
            for value in dimension.ends()[1:]:
                trials.append((setting, {**first, dimension.name: value}))
                changed.append((setting, dimension.name))
    return trials, changed


def _check(graph: Graph, built: Sequence[list[Job]], probes: Sequence[tuple[int, str | None]]) -> None:
    """Refuse (UserError) a field that changes the labels by which trials are compared, or that leaves the student as it is."""
    start: list[Job] = []
    moved: dict[tuple[int, str], bool] = {}
    for jobs, (setting, name) in zip(built, probes, strict=True):
        if name is None:
            start = jobs
            continue
        inputs = [[graph.stages[job.names[VALIDATION]].inputs for job in side] for side in (start, jobs)]
        if any(one[edge] != other[edge] for one, other in zip(*inputs, strict=True) for edge in ("labels", "rows")):
            raise UserError(
                f"{name} changes the weak labels of the validation rows, and trials with different labels cannot be compared. A search is "
                "over what the student learns by (strong.*, student.*, loss, select); a sweep over a list compares all else."
            )
        same = all(one["student"] == other["student"] for one, other in zip(*inputs, strict=True))
        moved[setting, name] = moved.get((setting, name), False) or not same
    for (_, name), moves in moved.items():
        if not moves:
            raise UserError(
                f"{name} has no effect on the student, so a search cannot choose it: leave it out of the search."
            )
