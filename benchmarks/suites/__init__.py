"""What is compared with what. A suite is one file with a `candidates()` that yields named comparisons."""
