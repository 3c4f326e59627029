"""Damaged files by the thousand, through `tesela inspect`: no crash, no hang, no gigabyte for nothing."""
