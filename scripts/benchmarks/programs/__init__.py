"""What is timed, a process each: `python -m scripts.benchmarks.programs.NAME JOB.json` writes answer.json beside its job."""
