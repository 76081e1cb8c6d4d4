"""Attacks on the aggregation itself: one client from sums, properties of a few, wrong models."""
