"""What stat, listings and one's own changes said of a remote, remembered over runs. DESIGN.md says how it stays right.

`store.MetadataCachingStore` answers from it; `cftool.wrap.noting` asks the remote always, and tells the others what it
changes. Nothing is imported here: a run that finds no cache pays nothing for it.
"""
