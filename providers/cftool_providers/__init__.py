"""The providers that come with cftool. Each is found through the entry-point group `cftool.providers`."""
