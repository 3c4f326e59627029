"""Whole-slide images: reading, tissue, tiles, heatmaps and overlays. Knows nothing of models or configs."""
