"""What `ortolan` can be told to do: a file a command, each with a parser of its flags and what it does."""
