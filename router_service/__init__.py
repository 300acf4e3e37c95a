"""The control plane: API, store, capacity, routing, command line."""
