"""`postwire demo`."""
