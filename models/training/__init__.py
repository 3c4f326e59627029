"""Training a tile classifier: settings, the loop, and going on after a kill."""
