"""Raw photographs -> checked and split folders; ``pipeline`` is the way through, one module a step.

sources (archives) -> inspection -> duplicates -> splits -> placement -> manifest, report
"""
