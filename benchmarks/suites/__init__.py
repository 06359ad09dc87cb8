"""What is compared with what. A suite is one file with `comparisons(setting)`, which yields `Comparison`s."""
