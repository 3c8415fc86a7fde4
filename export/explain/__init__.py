"""Why a network answers as it does: where in a photo its answer comes from, and what its first layer sees of it."""
