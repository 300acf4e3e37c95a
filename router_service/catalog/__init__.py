"""The models on offer: what they are, what they cost, what their providers allow."""
