"""Who computes: a Backend finds and loads versions, a Runner runs one."""
