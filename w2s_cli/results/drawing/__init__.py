"""What figures are drawn with: how they look, the parts that several share, and the words and sizes that they show."""

from w2s_cli.errors import UserError


class NoDataError(UserError):
    """The run lacks what a figure shows; the message says what, and which command would give it."""
