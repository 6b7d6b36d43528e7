"""Photographs: reading one, preparing a folder of them (preparation/), feeding them to a model."""
