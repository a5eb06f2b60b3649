"""`python -m w2s_cli`."""

from w2s_cli.cli import main

main()
