"""What a person reads: a run's record, and a plan before it runs, as tables of plain text."""
