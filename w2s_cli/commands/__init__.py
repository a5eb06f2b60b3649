"""The commands: name → (module:function, line of `w2s --help`). A new command is one file of this folder and one line of this table."""

COMMANDS = {
    "train": ("train:train", "run the whole pipeline to PGR: weak supervisor, weak labels, strong student, ceiling"),
    "label": ("train:label", "run up to the weak labels"),
    "evaluate": ("train:evaluate", "compute PGR from finished stages; never trains"),
    "pretrain": ("train:pretrain", "pretrain a language model from scratch (configs/pretrain/)"),
    "plan": ("train:plan", "show the stages of a run, their keys and states; runs nothing"),
    "status": ("status:run", "the latest run: its stages with their states"),
    "ls": ("ls:run", "list stages"),
    "show": ("show:run", "one stage: identity, inputs, metrics, provenance"),
    "logs": ("logs:run", "the log of a stage; -f follows it"),
    "why": ("why:run", "the origin of a result, or the reason why its stage would run again"),
    "table": ("table:run", "stored results as a table: text, Markdown, CSV, LaTeX, parquet; paired tests"),
    "diff": ("diff:run", "the differences between two runs or stages: config, data, code, results"),
    "plot": (
        "plot:run",
        "the figures of a run or sweep: w2s plot --help names them",
    ),
    "report": ("report:run", "a run or sweep as one HTML page: result, figures, plan, logs, configuration, provenance"),
    "data": ("data_check:run", "`w2s data check`: sizes, base rates, duplicates, truncation, shortcuts"),
    "reproduce": ("reproduce:run", "a published experiment: plan, cost, run, and a table beside the reported figures"),
    "rm": ("rm:run", "remove stages or runs"),
    "gc": ("gc:run", "list and remove folders that no run needs; removes only with --yes"),
    "doctor": ("doctor:run", "versions, devices, disk, locks, hub, cached models; --verify hashes every artifact"),
    "completion": ("completion:run", 'print the shell completion script: eval "$(w2s completion bash)"'),
}
