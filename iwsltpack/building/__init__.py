"""Build an artifact from a checkpoint: recipes, plans, chunks, journals, one machine or many."""
