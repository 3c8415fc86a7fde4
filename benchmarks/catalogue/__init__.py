"""docs/zoo.md: every network that can be exported, with what it takes on this machine and two pictures."""
