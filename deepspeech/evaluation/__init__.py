"""Error rates, and figures."""
