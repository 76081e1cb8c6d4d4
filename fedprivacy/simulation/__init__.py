"""Many clients in one process: jobs (a model and its data) and schedules of faults."""
