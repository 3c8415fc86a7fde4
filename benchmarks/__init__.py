"""What this project holds itself to: itself beside what people serve without it, in one run, as ratios."""
