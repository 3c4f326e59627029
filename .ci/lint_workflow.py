"""`snakemake --lint`, less the one finding that cannot be mended yet: there is no container image to name."""

from __future__ import annotations

import subprocess
import sys

_NO_IMAGE_YET = "Specify a conda environment or container for each rule."

done = subprocess.run(
    [sys.executable, "-m", "snakemake", "--lint", "--configfile", "tests/lint/config.yaml"],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    check=False,
)
if "Lints for rule ingest" not in done.stdout:  # the image finding itself proves that the rules were read
    sys.exit(f"snakemake --lint did not run:\n{done.stdout}")
findings = [line for line in done.stdout.splitlines() if line.lstrip().startswith("* ")]
if any(_NO_IMAGE_YET not in line for line in findings):
    sys.exit(done.stdout)
