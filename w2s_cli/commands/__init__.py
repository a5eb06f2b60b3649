"""The commands. A new command is one file of this folder and one entry of COMMANDS; `--help` and completion read all of it here."""

from typing import NamedTuple


class Command(NamedTuple):
    """One command."""

    call: str  # module:function
    line: str  # of `w2s --help`
    example: str  # of `w2s COMMAND --help`; the words after the command
    # what its words name, for completion: words (of a configuration),
    # overrides (the same beside other words), fields, stages, runs, kinds, tables, experiments,
    # figures, shells
    takes: tuple[str, ...] = ()


COMMANDS = {
    "train": Command(
        "train:train",
        "run the whole pipeline to PGR: weak supervisor, weak labels, strong student, ceiling",
        "weak=wordnet-s strong=wordnet-l loss=logconf strong.lr=3e-5 seed=3",
        ("words",),
    ),
    "label": Command("train:label", "run up to the weak labels", "weak=wordnet-s seed=3", ("words",)),
    "evaluate": Command(
        "train:evaluate",
        "compute PGR from finished stages; never trains",
        "loss=logconf bootstrap=10000",
        ("words",),
    ),
    "pretrain": Command(
        "train:pretrain",
        "pretrain a language model from scratch (configs/pretrain/)",
        "pretrain=wordnet-xs pretrain.epochs=2",
        ("words",),
    ),
    "plan": Command(
        "train:plan",
        "show the stages of a run, their keys and states; runs nothing",
        "-m loss=xent,logconf seed=0,1,2",
        ("words",),
    ),
    "config": Command(
        "config:run",
        "the configuration of a run, and where each value comes from",
        "strong loss=logconf strong.lr=3e-5",
        ("fields", "words"),
    ),
    "status": Command("status:run", "the latest run: its stages with their states", "latest", ("runs",)),
    "ls": Command("ls:run", "list stages", "finetune --state done", ("kinds",)),
    "show": Command("show:run", "one stage: identity, inputs, metrics, provenance", "KEY --json", ("stages",)),
    "logs": Command("logs:run", "the log of a stage; -f follows it", "-f", ("stages",)),
    "why": Command(
        "why:run", "the origin of a result, or the reason why its stage would run again", "KEY", ("stages",)
    ),
    "table": Command(
        "table:run",
        "stored results as a table: text, Markdown, CSV, LaTeX, parquet; paired tests",
        "pgr data=sciq,boolq out=pgr.tex",
        ("tables", "runs"),
    ),
    "power": Command(
        "power:run",
        "which further seeds or test rows narrow an interval most, for each hour",
        "latest --between loss=xent loss=logconf",
        ("runs",),
    ),
    "diff": Command(
        "diff:run",
        "the differences between two runs or stages: config, data, code, results",
        "latest RUN --json",
        ("runs", "stages"),
    ),
    "plot": Command(
        "plot:run",
        "the figures of a run or sweep: w2s plot --help names them",
        "scaling latest --out scaling.pdf",
        ("figures", "runs"),
    ),
    "report": Command(
        "report:run",
        "a run or sweep as one HTML page: result, figures, plan, logs, configuration, provenance",
        "latest --out report.html",
        ("runs",),
    ),
    "data": Command(
        "data_check:run",
        "`w2s data check`: sizes, base rates, duplicates, truncation, shortcuts",
        "check data=local data.path=my.jsonl data.text=prompt data.label=is_safe",
        ("words",),
    ),
    "reproduce": Command(
        "reproduce:run",
        "a published experiment: plan, cost, run, and a table beside the reported figures",
        "eleuther_pgr --scale demo --plan",
        ("experiments", "overrides"),
    ),
    "push": Command(
        "push:run",
        "copy finished stages to another store: a path, s3://, gs://, hf://",
        "s3://bucket/outputs latest",
        ("runs", "stages"),
    ),
    "pull": Command(
        "pull:run", "copy finished stages of another store into this one", "s3://bucket/outputs KEY", ("runs",)
    ),
    "import": Command(
        "pull:run_import", "copy finished stages out of a folder of another store", "/backup/outputs/stages/label"
    ),
    "export": Command(
        "export:run",
        "a trained model in the hub's format, with a model card that has its results",
        "KEY out=my-student",
        ("stages", "runs"),
    ),
    "rm": Command("rm:run", "remove stages or runs", "--weights KEY", ("stages", "runs")),
    "gc": Command("gc:run", "list and remove folders that no run needs; removes only with --yes", "--days 30"),
    "doctor": Command(
        "doctor:run", "versions, devices, disk, locks, hub, cached models; --verify hashes every artifact", "--verify"
    ),
    "completion": Command(
        "completion:run", 'print the shell completion script: eval "$(w2s completion bash)"', "bash", ("shells",)
    ),
}
