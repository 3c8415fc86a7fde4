"""`python -m k8s.check`: every overlay and variant, rendered and held against schemas, rules and real programs."""
