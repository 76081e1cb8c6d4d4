"""What an adversary still gets: known attacks on real rounds, and the empirical auditor."""
