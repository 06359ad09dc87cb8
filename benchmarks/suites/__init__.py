"""The benchmark suites. A suite is one file with a function `comparisons(setting)` that yields `Comparison`s."""
