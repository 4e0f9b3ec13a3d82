"""What the profiler and the graph drawings both need: places in the source, FLOPs."""
