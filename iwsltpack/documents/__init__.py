"""The names, versions and documents that make up everything iwsltpack writes to disk."""
