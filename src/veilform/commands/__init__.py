"""The subcommands of ``veilform``, by theme."""
