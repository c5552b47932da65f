"""fastgraph against the other frameworks: `python -m benchmarks`. See README.md here."""
