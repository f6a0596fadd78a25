"""What records say: means with intervals, tables, verdicts on claims."""
