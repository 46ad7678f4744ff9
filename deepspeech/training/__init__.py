"""Training: epochs, optimiser, resume."""
