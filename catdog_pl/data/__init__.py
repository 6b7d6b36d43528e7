"""Photographs: reading, preparing (prepare/), drawing some (sample/), and feeding them to a model."""
