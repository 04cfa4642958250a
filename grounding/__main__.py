"""`python -m grounding`: see `grounding.cli.main`."""

from grounding.cli.main import main

main()
