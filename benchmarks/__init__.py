"""Measurements: one file, one question. Records are JSON; tables are made from records."""
