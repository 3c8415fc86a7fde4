"""This machine: cores, memory, sockets, files, and whose turn it is."""
