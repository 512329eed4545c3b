"""What is made of the measurements: ratios with their confidence intervals, and the table."""
