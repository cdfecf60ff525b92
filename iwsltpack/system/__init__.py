"""What every room stands on: files, locks, memory, progress, quiet libraries."""
