"""Codec chains of the artifact and their registry."""
