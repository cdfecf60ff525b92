"""Calibration: what a model's layers are fed and how much their outputs matter, block by block, and its rounding."""
