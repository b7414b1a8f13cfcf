"""Finding the best way to run an artifact on this machine: what can be tried, measured, compared and kept."""
