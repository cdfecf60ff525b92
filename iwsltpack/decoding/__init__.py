"""Decode test sets with an artifact: prepare, batch, generate, journal, record."""
