"""The listener of `http.listen`: the contract over HTTP, and the console. While it is off, nothing here is imported."""
