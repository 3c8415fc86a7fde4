"""From a name to what answers: the routes file, the plan of one call, and the router that carries it out."""
