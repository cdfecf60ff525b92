"""Train and check a Qwen2-Audio miniature that translates 56 spoken English sentences into Chinese."""

import os

# Beside other work, OpenMP threads that spin while idle made a training step some three times slower. This must be
# set before torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
