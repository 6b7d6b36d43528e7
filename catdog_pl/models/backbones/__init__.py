"""Pretrained networks under a head."""
