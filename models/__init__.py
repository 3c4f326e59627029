"""Models: what they are trained on, how they are trained, what a checkpoint carries."""
