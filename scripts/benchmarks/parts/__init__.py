"""One file a part of the benchmark: `measure(settings, say) -> list[Record]`; the first line of its docstring is its heading."""
