"""Quantizers: what turns a tensor into integer codes and parameters, and back."""
