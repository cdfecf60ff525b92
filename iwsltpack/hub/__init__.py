"""Artifacts go up to the Hugging Face hub and come back, verified both ways."""
