"""Scores of hypotheses against references, each with its signature, and tests of significance."""
