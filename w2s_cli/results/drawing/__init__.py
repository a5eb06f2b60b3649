"""The parts of figures: style, shared drawings, names, and sizes of models."""

from w2s_cli.errors import UserError


class NoDataError(UserError):
    """The run lacks the data of a figure; the message has the missing data and a command that makes it."""
