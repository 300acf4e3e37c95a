"""Models that run here, without key or network: extractive summarization."""
