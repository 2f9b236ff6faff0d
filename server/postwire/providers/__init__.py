"""The ways out. `base` is the seam, `builtin` names every kind there is, `registry` holds those of this server."""
