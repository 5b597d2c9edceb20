"""compose.yaml without a container engine: checked against what it may say, and run by hand."""
