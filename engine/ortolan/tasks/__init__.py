"""The tasks: one file and one line of the registry each."""
