"""Rounds between machines: mutual TLS 1.3, sessions that outlive a connection, one sum."""
