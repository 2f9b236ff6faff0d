"""`postwire messages`: what became of them, and steering them."""
