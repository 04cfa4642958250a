"""`python -m grounding`: see `grounding.cli`."""

from grounding.cli import main

main()
