"""For tests, ours and others': the StoreContract that every provider and wrapper fulfils, faults, a fake clock."""
