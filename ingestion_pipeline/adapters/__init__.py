"""One outside system per file; foreign errors are wrapped at this edge."""
