"""Pages and charts out of results: one stylesheet, one template environment, one file a page."""
