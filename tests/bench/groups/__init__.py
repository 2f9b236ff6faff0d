"""What can be measured: one group a file, each with a `measure(bench)` that gives a `Result`."""
