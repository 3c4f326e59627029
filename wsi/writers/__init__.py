"""Writing pyramids: OME-TIFF and OME-Zarr, from pixels or from tiles that are compressed already."""
