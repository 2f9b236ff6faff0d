"""`postwire suppressions`: who is not written to."""
