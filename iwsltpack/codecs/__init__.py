"""Codings of the artifact, the chains they pack arrays with, and their registry."""
