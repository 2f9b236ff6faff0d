"""`postwire providers`: how they stand, and steering them."""
