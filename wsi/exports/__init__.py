"""Scores for other programs: QuPath (GeoJSON), WSInfer's CSV, GeoParquet."""

from wsi.exports.export import FILES, ExportOptions, write_exports

__all__ = ["FILES", "ExportOptions", "write_exports"]
