"""The file system under FUSE: errno and structures, and nothing that `vfs` could decide. `daemon` is its entry."""
