"""w2s: weak-to-strong generalization experiments as resumable stages."""

__version__ = "0.1.0"
