"""What the measured numbers say: percentiles, capacity, significance, findings."""
