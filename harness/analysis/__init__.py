"""What the numbers of finished runs say: results read from disk, and everything computed of them."""
