"""The series of `/metrics`, by what they measure."""
