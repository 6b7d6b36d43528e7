"""Raw photographs -> checked and split folders; ``pipeline`` is the way through, one module a step.

sources (archives) -> labels -> inspection -> relabel -> duplicates -> splits -> placement -> manifest, report
"""
