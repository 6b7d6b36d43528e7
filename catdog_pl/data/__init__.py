"""Photographs: reading one, preparing a folder of them, and feeding them to a model."""
