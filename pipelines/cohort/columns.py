"""The columns of a sheet."""

COLUMNS = ("slide", "id", "case", "mpp", "scene", "label", "annotation", "marked", "split", "note")
SPLITS = ("", "train", "val", "test")
