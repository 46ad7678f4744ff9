"""From audio to text with a trained model."""
