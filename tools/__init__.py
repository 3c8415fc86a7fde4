"""Checks and writes the YAML of `k8s/`, the dashboards and the page on the architecture."""
