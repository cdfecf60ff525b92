"""A stand-in for Qwen2-Audio-7B-Instruct: its exact architecture and names, Gaussian weights, any scale."""
