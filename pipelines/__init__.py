"""Config, cohort, one function per stage, the `tesela` command line and the Snakemake rules."""
