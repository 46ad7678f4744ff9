"""A server that transcribes, for clients that exist."""
