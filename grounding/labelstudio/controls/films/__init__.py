"""The tags about films: spans of time, and boxes that move."""
