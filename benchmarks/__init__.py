"""Speed and memory of the kit against plain loops and public code: `python -m benchmarks`."""
