"""Wire types, generated: see protos/."""
