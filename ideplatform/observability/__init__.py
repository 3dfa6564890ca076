"""Logs, metrics and health probes. Imports no other part: the others register with it."""
