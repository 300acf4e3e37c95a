"""Pure rules of a chat request and its answer."""
