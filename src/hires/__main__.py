"""`python -m hires` is the `hires` command."""

from hires.cli import main

main()
