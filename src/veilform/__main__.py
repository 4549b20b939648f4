"""``python -m veilform``."""

from veilform.cli import main

main()
