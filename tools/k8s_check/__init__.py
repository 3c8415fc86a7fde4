"""`python -m tools.k8s_check`: every overlay and variant, rendered and held against schemas, rules and programs."""
