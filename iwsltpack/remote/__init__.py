"""Artifacts that lie elsewhere: read in place over hf://, s3:// and https://, by way of a local cache."""
