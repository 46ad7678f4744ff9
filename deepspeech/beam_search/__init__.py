"""Beam search with a language model."""
