"""One self-contained page about a finished study; use `write_report` of `empirical.report.page`."""
