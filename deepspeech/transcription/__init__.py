"""Transcripts of files, streams and folders, in every output format."""
