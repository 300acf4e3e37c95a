"""Adapters: one per way of reaching a model."""
