"""Scores with their signatures, tests of significance, and the report that puts quality beside size."""
