"""What the parts of report.html are made of; pipelines/report.py puts them together."""
