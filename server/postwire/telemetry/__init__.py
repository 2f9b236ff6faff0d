"""What is seen from outside: logs now, spans and metrics beside them. Attached as observers, not woven in."""
