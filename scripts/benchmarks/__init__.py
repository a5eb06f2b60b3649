"""The benchmark behind docs/benchmarks.md; `scripts/bench` runs it.

settings.py    sizes: full, quick, tiny          texts.py models.py material.py   what is trained on, made without a network
programs/      what is timed, a process each: ours, a plain reference loop, transformers.Trainer, a matmul
processes.py   one process: wall, CPU, peak memory       comparing.py   programs in turn (A B A B), medians, ratios
parts/         one file a part: measure(settings) → records; found by its name
records.py     what a measurement is              stored.py document.py   docs/benchmarks.json and docs/benchmarks.md
"""
