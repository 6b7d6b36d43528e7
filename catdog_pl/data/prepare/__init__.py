"""Raw photographs -> checked and split folders. ``prepare`` is the way through; each step is a module.

order            what was asked for
sources          archives, folders, URLs, the sample -> one `Photo` each (archives, members, downloads, pets)
looking          each is decoded once, in all processes (checks, contents)
duplicates       the same photograph twice, exactly or nearly
splits           which goes where, by content and seed alone (labels, names)
staging          built beside ROOT and put there at the end (placing, manifest, report, contact_sheet)
audit            a prepared folder looked at again
"""
