"""From raw hypotheses to a package: clean-up, naming, validation, packaging, ledger."""
