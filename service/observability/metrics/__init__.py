"""The series of `/metrics`, by what they measure. Dashboards read their names, labels and units: add, do not rename."""
