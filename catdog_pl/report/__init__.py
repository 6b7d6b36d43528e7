"""What people read: the layer table and the evaluation of a test."""
