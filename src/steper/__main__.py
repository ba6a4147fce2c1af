"""`python -m steper` is the `steper` command."""

from steper.cli.main import main

main()
