"""The producer API: OpenAI's Files and Batches, and our own jobs. All wiring is in `app`."""
