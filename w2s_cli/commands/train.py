"""train, label, evaluate, pretrain and plan: the commands that compose, plan and run a graph of stages and show the results.

* They differ in their target stages: `train` has the whole graph, `label` the weak labels, `evaluate` the comparisons of finished
  stages, `pretrain` the stages of its own method. `plan` runs nothing.
* The same command again continues an interrupted run, or shows its results; no other command resumes a run.
"""

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from w2s_cli.commands.elsewhere import planned_with, with_pulled
from w2s_cli.commands.output import guarded
from w2s_cli.config import compose, pairs
from w2s_cli.config.advice import advice
from w2s_cli.config.declared import needs
from w2s_cli.config.searching import Searched
from w2s_cli.config.sweeps import Composed
from w2s_cli.errors import UserError, did_you_mean
from w2s_cli.paths import configs_folder, locate
from w2s_cli.pipeline.build import build
from w2s_cli.pipeline.graph import Graph, Stage
from w2s_cli.pipeline.reads import refuse_unread
from w2s_cli.pipeline.resolve import Resolver
from w2s_cli.pipeline.states import Planned, survey
from w2s_cli.results.reader import Run
from w2s_cli.results.writer import held_run, link_stages, wall_times, write_results, write_run
from w2s_cli.run import launchers, resources, trackers
from w2s_cli.run.pruning import passing_models, prune
from w2s_cli.run.queueing import job_states
from w2s_cli.store.locking import choose
from w2s_cli.store.places import StoreError, command_line
from w2s_cli.store.store import Store, unwritable

if TYPE_CHECKING:
    from w2s_cli.run.outcome import Outcome

DETACHED = ("--detach", "launcher.detach=true")
DONE, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 75
SHOWN = 3  # logs of stages that failed with one message


def train(argv: list[str]) -> int:
    """Run the whole graph up to PGR."""
    return _command("train", argv)


def label(argv: list[str]) -> int:
    """Run the graph up to the weak labels."""
    return _command("label", argv)


def evaluate(argv: list[str]) -> int:
    """Run only the comparisons of finished stages; never train."""
    return _command("evaluate", argv)


def pretrain(argv: list[str]) -> int:
    """Pretrain a language model from scratch."""
    if not any(word.startswith("pretrain=") for word in argv):
        raise UserError(
            "w2s pretrain needs a recipe: set pretrain=NAME for configs/pretrain/NAME.yaml, for example pretrain=wordnet-xs."
        )
    return _command("pretrain", ["method=pretrain", *argv])


def plan(argv: list[str]) -> int:
    """Show stages, keys, states and reasons; run nothing."""
    return _command("plan", argv)


def _command(command: str, argv: list[str]) -> int:
    overrides, force = _take_force([DETACHED[1] if word == DETACHED[0] else word for word in argv])

    def task(jobs: list[Composed], folders: list[Path]) -> int:
        with guarded(needed=command == "plan"):  # inside, since a Hydra launcher may call it in a process of its own
            return _run(command, jobs, folders, force, argv)

    def search(searched: Searched, folders: list[Path]) -> int:
        from w2s_cli.commands.search import run

        with guarded(needed=command == "plan"):
            return run(command, searched, folders, force, argv)

    return compose.run(overrides, task, search if command in ("train", "plan") else None)


def _take_force(argv: list[str]) -> tuple[list[str], list[str]]:
    """Split `--force STAGE` off the overrides."""
    rest, force, words = [], [], iter(argv)
    for word in words:
        if word == "--force" or word.startswith("--force="):
            stage = word.partition("=")[2] or next(words, None)
            if not stage:
                raise UserError("--force needs the name of a stage, for example: --force student")
            force.append(stage)
        else:
            rest.append(word)
    return rest, force


def _run(command: str, jobs: list[Composed], folders: list[Path], force: list[str], argv: list[str]) -> int:
    jobs, left_out = pairs.keep(jobs)
    config = jobs[0].values
    if left_out:
        print(f"{left_out} of {left_out + len(jobs)} jobs left out by pairs={config['pairs']}")
    store = opened_store(command, config, folders)
    resolver = Resolver(store, folders, hub="if reachable" if command == "plan" else "required")
    graph = build(jobs, resolver)
    refuse_unread_words(list(dict.fromkeys(word for job in jobs for word in job.words)), graph, folders)
    refuse_resources(graph)
    targets, forced = targets_of(command, graph), _forced(force, graph)
    look = partial(survey, graph, store, targets, forced)
    if command == "plan":
        from w2s_cli.commands.show_plan import show_whole_plan

        show_whole_plan(graph, planned_with(look, config["remotes"], store), store)
        tell_assumed(resolver)
        return DONE
    with held_run(graph, store, command, targets) as folder:
        plans = with_pulled(look, config["remotes"], store)
        to_run = [graph.stages[key] for key in graph.stages if key in plans and plans[key].to_run]
        if command == "evaluate":
            _refuse_training(to_run, argv)
        if not to_run:
            if len(graph.jobs) > 1:
                print(f"{asked(graph, plans)}: all cached")
            return finish(folder, graph, plans, store)
        return execute(command, folder, graph, plans, store, to_run, argv)


def opened_store(command: str, config: Mapping[str, Any], folders: list[Path]) -> Store:
    """The store of a configuration, whose launcher and trackers can work; it is made unless the command only plans."""
    launchers.check(config["launcher"], here=command != "plan")
    trackers.check(config["tracker"], folders, packages=command != "plan")
    store = Store(locate(config["outputs"]))
    if command != "plan":
        store.make()
        choose(store.root, leases=config["launcher"]["claims"] == "lease")
    job_states(store)  # a stage whose job is over is in no queue any more
    return store


def tell_assumed(resolver: Resolver) -> None:
    """Print which commits a plan without the hub does not know."""
    if resolver.assumed:
        print(
            f"unknown commits: the hub cannot be reached ({', '.join(sorted(resolver.assumed))}). "
            "The keys of their stages are not the keys of a run, so finished stages are shown as missing (to run)."
        )


def refuse_unread_words(words: list[str], graph: Graph, folders: list[Path]) -> None:
    """Refuse (UserError) a word of the command line that no stage of any job read."""
    reads = set().union(*(job.reads for job in graph.jobs))
    chosen = {f"launcher={job.config['launcher']['name']}" for job in graph.jobs}
    of_launcher = [f"launcher.{name}" for name in graph.jobs[0].config["launcher"]]
    reads |= {name for name in of_launcher if needs(name) is None or needs(name) in chosen}
    methods = list(dict.fromkeys(job.config["method"]["name"] for job in graph.jobs))
    configs = [job.config for job in graph.jobs]

    def why(word: str, is_read: Callable[[str], bool]) -> str:
        return advice(word, words, is_read, configs)

    refuse_unread(words, reads, methods, [*folders, configs_folder()], needs, why)


def refuse_resources(graph: Graph) -> None:
    """Refuse (UserError) processes and resources that the stages of the graph cannot have."""
    launcher = graph.jobs[0].config["launcher"]
    resources.check(graph.stages.values(), launcher, batch=launchers.is_batch(launcher["name"]))


def execute(
    command: str,
    folder: Path,
    graph: Graph,
    plans: dict[str, Planned],
    store: Store,
    to_run: list[Stage],
    argv: list[str],
) -> int:
    """Run the stages to run under a progress view, then show the results or the failures; `folder` is the run's."""
    from w2s_cli.commands.show_plan import show_plan

    check_writable(store)
    show_plan(graph, plans, whole=False)
    write_run(folder, graph, plans)
    again = shlex.join(["w2s", command, *(word for word in argv if word not in DETACHED)])
    outcome = run_stages(folder, graph, plans, store, to_run)
    if outcome.left:
        return _left(outcome, store, again)
    if outcome.failed:
        if not outcome.stopped and any(compares(graph.stages[key]) for key in (*outcome.ran, *outcome.cached)):
            print()
            _show_results(folder, graph, plans, store)  # those that need no failed stage
        print_failures(outcome, graph, store)
    if len(graph.jobs) > 1:
        print(tally(graph, plans, outcome))
    if outcome.stopped:
        print(f"\nstopped; finished work is saved. Continue with: {again}", file=sys.stderr)
        return INTERRUPTED
    if outcome.failed:
        kept = "the finished stages are kept: " if outcome.ran or outcome.cached else ""
        print(f"\n{kept}correct the cause, then run the same command again.", file=sys.stderr)
        return USER_ERROR if outcome.user_error else FAILED
    return finish(folder, graph, plans, store)


def _left(outcome: "Outcome", store: Store, again: str) -> int:
    """Tell where the stages are that a batch system goes on with; returns the exit code."""
    print(
        f"\n{len(outcome.left)} stages are left to the batch system. {command_line(store.root, 'status')} shows them; the same command "
        f"waits for them, shows the results, and with Ctrl-C cancels them: {again}"
    )
    return INTERRUPTED if outcome.stopped else DONE


def run_stages(folder: Path, graph: Graph, plans: dict[str, Planned], store: Store, to_run: list[Stage]) -> "Outcome":
    """Run the stages to run under a progress view, by the launcher of the configuration; `folder` is the run's."""
    from w2s_cli.run.batch import Batch
    from w2s_cli.run.progress import view
    from w2s_cli.run.scheduler import Scheduler
    from w2s_cli.run.tracking import with_trackers
    from w2s_cli.run.work import Work

    config = graph.jobs[0].config
    if config["tracker"]:
        with_trackers(graph, config["tracker"], folder.name)
    with view(to_run, cached=len(plans) - len(to_run)) as progress:
        runner = Batch if launchers.is_batch(config["launcher"]["name"]) else Scheduler
        keep = config["keep_weights"]
        return runner(Work(graph, store, plans, config["launcher"], progress.event, keep_weights=keep)).run()


def tally(graph: Graph, plans: dict[str, Planned], outcome: "Outcome") -> str:
    """The outcome of a sweep's stages in one line."""
    words = [f"{len(outcome.ran)} ran", f"{len(outcome.cached)} cached"]
    words += [f"{len(outcome.failed)} failed"] if outcome.failed else []
    words += [f"{len(outcome.blocked)} not run"] if outcome.blocked else []
    return f"{asked(graph, plans)}: {', '.join(words)}"


def asked(graph: Graph, plans: dict[str, Planned]) -> str:
    """How many stages the jobs ask for, and how many of them are distinct."""
    return f"{len(graph.jobs)} jobs ask for {graph.asked_for(plans)} stages, {len(plans)} of them distinct"


def print_failures(outcome: "Outcome", graph: Graph, store: Store) -> None:
    """Print each message once, with the stages that failed with it."""
    messages: dict[str, list[str]] = {}
    for key, message in outcome.failed.items():
        messages.setdefault(message, []).append(key)
    for message, keys in messages.items():
        names = ", ".join(dict.fromkeys(graph.stages[key].name for key in keys))
        plural = "s" if len(keys) > 1 else ""
        logs = "".join(f"\n  log: {store.folder(key)}/log.txt" for key in keys[:SHOWN])
        more = f"\n  … {len(keys) - SHOWN} more logs" if len(keys) > SHOWN else ""
        print(f"\nstage{plural} {names} failed: {message}{logs}{more}", file=sys.stderr)
    if outcome.blocked:
        names = ", ".join(dict.fromkeys(graph.stages[key].name for key in outcome.blocked))
        print(f"not run, because they need a failed stage: {names}", file=sys.stderr)


def finish(folder: Path, graph: Graph, plans: dict[str, Planned], store: Store) -> int:
    """Remove weights that nothing needs any more, write the run's results into its folder and print the table."""
    if not graph.jobs[0].config["keep_weights"]:
        prune(store, passing_models(graph, plans))
    if not Run(folder, store).written:
        write_run(folder, graph, plans)
    _show_results(folder, graph, plans, store)
    return DONE


def _show_results(folder: Path, graph: Graph, plans: dict[str, Planned], store: Store) -> None:
    """Write the results of the finished stages into the run's folder and print the table."""
    from w2s_cli.results.summary_table import show_results

    link_stages(folder, graph, store)
    show_results(write_results(folder, graph, store), wall_times(graph, store), graph, plans, store, folder)


def targets_of(command: str, graph: Graph) -> list[str]:
    """Keys of a command's target stages."""
    read = {key for stage in graph.stages.values() for key in stage.upstream()}
    chosen: dict[str, Callable[[Stage], bool]] = {
        "label": lambda stage: stage.key in _teaching(graph),
        "evaluate": compares,
    }
    everything: Callable[[Stage], bool] = lambda stage: stage.key not in read  # noqa: E731 - like the two above
    targets = [key for key, stage in graph.stages.items() if chosen.get(command, everything)(stage)]
    if not targets:
        raise UserError(f"w2s {command}: this method has no stage for this command; use w2s train.")
    return targets


def _teaching(graph: Graph) -> set[str]:
    """Keys of the labels that a model is trained on."""
    trainings = (stage for stage in graph.stages.values() if stage.of.traits.learns)
    return {str(stage.inputs["labels"]) for stage in trainings if "labels" in stage.inputs}


def compares(stage: Stage) -> bool:
    """Whether a stage is a comparison: arithmetic on the predictions of other stages."""
    return stage.of.traits.gives == "comparison"


def _forced(names: list[str], graph: Graph) -> set[str]:
    keys: set[str] = set()
    names_of_stages = {stage.name for stage in graph.stages.values()}
    for name in names:
        if name not in names_of_stages:
            raise UserError(f'--force {name}: there is no stage "{name}".{did_you_mean(name, names_of_stages)}')
        keys.update(key for key, stage in graph.stages.items() if stage.name == name)
    return keys


def _refuse_training(to_run: list[Stage], argv: list[str]) -> None:
    missing = [stage for stage in to_run if not compares(stage)]
    if missing:
        names = ", ".join(dict.fromkeys(stage.name for stage in missing))
        raise UserError(
            f"w2s evaluate never trains, but these stages are missing: {names}. Run: {shlex.join(['w2s', 'train', *argv])}"
        )


def check_writable(store: Store) -> None:
    """Check before the work that the outputs folder can be created and written, and that its disk has space."""
    try:
        probe = store.own(store.root / ".write-probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StoreError(unwritable(store.root, error)) from error
    free = shutil.disk_usage(store.root).free
    if free < 50 * 2**20:
        raise UserError(
            f"{store.root}: only {free // 2**20} MiB free on this disk; free some ({command_line(store.root, 'gc')} lists what can go), "
            "or set outputs=DIR."
        )
