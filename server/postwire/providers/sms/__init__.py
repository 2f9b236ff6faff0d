"""What every kind that sends SMS needs: how a text is encoded and divided, and whom it is from."""
