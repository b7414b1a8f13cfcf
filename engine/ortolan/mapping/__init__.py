"""`ortolan map`: the rows of a file, answered, as another file; an interrupted run goes on where it ended."""
