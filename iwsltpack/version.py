"""The version, in a file that imports nothing: whatever writes a document names it."""

__version__ = "0.1.0"
