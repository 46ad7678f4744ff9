"""Log-probabilities to text, and when each word was said."""
