"""What a model answers: one file for each head, with how its answers are compared and scored."""
