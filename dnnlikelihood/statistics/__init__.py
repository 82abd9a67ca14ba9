"""Mathematics of inference on arrays: intervals, fits, profiles, test statistics, agreement. NumPy and SciPy only."""
