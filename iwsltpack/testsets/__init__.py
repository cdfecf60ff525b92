"""Test sets as they are shipped, and the audio they are made of. Knows nothing of models."""
