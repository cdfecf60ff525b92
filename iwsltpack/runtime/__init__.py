"""From an artifact to raw hypotheses: the model on its device, generation, the journal, the record of the run."""
