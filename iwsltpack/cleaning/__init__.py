"""Clean-up of raw hypotheses by named, language-aware rules that never empty, merge or split a line."""
