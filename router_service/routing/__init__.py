"""Pure and deterministic: filter, score, pick. The same inputs give the same decision, so that any decision can be replayed."""
