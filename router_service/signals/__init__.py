"""What routing looks at in a chat request: pure, cheap, versioned, and unknown where it is not known."""
