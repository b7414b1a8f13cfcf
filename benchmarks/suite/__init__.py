"""The suite that `make bench` and `make bench-full` run: one file a question, one record, one page."""
