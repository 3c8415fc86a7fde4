"""A version folder is staged, described by a manifest, profiled and published by one rename."""
