"""A page and an HTTP API: a picture in, cat or dog out."""
