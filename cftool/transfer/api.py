"""The three entry points of the engine, for `cli` and for programs. Contracts here, work in the other modules.

copy(src, dst, …)          files and empty directories of src that differ, to dst; deletes nothing
copy_file(src, path, …)    one file to one exact destination
sync(src, dst, …)          copy, then delete what src lacks, as far as the gate allows
check(a, b, …)             compare only

All emit events while they work and return the Summary, which is also the last event. They raise only what concerns the
whole run: Locked, Refused (overlap), NotFound (SRC missing), ConfigError, KeyboardInterrupt never (see Surroundings).
"""
